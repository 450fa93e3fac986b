"""Draw the demo domain: cartoon faces with exact part masks.

The faces are the *ToonHead* style by Johan Melin (CC BY 4.0, https://creativecommons.org/licenses/by/4.0/),
as packaged by DiceBear. Its parts are theirs; colours, geometry and backgrounds are drawn anew here.

A mask is exact because it is the same drawing: every part is painted in one flat class colour without shading,
four times larger, and each mask pixel takes the commonest class of its 4x4 block.

Run it with ``pip install '.[demo-data]'`` and ``python -m pipelines.demo.draw --help``.
"""

import colorsys
import json
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image

CLASSES: dict[str, tuple[int, int, int]] = {
    "background": (0, 0, 0),
    "skin": (241, 195, 165),
    "hair": (165, 87, 40),
    "beard": (214, 179, 112),
    "eyebrows": (115, 26, 195),
    "eyes": (11, 98, 200),
    "mouth": (217, 48, 60),
    "clothes": (20, 127, 60),
}
CLASS_OF_PART = {
    "rearHair": "hair",
    "body": "skin",
    "head": "skin",
    "clothes": "clothes",
    "mouth": "mouth",
    "beard": "beard",
    "eyes": "eyes",
    "eyebrows": "eyebrows",
    "hair": "hair",
}
CANVAS = 768  # side of the style's own coordinate system
MASK_OVERSAMPLING = 4
# ranges of sample numbers: no image of one set is ever in another
TRAINING_SET, ANNOTATED_SET, HELD_OUT_SET = 0, 10_000_000, 20_000_000


def load_style() -> dict[str, Any]:
    text = files("dicebear_styles").joinpath("toon-head.json").read_text("utf-8")
    return json.loads(text)


def flat_style(style: dict[str, Any]) -> dict[str, Any]:
    """The same style with every part in the colour that codes its class: red = 8 * class id."""
    names = list(CLASSES)
    flat = json.loads(json.dumps(style))
    for part, definition in flat["components"].items():
        code = f"#{8 * names.index(CLASS_OF_PART[part]):02x}0000"
        for variant in definition["variants"].values():
            variant["elements"] = [_flatten(e, code) for e in variant["elements"] if not _is_shading(e)]
    return flat


def _is_shading(element: dict[str, Any]) -> bool:
    attributes = element.get("attributes", {})
    return attributes.get("fill") == "black" and "fill-opacity" in attributes


def _flatten(element: dict[str, Any], code: str) -> dict[str, Any]:
    attributes = dict(element.get("attributes", {}))
    attributes.pop("fill-opacity", None)
    for paint in ("fill", "stroke"):
        if paint in attributes:
            attributes[paint] = code
    children = [_flatten(c, code) for c in element.get("children", []) if not _is_shading(c)]
    return element | {"attributes": attributes} | ({"children": children} if children else {})


def _hex(hue: float, saturation: float, value: float) -> str:
    return "#" + "".join(f"{round(255 * c):02x}" for c in colorsys.hsv_to_rgb(hue % 1.0, saturation, value))


def _look(number: int) -> tuple[dict[str, Any], str, str]:
    """Options of the style, the placement of the head as an SVG transform, and the background's gradient."""
    rng = np.random.default_rng(number)
    lightness = rng.uniform()  # of the skin: dark and saturated to light and pale
    skin = _hex(rng.uniform(0.045, 0.075), 0.58 - 0.28 * lightness, 0.38 + 0.58 * lightness)
    hair = _hex(rng.uniform(0.02, 0.13), rng.uniform(0.25, 0.8), rng.uniform(0.15, 0.85))
    clothes = _hex(rng.uniform(), rng.uniform(0.3, 0.9), rng.uniform(0.3, 0.95))
    options = {"seed": f"toon-{number}", "skinColor": [skin], "hairColor": [hair], "clothesColor": [clothes]}
    # placed by the middle of the lower edge, which stays below the frame: no bust floats
    dx, dy = rng.uniform(-60, 60), rng.uniform(25, 75)
    scale, angle, mirror = rng.uniform(0.85, 1.1), rng.uniform(-6, 6), rng.choice([-1, 1])
    transform = (
        f"translate({CANVAS / 2 + dx:.1f} {CANVAS + dy:.1f}) rotate({angle:.2f}) "
        f"scale({mirror * scale:.4f} {scale:.4f}) translate({-CANVAS / 2} {-CANVAS})"
    )
    hue, saturation, value = rng.uniform(), rng.uniform(0.1, 0.5), rng.uniform(0.6, 1.0)
    ends = [_hex(hue + d, saturation, value * f) for d, f in ((0.0, 1.0), (rng.uniform(-0.06, 0.06), 0.8))]
    gradient = (
        f'<defs><linearGradient id="ground" gradientTransform="rotate({rng.uniform(0, 90):.0f})">'
        f'<stop offset="0" stop-color="{ends[0]}"/><stop offset="1" stop-color="{ends[1]}"/></linearGradient></defs>'
        f'<rect width="{CANVAS}" height="{CANVAS}" fill="url(#ground)"/>'
    )
    return options, transform, gradient


