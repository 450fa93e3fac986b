"""A dataset grows and, where its shards hold all candidates, is filtered anew: real units, made by the real stage."""

import json
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import make_project, wait_for
from forked import Forked
from making import shards

from cluster import Cluster
from pipelines import DatasetError, Recipe, read_shards
from pipelines.dataset import growing
from pipelines.dataset.export_npz import export
from pipelines.dataset.growing import settle
from pipelines.dataset.index import totals
from pipelines.dataset.inventory import take_inventory
from pipelines.dataset.manifest import open_dataset
from pipelines.dataset.reports import Totals, reports
from pipelines.files import storage
from pipelines.record import Outcome
from pipelines.stages import generate as generate_stage
from pipelines.stages.fit import fit
from pipelines.stages.generate import generate
from pipelines.training.data import shard_data
from pipelines.units.builder import planned

pytestmark = pytest.mark.usefixtures("ray_cluster")

ALL = "generate.keep_all=true"


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory, ray_cluster: Cluster) -> Path:
    project = make_project(tmp_path_factory.mktemp("growing"))
    fit(Recipe.load(project / "recipe.toml"))
    return project


@pytest.fixture
def recipe_of(fitted: Path, tmp_path: Path) -> Callable[..., Recipe]:
    """The project's recipe with these settings, and a dataset folder of the test's own."""

    def load(*settings: str, folder: str = "dataset") -> Recipe:
        return Recipe.load(fitted / "recipe.toml", (f'paths.dataset="{tmp_path / folder}"', *settings))

    return load


def made(recipe: Recipe) -> Outcome:
    outcome = generate(recipe)
    assert outcome.failures == []
    return outcome


def times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("shard-*")}


