"""Class scores of every pixel from maps at their own resolution, a tile at a time.

Upsampling is linear over space and the first Linear is linear over channels, so they commute: maps are projected
first, those of one resolution added up, and only the sums upsampled, by two small matrix products a tile. Maps that
have the image's own resolution need no upsampling: they are projected a tile at a time, and added. On a CPU a tile is
so small that it stays in the cache from there to the scores; neither the features nor all scores ever exist.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from label.pixel_classifiers import MemberLinear, MemberNorm, PixelClassifiers
from label.pixel_source import nearest, taps
from label.settings import Upsampling
from label.threads import Result, one_thread_each
from label.uncertainty import decide

_TILES = {"cpu": (16, 32)}  # 2.6 MB after the published ensemble's first Linear
_LARGE_TILE = (256, 256)  # for devices that gain from fewer and larger products


Place = tuple[slice, slice]
"""Rows and columns of an image."""


@dataclass(frozen=True)
class Tile:
    """A place of an image, and its labels."""

    place: Place
    mask: UInt8[Tensor, "h w"]  # class ids
    uncertainty: Float[Tensor, "h w"]  # nats


@dataclass(frozen=True)
class FoldedClassifiers:
    """Trained members as three Linears; each norm's scale and shift are moved into the Linear behind it."""

    weight_1: Float[Tensor, "units channels"]  # units: the first Linear's of all members, one member after the other
    bias_1: Float[Tensor, " units"]
    weight_2: Float[Tensor, "members second first"]
    bias_2: Float[Tensor, "members second 1"]
    weight_3: Float[Tensor, "members classes second"]
    bias_3: Float[Tensor, "members classes 1"]

    @classmethod
    @torch.no_grad()
    def of(cls, classifiers: PixelClassifiers, dtype: torch.dtype = torch.float32) -> "FoldedClassifiers":
        """Fold in the classifiers' own precision, then go to `dtype`; they must be in eval mode."""
        assert not classifiers.training, "the norms' running statistics are meant"
        first = classifiers.linear_1
        folded = (
            first.weight.flatten(0, 1),
            first.bias.flatten(),
            *_fold(classifiers.norm_1, classifiers.linear_2),
            *_fold(classifiers.norm_2, classifiers.linear_3),
        )
        return cls(*(tensor.detach().to(dtype) for tensor in folded))

    def tiles(
        self, maps: Sequence[Float[Tensor, "_ _ _"]], size: tuple[int, int], upsampling: Upsampling
    ) -> Iterator[Tile]:
        """Yield labelled tiles that cover an image of this height and width once, row by row.

        On a CPU a tile is one thread's from its first product to its labels, and PyTorch has one thread until the last
        tile is taken.
        """
        image = _Projected.of(self, maps, size, upsampling)
        yield from image.each(image.tile)

    def scores(
        self, maps: Sequence[Float[Tensor, "_ _ _"]], size: tuple[int, int], upsampling: Upsampling
    ) -> Float[Tensor, "members h w classes"]:
        """Every member's class scores of all pixels in one tensor."""
        members, classes, _ = self.weight_3.shape
        whole = self.bias_3.new_empty(members, classes, *size).permute(0, 2, 3, 1)
        image = _Projected.of(self, maps, size, upsampling)
        for place, scores in zip(image.places, image.each(image.scores), strict=True):
            whole[:, *place] = scores
        return whole

    def after_first(self, first: Float[Tensor, "n units"]) -> Float[Tensor, "members classes n"]:
        """All members' scores, of n pixels whose first Linear is given."""
        x = first.relu_().unflatten(1, (len(self.weight_2), -1)).permute(1, 2, 0)
        x = torch.baddbmm(self.bias_2, self.weight_2, x).relu_()
        return torch.baddbmm(self.bias_3, self.weight_3, x)


@dataclass(frozen=True)
class _Joined:
    """The maps of one resolution, side by side, with their part of the first Linear."""

    features: Float[Tensor, "h w channels"]
    weight: Float[Tensor, "channels units"]

    @classmethod
    def of(cls, maps: Sequence[Float[Tensor, "_ h w"]], weights: Sequence[Float[Tensor, "units _"]]) -> "_Joined":
        dtype = weights[0].dtype
        return cls(torch.cat([m.permute(1, 2, 0) for m in maps], dim=2).to(dtype), torch.cat([*weights], dim=1).T)

    def projected(self) -> Float[Tensor, "h w units"]:
        return (self.features.flatten(0, 1) @ self.weight).unflatten(0, self.features.shape[:2])


