"""The sections of a recipe. Every key has its default, the published setting, and its sentence in docs/RECIPE.md.

Where a field is marked Keys(), the fields of that dataclass, which another room owns, are keys of the section.
"""

# ruff: noqa: RUF012 - pydantic copies what is mutable of a model's defaults

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from generate import settings as ddpm
from generate.guided_flags import parse_flags
from generate.settings import Solver, Spacing
from label import IGNORE, PUBLISHED_FILTER_SKIPS, Filter, Scheme
from pipelines.cluster_section import ClusterSection as ClusterSection
from pipelines.errors import RecipeError
from pipelines.interpreter_section import InterpreterSection as InterpreterSection
from pipelines.keys import Count, Keys, Section, Seed, Seeds, Share
from pipelines.train_ddpm_section import TrainDDPMSection as TrainDDPMSection


class DenoiserSection(Section):
    """How paths.denoiser is opened."""

    flags: str | dict[str, Any] | None = None
    """The flags of a guided-diffusion .pt: its command line, a table, or the name of a preset."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """The precision that the network computes in; a GPU is many times faster in one of the halves."""
    compile: ddpm.CompileMode | None = None
    """The mode of torch.compile to sample in, which needs a C compiler where actors run; unset: not compiled."""

    prompt: str = ""
    """What a latent diffusion model is told while it reads an image."""

    @model_validator(mode="after")
    def _flags_are_known(self) -> "DenoiserSection":
        if self.flags is not None:
            parse_flags(self.flags)
        return self


class ClassesSection(Section):
    """The classes of paths.annotated and paths.held_out, for folders that have no scheme.toml."""

    names: list[str]
    """Names of the classes, in the order of their ids."""
    ignore: Annotated[int, Field(ge=0, le=IGNORE)] = IGNORE
    """The mask value of pixels without a class."""

    @property
    def scheme(self) -> Scheme:
        return Scheme(tuple(self.names))

    @model_validator(mode="after")
    def _make_a_scheme(self) -> "ClassesSection":
        _ = self.scheme
        return self


_MOST_UNITS, _MOST_OF_A_UNIT = 100_000_000, 1_000_000
TO_ANNOTATE = 900_000_000_000
"""The first seed of the images that `sample` makes: a range of their own, which no dataset grows into."""


class GenerateSection(Section):
    """`datasetddpm generate`: what is sampled, and what of it is kept."""

    samples: Count = 10_000
    """Candidates, before the filter; a larger number lets the dataset grow."""
    unit_size: Count = 100
    """Candidates of a unit, and so of a shard."""
    batch_size: Count | Literal["auto"] = 25
    """Images that are made at once; their last bits depend on it. auto: as many as an actor's memory holds."""
    threads: Count = 1
    """Threads of the processor for one unit; the last bits depend on it, too."""
    source: Annotated[ddpm.Source, Keys()] = ddpm.Source()
    run_seed: Seed = 0
    """The seed of the run; all noise comes from it and the number of the sample."""
    solver: Solver = "dpmsolver++"
    """The solver that turns noise into an image; ddpm is the published one."""
    steps: Annotated[int, Field(ge=1, le=1000)] = 20
    """Steps of the solver; an image costs so many calls of the network."""
    spacing: Spacing = "even"
    """How the steps of a denoiser are spread over its noise: evenly in time, or in the log of signal to noise, which
    keeps colours and contrasts better in few steps where a schedule ends in pure noise."""
    portion: Share = 0.0
    """The most uncertain share of each unit, which is dropped; published is 0.1, on the demo's faces 0 is as good."""
    filter: Filter = "most_certain"
    """Who is dropped: the least certain; balanced: no more than this share of any class's images, as far as the count
    allows; class_wise: who is less certain of a class than the unit is; published: 30 of the most certain besides."""
    keep_all: bool = False
    """Whether shards hold what is dropped, too: then `generate` applies another portion or filter without sampling."""
    uncertainty_maps: bool = False
    """Whether the uncertainty of each pixel is stored, too."""

    @property
    def unsaid(self) -> set[str]:
        """Keys that stand as before they could be chosen, which no dataset or record says: older ones know none."""
        return {"spacing"} if self.spacing == "even" else set()

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
    def _has_a_size(self) -> "GenerateSection":
        if self.samples > TO_ANNOTATE or len(self.units) > _MOST_UNITS or self.unit_size > _MOST_OF_A_UNIT:
            raise ValueError(
                f"samples {self.samples} in units of {self.unit_size} are {len(self.units)} units; at most "
                f"{TO_ANNOTATE} samples, {_MOST_UNITS} units and {_MOST_OF_A_UNIT} samples of a unit are possible"
            )
        return self

    @model_validator(mode="after")
    def _published_filter_keeps_some(self) -> "GenerateSection":
        smallest = min(len(self.seeds(unit)) for unit in (self.units[0], self.units[-1]))
        drops = int(smallest * self.portion)
        if self.filter == "published" and drops <= PUBLISHED_FILTER_SKIPS:
            raise ValueError(
                f'filter "published" keeps nothing of a unit unless it drops more than {PUBLISHED_FILTER_SKIPS}; '
                f"portion {self.portion} of the smallest unit, {smallest}, is {drops}: "
                f'{self._ways_to_drop_more(smallest)}take filter "most_certain"'
            )
        return self

    def _ways_to_drop_more(self, smallest: int) -> str:
        """What the published filter can be used with, each as a clause with its "or"."""
        portion = next((share / 100 for share in range(100) if int(smallest * share / 100) > PUBLISHED_FILTER_SKIPS), 0)
        unit_size = int((PUBLISHED_FILTER_SKIPS + 1) / (self.portion or 0.1)) + 1
        ways = [f"raise portion to {portion}"] if portion else []
        if self.portion and unit_size <= _MOST_OF_A_UNIT:
            ways.append(f"take units of {unit_size} with samples a multiple of it")
        return "".join(f"{way}, or " for way in ways)


StudyPart = Literal["methods", "mixtures", "filters", "solvers", "amounts", "features"]


class StudySection(Section):
    """`datasetddpm study`: what is measured. Each cell is measured with every seed."""

    seeds: Seeds = [0, 1, 2]
    """Seeds of the trainings."""
    datasets: Seeds = [0, 1]
    """Run seeds: each row of painted images is measured on as many datasets, with every seed."""
    parts: list[StudyPart] = ["methods", "mixtures", "filters", "solvers", "amounts", "features"]
    """Tables of the page."""
    filters: list[Filter] = ["most_certain", "balanced", "class_wise"]
    """Kinds of filter that are measured, each with every portion above 0."""
    ignored: list[Annotated[float, Field(ge=0)]] = [0.1, 0.3]
    """Uncertainties, in nats, above which a pixel is ignored, nothing being dropped."""
    solvers: dict[Solver, list[Count]] = {"ddim": [5, 10, 20, 50], "dpmsolver++": [5, 10, 20, 50], "ddpm": [250, 1000]}
    """Numbers of steps that are measured of each solver."""
    portions: list[Share] = [0.0, 0.1, 0.25, 0.5]
    """Shares that the filter drops."""
    samples: list[Count] = [250, 500, 1000, 2000, 4000, 8000]
    """Numbers of candidates."""
    annotated: list[Count] = [5, 10, 20]
    """Numbers of annotated images."""
    feature_steps: list[int] = [50, 150, 250, 500]
    """Diffusion steps, each of which is read alone, with each of feature_blocks."""
    feature_blocks: list[int] = [1, 2, 3, 4, 5, 6, 7]
    """Decoder blocks, each of which is read alone."""
