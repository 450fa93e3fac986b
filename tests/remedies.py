"""What a message is provoked by, and how what it says one should do is carried out, to the letter."""

import json
import re
import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipelines import Recipe
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


def changed(name: str, **fields: object) -> Harm:
    """A JSON file of the project with other values of these fields."""

    def harm(project: Path) -> None:
        content = json.loads((project / name).read_text())
        (project / name).write_text(json.dumps(content | fields))

    return harm


def without(line: str) -> Harm:
    """The recipe says no such thing."""
    return edited(f"{line}.*\n", "")


def edited(pattern: str, to: str, name: str = "recipe.toml") -> Harm:
    def harm(project: Path) -> None:
        path = project / name
        path.write_text(re.sub(pattern, to, path.read_text()))

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


def make_units(project: Path, *settings: str) -> None:
    """Every one that is missing, in this process."""
    todo = planned(Recipe.load(project / "recipe.toml", settings))
    make = build(todo, "cpu")
    for unit in take_inventory(todo.folder).missing(todo.recipe.generate.units):
        make(unit)


def made_here(*settings: str) -> Carry:
    """As `generate` makes them with the settings that were given, and these."""

    def carry(done: Done) -> None:
        given = [word for word in shlex.split(done.words(done.line)) if "=" in word]
        make_units(done.project, *given, *settings)

    return carry


def with_units(*settings: str) -> Harm:
    """The dataset is one of these settings."""
    return each(gone("out/dataset"), lambda project: make_units(project, *settings))


def flipped(name: str) -> Harm:
    def harm(project: Path) -> None:
        content = bytearray((project / name).read_bytes())
        content[-1] ^= 1
        (project / name).write_bytes(content)

    return harm


def aside(name: str) -> Harm:
    """Taken away, and kept where `restored` finds it."""
    return lambda project: (project / name).rename(project / "aside")


def restored(name: str) -> Carry:
    return edits(lambda project: (project / "aside").rename(project / name))


def sets(line: str, wrong: str, words: str, right: str = "", *, code: int = 2) -> Case:
    """A key that is wrong; the remedy is another value, or to leave it out."""
    settings = " ".join(f"--set '{setting}'" for setting in right.split(" & ") if setting)
    return instead(f"{line} --set '{wrong}'", words, f"{line} {settings}", code=code)
