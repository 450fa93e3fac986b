import json

import pytest

from pipelines import progress
from pipelines.progress import JOURNAL, Pace


@pytest.fixture
def said(monkeypatch):
    """Lines that are printed without a terminal, on a clock that moves 20 seconds an item."""
    lines: list[str] = []
    ticks = iter(range(0, 100_000, 20))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(ticks))
    monkeypatch.setattr(progress.console, "print", lines.append)
    return lines


def test_without_a_terminal_a_line_comes_every_30_seconds_with_rate_and_time_left(said):
    items = list(progress.follow(range(6), 60, "sample", "images", count=lambda _: 10, note=lambda i: f"item {i}"))
    assert items == list(range(6))
    assert said == [
        "sample: 20/60 images, 0.5 images/s, 1 min 20 s left, item 1",
        "sample: 40/60 images, 0.5 images/s, 40 s left, item 3",
        "sample: 60/60 images, 0.5 images/s, 0 s left, item 5",
    ]


def test_items_pass_one_by_one(said):
    taken = []
    followed = progress.follow((taken.append(i) or i for i in range(3)), 3, "fit", "steps")
    assert next(iter(followed)) == 0
    assert taken == [0]
    assert not said


def test_what_earlier_runs_did_is_counted_and_is_not_in_the_rate(said):
    list(progress.follow(range(4), 10, "train-ddpm", "updates", before=6, note=lambda i: f"epoch {i}"))
    assert said == [
        "train-ddpm: 8/10 updates, 0.1 updates/s, 40 s left, epoch 1",
        "train-ddpm: 10/10 updates, 0.1 updates/s, 0 s left, epoch 3",
    ]


def test_a_folder_says_how_far_its_work_is_until_it_is_done(tmp_path, said):
    for item in progress.follow(range(3), 9, "fit", "batches", before=2, folder=tmp_path):
        pace = Pace.read(tmp_path)
        assert pace == Pace(3 + item, 9, "batches", 2, 20 * (item + 1))
        assert pace is not None
        assert pace.left == (6 - item) * 20
    assert not list(tmp_path.iterdir())


def interrupted():
    yield from range(5)
    raise KeyboardInterrupt


def test_work_that_is_interrupted_leaves_how_far_it_came(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        list(progress.follow(interrupted(), 9, "fit", "batches", folder=tmp_path))
    pace = Pace.read(tmp_path)
    assert pace is not None
    assert (pace.done, pace.total) == (5, 9)


def test_nothing_is_left_where_the_folder_is_gone(tmp_path, caplog):
    folder = tmp_path / "part"
    folder.mkdir()
    followed = progress.follow(range(9), 9, "fit", "batches", folder=folder)
    next(followed)
    (folder / JOURNAL).unlink()
    folder.rmdir()
    del followed
    assert not folder.exists()
    assert not caplog.records


@pytest.mark.parametrize("content", ["", "[]", json.dumps({"done": 1}), "{"])
def test_a_damaged_progress_file_is_none(tmp_path, content):
    (tmp_path / JOURNAL).write_text(content)
    assert Pace.read(tmp_path) is None