def _render(style: Any, options: dict[str, Any], transform: str, ground: str, size: int, *, crisp: bool) -> np.ndarray:
    """RGB of the drawing. The edges of parts are sharp when crisp, so that class colours do not mix."""
    import io

    import resvg_py
    from dicebear import Avatar

    svg = Avatar(style, options).to_string()
    parts = svg[svg.index(">") + 1 : svg.rindex("</svg>")]
    page = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {CANVAS} {CANVAS}" width="{size}" height="{size}" '
        f'fill="none">{ground}<g transform="{transform}">{parts}</g></svg>'
    )
    png = resvg_py.svg_to_bytes(
        svg_string=page,
        width=size,
        height=size,
        skip_system_fonts=True,
        shape_rendering="crisp_edges" if crisp else "geometric_precision",
    )
    return np.asarray(Image.open(io.BytesIO(bytes(png))).convert("RGB"))


def draw_images(numbers: range, size: int = 64) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (number, image uint8 [size,size,3]); a function of the number alone."""
    from dicebear import Style

    painted = Style(load_style())
    for number in numbers:
        options, transform, ground = _look(number)
        yield number, _render(painted, options, transform, ground, size, crisp=False)


def draw_annotated(numbers: range, size: int = 64) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield (number, image uint8 [size,size,3], mask uint8 [size,size]) of the same faces as draw_images."""
    from dicebear import Style

    coded = Style(flat_style(load_style()))
    black = f'<rect width="{CANVAS}" height="{CANVAS}" fill="#000000"/>'
    for number, image in draw_images(numbers, size):
        options, transform, _ = _look(number)
        codes = _render(coded, options, transform, black, size * MASK_OVERSAMPLING, crisp=True)[..., 0]
        yield number, image, _majority(codes // 8, size)


def _majority(labels: np.ndarray, size: int) -> np.ndarray:
    """The commonest class of each block; of equally common ones the later in CLASSES, which are the smaller parts."""
    blocks = labels.reshape(size, MASK_OVERSAMPLING, size, MASK_OVERSAMPLING)
    counts = np.stack([(blocks == c).sum((1, 3)) for c in range(len(CLASSES))])
    return (len(CLASSES) - 1 - counts[::-1].argmax(0)).astype(np.uint8)


def stratified(masks: list[np.ndarray], count: int, at_least: int, min_pixels: int = 20) -> list[int]:
    """Greedy choice of `count` masks such that every class has `min_pixels` in at least `at_least` of them."""
    has = np.stack([np.bincount(m.ravel(), minlength=len(CLASSES))[: len(CLASSES)] >= min_pixels for m in masks])
    chosen: list[int] = []
    while len(chosen) < count:
        missing = at_least - has[chosen].sum(0)
        gain = (has * np.clip(missing, 0, None)).sum(1).astype(float)
        gain[chosen] = -1
        chosen.append(int(gain.argmax()))
    if (has[chosen].sum(0) < at_least).any():
        raise ValueError(f"no {count} of these {len(masks)} masks hold every class {at_least} times")
    return sorted(chosen)


def write_scheme(folder: Path) -> None:
    rows = [f'  {{ name = "{name}", color = {list(color)} }},' for name, color in CLASSES.items()]
    text = "# Faces: ToonHead by Johan Melin, CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/)\n"
    (folder / "scheme.toml").write_text(text + "classes = [\n" + "\n".join(rows) + "\n]\n", "utf-8")


def write_annotated(folder: Path, drawn: list[tuple[int, np.ndarray, np.ndarray]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    palette = [channel for color in CLASSES.values() for channel in color]
    for number, image, mask in drawn:
        Image.fromarray(image).save(folder / f"{number:08d}.png", optimize=True)
        indexed = Image.fromarray(mask, mode="P")
        indexed.putpalette(palette)
        indexed.save(folder / f"{number:08d}.mask.png", optimize=True)
    write_scheme(folder)


def main(
    out: Annotated[Path, typer.Option(help="Folder to write into.")],
    unlabelled: Annotated[int, typer.Option(help="Images without masks, for train-ddpm.")] = 6000,
    annotated: Annotated[int, typer.Option(help="Images with masks, for the interpreter.")] = 20,
    held_out: Annotated[int, typer.Option(help="Images with masks, for evaluation only.")] = 120,
    size: Annotated[int, typer.Option(help="Side of an image in pixels.")] = 64,
) -> None:
    """Write the folders unlabelled/, annotated/ and held_out/ of the demo domain."""
    (out / "unlabelled").mkdir(parents=True, exist_ok=True)
    for number, image in draw_images(range(TRAINING_SET, TRAINING_SET + unlabelled), size):
        Image.fromarray(image).save(out / "unlabelled" / f"{number:08d}.png")
    candidates = list(draw_annotated(range(ANNOTATED_SET, ANNOTATED_SET + 5 * annotated), size))
    chosen = stratified([mask for _, _, mask in candidates], annotated, at_least=5)
    write_annotated(out / "annotated", [candidates[i] for i in chosen])
    held_out_numbers = range(HELD_OUT_SET, HELD_OUT_SET + held_out)
    write_annotated(out / "held_out", list(draw_annotated(held_out_numbers, size)))


if __name__ == "__main__":
    typer.run(main)
