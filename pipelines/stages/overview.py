"""How far every stage of a run is, from its folders alone: no model is opened, and no shard read.

What is done is compared with the digests of its record and, of a dataset, sizes with reports.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipelines.files import storage
from pipelines.files.lease import holder
from pipelines.files.owner import Entry
from pipelines.files.storage import Location
from pipelines.folders import (
    dataset_folder,
    ddpm_folder,
    interpreter_folder,
    network_folder,
    networks_folder,
    report_page,
    samples_folder,
    scores_folder,
    sources,
)
from pipelines.progress import Pace
from pipelines.recipe import Recipe
from pipelines.record import RECORD, Record
from pipelines.stages import STAGES, stages_of_run
from pipelines.stages.dataset_state import of_dataset, planned_units, stored_units, together
from pipelines.stages.made_with import other_settings
from pipelines.stages.order import has_images, is_there
from pipelines.stages.state import Standing, unfinished

_UNFINISHED, _ASIDE = ".part-", "@"  # in names of folders: what is being made, and what was made by other settings
_OPTIONAL = ("train-ddpm", "sample")  # their results may come from elsewhere
_NOT_BEGUN = ("missing", "not needed")


@dataclass(frozen=True)
class Part:
    """What a stage has made of one of its folders."""

    name: str
    made: float | None  # when its stage finished; None where it did not
    seconds: float
    pace: Pace | None  # of what is not finished
    holder: Entry | None  # of the folder
    is_begun: bool
    fault: str  # of what its stage wrote; "" for none

    @classmethod
    def of(cls, folder: Path) -> "Part":
        """Of the folder, and of what is made beside it, to take its place: `NAME.part-*`."""
        ages, beside = storage.ages(folder), sorted(folder.parent.glob(f"{folder.name}{_UNFINISHED}*"))
        paces = [pace for place in (folder, *beside) if (pace := Pace.read(place))]
        made, seconds, fault = None, 0.0, ""
        if RECORD in ages:
            record = Record.read(folder)
            made, seconds = time.time() - ages[RECORD], record.seconds
            fault = record.fault(folder)
        is_begun = bool(ages or beside)
        pace = paces[-1] if paces else None
        return cls(folder.name, made, seconds, pace, holder(folder, beside=True), is_begun, fault)

    @property
    def is_worked_on(self) -> bool:
        """Whether a process holds it, as far as this machine knows."""
        return self.holder is not None and not self.holder.owner.is_gone


def standings(recipe: Recipe) -> list[Standing]:
    """Of every stage of a recipe, in the order of work."""
    networks = [network_folder(recipe, source, seed) for source in sources(recipe) for seed in recipe.train.seeds]
    return [_as_now(stage, recipe) for stage in _standings(recipe, networks, planned_units)]


def _as_now(stage: Standing, recipe: Recipe) -> Standing:
    """Outdated, with the first difference, where it was done by other settings; a model that was removed is damaged."""
    if stage.state != "done":
        return stage
    if stage.stage == "train-ddpm" and not is_there(stage.stage, recipe):
        return replace(stage, state="damaged", note=f"paths.denoiser, {recipe.paths.denoiser}, is gone")
    clause = other_settings(stage.stage, recipe)
    if clause and stage.stage == "generate":  # which never takes the place of another dataset
        note = f"{clause}; name another folder in paths.dataset, or remove that one"
        return replace(stage, state="outdated", note=note, options=None)
    return replace(stage, state="outdated", note=clause) if clause else stage


def standings_of(out: Location) -> list[Standing]:
    """The same of a run's folder alone, without what may not be needed; [] where nothing was begun."""
    if not isinstance(out, Path):
        return []
    paths = {"out": out, "denoiser": out, "held_out": out}  # only the first is looked at
    recipe = Recipe.model_validate({"name": out.name, "paths": paths, "generate": {"images": "both"}})
    made = [each for each in recipe.by_dataset() if stored_units(each)] or recipe.by_dataset()[:1]
    recipe = made[0] if len(made) == 1 else recipe
    networks = networks_folder(recipe)
    folders = [path for path in networks.iterdir() if path.is_dir()] if networks.is_dir() else []
    begun = sorted({path.name.partition(_UNFINISHED)[0].partition(_ASIDE)[0] for path in folders})
    found = _standings(recipe, [networks / name for name in begun], stored_units)
    if all(stage.state in _NOT_BEGUN for stage in found):
        return []
    return [stage for stage in found if stage.stage not in _OPTIONAL or stage.state not in _NOT_BEGUN]


