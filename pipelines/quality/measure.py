"""A dataset looked at before anybody trains on it: copies, breadth and classes, with a picture of each finding.

An image is described by the denoiser's own features, each channel's mean over the image, at the first of the
interpreter's steps; so an image costs one call of the network. Neighbours are searched exactly.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from label import FeatureSource
from pipelines.progress import follow
from pipelines.quality.diversity import BATCH, FEWEST, described, in_units_of, precision_recall
from pipelines.quality.findings import NEAR, Breadth, Copies
from pipelines.quality.image_sets import ImageSet
from pipelines.quality.neighbours import Nearest, evenly, nearest, nearest_other, typical_distance
from pipelines.quality.pictures import Album

SHOWN = 8  # pairs of a finding


@dataclass(frozen=True)
class Compared:
    """Images with their vectors, in units of what two real images are apart."""

    images: ImageSet
    vectors: Float[Tensor, "n channels"]


def compared(source: FeatureSource, samples: ImageSet, real: Sequence[ImageSet]) -> tuple[Compared, list[Compared]]:
    """Describe all images by one yardstick: the real ones or, where those are fewer than four, all of them."""
    sets = [samples, *real]
    vectors = [_vectors(source, images) for images in sets]
    of_real = torch.cat(vectors[1:])
    yardstick = of_real if len(of_real) >= FEWEST else torch.cat(vectors)
    scale = in_units_of(yardstick)
    scale = scale * max(typical_distance(yardstick / scale), 1e-9)
    first, *others = (Compared(images, each / scale) for images, each in zip(sets, vectors, strict=True))
    return first, others


def _vectors(source: FeatureSource, images: ImageSet) -> Float[Tensor, "n channels"]:
    batches = images.batches(range(len(images)), BATCH)
    vectors = follow(described(source, batches), len(images), f"look at the {images.name}", "images", count=len)
    return torch.cat(list(vectors))


@dataclass(frozen=True)
class Search:
    """The nearest neighbours of all samples in a set."""

    name: str
    others: Compared
    found: Nearest


def searches(samples: Compared, real: Sequence[Compared]) -> list[Search]:
    """Among the other samples, where there are any, and in every set of real images."""
    of_real = [Search(each.images.name, each, nearest(samples.vectors, each.vectors)) for each in real]
    if len(samples.vectors) < 2:
        return of_real
    return [Search("other samples", samples, nearest_other(samples.vectors)), *of_real]


def copies(samples: Compared, search: Search, album: Album) -> Copies:
    """What a search found, with the nearest pairs; of two samples that are each other's nearest, one pair."""
    images, found, pairs, seen = search.others.images, search.found, [], set[frozenset[int]]()
    for i in np.argsort(found.distance, kind="stable").tolist():
        j = int(found.member[i])
        if len(pairs) == SHOWN:
            break
        if search.others is not samples or frozenset((i, j)) not in seen:
            seen.add(frozenset((i, j)))
            pairs.append(album.pair(search.name.split()[0], samples.images, i, images, j, float(found.distance[i])))
    return Copies(search.name, len(images), images.total, *_figures(found), pairs)


def real_among_themselves(real: Sequence[Compared]) -> Copies | None:
    """What the samples' figures are to be held against."""
    vectors = torch.cat([each.vectors for each in real])
    if len(vectors) < 2:
        return None
    found, looked_at, total = nearest_other(vectors), len(vectors), sum(each.images.total for each in real)
    return Copies("real images among themselves", looked_at, total, *_figures(found))


def breadth(samples: Compared, real: Sequence[Compared], album: Album) -> Breadth | None:
    """Precision and recall of as many samples as real images, both evenly over them; None for fewer than four."""
    of_real = torch.cat([each.vectors for each in real])
    count = min(len(of_real), len(samples.vectors))
    if count < FEWEST:
        return None
    rows, columns = evenly(len(samples.vectors), count), evenly(len(of_real), count)
    ours, theirs = samples.vectors[rows], of_real[columns]
    diversity = precision_recall(theirs, ours)
    places = [(each, place) for each in real for place in range(len(each.vectors))]
    sampled, pictured = [(samples, row) for row in rows], [places[column] for column in columns]
    strange, missed = (
        list(_farthest(points, members, inside))
        for points, members, inside in (
            (ours, theirs, diversity.samples_inside),
            (theirs, ours, diversity.real_inside),
        )
    )
    return Breadth(
        precision=round(diversity.precision, 6),
        recall=round(diversity.recall, 6),
        compared=count,
        strange=[album.pair("strange", *_side(sampled[i]), *_side(pictured[j]), d) for i, j, d in strange],
        missed=[album.pair("missed", *_side(pictured[i]), *_side(sampled[j]), d) for i, j, d in missed],
    )


def _farthest(points: Tensor, members: Tensor, inside: np.ndarray) -> Iterator[tuple[int, int, float]]:
    """Those outside, the farthest first, each with the member that is nearest to it, and its distance."""
    found = nearest(points, members)
    order = [i for i in np.argsort(-found.distance, kind="stable").tolist() if not inside[i]]
    yield from ((i, int(found.member[i]), float(found.distance[i])) for i in order[:SHOWN])


def _side(place: tuple[Compared, int]) -> tuple[ImageSet, int]:
    return place[0].images, place[1]


def _figures(found: Nearest) -> tuple[int, float, float]:
    """How many are near, the smallest distance, and the median."""
    near = int((found.distance < NEAR).sum())
    return near, round(float(found.distance.min()), 6), round(float(np.median(found.distance)), 6)


def nearest_of_all(searches: Sequence[Search]) -> list[tuple[str, float]]:
    """What is nearest to each sample, another one or a real image, and how near; of equally near ones the first."""
    distances = np.stack([search.found.distance for search in searches])
    best = distances.argmin(0).tolist()
    labels = [
        f"{searches[which].name}: {searches[which].others.images.labels[searches[which].found.member[place]]}"
        for place, which in enumerate(best)
    ]
    return list(zip(labels, distances.min(0).round(6).tolist(), strict=True))
