"""What a message says one should do is done, to the letter, and the same command ends well."""

import re
import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from pipelines import Recipe
from pipelines.dataset.index import write_index
from pipelines.dataset.inventory import take_inventory
from pipelines.units.builder import build, planned

Command = Callable[..., str]
Harm = Callable[[Path], object]


@dataclass(frozen=True)
class Done:
    """A message, what it was said of, and where."""

    project: Path
    command: Command
    line: str
    said: str

    def words(self, text: str) -> str:
        """With the places that stand for {recipe} and {p}."""
        return text.replace("{recipe}", f"{self.project}/recipe.toml").replace("{p}", str(self.project))

    def run(self, line: str, code: int = 0) -> str:
        return self.command(*shlex.split(self.words(line)), code=code)


Carry = Callable[[Done], str | None]  # carries the remedy out; words that the command line has besides


@dataclass(frozen=True)
class Case:
    """A command line with {p} for the project, how it is provoked, the remedy's words, and how that is carried out."""

    line: str
    harm: Harm
    words: str
    carry: Carry
    code: int = 2
    lastly: str = ""  # the command line after that, where it is another

    @property
    def name(self) -> str:
        return f"{self.line.split()[0]}: {self.words[:60]}"


def nothing(_: Path) -> None:
    """What is there provokes it."""


def nothing_more(_: Done) -> None:
    """The last command line does without what was wrong, or has what was missing."""


def instead(line: str, words: str, lastly: str, harm: Harm = nothing, code: int = 2) -> "Case":
    """A remedy that is another command line."""
    return Case(line, harm, words, nothing_more, code, lastly)


def adds(words: str) -> Carry:
    """Words for the command line."""
    return lambda _: words


def runs(line: str) -> Carry:
    """Another command first."""
    return lambda done: done.run(line) and None


def literally(done: Done) -> None:
    """The command line in the message, as it stands there."""
    (line,) = re.findall(r"`datasetddpm ([^`]+)`", done.said)
    done.run(line)


def again(done: Done) -> None:
    """The command in the message, with the recipe and the settings that were given."""
    name = re.findall(r"`datasetddpm ([a-z-]+)`", done.said)[0]
    settings = re.findall(r"--set \S+", done.line)
    done.run(" ".join([name, "{recipe}", *settings]))


def removes(pattern: str) -> Carry:
    """What the message names in the group of the pattern."""

    def carry(done: Done) -> None:
        found = re.search(pattern, done.said)
        assert found, done.said
        path = Path(found[1])
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return carry


def edits(change: Harm) -> Carry:
    """A change of the user's own files."""
    return lambda done: (change(done.project), None)[1]


def both(*carries: Carry) -> Carry:
    def carry(done: Done) -> str:
        return " ".join(filter(None, [each(done) for each in carries]))

    return carry


def gone(*names: str) -> Harm:
    def harm(project: Path) -> None:
        for name in names:
            path = project / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return harm


def written(name: str, content: str | bytes = "{") -> Harm:
    def harm(project: Path) -> None:
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return harm


def each(*harms: Harm) -> Harm:
    def harm(project: Path) -> None:
        for one in harms:
            one(project)

    return harm


def emptied(name: str) -> Harm:
    def harm(project: Path) -> None:
        shutil.rmtree(project / name)
        (project / name).mkdir()

    return harm


def made_here(*settings: str) -> Carry:
    """Every unit that is missing, in this process."""

    def carry(done: Done) -> None:
        given = [word for word in shlex.split(done.words(done.line)) if "=" in word]
        plan = planned(Recipe.load(done.project / "recipe.toml", (*given, *settings)))
        make = build(plan, "cpu")
        for unit in take_inventory(plan.folder).missing(plan.recipe.generate.units):
            make(unit)

    return carry


RECORD = "is no record of a stage; remove it, and run that stage again"
NO_RECORD = removes(r"datasetddpm: (\S+) is no")
NET = "out/deeplab/synthetic-seed0"


def flipped(name: str) -> Harm:
    def harm(project: Path) -> None:
        content = bytearray((project / name).read_bytes())
        content[-1] ^= 1
        (project / name).write_bytes(content)

    return harm


