"""Places that take no files: each command says so in one sentence, before any work."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from forked import Forked

from pipelines.errors import StorageError
from pipelines.files.writable import must_be_writable

Command = Callable[..., str]
WITHOUT_PRIVILEGE = """
import ctypes, sys
from pipelines.cli import main

libc, header, sets = ctypes.CDLL(None), (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
libc.capget(header, sets)
sets[0] &= ~(1 << 1)  # CAP_DAC_OVERRIDE, by which root writes where no one may
assert libc.capset(header, sets) == 0
sys.argv[0] = "datasetddpm"
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


def test_every_stage_says_in_one_sentence_that_it_may_not_write(finished: Path, command: Command) -> None:
    recipe = finished / "recipe.toml"
    command("evaluate", recipe)  # for the report to stand on
    (finished / "out" / "dataset" / "index.parquet").unlink(missing_ok=True)
    elsewhere = f'paths.denoiser="{finished / "trained"}"'
    settings = {
        "train-ddpm": elsewhere,
        "sample": "generate.run_seed=1",
        "fit": "interpreter.members=2",
        "generate": "train.steps=4",
        "train": "train.learning_rate=0.5",
        "evaluate": f'paths.held_out="{shutil.copytree(finished / "annotated", finished / "others")}"',
        "report": 'name="Others"',
    }
    (finished / "others" / "0.png").unlink()
    (finished / "others" / "0.mask.png").unlink()
    for folder in (finished, *(path for path in finished.rglob("*") if path.is_dir())):
        folder.chmod(0o555)
    for stage, setting in settings.items():
        process = Forked(stage, recipe, "--set", setting, code=WITHOUT_PRIVILEGE)
        assert process.wait() == 1, (stage, process.said)
        (said,) = process.said.splitlines()
        assert said.startswith(f"datasetddpm: {finished}"), (stage, said)
        assert "Permission denied; name a" in said, (stage, said)
