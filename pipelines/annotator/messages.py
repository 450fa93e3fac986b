"""What the page is told, and by whom."""

import base64
import math
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float, UInt8

Message = dict[str, Any]


class Watching(Protocol):
    """Who suggests: the interpreter that learns, or the labels that a dataset has."""

    def opened(self, name: str) -> None: ...
    def changed(self, name: str) -> None: ...
    def renewed(self) -> None: ...
    def ranking(self) -> list[tuple[str, float]]: ...
    def run(self) -> None: ...
    def ends_well(self) -> bool: ...


def suggestion(
    name: str, mask: UInt8[np.ndarray, "h w"], doubt: Float[np.ndarray, "h w"], classes: int, *, seconds: float
) -> Message:
    """Labels of an image with their uncertainty in nats, which is sent as 0 to 255, 255 being ln(classes)."""
    levels = np.clip(np.rint(255 * doubt / math.log(classes)), 0, 255).astype(np.uint8)
    return {
        "kind": "suggestion",
        "name": name,
        "height": mask.shape[0],
        "width": mask.shape[1],
        "mask": base64.b64encode(np.ascontiguousarray(mask).tobytes()).decode(),
        "doubt": base64.b64encode(levels.tobytes()).decode(),
        "seconds": seconds,
    }