def _standings(recipe: Recipe, networks: Sequence[Path], units_of: Callable[[Recipe], range]) -> list[Standing]:
    folders = {
        "train-ddpm": [ddpm_folder(recipe)],
        "sample": [samples_folder(recipe)],
        "fit": [interpreter_folder(recipe)],
        "train": networks,
        "evaluate": [scores_folder(recipe)],
        "report": [report_page(recipe).parent],
    }
    needless = _needless(recipe)
    found = {name: _of_parts(name, [Part.of(folder) for folder in several]) for name, several in folders.items()}
    found["generate"] = together(
        {(folder := dataset_folder(each)).name: of_dataset(folder, units_of(each)) for each in recipe.by_dataset()}
    )
    return [
        Standing(name, "not needed", note=needless[name])
        if found[name].state == "missing" and name in needless
        else found[name]
        for name in STAGES
    ]


def _needless(recipe: Recipe) -> dict[str, str]:
    """Stages that a run of the recipe can do without, each with the reason."""
    paths, needed = recipe.paths, {stage.name for stage in stages_of_run(recipe)}
    reasons = {} if recipe.makes_dataset else dict.fromkeys(("generate", "train", "report"), "there is no [generate]")
    if paths.held_out is None:
        reasons |= dict.fromkeys(("evaluate", "report"), "paths.held_out is not set")
    reasons = {name: reason for name, reason in reasons.items() if name not in needed}
    if is_there("train-ddpm", recipe):
        reasons["train-ddpm"] = "paths.denoiser is there"
    if paths.annotated and has_images(paths.annotated):
        reasons["sample"] = "paths.annotated is there"
    return reasons


def _of_parts(stage: str, parts: Sequence[Part]) -> Standing:
    finished, working = [part for part in parts if part.made is not None], [part for part in parts if part.is_worked_on]
    if not working and (fault := next((f"{part.name}/{part.fault}" for part in parts if part.fault), "")):
        return Standing(stage, "damaged", note=fault)
    if parts and len(finished) == len(parts) and not working:
        note = f"{len(parts)} networks" if len(parts) > 1 else ""
        return Standing(stage, "done", max(p.made or 0.0 for p in parts), sum(p.seconds for p in parts), note)
    if not any(part.is_begun or part.is_worked_on for part in parts):
        return Standing(stage, "missing")
    notes = [f"{len(finished)} of {len(parts)} networks"] if len(parts) > 1 else []
    for part in parts:
        if part.pace:
            name = f"{part.name}: " if len(parts) > 1 else ""
            notes.append(f"{name}{part.pace.done} of {part.pace.total} {part.pace.noun}")
    return unfinished(stage, notes, _left(parts), [part.holder for part in working if part.holder])


def _left(parts: Sequence[Part]) -> float | None:
    """Seconds for the parts that are not finished, by what the others and they themselves took; None: not measured."""
    paces = [part.pace for part in parts if part.pace and part.pace.rate]
    whole = [part.seconds for part in parts if part.made is not None] + [pace.total / pace.rate for pace in paces]
    if not whole:
        return None
    each = sum(whole) / len(whole)
    lefts = [part.pace.left if part.pace else each for part in parts if part.made is None]
    return sum(each if left is None else left for left in lefts)
