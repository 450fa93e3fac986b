"""A disk that refuses a few writes of every stage; `python tests/disk_faults.py` refuses each of them."""

import os
from pathlib import Path

import pytest
from conftest import copy_of
from disk_faults import STAGES, Stage, cases, completed


@pytest.fixture(scope="module")
def project(finished_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", [])
        patch.setitem(os.environ, "XDG_CACHE_HOME", "")
        return completed(copy_of(finished_once, tmp_path_factory.mktemp("disk") / "project"))


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_a_stage_whose_disk_refuses_a_write_ends_in_a_sentence_and_goes_on_later(project: Path, stage: Stage) -> None:
    for case in cases(project, stage, writes=3, errors=1):
        wrong, _ = case.run()
        assert not wrong, (case.write, case.error, case.lasts, wrong)