@dataclass(frozen=True)
class _Projected:
    """An image's maps behind the first Linear, whose tiles are computed when their turn comes."""

    classifiers: FoldedClassifiers
    own: _Joined | None  # of the image's resolution
    sums: list[Float[Tensor, "_ _ units"]]  # one for each other resolution
    rows: list["_Axis"]
    columns: list["_Axis"]
    places: list[Place]

    @classmethod
    def of(
        cls, classifiers: FoldedClassifiers, maps: Sequence[Tensor], size: tuple[int, int], upsampling: Upsampling
    ) -> "_Projected":
        weights = classifiers.weight_1.split([m.shape[0] for m in maps], dim=1)
        by_resolution: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = {}
        for native, weight in zip(maps, weights, strict=True):
            by_resolution.setdefault((native.shape[1], native.shape[2]), []).append((native, weight))
        joined = {resolution: _Joined.of(*zip(*pairs, strict=True)) for resolution, pairs in by_resolution.items()}
        own = joined.pop(size, None)
        sums = [each.projected() for each in joined.values()]
        rows = [_Axis.of(upsampling, s.shape[0], size[0], s.device, s.dtype) for s in sums]
        columns = [_Axis.of(upsampling, s.shape[1], size[1], s.device, s.dtype) for s in sums]
        height, width = _TILES.get(maps[0].device.type, _LARGE_TILE)
        places = [
            (slice(top, min(top + height, size[0])), slice(left, min(left + width, size[1])))
            for top in range(0, size[0], height)
            for left in range(0, size[1], width)
        ]
        return cls(classifiers, own, sums, rows, columns, places)

    def each(self, function: Callable[[Place], Result]) -> Iterator[Result]:
        """Yield what a function gives at every place, on a CPU from several threads."""
        on_cpu = self.classifiers.bias_1.device.type == "cpu"
        return one_thread_each(function, self.places) if on_cpu else map(function, self.places)

    def tile(self, place: Place) -> Tile:
        return Tile(place, *decide(self.scores(place)))

    def scores(self, place: Place) -> Float[Tensor, "members h w classes"]:
        rows, columns = place
        size = rows.stop - rows.start, columns.stop - columns.start
        first = self._upsampled([r.cut(rows) for r in self.rows], [c.cut(columns) for c in self.columns], size)
        if self.own:
            first.addmm_(self.own.features[place].flatten(0, 1), self.own.weight)
        return self.classifiers.after_first(first).unflatten(2, size).permute(0, 2, 3, 1)

    def _upsampled(
        self, rows: list["_Cut"], columns: list["_Cut"], size: tuple[int, int]
    ) -> Float[Tensor, "pixels units"]:
        """The first Linear of a tile's pixels, its own resolution aside: rows of each resolution, then the columns of
        all, and the bias."""
        bias, (height, width) = self.classifiers.bias_1, size
        units, ends = len(bias), list(itertools.accumulate((c.matrix.shape[1] for c in columns), initial=0))
        stretched = bias.new_empty(height, ends[-1] + 1, units)
        for native, row, column, start, end in zip(self.sums, rows, columns, ends[:-1], ends[1:], strict=True):
            torch.mm(
                row.matrix,
                native[row.native].flatten(1)[:, column.native.start * units : column.native.stop * units],
                out=stretched.flatten(1)[:, start * units : end * units],
            )
        stretched[:, -1] = bias
        ones = bias.new_ones(width, 1)
        return torch.matmul(torch.cat([*(c.matrix for c in columns), ones], dim=1), stretched).flatten(0, 1)


def _fold(norm: MemberNorm, linear: MemberLinear) -> tuple[Tensor, Tensor]:
    """Weight and bias [members, outputs, 1] of a Linear that does what norm and then linear do."""
    scale, shift = norm.as_affine()
    bias = linear.bias.unsqueeze(-1) + torch.bmm(linear.weight, shift.unsqueeze(-1))
    return linear.weight * scale.unsqueeze(1), bias


@dataclass(frozen=True)
class _Cut:
    """How a stretch of the full axis comes from a stretch of the native one."""

    native: slice
    matrix: Float[Tensor, "full native"]


@dataclass(frozen=True)
class _Axis:
    """Upsampling of one axis as a matrix; row i is zero outside of first[i] to last[i]."""

    matrix: Float[Tensor, "full native"]
    first: list[int]
    last: list[int]

    @classmethod
    @lru_cache(maxsize=64)  # a GPU would wait for each of them to be copied
    def of(cls, upsampling: Upsampling, native: int, full: int, device: torch.device, dtype: torch.dtype) -> "_Axis":
        place, matrix = torch.arange(full), torch.zeros(full, native)
        if upsampling == "nearest":
            first = last = nearest(place, native, full)
            matrix[place, first] = 1
        else:
            first, last, towards_last = taps(place, native, full)
            matrix[place, first] = 1 - towards_last
            matrix[place, last] += towards_last
        return cls(matrix.to(device, dtype), first.tolist(), last.tolist())

    def cut(self, stretch: slice) -> _Cut:
        native = slice(self.first[stretch.start], self.last[stretch.stop - 1] + 1)
        return _Cut(native, self.matrix[stretch, native])