@pytest.fixture(scope="module")
def at_once(fitted: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """sha256 of the shards of 34 samples that were asked for from the beginning."""
    folder = tmp_path_factory.mktemp("at once")
    made(Recipe.load(fitted / "recipe.toml", (f'paths.dataset="{folder}"', "generate.samples=34")))
    return shards(folder)


def test_a_dataset_that_grew_is_the_one_that_was_made_at_once(recipe_of, tmp_path, at_once):
    folder = tmp_path / "dataset"
    made(recipe_of())
    before, digest = times(folder), open_dataset(folder).digest
    assert made(recipe_of("generate.samples=34")).fresh
    assert shards(folder) == at_once
    after = times(folder)
    assert {name for name in before if before[name] != after[name]} == {"shard-000003.tar", "shard-000003.json"}
    assert (open_dataset(folder).samples, open_dataset(folder).digest) == (34, digest)
    assert {sample.provenance["dataset"] for sample in read_shards(folder)} == {digest}
    assert totals(take_inventory(folder)).candidates == 34
    assert pq.read_table(folder / "index.parquet")["seed"].to_pylist() == list(range(34))
    assert not made(recipe_of("generate.samples=34")).fresh


def test_whole_units_stay_when_a_dataset_grows(recipe_of, tmp_path):
    folder = tmp_path / "dataset"
    made(recipe_of("generate.samples=12"))
    before = times(folder)
    made(recipe_of("generate.samples=18"))
    assert before.items() <= times(folder).items()


class Killed(BaseException):
    """As if the process had ended here."""


@pytest.mark.parametrize(
    ("call", "name"),
    [
        ("remove", "index.parquet"),
        ("remove", "shard-000003.json"),
        ("remove", "shard-000003.tar"),
        ("write_whole", "dataset.json"),
        ("write_whole", "index.parquet"),
    ],
)
def test_killed_while_it_grows_it_ends_as_if_it_had_not_been(
    recipe_of, tmp_path, at_once, monkeypatch: pytest.MonkeyPatch, call: str, name: str
):
    made(recipe_of())
    kill_at(monkeypatch, call, name)
    with pytest.raises(Killed):
        generate(recipe_of("generate.samples=34"))
    monkeypatch.undo()
    made(recipe_of("generate.samples=34"))
    assert shards(tmp_path / "dataset") == at_once


def kill_at(monkeypatch: pytest.MonkeyPatch, call: str, name: str) -> None:
    real = getattr(storage, call)

    def killed(path: Path, *content: bytes) -> None:
        if path.name == name:
            raise Killed
        real(path, *content)

    monkeypatch.setattr(storage, call, killed)


def test_a_command_that_is_killed_while_a_dataset_grows_goes_on_to_the_same(fitted, recipe_of, tmp_path, at_once):
    folder = tmp_path / "dataset"
    made(recipe_of())
    settings = (f'paths.dataset="{folder}"', "generate.samples=34", "cluster.actors=1")
    options = [part for setting in settings for part in ("--set", setting)]
    process = Forked("generate", fitted / "recipe.toml", *options)
    wait_for(lambda: (folder / "shard-000003.json").exists() and open_dataset(folder).samples == 34)
    assert process.kill() == -signal.SIGKILL
    made(recipe_of("generate.samples=34"))
    assert shards(folder) == at_once


def test_a_growth_that_was_killed_can_be_called_off(recipe_of, tmp_path, monkeypatch: pytest.MonkeyPatch):
    made(recipe_of())
    before = shards(tmp_path / "dataset")
    kill_at(monkeypatch, "write_whole", "dataset.json")
    with pytest.raises(Killed):
        generate(recipe_of("generate.samples=34"))
    monkeypatch.undo()
    made(recipe_of())
    assert shards(tmp_path / "dataset") == before


def test_a_dataset_does_not_shrink(fitted, recipe_of, tmp_path, command):
    made(recipe_of())
    place = f'paths.dataset="{tmp_path / "dataset"}"'
    said = command(
        "generate", fitted / "recipe.toml", "--set", place, "--set", "generate.samples=18", code=2
    )  # fmt: skip
    assert (
        f"the dataset in {tmp_path / 'dataset'} has 22 samples, generate.samples is 18; datasets only grow: give at "
        "least 22, or name another folder in paths.dataset"
    ) in " ".join(said.split())


@pytest.mark.parametrize(
    ("setting", "difference"),
    [
        ("generate.portion=0.5", "generate.portion was 0.2, is 0.5"),
        ("generate.steps=4", "generate.steps was 3, is 4"),
        ('denoiser.dtype="bfloat16"', 'denoiser.dtype was "float32", is "bfloat16"'),
        ("generate.keep_all=true", "generate.keep_all was false, is true"),
    ],
)
def test_a_dataset_of_other_settings_is_refused_by_the_name_of_the_first(recipe_of, setting: str, difference: str):
    planned(recipe_of())
    with pytest.raises(DatasetError, match=rf"\({difference}\)"):
        planned(recipe_of(setting))


def test_a_filter_is_changed_to_and_fro_without_a_unit_being_made(recipe_of, tmp_path, monkeypatch: pytest.MonkeyPatch):
    folder, record = tmp_path / "dataset", {}
    made(recipe_of("generate.portion=0.2", folder="plain"))
    made(recipe_of(ALL, "generate.portion=0.2"))
    before = shards(folder)
    monkeypatch.setattr(generate_stage, "connect", lambda address: pytest.fail("Ray was started"))
    for portion, dropped in ((0.2, 3), (0.5, 11), (0.2, 3)):
        outcome = made(recipe_of(ALL, f"generate.portion={portion}"))
        kept = [c.seed for report in reports(folder) for c in report.candidates if c.kept]
        assert len(kept) == 22 - dropped
        assert outcome.clause == f"{22 - dropped} labelled images in 4 shards, {dropped} dropped by the filter"
        assert totals(take_inventory(folder)) == Totals(4, 22 - dropped, 22)
        rows = pq.read_table(folder / "index.parquet").to_pylist()
        assert [row["seed"] for row in rows if row["kept"]] == kept
        assert [sample.seed for sample in read_shards(folder)] == kept
        data = shard_data(folder)
        assert sorted(data.seeds) == kept
        assert {int(r["__key__"]) for report in data.reports for r in data._read(report)} == set(kept)
        assert record.setdefault(portion, data.record) == data.record
        export(folder, tmp_path / "out.npz", "npz")
        with np.load(tmp_path / "out.npz") as arrays:
            assert len(arrays["arr_0"]) == len(kept)
        assert open_dataset(folder).recipe["portion"] == portion
    assert record[0.2] != record[0.5]
    assert shards(folder) == before
    assert [s.seed for s in read_shards(tmp_path / "plain")] == kept


def test_a_change_of_the_filter_that_was_killed_is_told_and_ended(recipe_of, tmp_path, monkeypatch: pytest.MonkeyPatch):
    folder, old, new = tmp_path / "dataset", recipe_of(ALL), recipe_of(ALL, "generate.portion=0.5")
    made(old)
    monkeypatch.setattr(generate_stage, "connect", lambda address: pytest.fail("Ray was started"))
    for recipe, kept in ((new, 11), (old, 19)):  # by the new recipe, and called off by the old one
        made(old)
        with monkeypatch.context() as patch:
            kill_at(patch, "write_whole", "shard-000002.json")
            with pytest.raises(Killed):
                generate(new)
        for read in (lambda: list(read_shards(folder)), lambda: shard_data(folder)):
            with pytest.raises(DatasetError, match=r"shard 0 is filtered otherwise .* run `datasetddpm generate`"):
                read()
        made(recipe)
        assert len(list(read_shards(folder))) == kept


def test_a_dataset_of_all_candidates_grows_and_is_filtered_anew_at_once(recipe_of, tmp_path):
    made(recipe_of(ALL))
    made(recipe_of(ALL, "generate.samples=34", "generate.portion=0.5"))
    made(recipe_of(ALL, "generate.samples=34", "generate.portion=0.5", folder="at once"))
    ours, expected = tmp_path / "dataset", tmp_path / "at once"
    assert shards(ours) == shards(expected)
    assert [s.seed for s in read_shards(ours)] == [s.seed for s in read_shards(expected)]
    assert json.loads((ours / "dataset.json").read_text()) == json.loads((expected / "dataset.json").read_text())


def test_what_is_the_same_is_left_alone(recipe_of, tmp_path):
    plan = planned(recipe_of())
    assert not settle(take_inventory(plan.folder), plan.dataset)
    assert growing.is_settled(plan.folder, plan.dataset)
