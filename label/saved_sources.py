"""A saved feature source, opened again from its folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from label.backbone import Backbone
from label.errors import InterpreterError
from label.features import DenoiserFeatures, FeatureSource
from label.identity import features_record
from label.joint import JointFeatures
from label.latent import LatentFeatures
from label.mae import MaeFeatures
from label.swav import SwavFeatures
from label.timm_backbone import TimmFeatures


def open_features(folder: Path, device: str | torch.device = "cpu") -> FeatureSource:
    """What save_pretrained wrote into the folder, of whatever kind, with its weights from where they were.

    Raises InterpreterError for a folder without features and for weights that have changed.
    """
    record = features_record(folder)
    if "joint" in record:
        sources = [open_features(folder / f"source-{number}", device) for number in range(len(record["joint"]))]
        return JointFeatures(sources, record["joint"])
    if "backbone" in record:
        return open_backbone(record).to(device)
    if "prompt" in record:
        return LatentFeatures.from_pretrained(folder, device=device)
    return DenoiserFeatures.from_pretrained(folder, device=device)


def open_backbone(record: Mapping[str, Any]) -> Backbone:
    """The backbone of a record. Raises InterpreterError when its weights are others now."""
    identity, (height, width) = record["backbone"], record["image_size"]
    size, kind = (height, width), identity["kind"]
    if kind == "swav":
        source = SwavFeatures.from_pretrained(identity["path"], wide=identity["wide"], image_size=size)
    elif kind == "mae":
        source = MaeFeatures.from_pretrained(
            identity["path"], blocks=identity["blocks"], heads=identity["heads"], image_size=size
        )
    else:
        source = TimmFeatures(identity["name"], layers=identity["layers"], weights=identity["weights"], image_size=size)
    if source.digest != record["digest"]:
        raise InterpreterError(f"the weights of {kind} are others than those that the interpreter was fitted on")
    return source
