"""A disk that refuses: every stage, with every write of it refused, by every error. `python tests/disk_faults.py`.

A write is anything that changes a disk: a file made, written, synced or closed, a rename, a link, a folder made or
removed, in Python or by the writer of safetensors. The k-th of a stage and all after it fail (a disk that is full), or
the k-th alone (one that recovers). Each case runs in a forked process: the command must end within a minute, in one
sentence and exit code 1, or as if nothing had been; whatever it says is done must be whole; and once the disk is well
the same command must make what an undisturbed one makes. Prints a table, and exits with 1 where that was not so.
"""

import argparse
import builtins
import contextlib
import errno
import hashlib
import io
import json
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parent.parent))

import safetensors.numpy
import safetensors.torch
import torch
from conftest import copy_of, make_finished
from safetensors import SafetensorError
from upath import UPath

from pipelines import Recipe, cli
from pipelines.dataset.damage import damages
from pipelines.dataset.inventory import take_inventory
from pipelines.files import lease, storage
from pipelines.units.builder import build, planned
from pipelines.units.weights import local_weights

ERRORS = ("ENOSPC", "EROFS", "EACCES", "EIO", "ESTALE", "ENOTDIR")
LIMIT = 60.0  # seconds that a case may take
_UNSTEADY = {"pace.json", "run.json", "report.html"}  # which say how long something took
_OF_OS = ("rename", "replace", "mkdir", "link", "symlink", "unlink", "remove", "rmdir", "truncate")