STAGES = [
    Case("fit {recipe}", written("out/interpreter/stage.json"), RECORD, NO_RECORD),
    Case("train {recipe}", written(f"{NET}/stage.json"), RECORD, NO_RECORD),
    Case("evaluate {recipe}", written("out/scores/stage.json"), RECORD, NO_RECORD),
    Case("sample {recipe} -n 2", written("out/samples/stage.json"), RECORD, NO_RECORD),
    Case("train-ddpm {recipe}", written("out/train-ddpm/stage.json"), RECORD, NO_RECORD),
    Case("report {recipe}", each(gone("out/deeplab"), written("out/quality/stage.json")), RECORD, NO_RECORD),
    Case("status {recipe}", written("out/scores/stage.json"), RECORD, NO_RECORD),
    Case("generate {recipe}", written("out/interpreter/stage.json"), RECORD, both(NO_RECORD, runs("fit {recipe}"))),
    Case("evaluate {recipe}", written(f"{NET}/stage.json"), RECORD, both(NO_RECORD, runs("train {recipe}"))),
    Case("generate {recipe}", gone("out/interpreter"), "fit {recipe}` first", literally),
    Case("segment {recipe} {p}/annotated --out {p}/masks", gone("out/interpreter"), "fit {recipe}` first", literally),
    Case("evaluate {recipe}", gone("out/deeplab"), "train {recipe}` first", literally),
    Case("report {recipe}", nothing, "evaluate {recipe}` first", literally),
    Case("fit {recipe}", gone("model"), "train-ddpm {recipe}` first", literally),
    Case("sample {recipe} -n 2", gone("model"), "train-ddpm {recipe}` first", literally),
    Case("generate {recipe}", emptied("out/interpreter"), "holds no interpreter; fit one first", runs("fit {recipe}")),
    Case("evaluate {recipe}", gone(NET), "train {recipe}` first", literally),
    Case("evaluate {recipe}", gone(f"{NET}/stage.json"), "train {recipe}` first", literally),
    Case("evaluate {recipe}", flipped("out/interpreter/features.json"), "run `datasetddpm fit` again", again),
    Case(
        "segment {recipe} {p}/annotated --out {p}/masks",
        gone("out/interpreter/interpreter.json"),
        "holds no interpreter; fit one first",
        runs("fit {recipe}"),
    ),
    Case("evaluate {recipe}", flipped(f"{NET}/config.json"), "run `datasetddpm train` again", again),
    Case("evaluate {recipe} --set interpreter.members=2", nothing, "run `datasetddpm fit` again", again),
    Case(
        "evaluate {recipe} --set interpreter.members=2",
        nothing,
        "restore the recipe",
        nothing_more,
        2,
        "evaluate {recipe}",
    ),
    Case("evaluate {recipe} --set train.steps=2", nothing, "run `datasetddpm train` again", again),
]


D = "out/dataset"


def units(*numbers: int) -> Harm:
    """These are not made yet."""
    return gone(*(f"{D}/shard-{number:06d}.{suffix}" for number in numbers for suffix in ("tar", "json")))


def indexed(project: Path) -> None:
    """As `generate` leaves it."""
    write_index(take_inventory(project / D))


def aside(name: str) -> Harm:
    """Taken away, and kept where `restored` finds it."""
    return lambda project: (project / name).rename(project / "aside")


def restored(name: str) -> Carry:
    return edits(lambda project: (project / "aside").rename(project / name))


