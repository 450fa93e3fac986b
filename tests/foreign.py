"""Sources of other tools for the tests of formats: images to annotate, and what an import of them made."""

import tomllib
from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from pipelines.formats.into import import_annotations

MASKS = hnp.arrays(np.bool_, st.tuples(st.integers(3, 12), st.integers(3, 12)))
"""Any region: holes, several parts, single pixels, none."""


def photograph(path: Path, width: int = 16, height: int = 12, *, orientation: int = 1) -> Path:
    """An image that differs everywhere; of a JPEG, `orientation` goes into its EXIF."""
    path.parent.mkdir(parents=True, exist_ok=True)
    across, down = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    image = Image.fromarray(np.stack([across, down, 255 - across], axis=-1).astype(np.uint8))
    exif = Image.Exif()
    exif[0x112] = orientation
    image.save(path, exif=exif)
    return path


def classes(folder: Path) -> list[str]:
    return [row["name"] for row in tomllib.loads((folder / "scheme.toml").read_text("utf-8"))["classes"]]


def mask_of(folder: Path, name: str) -> np.ndarray:
    with Image.open(folder / f"{name}.mask.png") as image:
        return np.array(image)


def labels_of(folder: Path, name: str) -> np.ndarray:
    """The mask in words: each pixel's class, "ignore" where it has none."""
    names = np.array([*classes(folder), *["ignore"] * 256], dtype=object)
    return names[mask_of(folder, name)]


def brought_in(format_name: str, source: Path | str, out: Path, **more) -> dict[str, np.ndarray]:
    """Import, and give the masks in words by the names of their images."""
    import_annotations(format_name, str(source), out, **more)
    marked = sorted(path.name.removesuffix(".mask.png") for path in out.glob("*.mask.png"))
    assert sorted(path.name for path in out.iterdir()) == sorted(
        [*(f"{name}.mask.png" for name in marked), *(f"{name}.png" for name in marked), "scheme.toml"]
    )
    return {name: labels_of(out, name) for name in marked}
