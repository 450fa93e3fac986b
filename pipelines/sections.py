"""The sections of a recipe: every key with its default, which is the published setting."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from deeplab import Augmentation, Loss, Precision
from generate import CompileMode, Solver
from generate.guided_flags import parse_flags
from generate.settings import Training
from label import FITTINGS, IGNORE, PUBLISHED_FILTER_SKIPS, Filter, Fitting, Scheme, Setting, Upsampling
from pipelines.errors import RecipeError

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, lt=1)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class PathsSection(Section):
    """Where things come from and go to."""

    out: Path  # everything that the run makes
    dataset: Path | str | None = None  # where shards go, also as a URL, s3://bucket/folder; out/dataset
    denoiser: Path | str  # a .pt with [denoiser] flags, a diffusers folder, either as a URL too, or a Hub id
    annotated: Path  # the few annotated images
    held_out: Path | None = None  # annotated images for evaluation only
    validation: Path | None = None  # annotated images by which the best epoch is chosen; published: real/train
    unlabelled: Path | None = None  # images to train a diffusion model on


class DenoiserSection(Section):
    """How paths.denoiser is opened."""

    flags: str | dict[str, Any] | None = None  # of a guided-diffusion .pt: command line, mapping, or preset
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"  # on a GPU one of the halves is many times faster
    compile: CompileMode | None = None  # sampling through torch.compile; needs a C compiler where actors run

    @model_validator(mode="after")
    def _flags_are_known(self) -> "DenoiserSection":
        if self.flags is not None:
            parse_flags(self.flags)
        return self


class ClassesSection(Section):
    """The classes of paths.annotated and paths.held_out, for folders that have no scheme.toml."""

    names: list[str]
    ignore: Annotated[int, Field(ge=0, le=IGNORE)] = IGNORE  # the mask value of pixels without a class

    @property
    def scheme(self) -> Scheme:
        return Scheme(tuple(self.names))

    @model_validator(mode="after")
    def _make_a_scheme(self) -> "ClassesSection":
        _ = self.scheme
        return self


class TrainDDPMSection(Section):
    """`datasetddpm train-ddpm`: the network's shape and its training."""

    size: Annotated[int, Field(ge=8)] = 64
    channels: Annotated[list[Count], Field(min_length=2)] = [32, 64, 96, 128]  # one level each, halving resolution
    layers: Count = 1  # residual blocks a level
    attention: list[Count] = [8]  # at these resolutions
    head_channels: Count = 32
    norm_groups: Count = 8
    prediction: Literal["epsilon", "v_prediction"] = "v_prediction"
    noise_schedule: Literal["linear", "cosine"] = "cosine"
    updates: Count = 12_500
    batch_size: Count = 16
    learning_rate: Annotated[float, Field(gt=0)] = 6e-4
    warmup: Count = 200
    ema_decay: Share = 0.999
    mirror: bool = True
    seed: int = 0
    checkpoint_every: Count = 250
    sheet_every: Count = 1000  # updates between sheets of samples

    @property
    def training(self) -> Training:
        return Training(**self.model_dump(include=set(Training.__dataclass_fields__)))

    @model_validator(mode="after")
    def _groups_divide_channels(self) -> "TrainDDPMSection":
        if any(c % self.norm_groups for c in self.channels):
            raise ValueError(f"norm_groups {self.norm_groups} must divide each of channels {self.channels}")
        if self.size % 2 ** (len(self.channels) - 1):
            raise ValueError(f"size {self.size} cannot be halved {len(self.channels) - 1} times")
        return self


