"""[train] of a recipe: how DeepLab is trained, and from which sources."""

# ruff: noqa: RUF012 - pydantic copies what is mutable of a model's defaults

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from deeplab.settings import Augmentation, Network, Optimisation
from pipelines.sections.keys import Count, Keys, Section, Seeds

OWN = ("synthetic", "annotated")
"""Sources of a training that are the recipe's own, and no folder."""
_NOT_OF_THE_RESULT = {"seeds", "baseline", "workers", "decoded_gib"}


class MixedSource(Section):
    """A source of a training, and its share of every batch."""

    source: str
    """Where images come from: synthetic, the recipe's own dataset; annotated; or the folder or URL of another one."""
    share: Annotated[float, Field(ge=0)] = 1.0
    """Its share of every batch, beside those of the others: 3 and 1 are three quarters and one."""
    augmentation: Augmentation | None = None
    """How its images are changed; unset: as train.augmentation says."""

    @property
    def name(self) -> str:
        """Of a folder the last part, which stays when it is moved."""
        return self.source.rstrip("/").rpartition("/")[2]


class TrainSection(Section):
    """`datasetddpm train`: DeepLab on the shards."""

    network: Annotated[Network, Keys()] = Network()
    optimisation: Annotated[Optimisation, Keys()] = Optimisation()
    epochs: Annotated[float, Field(gt=0)] | None = None
    """How often every sample is seen, in place of steps; unset: steps say it."""
    batch_size: Annotated[int, Field(ge=2)] = 8
    """Images of a batch, of all workers together."""
    class_weights: Literal["equal", "inverse_sqrt"] = "equal"
    """How a pixel counts in the loss; inverse_sqrt: by (the share of its class) ** -0.5."""
    augmentation: Augmentation = "none"
    """How training images are changed; mirrored: left to right, each second one; strong: in shape, light, sharpness."""
    mix: list[MixedSource] = []
    """What a network learns from where that is not the recipe's dataset alone: a list of sources, [[train.mix]]."""
    keep: Annotated[float, Field(gt=0, le=1)] = 1.0
    """The most certain share of a dataset, which is trained on."""
    ignore_above: Annotated[float, Field(ge=0)] | None = None
    """Pixels of a higher uncertainty, in nats, are ignored; it needs generate.uncertainty_maps."""
    corrupt_shards: Literal["stop", "skip"] = "stop"
    """What a shard does that is not as its report says: it stops the run, or it is left out and counted."""
    decoded_gib: Annotated[float, Field(ge=0)] = 4.0
    """GiB of decoded samples that stay in each worker's memory."""
    checkpoint_every: Count | None = None
    """Steps between checkpoints, each with a validation; unset: an epoch."""
    seeds: Seeds = [0]
    """One network is trained from each."""
    baseline: bool = False
    """Whether the same network is trained on the annotated images alone as well."""
    workers: Count = 1
    """Processes that share every batch; more than one run on Ray."""

    def mixed(self, network: str) -> list[MixedSource]:
        """The sources that a network is trained on, by its name: synthetic, mixed or annotated."""
        if network == "mixed":
            return [each for each in self.mix if each.share > 0]
        for each in self.mix:
            if network == each.source == "annotated":
                return [each.model_copy(update={"share": 1.0})]  # augmented as where they are mixed
        return [MixedSource(source=network)]

    def made_with(self, seed: int) -> dict[str, Any]:
        """All of the recipe that a network depends on, beside the images: of folders and files names, not places."""
        train, file = self.model_dump(mode="json", exclude=_NOT_OF_THE_RESULT), self.network.weights_file
        train["mix"] = [each | {"source": source.name} for each, source in zip(train["mix"], self.mix, strict=True)]
        train["encoder_weights"] = file.name if file else self.network.encoder_weights
        return {"train": train, "seed": seed}

    @model_validator(mode="after")
    def _sources_share_batches(self) -> "TrainSection":
        if self.mix:
            images_of_batch(self.mix, self.batch_size)
        return self

    @model_validator(mode="after")
    def _workers_share_batches(self) -> "TrainSection":
        if self.batch_size % self.workers:
            raise ValueError(f"batch_size {self.batch_size} cannot be shared evenly by {self.workers} workers")
        if self.workers > 1 and self.optimisation.loss != "cross_entropy":
            raise ValueError(f'loss "{self.optimisation.loss}" is of a whole batch; several workers need cross_entropy')
        return self


def images_of_batch(mix: Sequence[MixedSource], batch_size: int) -> list[int]:
    """Images of a batch by source, as near to the shares as whole numbers are; of equal remainders the first gains.

    Raises ValueError for shares that add up to nothing, or to less than an image.
    """
    total = sum(each.share for each in mix)
    if not total > 0:
        raise ValueError(
            f"the shares of {', '.join(each.source for each in mix)} add up to nothing; give at least one of them "
            "a share above 0"
        )
    exact = [batch_size * each.share / total for each in mix]
    counts = [int(share) for share in exact]
    by_remainder = sorted(range(len(mix)), key=lambda i: counts[i] - exact[i])
    for i in by_remainder[: batch_size - sum(counts)]:
        counts[i] += 1
    for each, count in zip(mix, counts, strict=True):
        if each.share > 0 and not count:
            raise ValueError(
                f"{each.source} has a share of {each.share / total:.1%}, less than one of {batch_size} images; raise "
                "it or batch_size"
            )
    return counts
