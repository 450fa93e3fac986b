"""The kinds of feature sources, as recipes and records call them. Needs no torch."""

DENOISER = "denoiser"
TIMM = "timm:"
"""Begins the name of any of timm's backbones: "timm:resnet50"."""
_PACKAGES = {DENOISER: None, "swav": "torchvision", "swav_w2": "torchvision", "mae": "timm"}
KINDS = (*_PACKAGES, f"{TIMM}NAME")
"""All of them, for sentences."""


def is_kind(name: str) -> bool:
    return name in _PACKAGES or (name.startswith(TIMM) and name != TIMM)


def package_of(kind: str) -> str | None:
    """The package that the kind needs beside torch."""
    return "timm" if kind.startswith(TIMM) else _PACKAGES.get(kind)


def key_of(kind: str) -> str:
    """A kind as the key of a table in TOML: mae, "timm:resnet50"."""
    return kind if kind.replace("_", "").isalnum() else f'"{kind}"'