class InterpreterSection(Section):
    """`datasetddpm fit`: features and the ensemble on them; the defaults are the published ones."""

    steps: Annotated[list[int], Field(min_length=1)] = [50, 150, 250]
    blocks: Annotated[list[int], Field(min_length=1)] = [5, 6, 7, 8, 12]
    where: Literal["output", "input"] = "output"
    upsampling: Upsampling = "bilinear"  # of the features, to the size of the image
    setting: Setting = "published"  # fast: few large batches, balanced, at a rate that rises and falls
    members: Annotated[int, Field(ge=2)] = 10
    batch_size: Annotated[int, Field(ge=2)] = 64
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    schedule: Literal["constant", "cosine"] = "constant"
    draw: Literal["uniform", "balanced"] = "uniform"  # balanced: a class by (its share of the pixels) ** 0.5
    standardise: bool = False  # features to mean 0 and deviation 1 while the members are trained
    max_epochs: Count = 100
    max_batches: Count | None = None  # None: as many as max_epochs make
    patience: Count = 50
    min_class_pixels: Annotated[int, Field(ge=0)] = 20
    images: Count | None = None  # only the first so many of paths.annotated, by name
    seed: int = 0

    @model_validator(mode="before")
    @classmethod
    def _setting_fills_what_is_not_given(cls, given: Any) -> Any:
        if not isinstance(given, dict) or given.get("setting") not in tuple(FITTINGS):
            return given
        of_setting = {k: v for k, v in asdict(FITTINGS[given["setting"]]).items() if k in cls.model_fields}
        return {**of_setting, **given}

    @property
    def fitting(self) -> Fitting:
        return Fitting(**self.model_dump(include=set(Fitting.__dataclass_fields__)))


