"""[generate] of a recipe: what is sampled, and what of it is kept."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from generate.settings import Solver, Source, Spacing
from label import PUBLISHED_FILTER_SKIPS, Filter
from pipelines.errors import RecipeError
from pipelines.sections.keys import Count, Keys, Section, Seed, Share

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
    source: Annotated[Source, Keys()] = Source()
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