@dataclass
class Disk:
    """All below `root`; counts what changes it, and refuses from one of these on, or that one alone."""

    root: Path
    number: int = 0
    refused: range = range(0)
    error: int = 0

    def ask(self, path: Any) -> None:
        """Raises the error where it is time to; of a path that is elsewhere nothing is counted."""
        place = os.path.abspath(os.fsdecode(path)) if not isinstance(path, int) else _path_of(path)
        if place.startswith(str(self.root)):
            self.number += 1
            if self.number in self.refused:
                raise OSError(self.error, os.strerror(self.error), place)

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """For the length of the block."""
        with contextlib.ExitStack() as stack:
            for name in _OF_OS:
                asked = self._asking(getattr(os, name), name in ("link", "symlink"))
                stack.enter_context(patch.object(os, name, asked))
            stack.enter_context(patch.object(os, "fsync", self._asking(os.fsync)))
            stack.enter_context(patch.object(os, "open", self._opened(os.open)))
            faulty = self._faulty_open(builtins.open)
            stack.enter_context(patch.object(builtins, "open", faulty))
            stack.enter_context(patch.object(io, "open", faulty))
            for module in (safetensors.torch, safetensors.numpy):
                stack.enter_context(patch.object(module, "serialize_file", self._serialized(module.serialize_file)))
            yield

    def _asking(self, call: Callable[..., Any], second: bool = False) -> Callable[..., Any]:
        def asked(path: Any, *arguments: Any, **options: Any) -> Any:
            self.ask(arguments[0] if second else path)
            return call(path, *arguments, **options)

        return asked

    def _opened(self, call: Callable[..., int]) -> Callable[..., int]:
        def opened(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
            if flags & (os.O_CREAT | os.O_WRONLY | os.O_RDWR) and not options.get("dir_fd"):
                self.ask(path)
            return call(path, flags, *arguments, **options)

        return opened

    def _serialized(self, call: Callable[..., None]) -> Callable[..., None]:
        def serialized(tensors: Any, path: Any, *arguments: Any, **options: Any) -> None:
            try:
                self.ask(path)
            except OSError as error:
                said = f"Error while serializing: I/O error: {error.strerror} (os error {error.errno})"
                raise SafetensorError(said) from None
            call(tensors, path, *arguments, **options)

        return serialized

    def _faulty_open(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def faulty(file: Any, mode: str = "r", buffering: int = -1, *arguments: Any, **options: Any) -> Any:
            writes = set(mode) & set("wxa+")
            place = _path_of(file) if isinstance(file, int) else os.path.abspath(os.fsdecode(file))
            if not writes or not place.startswith(str(self.root)):
                return call(file, mode, buffering, *arguments, **options)
            if not isinstance(file, int):
                self.ask(file)
            raw = _FaultyFile(self, place, file, mode.replace("b", "").replace("t", ""))
            buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
            return buffered if "b" in mode else io.TextIOWrapper(buffered, *arguments, **options)

        return faulty


class _FaultyFile(io.FileIO):
    def __init__(self, disk: Disk, place: str, file: Any, mode: str) -> None:
        super().__init__(file, mode)
        self._disk, self._place = disk, place

    def write(self, content: Any, /) -> int:
        self._disk.ask(self._place)
        return super().write(content)


def _path_of(handle: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{handle}")
    except OSError:
        return ""


# ---------------------------------------------------------------------------------------------------------- stages


@dataclass(frozen=True)
class Stage:
    """A command on a finished project, and what it makes there, which is removed before."""

    name: str
    arguments: tuple[str, ...]
    makes: str
    settings: tuple[str, ...] = ()

    def run(self, project: Path) -> int:
        """Its exit code; 0 where it is no command."""
        recipe = Recipe.load(project / "recipe.toml", ("train.baseline=false",))
        if self.name == "unit":
            return _code(lambda: build(planned(recipe))(0))
        if self.name == "weights":
            return _code(lambda: local_weights("memory://model"))
        sys.argv = ["datasetddpm", *self.words(project)]
        return _code(cli.main)

    def words(self, project: Path, *settings: str) -> list[str]:
        """Of the command line, with more settings."""
        words = [word.format(p=project) for word in self.arguments]
        return words + [
            word.format(p=project) for setting in (*self.settings, *settings) for word in ("--set", setting)
        ]


def _recipe(name: str, makes: str, *settings: str) -> Stage:
    return Stage(name, (name, "{p}/recipe.toml"), makes, ("train.baseline=false", *settings))


STAGES = (
    _recipe("fit", "out/interpreter", "interpreter.members=2", "interpreter.max_epochs=1"),
    Stage("sample", ("sample", "{p}/recipe.toml", "-n", "4"), "out/samples", ("train.baseline=false",)),
    _recipe("train-ddpm", "out/train-ddpm", 'paths.denoiser="{p}/trained"'),
    _recipe("train", "out/deeplab"),
    _recipe("evaluate", "out/scores"),
    _recipe("report", "out/report"),
    Stage("unit", (), "out/dataset"),
    Stage("weights", (), "cache"),
    Stage("export", ("export", "{p}/out/dataset", "--out", "{p}/made.npz"), "made.npz"),
    Stage("import-npz", ("import-npz", "{p}/samples.npz", "--out", "{p}/imported", "--unit-size", "8"), "imported"),
    Stage("segment", ("segment", "{p}/recipe.toml", "{p}/annotated/0.png", "--out", "{p}/masks"), "masks"),
    Stage("init", ("init", "{p}/begun", "--model", "{p}/model"), "begun"),
)


def _code(call: Callable[[], object]) -> int:
    try:
        call()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except cli.RUN_ERRORS as error:
        print(f"datasetddpm: {error}")
        return 1
    return 0


def completed(project: Path) -> Path:
    """A finished project with all else that a stage stands on."""
    os.environ["XDG_CACHE_HOME"] = str(project / "cache")
    assert next(stage for stage in STAGES if stage.name == "evaluate").run(project) == 0
    sys.argv = ["datasetddpm", "export", f"{project}/out/dataset", "--out", f"{project}/samples.npz"]
    assert _code(cli.main) == 0
    UPath("memory://model").fs.put(str(project / "model"), "/model", recursive=True)  # of all that are forked
    return project


def made(place: Path) -> dict[str, str]:
    """What a stage made, by name; what differs from run to run left out."""
    files = [place] if place.is_file() else [path for path in place.rglob("*") if path.is_file()]
    return {
        str(path.relative_to(place)): hashlib.sha256(_steady(path, place)).hexdigest()
        for path in files
        if path.name not in _UNSTEADY and not _is_of_a_run(path) and not {"tensorboard", "newest"} & set(path.parts)
    }


def _is_of_a_run(path: Path) -> bool:
    """Whether it goes with its run; a disk that refuses everything refuses to have it removed."""
    return storage.is_temporary(path.name) or (path.suffix == ".json" and "lease-" in path.name)


def _steady(path: Path, place: Path) -> bytes:
    """The content without times, and without the project's path."""
    if path.suffix not in (".json", ".toml"):
        return path.read_bytes()
    project = next(above for above in place.parents if (above / "recipe.toml").is_file() and above.name == "project")
    content = path.read_text().replace(str(project), "")
    with contextlib.suppress(ValueError):
        unsteady = ("seconds", "files")  # the second: digests of files that are compared themselves
        return json.dumps({k: v for k, v in json.loads(content).items() if k not in unsteady}).encode()
    return content.encode()


# ------------------------------------------------------------------------------------------------------------ cases


@dataclass
class Case:
    """One write of one stage refused by one error."""

    project: Path  # a prepared one, which is not touched
    stage: Stage
    write: int = 0  # 0: none, to count them
    error: str = "ENOSPC"
    lasts: bool = True
    expected: dict[str, str] = field(default_factory=dict)

    def run(self) -> tuple[str, Any]:
        """What is wrong ("" where nothing is), and the number of writes and what was made, in a forked process."""
        with tempfile.TemporaryDirectory(dir=self.project.parent) as home:
            end, said = Path(home, "end.json"), Path(home, "said")
            pid = os.fork()
            if pid == 0:
                self._child(Path(home, "project"), end, said)
            begun, status = time.monotonic(), None
            while status is None and time.monotonic() - begun < LIMIT:
                ended, code = os.waitpid(pid, os.WNOHANG)
                status = code if ended else None
                time.sleep(0.005)
            if status is None:
                os.kill(pid, 9)
                os.waitpid(pid, 0)
                return "it hangs", None
            told = said.read_text(errors="replace") if said.exists() else ""
            if "Traceback" in told or not end.exists():
                return f"traceback: {told[-2000:]}", None
            wrong, result = json.loads(end.read_text())
            return f"{wrong}: {told[-600:]}" if wrong else "", result

    def _child(self, project: Path, end: Path, said: Path) -> None:
        with contextlib.suppress(BaseException):
            handle = os.open(said, os.O_CREAT | os.O_WRONLY)
            os.dup2(handle, 1)
            os.dup2(handle, 2)
            sys.stdout, sys.stderr = io.TextIOWrapper(io.FileIO(1, "w"), write_through=True), sys.stdout
            sys.stderr = sys.stdout
            try:
                wrong = self._tried(project)
            except BaseException:
                print(traceback.format_exc(), flush=True)
            else:
                end.write_text(json.dumps(wrong))
        os._exit(0)

    def _tried(self, project: Path) -> tuple[str, Any]:
        copy_of(self.project, project)
        os.environ["XDG_CACHE_HOME"] = str(project / "cache")
        place = project / self.stage.makes
        shutil.rmtree(place, ignore_errors=True)
        place.unlink(missing_ok=True)
        storage.WAITS, lease.RENEWAL = (0.0,), 1000.0
        disk = Disk(project, error=getattr(errno, self.error))
        if self.write:
            disk.refused = range(self.write, sys.maxsize if self.lasts else self.write + 1)
        with disk.watched():
            code = self.stage.run(project)
        if code not in (0, 1):
            return f"exit code {code}", None
        if wrong := self._half_visible(place, code):
            return wrong, None
        is_there = self.stage.name == "init" and (place / "recipe.toml").is_file()  # and is not written over
        if code and not is_there and self.stage.run(project):
            return "the same command does not go on once the disk is well", None
        result = made(place)
        if self.expected and result != self.expected:
            return f"something else was made: {sorted(set(result.items()) ^ set(self.expected.items()))}", None
        left = [path.name for path in project.rglob("*") if path.is_file() and _is_of_a_run(path)]
        if left and not self.lasts:
            return f"left behind: {left}", None
        return "", [disk.number, result]

    def _half_visible(self, place: Path, code: int) -> str:
        """Whatever says that it is whole must be."""
        if (place / "dataset.json").is_file():
            open_ends = ("no report", "temporary")
            found = damages(take_inventory(place))
            broken = [damage for damage in found if not any(end in damage.fault for end in open_ends)]
            return f"damaged: {broken}" if broken else ""
        is_whole = place.is_file() or (place / "stage.json").is_file() or code == 0
        if is_whole and self.expected and self.stage.name not in ("train", "weights", "segment", "init"):
            return "" if self.expected.items() <= made(place).items() else "half of it is visible"
        is_stage = self.stage.arguments[1:2] == ("{p}/recipe.toml",) and self.stage.name not in ("train", "segment")
        return "a folder without its record is visible" if is_stage and place.exists() and not is_whole else ""


def cases(project: Path, stage: Stage, *, writes: int = sys.maxsize, errors: int = len(ERRORS)) -> Iterator[Case]:
    """So many writes of a stage, spread over all, each refused by so many errors in turn, for good or once."""
    wrong, result = Case(project, stage).run()
    assert not wrong, (stage.name, wrong)
    last, expected = result
    for number, write in enumerate(range(1, last + 1, max(1, last // writes))):
        for place in range(errors):
            lasts = (number + place) % 2 == 0
            yield Case(project, stage, write, ERRORS[(number // 2 + place) % len(ERRORS)], lasts, expected)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stages", nargs="*", default=[stage.name for stage in STAGES])
    parser.add_argument("--errors", type=int, default=len(ERRORS), help="so many at each write, in turn")
    parser.add_argument("--writes", type=int, default=sys.maxsize, help="at most so many of a stage, spread over all")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found, head = 0, f"| stage | writes | {' | '.join(ERRORS)} |\n|---|---|{'---|' * len(ERRORS)}"
    with tempfile.TemporaryDirectory() as home:
        project = Path(home) / "project"
        project.mkdir()
        make_finished(project)
        completed(project)
        print(head, flush=True)
        for stage in [stage for stage in STAGES if stage.name in asked.stages]:
            tried: Counter[str] = Counter()
            right: Counter[str] = Counter()
            last = 0
            for case in cases(project, stage, writes=asked.writes, errors=asked.errors):
                wrong, _ = case.run()
                tried[case.error] += 1
                right[case.error] += not wrong
                last = case.write
                if wrong:
                    found += 1
                    print(f"{stage.name}, {case.write}, {case.error}, lasts: {case.lasts}: {wrong}", flush=True)
            row = " | ".join(f"{right[error]} of {tried[error]}" for error in ERRORS)
            print(f"| {stage.name} | {last} | {row} |", flush=True)
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())
