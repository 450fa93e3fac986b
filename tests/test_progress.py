import pytest

from pipelines import progress


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
        "sample: 20/60 images, 0.5 images/s, 1 min 20 s left item 1",
        "sample: 40/60 images, 0.5 images/s, 40 s left item 3",
        "sample: 60/60 images, 0.5 images/s, 0 s left item 5",
    ]


def test_items_pass_one_by_one(said):
    taken = []
    followed = progress.follow((taken.append(i) or i for i in range(3)), 3, "fit", "steps")
    assert next(iter(followed)) == 0
    assert taken == [0]
    assert not said
