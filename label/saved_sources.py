"""A feature source by its kind, as a recipe names it, and a saved one, opened again from its folder."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from generate import Denoiser
from label.errors import InterpreterError
from label.feature_records import check_denoiser, features_record, inner_folders, weights_of_record
from label.features import DenoiserFeatures, FeatureSource
from label.joint import JointFeatures, MirroredFeatures
from label.source_kinds import TIMM, package_of

if TYPE_CHECKING:
    from generate import LatentModel
    from label.backbone import Backbone, Size


def open_features(
    folder: Path,
    device: str | torch.device = "cpu",
    *,
    denoiser: "Denoiser | LatentModel | None" = None,
    places: Mapping[str, Path] | None = None,
) -> FeatureSource:
    """What save_pretrained wrote into the folder, of whatever kind, with its weights from where they were.

    An open denoiser, and `places`, files of weights by kind, stand over that. Raises InterpreterError for a folder
    without features and for weights that are gone or have changed.
    """
    record, places = features_record(folder), places or {}
    inner = [open_features(each, device, denoiser=denoiser, places=places) for each in inner_folders(folder, record)]
    if inner:
        return JointFeatures(inner, record["joint"]) if "joint" in record else MirroredFeatures(inner[0])
    if "backbone" in record:
        return reopened(record, weights_of_record(folder, record, places)).to(device)
    if denoiser is not None:
        check_denoiser(folder, record, denoiser.digest)  # of the same kind then, too
    if "prompt" in record:
        from label.latent import LatentFeatures

        return LatentFeatures.from_pretrained(folder, cast("LatentModel | None", denoiser), device=device)
    return DenoiserFeatures.from_pretrained(folder, cast(Denoiser | None, denoiser), device=device)


def reopened(record: Mapping[str, Any], weights: Path | None) -> "Backbone":
    """The backbone of a record. Raises InterpreterError where the weights are not those of the record."""
    identity, kind, (height, width) = record["backbone"], record["kind"], record["image_size"]
    source = open_backbone(
        kind,
        weights=weights or identity["weights"],
        layers=identity["layers"],
        image_size=(height, width),
        heads=identity.get("heads"),
    )
    if source.digest != record["digest"]:
        raise InterpreterError(f"the weights of {kind} are others than those that the interpreter was fitted on")
    return source


def open_backbone(
    kind: str,
    *,
    weights: str | Path | None,
    layers: Sequence[int] | None = None,
    image_size: "Size | None" = None,
    heads: int | None = None,
) -> "Backbone":
    """The source of this kind: "swav", "swav_w2", "mae", "timm:NAME"; what is None is the source's own.

    Raises InterpreterError where its package is not installed, and what opening it raises.
    """
    package = package_of(kind)
    if package and find_spec(package) is None:
        raise InterpreterError(f"{kind} needs the package {package}, which is not installed; pip install {package}")
    size = image_size or (256, 256)
    if kind.startswith(TIMM):
        from label.timm_backbone import TimmFeatures

        return TimmFeatures(kind.removeprefix(TIMM), layers=layers, weights=weights, image_size=size)
    if weights is None:
        raise InterpreterError(f"the file of {kind}'s weights is needed")
    if kind == "mae":
        from label.mae import MaeFeatures

        return MaeFeatures.from_pretrained(weights, blocks=layers or 12, heads=heads, image_size=image_size)
    from label.swav import SwavFeatures

    return SwavFeatures.from_pretrained(weights, wide=kind == "swav_w2", layers=layers, image_size=size)
