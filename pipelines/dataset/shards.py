"""The shard contract: samples are written and read here and nowhere else.

Members of a tar, sorted by key (the seed as 12 digits), with nothing in them that depends on time or user:
`<key>.png` image, `<key>.mask.png` class ids (255 = ignore), `<key>.json`, and optionally `<key>.uncertainty.png`,
which holds 255 * uncertainty / ln(classes).
"""

import hashlib
import io
import json
import math
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from upath import UPath

from generate import ImageError
from generate.images import open_image
from generate.stored import StoredError, stored
from label import Scheme
from pipelines.dataset.filtering import refuse_half_filtered
from pipelines.dataset.inventory import Inventory, shard_path, take_inventory
from pipelines.dataset.manifest import stored_dataset
from pipelines.dataset.members import Description, grouped
from pipelines.dataset.reports import Candidate, Report, counts_of, each_report, parse_report, write_report
from pipelines.errors import DatasetError
from pipelines.files import storage
from pipelines.files.storage import Location


@dataclass(frozen=True)
class Sample:
    """One image with its labels."""

    seed: int
    image: UInt8[np.ndarray, "h w 3"]
    mask: UInt8[np.ndarray, "h w"]
    uncertainty: float  # of the image, nats
    provenance: dict[str, Any]  # solver, steps, digests
    pixel_uncertainty: Float[np.ndarray, "h w"] | None = None  # nats


def write_shard(
    folder: Location,
    unit: int,
    digest: str,
    tar: bytes,
    candidates: list[Candidate],
    seconds: dict[str, float],
    *,
    batch_size: int | None = None,
) -> Report:
    """Commit a unit: tar first, report last, each visible only when it is whole.

    Raises StorageError when the storage does not take it.
    """
    path = shard_path(folder, unit)
    storage.write_whole(path, tar)
    sha256 = hashlib.sha256(tar).hexdigest()
    report = Report(unit, digest, counts_of(candidates), seconds, len(tar), sha256, candidates, batch_size)
    write_report(folder, report)
    return report


def pack(samples: Iterable[Sample], scheme: Scheme) -> bytes:
    """The tar of these samples; the same samples give the same bytes."""
    return tar_of({sample.seed: encode(sample, scheme) for sample in samples})


def tar_of(encoded: Mapping[int, Mapping[str, bytes]]) -> bytes:
    """The tar of encoded samples by their seeds."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for seed, members in sorted(encoded.items()):
            for suffix, content in members.items():
                member = tarfile.TarInfo(f"{seed:012d}.{suffix}")
                member.size, member.mode = len(content), 0o644
                tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def encode(sample: Sample, scheme: Scheme) -> dict[str, bytes]:
    """A sample's files by their suffix, in the order of the tar."""
    description = {
        "seed": sample.seed,
        "uncertainty": sample.uncertainty,
        "class_pixels": class_pixels(sample.mask, scheme),
        **sample.provenance,
    }
    members = {
        "json": json.dumps(description, sort_keys=True, allow_nan=False).encode(),
        "mask.png": png_bytes(Image.fromarray(sample.mask)),  # grey: many decoders turn a palette into its colours
        "png": png_bytes(Image.fromarray(sample.image)),
    }
    if sample.pixel_uncertainty is not None:
        members["uncertainty.png"] = png_bytes(Image.fromarray(grey_levels(sample.pixel_uncertainty, scheme)))
    return members


def grey_levels(pixel_uncertainty: Float[np.ndarray, "h w"], scheme: Scheme) -> UInt8[np.ndarray, "h w"]:
    """Uncertainty in nats as 255 * uncertainty / ln(classes), rounded."""
    return np.rint(255 * pixel_uncertainty / math.log(len(scheme))).clip(0, 255).astype(np.uint8)


def class_pixels(mask: UInt8[np.ndarray, "h w"], scheme: Scheme) -> list[int]:
    """Pixels of each class; ignored ones are not counted."""
    return np.bincount(mask.ravel(), minlength=256)[: len(scheme)].tolist()