class GenerateSection(Section):
    """`datasetddpm generate`: what is sampled, and what of it is kept."""

    samples: Count = 10_000  # candidates, before the filter
    unit_size: Count = 100  # candidates a unit, so a shard
    batch_size: Count | Literal["auto"] = 25  # part of the recipe, since an image's last bits depend on it; auto:
    # as many as the memory of one actor's device holds, asked once and kept in dataset.json
    threads: Count = 1  # of the processor, for a unit; likewise
    run_seed: Annotated[int, Field(ge=0)] = 0
    solver: Solver = "dpmsolver++"
    steps: Annotated[int, Field(ge=1, le=1000)] = 20
    portion: Share = 0.1  # the most uncertain share of a unit, which is dropped
    filter: Filter = "most_certain"  # published: loses the 30 most certain of a unit, and keeps 30 of the portion
    uncertainty_maps: bool = False  # store <key>.uncertainty.png

    @property
    def units(self) -> range:
        return range(-(-self.samples // self.unit_size))

    @property
    def batch(self) -> int:
        """The batch size, which was settled where the recipe says auto."""
        if self.batch_size == "auto":
            raise RecipeError('generate.batch_size is "auto", which only `datasetddpm generate` settles; give a number')
        return self.batch_size

    def seeds(self, unit: int) -> range:
        """The unit's fixed range of seeds; the last unit may be shorter."""
        return range(unit * self.unit_size, min((unit + 1) * self.unit_size, self.samples))

    @model_validator(mode="after")
    def _published_filter_keeps_some(self) -> "GenerateSection":
        smallest = min(len(self.seeds(unit)) for unit in (self.units[0], self.units[-1]))
        drops = int(smallest * self.portion)
        if self.filter == "published" and drops <= PUBLISHED_FILTER_SKIPS:
            raise ValueError(
                f'filter "published" keeps nothing of a unit unless it drops more than {PUBLISHED_FILTER_SKIPS}; '
                f"portion {self.portion} of the smallest unit, {smallest}, is {drops}: raise unit_size, with samples "
                'a multiple of it, or take filter "most_certain"'
            )
        return self


class ClusterSection(Section):
    """Where units are made and networks trained, and how long things may take."""

    address: str = "local"  # auto: the cluster that a job runs in; or host:6379, ray://host:10001
    shared: list[str] = []  # folders that all machines of the cluster see
    actors: Count | Literal["auto"] = "auto"  # auto: as many as the machines hold, more as they join
    cpus: Annotated[float, Field(gt=0)] = 1  # an actor
    gpus: Annotated[float, Field(ge=0)] | Literal["auto"] = "auto"  # an actor; auto: 1 where the cluster has any
    memory_gib: Annotated[float, Field(gt=0)] | None = None  # an actor
    resources: dict[str, Annotated[float, Field(gt=0)]] = {}  # an actor; such as the cluster names itself
    labels: dict[str, str] = {}  # of the machines that actors may be placed on
    device: Literal["auto", "cuda", "cpu"] = "auto"  # auto: cuda where an actor reserves a GPU
    retries: Annotated[int, Field(ge=0)] = 2
    start_seconds: Annotated[float, Field(gt=0)] = 1800  # for an actor to load its models; then it is replaced
    unit_seconds: Annotated[float, Field(gt=0)] = 7200  # then a unit hangs, and is tried again
    grace_seconds: Annotated[float, Field(ge=0)] = 25  # for current units, after SIGTERM or Ctrl-C
    patience_seconds: Annotated[float, Field(gt=0)] = 120  # without any machine that could hold an actor


class TrainSection(Section):
    """`datasetddpm train`: DeepLabV3 on the shards; the defaults are the published network and settings."""

    variant: Literal["v3", "v3+"] = "v3"
    encoder: str = "resnet101"
    encoder_weights: str | None = None  # "imagenet", another name that the encoder has, or a local file
    encoder_depth: Literal[3, 4, 5] = 5
    output_stride: Literal[8, 16] = 8
    decoder_channels: Count = 256
    atrous_rates: Annotated[list[Count], Field(min_length=3, max_length=3)] = [12, 24, 36]
    aspp_dropout: Share = 0.5
    steps: Count = 20_000
    epochs: Annotated[float, Field(gt=0)] | None = None  # in place of steps: times the dataset's samples
    batch_size: Annotated[int, Field(ge=2)] = 8  # of all workers together
    accumulate: Count = 1  # batches a step
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    schedule: Literal["cosine", "constant"] = "constant"
    loss: Loss = "cross_entropy"
    class_weights: Literal["equal", "inverse_sqrt"] = "equal"  # inverse_sqrt: (share of the pixels) ** -0.5
    ema_decay: Share = 0.0
    precision: Precision = "auto"  # of the forward pass; auto: bfloat16 on a GPU, float32 on a CPU
    augmentation: Augmentation = "none"
    keep: Annotated[float, Field(gt=0, le=1)] = 1.0  # the most certain share of the whole dataset
    ignore_above: Annotated[float, Field(ge=0)] | None = None  # nats; of pixels, needs generate.uncertainty_maps
    corrupt_shards: Literal["stop", "skip"] = "stop"
    decoded_gib: Annotated[float, Field(ge=0)] = 4.0  # GiB of decoded samples that stay in memory, for each worker
    checkpoint_every: Count | None = None  # steps, with a validation each; None: an epoch
    seeds: Annotated[list[int], Field(min_length=1)] = [0]  # one training each
    baseline: bool = False  # train the same network on the annotated images alone as well
    workers: Count = 1  # processes that share every batch; more than one run on Ray
    worker_retries: Annotated[int, Field(ge=0)] = 2  # how often a lost worker is replaced

    @model_validator(mode="after")
    def _workers_share_batches(self) -> "TrainSection":
        if self.batch_size % self.workers:
            raise ValueError(f"batch_size {self.batch_size} cannot be shared evenly by {self.workers} workers")
        if self.workers > 1 and self.loss != "cross_entropy":
            raise ValueError(f'loss "{self.loss}" is of a whole batch; several workers need loss "cross_entropy"')
        return self


class StudySection(Section):
    """`datasetddpm study`: what is measured; each cell with every seed."""

    seeds: Annotated[list[int], Field(min_length=1)] = [0, 1]
    parts: list[Literal["methods", "solvers", "amounts", "features"]] = ["methods", "solvers", "amounts", "features"]
    solvers: dict[Solver, list[Count]] = {"ddim": [5, 10, 20, 50], "dpmsolver++": [5, 10, 20, 50], "ddpm": [250, 1000]}
    portions: list[Share] = [0.0, 0.1, 0.25, 0.5]  # dropped by the filter
    samples: list[Count] = [250, 500, 1000, 2000, 4000, 8000]  # candidates
    annotated: list[Count] = [5, 10, 20]  # images
    feature_steps: list[int] = [50, 150, 250, 500]  # each alone,
    feature_blocks: list[int] = [1, 2, 3, 4, 5, 6, 7]  # with each of these alone
