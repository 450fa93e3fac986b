"""Export: a dataset of shards in the formats of other programs."""

import importlib.util
import os
from pathlib import Path
from typing import Any

from pipelines.dataset.damage import must_be_whole
from pipelines.dataset.export_npz import FORMATS as NPZ
from pipelines.dataset.export_npz import export as export_npz
from pipelines.dataset.inventory import take_inventory
from pipelines.dataset.manifest import Dataset, open_dataset
from pipelines.errors import DatasetError
from pipelines.files.storage import Location, location
from pipelines.formats import (
    to_coco,
    to_coco_panoptic,
    to_cvat,
    to_folders,
    to_huggingface,
    to_instruct,
    to_label_studio,
    to_labelme,
    to_mmsegmentation,
    to_voc,
    to_yolo,
)
from pipelines.formats.choice import SPLITS, choose, identity, parse_split, refuse_empty_splits
from pipelines.formats.items import About
from pipelines.formats.making import PIECES
from pipelines.formats.parts import Export, Format, once
from pipelines.record import Outcome

_OF_A_PROCESS = 1000
"""Images for which another process is begun: it takes seconds to come up."""

FORMATS: dict[str, Format] = {
    "folders": Format(to_folders.write, to_folders.finish),
    "coco": Format(to_coco.write, to_coco.finish, "coco", ("pycocotools", "cv2"), has_instances=True),
    "coco-panoptic": Format(to_coco_panoptic.write, to_coco_panoptic.finish, "coco", ("cv2",), has_instances=True),
    "voc": Format(to_voc.write, to_voc.finish),
    "mmsegmentation": Format(to_mmsegmentation.write, to_mmsegmentation.finish),
    "yolo": Format(to_yolo.write, to_yolo.finish, "yolo", ("cv2",)),
    "huggingface": Format(to_huggingface.write, to_huggingface.finish, "huggingface", ("datasets",)),
    "labelme": Format(to_labelme.write, to_labelme.finish, "labelme", ("cv2",), has_splits=False, ranked=True),
    "cvat": Format(
        to_cvat.write,
        to_cvat.finish,
        check=to_cvat.check,
        scratch=(PIECES, to_cvat.MASKS),
        has_splits=False,
        ranked=True,
    ),
    "label-studio": Format(
        to_label_studio.write,
        to_label_studio.finish,
        "label-studio",
        ("label_studio_sdk",),
        scratch=(PIECES, to_label_studio.TASKS),
        has_splits=False,
        ranked=True,
    ),
    "instruct": Format(to_instruct.write, to_instruct.finish),
}


def export(
    place: str | Location,
    out: str | Path,
    format_name: str,
    *,
    split: str | None = None,
    where: str | None = None,
    instances: bool = False,
    without: tuple[str, ...] = (),
    workers: int | None = None,
    partial: bool = False,
) -> Outcome:
    """Write the kept samples of the dataset in `place` to `out`, which becomes a folder, or of npz a file.

    `split` are shares of train, val and test, `where` a condition on the index, `without` the classes that are exported
    as ignored, `partial` goes on though units are missing. Raises DatasetError for what cannot be done, before anything
    is written.
    """
    folder, to = location(place), location(out)
    if not isinstance(to, Path):
        raise DatasetError(f"--out {out} is no place on this machine; export to a folder, and copy it there")
    if format_name in NPZ:
        _refuse_for_npz({"--split": split, "--where": where, "--instances": instances, "--without": without})
        return export_npz(folder, to, format_name, partial=partial)
    format = _known(format_name, split, instances)
    dataset, shares = open_dataset(folder), parse_split(split)
    about = _about(dataset, to, shares, instances, without)
    format.check(about)
    inventory = take_inventory(folder)
    if not partial:
        must_be_whole(inventory, dataset)
    chosen = choose(inventory, where)
    refuse_empty_splits(chosen, shares)
    options = {"format": format_name, "split": shares, "where": where, "instances": instances, "without": without}
    inputs = {**options, "dataset": dataset.digest, "shards": identity(chosen)}
    planned = Export(format, about, chosen, shares, inputs)
    return once(to, planned, workers or min(len(os.sched_getaffinity(0)), 1 + planned.count // _OF_A_PROCESS))


def _known(name: str, split: str | None, instances: bool) -> Format:
    """Raises DatasetError for a format that is unknown, not installed, or has no room for what is asked."""
    if name not in FORMATS:
        raise DatasetError(f"the format {name!r} is unknown; known: {', '.join((*FORMATS, *NPZ))}")
    format = FORMATS[name]
    lacking = [module for module in format.needs if importlib.util.find_spec(module) is None]
    if lacking:
        raise DatasetError(
            f"the format {name} needs {' and '.join(lacking)}, which is not installed; "
            f"run `pip install 'datasetddpm[{format.extra}]'`"
        )
    if split is not None and not format.has_splits:
        raise DatasetError(
            f"the format {name} is one list to be corrected, the most uncertain first; leave out --split"
        )
    if instances and not format.has_instances:
        those = ", ".join(name for name, format in FORMATS.items() if format.has_instances)
        raise DatasetError(f"the format {name} has no instances; leave out --instances, or use {those}")
    return format


def _refuse_for_npz(options: dict[str, Any]) -> None:
    if given := [option for option, value in options.items() if value]:
        raise DatasetError(f"an npz is one file of all samples; leave out {', '.join(given)}, or name another --format")


def _about(dataset: Dataset, out: Path, shares: tuple[float, ...], instances: bool, without: tuple[str, ...]) -> About:
    if unknown := [name for name in without if name not in dataset.names]:
        raise DatasetError(
            f"--without {unknown[0]} is no class of the dataset; its classes: {', '.join(dataset.names)}"
        )
    left_out = tuple(sorted({dataset.names.index(name) for name in without}))
    return About(dataset.scheme, SPLITS[: len(shares)], out.name, instances, left_out)