def png_bytes(image: Image.Image, text: PngInfo | None = None) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=text)
    return buffer.getvalue()


def read_shards(folder: str | Path | UPath) -> Iterator[Sample]:
    """Yield the samples of all committed shards in the order of units and seeds, those alone that the filter kept.

    `folder` is a path or a URL. Raises DatasetError as `checked_shards` does.
    """
    yield from map(decode, kept_records(checked_shards(take_inventory(storage.location(folder)))))


def checked_shards(inventory: Inventory) -> list[Location]:
    """The tars of all reports. Raises DatasetError for one that is not as long as its report says.

    A tar that is cut at a member's border reads without any error, so the length is looked at first.
    """
    paths, dataset = [], stored_dataset(inventory.folder)
    for report in each_report(inventory):
        if dataset is not None:
            refuse_half_filtered(inventory.folder, report, dataset)
        path = shard_path(inventory.folder, report.unit)
        if inventory.size(report.unit) != report.bytes:
            raise DatasetError(
                f"{path} is missing or not as long as its report says; run `datasetddpm generate` with --repair"
            )
        paths.append(path)
    if not paths:
        raise DatasetError(f"{inventory.folder} holds no shards; generate a dataset there first")
    return paths


def records(shards: Iterable[Location]) -> Iterator[dict[str, Any]]:
    """Yield the samples of these tars in their order, still compressed: members by suffix, and `__key__`, the seed.

    Raises DatasetError for a tar that holds something else.
    """
    for path in shards:
        try:
            yield from grouped(storage.read(path))
        except StoredError as error:
            raise DatasetError(f"{path} is no shard: {error}; run `datasetddpm generate` with --repair") from error


def kept_records(shards: Iterable[Location]) -> Iterator[dict[str, Any]]:
    """Yield as `records` does, without the samples that a shard holds though the filter dropped them.

    Raises DatasetError for a shard that lacks one that its report keeps.
    """
    for path in shards:
        place = path.with_suffix(".json")
        kept = {c.seed for c in parse_report(storage.read(place), place).candidates if c.kept}
        for record in records([path]):
            seed = int(record["__key__"])
            if seed in kept:
                kept.remove(seed)
                yield record
        if kept:
            raise DatasetError(
                f"{path} lacks seed {min(kept)}, which its report keeps; run `datasetddpm generate` with --repair"
            )


def decode(record: Mapping[str, Any], *, pixel_uncertainty: bool = True) -> Sample:
    """The sample of a record; where the uncertainty of pixels is not wanted, that picture stays compressed.

    Raises DatasetError for members that are not those of a sample.
    """
    try:
        said = stored(record["json"], Description)
        provenance = {key: value for key, value in json.loads(record["json"]).items() if key not in vars(said)}
        image, mask = pixels(record["png"], 3), pixels(record["mask.png"], 1)
        nats = None
        if pixel_uncertainty and "uncertainty.png" in record:
            levels = pixels(record["uncertainty.png"], 1)
            nats = levels.astype(np.float32) * (math.log(len(said.class_pixels)) / 255)
    except (StoredError, ImageError, ValueError) as error:
        raise DatasetError(f"the sample {record['__key__']} cannot be read: {error}") from error
    return Sample(said.seed, image, mask, said.uncertainty, provenance, nats)


def pixels(png: bytes, channels: int) -> np.ndarray:
    """Raises StoredError for a picture of another kind than encode writes."""
    with open_image("a picture of it", png) as image:
        pixels = np.asarray(image)
    if pixels.dtype != np.uint8 or pixels.shape[2:] != ((3,) if channels == 3 else ()):
        raise StoredError(f"a picture of it is {pixels.dtype} {list(pixels.shape)}, and was not written so")
    return pixels


def stored_size(folder: Location) -> tuple[int, int]:
    """Height and width of the dataset's images."""
    first = next(read_shards(folder))
    return first.mask.shape[0], first.mask.shape[1]
