"""The contact sheet, which samples it shows, and the conditions that name them."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from making import begun
from PIL import Image

from label import Scheme
from pipelines import DatasetError, write_shard
from pipelines.dataset.index import candidates, write_index
from pipelines.dataset.inventory import INDEX, take_inventory
from pipelines.dataset.reports import Candidate
from pipelines.dataset.shards import Sample, class_pixels, pack
from pipelines.dataset.where import rows_where
from pipelines.sharing.preview import Choice, chosen_samples, heat, parse_seeds, sheet

SCHEME = Scheme(("ground", "hair, long", "eyes"), ((0, 0, 0), (10, 200, 30), (250, 0, 90)))
NAMES = SCHEME.names


def sample(seed: int, side: int = 8) -> Sample:
    rng = np.random.default_rng(seed)
    image, mask = rng.integers(0, 256, (side, side, 3), np.uint8), rng.integers(0, 3, (side, side), np.uint8)
    return Sample(seed, image, mask, seed / 100, {}, rng.uniform(0, 1, (side, side)).astype(np.float32))


def dataset_in(folder: Path, *, keep_all: bool = False, units: int = 3) -> Path:
    """Ten candidates a unit, the last two of which the filter dropped; seed s has an uncertainty of s / 100."""
    recipe = {"samples": 10 * units, "unit_size": 10, "solver": "ddim", "steps": 5, "run_seed": 0}
    recipe |= {"keep_all": keep_all, "filter": "most_certain", "portion": 0.2}
    begun(folder, SCHEME, recipe)
    for unit in range(units):
        samples = [sample(10 * unit + i) for i in range(10)]
        seen = [Candidate(s.seed, s.seed % 10 < 8, s.uncertainty, class_pixels(s.mask, SCHEME)) for s in samples]
        held = samples if keep_all else samples[:8]
        write_shard(folder, unit, "digest", pack(held, SCHEME), seen, {})
    write_index(take_inventory(folder))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return dataset_in(tmp_path / "dataset")


@pytest.fixture
def table(folder: Path) -> pa.Table:
    return candidates(take_inventory(folder))


def shown(folder: Path, choice: Choice) -> list[int]:
    return [sample.seed for sample in chosen_samples(folder, choice)]


@pytest.mark.parametrize(
    "expression",
    [
        "uncertainty < 0.2",
        "kept and uncertainty >= 0.05",
        "not kept or seed in [1, 2, 29]",
        "0.05 < uncertainty <= 0.2 and seed % 2 == 0",
        "seed not in (3, 4)",
        "(seed + 1) * 2 - 4 / 2 > -seed",
        "shard == 'shard-000001.tar' or seed == 3",
        "uncertainty < 0.1 or uncertainty > 0.2 and kept",
    ],
)
def test_a_condition_means_what_python_means(expression: str, table: pa.Table) -> None:
    rows = table.drop_columns("class_pixels").to_pylist()
    assert rows_where(expression, table).tolist() == [bool(eval(expression, {}, row)) for row in rows]  # the oracle


def test_pixels_and_shares_of_a_class_are_known_by_id_and_by_name(table: pa.Table) -> None:
    pixels = np.array(table["class_pixels"].to_pylist())
    expected = (pixels[:, 1] > 20).tolist()
    assert rows_where("class_pixels[1] > 20", table).tolist() == expected
    assert rows_where('class_pixels["hair, long"] > 20', table, NAMES).tolist() == expected
    assert rows_where('share["eyes"] < 1 / 3', table, NAMES).tolist() == (pixels[:, 2] < 64 / 3).tolist()


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("", "no expression that can be read"),
        ("uncertainty <", "no expression that can be read"),
        ("uncertainty", "`uncertainty` is neither true nor false"),
        ("True", "says nothing of any column"),
        ("doubt < 1", "`doubt` is not known"),
        ("__import__('os').system('true') == 0", "is not known"),
        ("(lambda: True)()", "is not known"),
        ("seed.real == 1", "`seed.real` is not known"),
        ("2 ** 99999999 > seed", "is not known"),
        ("shard < 3", "`3` is compared with something of another kind"),
        ("shard + 1 == 2", "`shard` is no number"),
        ("seed in shard", "`shard` is no list"),
        ("seed is 3", "`is` compares nothing"),
        ('class_pixels["nose"] > 1', "'nose' is no class; classes are 0 to 2, ground"),
        ("share[3] > 0.1", "3 is no class"),
        ("not " * 300 + "kept", "1204 characters, 1000 are read"),
        ("(" * 400 + "kept" + ")" * 400, "cannot be used"),
    ],
)
def test_what_is_no_condition_is_refused_in_one_sentence(expression: str, why: str, table: pa.Table) -> None:
    with pytest.raises(DatasetError, match=r'share\["name"\]') as refused:
        rows_where(expression, table, NAMES)
    assert why in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_division_by_nothing_is_true_of_no_row(table: pa.Table) -> None:
    assert not rows_where("seed / (seed - seed) == 1", table).any()


def test_without_a_wish_the_shown_are_spread_evenly_over_those_that_were_kept(folder: Path) -> None:
    assert shown(folder, Choice(4)) == [0, 10, 17, 27]
    assert len(shown(folder, Choice(24))) == len(shown(folder, Choice(100))) == 24


def test_a_condition_and_seeds_name_what_is_shown(folder: Path) -> None:
    assert shown(folder, Choice(where="uncertainty < 0.11")) == [*range(8), 10]
    assert shown(folder, Choice(seeds=(21, 3, 7))) == [3, 7, 21]


def test_only_shards_of_the_shown_are_read(folder: Path, traffic: Counter[str]) -> None:
    shown(folder, Choice(seeds=(3, 7)))
    assert [name for name in traffic if name.endswith(".tar")] == ["shard-000000.tar"]


def test_dropped_samples_are_shown_where_shards_hold_them(tmp_path: Path) -> None:
    folder = dataset_in(tmp_path / "all", keep_all=True)
    assert shown(folder, Choice(where="not kept")) == [8, 9, 18, 19, 28, 29]
    assert shown(folder, Choice(seeds=(8,))) == [8]
    assert 8 not in shown(folder, Choice(100))


def test_a_dataset_without_its_index_is_shown_by_its_reports(folder: Path) -> None:
    (folder / INDEX).unlink()
    assert shown(folder, Choice(where="uncertainty < 0.02")) == [0, 1]


def test_a_cell_holds_the_image_and_the_mask_in_its_colours_pixel_for_pixel(folder: Path) -> None:
    (only,) = chosen_samples(folder, Choice(seeds=(3,)))
    picture = np.asarray(sheet([only], SCHEME))
    scale = 128 // 8
    image, mask, doubt = (picture[4 : 4 + 128 : scale, 4 + i * 132 :][:, :128:scale] for i in range(3))
    assert np.array_equal(image, only.image)
    assert np.array_equal(mask, np.array(SCHEME.colors, np.uint8)[only.mask])
    assert only.pixel_uncertainty is not None
    assert np.array_equal(doubt, np.asarray(heat(only.pixel_uncertainty, 3)))


def test_a_large_mask_is_made_smaller_without_colours_between_two_classes() -> None:
    picture = np.asarray(sheet([sample(1, 300)], SCHEME, captions=False))[4:132, 136:264]
    assert {tuple(color) for color in picture.reshape(-1, 3).tolist()} == set(SCHEME.colors)


def test_the_command_writes_a_sheet_and_says_what_it_shows(folder: Path, command: Callable[..., str]) -> None:
    out = folder.parent / "new" / "sheet.png"
    said = command("preview", folder, "--out", out, "--where", "uncertainty < 0.02")
    assert said == f"preview: 2 samples of {folder} in {out}\n"
    with Image.open(out) as picture:
        assert picture.format == "PNG"


def test_seeds_are_read_as_they_are_written() -> None:
    assert parse_seeds("3, 17,40-43,3") == (3, 17, 40, 41, 42, 43)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--seeds", "3,x"], "--seeds 3,x cannot be read at 'x'; write seeds as 3,17,40-43"),
        (["--seeds", "9-3"], "--seeds 9-3 cannot be read at '9-3'; write seeds as 3,17,40-43"),
        (["--seeds", "0-99999999999"], "--seeds 0-99999999999 names too many samples; a sheet holds 400"),
        (["--seeds", "99"], "the dataset has no seed 99; its 30 candidates are 0 to 29"),
        (["--seeds", "1,8"], "the filter dropped seed 8, and no shard holds it; name one that was kept"),
        (
            ["--where", "uncertainty > 9"],
            "the dataset holds no kept sample for which uncertainty > 9; there is nothing to show",
        ),
    ],
)
def test_what_cannot_be_shown_is_said_in_one_sentence(
    options: list[str], sentence: str, folder: Path, command: Callable[..., str]
) -> None:
    assert command("preview", folder, *options, code=2) == f"datasetddpm: {sentence}\n"