EXPORT = "export {p}/out/dataset --out {p}/x.npz"
VOC = "export {p}/out/dataset --format voc --out {p}/voc"
OTHER = "generate {recipe} --set generate.steps=7"
NO_DATASET = (
    "holds shards, but no dataset.json that says what they are; restore it, remove them, or name another folder"
)
DATASETS = [
    Case(EXPORT, units(1), "`datasetddpm generate` makes the others", made_here()),
    Case(EXPORT, units(1), "name --partial", adds("--partial")),
    Case("train {recipe}", each(gone(NET), units(1)), "`datasetddpm generate` makes the others", made_here()),
    Case("train {recipe}", each(gone(NET), units(1)), "name --partial", adds("--partial")),
    Case("verify {p}/out/dataset", units(1), "generate goes on with them", made_here(), 1),
    Case("generate {recipe} --set generate.samples=6", nothing, "give at least 22", adds("--set generate.samples=22")),
    Case(
        "generate {recipe} --set generate.samples=6",
        nothing,
        "or name another folder in paths.dataset",
        both(made_here('paths.dataset="other"'), adds("--set paths.dataset=other")),
    ),
    Case(
        OTHER,
        nothing,
        "name another output folder",
        both(made_here('paths.dataset="other"'), adds("--set paths.dataset=other")),
    ),
    Case(OTHER, nothing, "or remove that one", both(edits(gone(D)), made_here())),
    Case("generate {recipe}", aside(f"{D}/dataset.json"), "restore it", restored(f"{D}/dataset.json")),
    Case("generate {recipe}", gone(f"{D}/dataset.json"), "remove them", both(edits(gone(D)), made_here())),
    Case(
        "generate {recipe}",
        gone(f"{D}/dataset.json"),
        "name another folder",
        both(made_here('paths.dataset="other"'), adds("--set paths.dataset=other")),
    ),
    Case(EXPORT, gone(D), "holds no dataset.json; generate a dataset there first", made_here()),
    Case("train {recipe}", gone(D), "generate {recipe}` first", made_here()),
    Case(EXPORT, emptied(D), "generate a dataset there first", made_here()),
    Case(EXPORT, units(0, 1, 2, 3), "`datasetddpm generate` makes the others", made_here()),
    Case(
        "train {recipe}",
        each(gone(NET), written(f"{D}/shard-000001.tar", b"")),
        'or train without by train.corrupt_shards = "skip"',
        adds("--set train.corrupt_shards=skip"),
    ),
    Case("card {p}/out/dataset", indexed, "--license cc-by-4.0", adds("--license cc-by-4.0")),
    Case("card {recipe}", indexed, "or card.license in the recipe", adds("--set card.license=cc-by-4.0")),
    Case("card {recipe} --license own", indexed, "name one that it has, as cc-by-4.0", adds("--license cc-by-4.0")),
    Case("card {recipe} --license own", indexed, "--license-link", adds("--license-link https://host/own")),
    Case(
        "card {recipe} --license own",
        indexed,
        "or card.license_link in the recipe",
        adds("--set card.license_link=https://host/own"),
    ),
    Case(
        "card {recipe} --license mit",
        each(indexed, units(1)),
        "generate them first",
        both(made_here(), runs("generate {recipe}")),
    ),
    Case("card {recipe} --license mit", nothing, "generate it first", runs("generate {recipe}")),
    instead(
        "card {p}/out/dataset --license mit --set name=x",
        "--set goes with a recipe",
        "card {recipe} --license mit --set name=x",
        indexed,
    ),
    Case(VOC, written("voc/mine"), "name another --out, or remove it", edits(gone("voc"))),
    instead(VOC, "name another --out", VOC + "2", written("voc/mine")),
    instead(f"{VOC} --split 1,1", "give two or three shares that add up to 1", f"{VOC} --split 0.5,0.5"),
    instead(f"{VOC} --split 0.999,0.001", "give a larger share", f"{VOC} --split 0.6,0.4"),
    instead(f"{EXPORT} --split 0.5,0.5", "leave out --split", EXPORT),
    instead(f"{EXPORT} --split 0.5,0.5", "or name another --format", f"{VOC} --split 0.5,0.5"),
    instead(f"{VOC} --instances", "leave out --instances", VOC),
    instead(f"{VOC} --where share>2", "write one as", f"{VOC} --where 'uncertainty < 0.2'"),
    instead("export {p}/out/dataset --out s3://b/x --format voc", "copy it there afterwards", VOC),
    instead(
        "preview {p}/out/dataset --seeds 1-a --out {p}/x.png",
        "write seeds as 3,17,40-43",
        "preview {p}/out/dataset --seeds 0 --out {p}/x.png",
    ),
    instead(
        "push {p}/out hf://datasets/me/it --dry-run",
        "name the folder of one",
        "push {p}/out/interpreter hf://me/it --license mit --dry-run",
    ),
    Case(
        "push {p}/out/dataset hf://datasets/me/it --dry-run",
        indexed,
        "run `datasetddpm card {p}/out/dataset` first",
        runs("card {p}/out/dataset --license mit"),
    ),
]


@pytest.mark.parametrize("case", [*STAGES, *DATASETS], ids=lambda case: case.name)
def test_the_remedy_in_a_message_works(finished: Path, command: Command, case: Case) -> None:
    case.harm(finished)
    before = Done(finished, command, case.line, "")
    said = before.run(case.line, case.code)
    assert before.words(case.words) in said
    more = case.carry(replace(before, said=said))
    before.run(f"{case.lastly or case.line} {more or ''}")
