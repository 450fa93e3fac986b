"""Places that take no files: each command says so in one sentence, before any work."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import copy_of
from forked import Forked

from pipelines.errors import StorageError
from pipelines.writable import must_be_writable

Command = Callable[..., str]
AS_NOBODY = """
import os, sys
from pipelines.cli import main

sys.argv[0] = "datasetddpm"
os.setgid(65534)
os.setuid(65534)
main()
"""


def test_a_folder_that_takes_files_is_made_and_left_empty(tmp_path: Path) -> None:
    must_be_writable(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


@pytest.mark.parametrize("place", ["/proc/none", "{file}/below"])
def test_a_folder_that_takes_none_is_named(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    folder = Path(place.format(file=tmp_path / "file"))
    with pytest.raises(StorageError, match=f"^{folder} takes no files: .*; name another folder, or change its"):
        must_be_writable(folder)


@pytest.fixture
def open_to_all(finished_once: Path) -> Iterator[Path]:
    """The finished project where every user can read it, and root alone can write."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield copy_of(finished_once, Path(folder) / "finished")


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
def test_every_stage_says_in_one_sentence_that_it_may_not_write(open_to_all: Path, command: Command) -> None:
    recipe = open_to_all / "recipe.toml"
    command("evaluate", recipe)  # for the report to stand on
    (open_to_all / "out" / "dataset" / "index.parquet").unlink(missing_ok=True)
    elsewhere = f'paths.denoiser="{open_to_all / "trained"}"'
    settings = {
        "train-ddpm": elsewhere,
        "sample": "generate.run_seed=1",
        "fit": "interpreter.members=2",
        "generate": "train.steps=4",
        "train": "train.learning_rate=0.5",
        "evaluate": f'paths.held_out="{shutil.copytree(open_to_all / "annotated", open_to_all / "others")}"',
        "report": 'name="Others"',
    }
    (open_to_all / "others" / "0.png").unlink()
    (open_to_all / "others" / "0.mask.png").unlink()
    for stage, setting in settings.items():
        process = Forked(stage, recipe, "--set", setting, code=AS_NOBODY)
        assert process.wait() == 1, (stage, process.said)
        (said,) = process.said.splitlines()
        assert said.startswith(f"datasetddpm: {open_to_all}"), (stage, said)
        assert "Permission denied; name a" in said, (stage, said)
