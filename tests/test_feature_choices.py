"""Which choices of maps are compared, and in which order."""

import pytest

from pipelines.features.choices import Choice, Measured, compared, most

WHOLE = Choice.of({"steps": (50, 150), "blocks": (3, 4, 5)})
OWN = Choice.of({"steps": (50, 150), "blocks": (3,)})


def scored(choice: Choice, score: float | None) -> Measured:
    return Measured(choice, len(choice.places), score, (score,))


def test_maps_are_those_of_every_step_and_block_by_step_first() -> None:
    assert OWN.places == [(50, 3), (150, 3)]
    assert OWN.within(WHOLE) == [0, 3]
    assert OWN.name == "steps=50,150-blocks=3"
    assert OWN.as_json == {"steps": [50, 150], "blocks": [3]}


def test_every_map_is_measured_alone_then_the_recipes_own_then_what_joins_the_best() -> None:
    worth: dict[tuple[int, ...], float] = {(50, 4): 3.0, (150, 4): 2.0}

    def measure(choice: Choice) -> Measured:
        return scored(choice, sum(worth.get(place, 0.0) for place in choice.places) - 0.1 * len(choice.places))

    rows = list(compared(WHOLE, OWN, 4, measure))
    names = [row.choice.name for row in rows]
    assert names[:6] == [single.name for single in WHOLE.singles()]
    assert names[6:] == [
        OWN.name,
        "steps=50,150-blocks=4",  # joined to step 50, block 4; it is better, and is gone on with
        "steps=50-blocks=3,4",
        "steps=50-blocks=4,5",
        "steps=50,150-blocks=3,4",
        "steps=50,150-blocks=4,5",  # no better: the end
    ]
    assert max(rows, key=lambda row: row.rank).choice.name == "steps=50,150-blocks=4"
    assert len(rows) <= most(WHOLE, 4)


@pytest.mark.parametrize("joins", [0, 1, 2, 3, 9])
def test_there_are_as_many_measurements_as_are_announced_where_every_join_is_better(joins: int) -> None:
    rows = list(compared(WHOLE, OWN, joins, lambda choice: scored(choice, float(len(choice.places)))))
    assert len(rows) == most(WHOLE, joins)


def test_of_two_that_reach_the_same_the_one_of_fewer_channels_is_better() -> None:
    narrow, wide = scored(Choice.of({"steps": (50,), "blocks": (3,)}), 0.5), scored(OWN, 0.5)
    assert narrow.rank > wide.rank
    assert scored(OWN, None).rank < scored(OWN, 0.0).rank


def test_layers_of_a_backbone_have_one_key() -> None:
    layers = Choice.of({"layers": (0, 1, 2)})
    rows = list(compared(layers, layers, 1, lambda choice: scored(choice, float(len(choice.places)))))
    names = [row.choice.name for row in rows]
    assert names == ["layers=0", "layers=1", "layers=2", "layers=0,1,2", "layers=0,1", "layers=0,2"]
