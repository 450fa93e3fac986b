"""A saved feature source, opened again."""

from collections.abc import Mapping
from typing import Any

from label.backbone import Backbone
from label.errors import InterpreterError
from label.mae import MaeFeatures
from label.swav import SwavFeatures
from label.timm_backbone import TimmFeatures


def open_backbone(record: Mapping[str, Any]) -> Backbone:
    """The source that save_pretrained described. Raises InterpreterError when its weights are others now."""
    identity, image_size = dict(record["backbone"]), tuple(record["image_size"])
    if identity["kind"] == "swav":
        source = SwavFeatures.from_pretrained(identity["path"], wide=identity["wide"], image_size=image_size)
    elif identity["kind"] == "mae":
        source = MaeFeatures.from_pretrained(
            identity["path"], blocks=identity["blocks"], heads=identity["heads"], image_size=image_size
        )
    else:
        weights = None if identity["weights"] == "None" else identity["weights"]
        source = TimmFeatures(identity["name"], layers=identity["layers"], weights=weights, image_size=image_size)
    if source.digest != record["digest"]:
        raise InterpreterError(
            f"the weights of {identity['kind']} are others than those that the interpreter was fitted on"
        )
    return source
