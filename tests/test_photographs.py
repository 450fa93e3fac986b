"""A dataset of labelled photographs: as any other, but for where its images come from."""

import hashlib
import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import make_project, wait_for
from forked import Forked
from making import made, shards
from PIL import Image
from upath import UPath

from cluster import Cluster
from generate import ImageError, read_image
from generate.frames import padded
from pipelines import DatasetError, Recipe, RecipeError, read_shards
from pipelines.dataset import photographs as lists
from pipelines.dataset.damage import damages, remove_damages
from pipelines.dataset.index import write_index
from pipelines.dataset.inventory import take_inventory
from pipelines.dataset.manifest import open_dataset
from pipelines.dataset.photographs import remember, remembered
from pipelines.dataset.reports import reports
from pipelines.dataset.shards import Sample
from pipelines.driver.submission import packed
from pipelines.folders import dataset_folder, photographed_folder
from pipelines.stages.check import check
from pipelines.stages.fit import fit
from pipelines.stages.generate import generate
from pipelines.stages.order import lack
from pipelines.stages.overview import standings, standings_of
from pipelines.stages.report import write_page
from pipelines.training.data import shard_data
from pipelines.units.batch_size import largest_batch
from pipelines.units.builder import build, planned
from pipelines.units.models import Models

RNG = np.random.default_rng(0)
LABELLED = ('generate.images="photographs"',)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = make_project(tmp_path_factory.mktemp("photographs"))
    fit(Recipe.load(project / "recipe.toml"))
    return project


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """14 photographs, which are three units: 6, 6 and 2."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(14):
        write(folder / f"{i:02d}.png")
    return folder


@pytest.fixture
def recipe_of(fitted: Path, photos: Path, tmp_path: Path) -> Callable[..., Recipe]:
    """The project's recipe, which labels photographs, with these settings."""

    def load(*settings: str, folder: str = "made") -> Recipe:
        paths = {"photographs": photos, "photographed": tmp_path / folder, "dataset": tmp_path / "painted"}
        places = [f'paths.{name}="{place}"' for name, place in paths.items()]
        return Recipe.load(fitted / "recipe.toml", (*places, *LABELLED, *settings))

    return load


def write(path: Path, height: int = 16, width: int = 16) -> None:
    Image.fromarray(RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)


def samples(folder: Path) -> dict[int, Sample]:
    return {sample.seed: sample for sample in read_shards(folder)}


def test_a_dataset_holds_the_photographs_and_says_which_they_are(recipe_of, photos: Path) -> None:
    folder = made(recipe_of())
    stored = samples(folder)
    assert [len(report.candidates) for report in reports(folder)] == [6, 6, 2]
    assert len(stored) == 12  # a fifth of each unit is dropped
    for seed, sample in stored.items():
        path = photos / f"{seed:02d}.png"
        assert np.array_equal(sample.image, read_image(path))
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        said = {"photograph": path.name, "sha256": sha256, "size": [16, 16], "fit": "stretch"}
        assert sample.provenance == said | {"dataset": open_dataset(folder).digest}
    assert list(reports(folder)[0].seconds) == ["read", "label", "encode"]


def test_what_is_stored_is_what_was_labelled(recipe_of, photos: Path) -> None:
    write(photos / "00.png", 10, 30)
    recipe = recipe_of('generate.fit="pad"', "generate.portion=0")
    stored = samples(made(recipe))
    assert np.array_equal(stored[0].image, padded(read_image(photos / "00.png"), (16, 16))[0])
    labels = Models.of(recipe, "cpu").interpreter.predict(np.stack([sample.image for sample in stored.values()]))
    assert np.array_equal(labels.masks, np.stack([sample.mask for sample in stored.values()]))


def test_what_is_painted_does_not_depend_on_what_is_said_of_photographs(recipe_of) -> None:
    painted = planned(recipe_of('generate.images="denoiser"')).dataset
    for setting in ('generate.fit="pad"', "generate.photographs=3", 'generate.images="both"'):
        assert planned(recipe_of('generate.images="denoiser"', setting)).dataset == painted
    assert not {"images", "photographs", "fit", "source"} & painted.recipe.keys()


def test_what_changes_a_labelled_photograph_changes_the_digest_and_nothing_else_does(recipe_of) -> None:
    digest = planned(recipe_of()).dataset.digest
    for setting in ("generate.steps=4", "generate.run_seed=1", 'generate.solver="ddim"', "generate.samples=9"):
        assert planned(recipe_of(setting)).dataset.digest == digest
    for setting in ('generate.fit="pad"', "generate.portion=0.5", "generate.batch_size=2"):
        with pytest.raises(DatasetError, match=setting.partition("=")[0]):
            planned(recipe_of(setting))
    assert planned(recipe_of("generate.photographs=5", folder="fewer")).dataset.digest == digest


def test_a_dataset_of_one_source_is_refused_to_the_other(recipe_of, tmp_path: Path) -> None:
    planned(recipe_of())
    with pytest.raises(DatasetError, match="one is of photographs, the other of painted images"):
        planned(recipe_of('generate.images="denoiser"', f'paths.dataset="{tmp_path / "made"}"'))


def test_one_command_makes_what_is_painted_and_what_is_photographed(recipe_of, ray_cluster: Cluster) -> None:
    recipe = recipe_of('generate.images="both"')
    outcome = generate(recipe)
    assert (outcome.failures, outcome.where) == ([], photographed_folder(recipe))
    assert outcome.clause == (
        f"19 labelled images in 4 shards, 3 dropped by the filter in {dataset_folder(recipe)}; "
        "12 labelled photographs in 3 shards, 2 dropped by the filter"
    )
    painted, photographed = Path(str(dataset_folder(recipe))), Path(str(photographed_folder(recipe)))
    assert shards(painted) == shards(made(recipe_of('generate.images="denoiser"', 'paths.dataset="alone"')))
    assert shards(photographed) == shards(made(recipe_of(folder="alone")))
    assert pq.read_table(photographed / "index.parquet")["seed"].to_pylist() == list(range(14))
    assert not generate(recipe).fresh


def test_killed_and_run_again_it_ends_byte_for_byte_as_if_it_had_not_been(
    recipe_of, fitted: Path, photos: Path, tmp_path: Path, ray_cluster: Cluster
) -> None:
    at_once, folder = shards(made(recipe_of(folder="at once"))), tmp_path / "made"
    places = (f'paths.photographs="{photos}"', f'paths.photographed="{folder}"', *LABELLED, "cluster.actors=1")
    options = [part for setting in places for part in ("--set", setting)]
    process = Forked("generate", fitted / "recipe.toml", *options)
    wait_for(lambda: (folder / "shard-000000.json").exists())
    assert process.kill() == -signal.SIGKILL
    assert generate(recipe_of()).failures == []
    assert shards(folder) == at_once
    assert damages(take_inventory(folder)) == []


def test_one_that_changes_and_one_that_vanishes_during_a_run_are_named_and_the_other_units_are_made(
    recipe_of, photos: Path, tmp_path: Path, ray_cluster: Cluster
) -> None:
    recipe, kept = recipe_of(), (photos / "07.png").read_bytes()
    first = build(planned(recipe), "cpu")
    first(0)
    write(photos / "07.png")
    (photos / "13.png").rename(tmp_path / "13.png")
    outcome = generate(recipe)
    changed, vanished = sorted(outcome.failures)
    assert "unit 1 failed" in changed
    assert f"{photos / '07.png'} has changed since it was first listed" in changed
    assert "unit 2 failed" in vanished
    assert f"{photos / '13.png'} has vanished since it was first listed" in vanished
    assert take_inventory(tmp_path / "made").committed == {0}
    (photos / "07.png").write_bytes(kept)
    (tmp_path / "13.png").rename(photos / "13.png")
    assert generate(recipe).failures == []
    assert shards(tmp_path / "made") == shards(made(recipe_of(folder="at once")))


def test_a_failed_unit_ends_in_exit_code_1_and_an_unreadable_photograph_in_one_sentence_before_any_work(
    fitted: Path, photos: Path, tmp_path: Path, command: Callable[..., str]
) -> None:
    places = (f'paths.photographs="{photos}"', f'paths.photographed="{tmp_path / "made"}"', *LABELLED)
    options = [part for setting in places for part in ("--set", setting)]
    (photos / "03.png").write_bytes(b"no image")
    (photos / "05.png").write_bytes((photos / "05.png").read_bytes()[:300])
    said = " ".join(command("generate", fitted / "recipe.toml", *options, code=2).split())
    assert f"{photos / '03.png'} is no image that can be read (its format is not known)" in said
    assert f"{photos / '05.png'} is no image that can be read" in said
    assert said.endswith("repair or remove what is broken")
    assert not list((tmp_path / "made").glob("*.json"))


def test_a_folder_that_grows_lets_the_dataset_grow_and_seeds_keep_their_photographs(
    recipe_of, photos: Path, ray_cluster: Cluster
) -> None:
    recipe = recipe_of("generate.portion=0")
    folder = made(recipe)
    before, digest = samples(folder), open_dataset(folder).digest
    untouched = {name: (folder / name).stat().st_mtime_ns for name in ("shard-000000.tar", "shard-000001.tar")}
    for name in ("00b.png", "zz.png"):
        write(photos / name)
    assert generate(recipe).failures == []
    after = samples(folder)
    assert [after[seed].provenance["photograph"] for seed in (14, 15)] == ["00b.png", "zz.png"]
    assert all(np.array_equal(after[seed].mask, sample.mask) for seed, sample in before.items())
    assert {name: (folder / name).stat().st_mtime_ns for name in untouched} == untouched
    assert (open_dataset(folder).samples, open_dataset(folder).digest) == (16, digest)
    assert not generate(recipe).fresh


def test_a_dataset_does_not_grow_where_its_last_unit_could_not_be_made_again(recipe_of, photos: Path) -> None:
    folder = made(recipe_of())
    before = shards(folder)
    (photos / "12.png").unlink()
    write(photos / "zz.png")
    with pytest.raises(ImageError, match=r"12\.png has vanished since it was first listed; put it back"):
        planned(recipe_of())
    assert shards(folder) == before


def test_fewer_photographs_are_the_first_of_them_and_their_number_only_grows(recipe_of, photos: Path) -> None:
    folder = made(recipe_of("generate.photographs=5"))
    assert [each.path for each in remembered(folder)] == [f"{i:02d}.png" for i in range(5)]
    assert made(recipe_of("generate.photographs=8")) == folder
    assert len(remembered(folder)) == open_dataset(folder).samples + 3 == 8  # the stage itself lets the dataset grow
    with pytest.raises(DatasetError, match=r"has 5 samples, generate\.photographs is 4; datasets only grow"):
        planned(recipe_of("generate.photographs=4"))


def test_photographs_of_another_folder_are_not_mixed_in(recipe_of, tmp_path: Path) -> None:
    planned(recipe_of())
    other = tmp_path / "other"
    other.mkdir()
    write(other / "a.png")
    with pytest.raises(DatasetError, match=r"of other photographs: none of its 14, such as 00\.png, is in .*other"):
        planned(recipe_of(f'paths.photographs="{other}"'))


def test_of_two_that_list_photographs_at_once_the_first_is_believed(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = lists._looked_at

    def meanwhile(folder: Path, paths: list[str]) -> list:
        monkeypatch.setattr(lists, "_looked_at", look)
        write(photos / "00a.png")
        remember(tmp_path / "made", photos, None)
        return look(folder, paths)

    monkeypatch.setattr(lists, "_looked_at", meanwhile)
    found = remember(tmp_path / "made", photos, None)
    assert [each.path for each in found][:3] == ["00.png", "00a.png", "01.png"]
    assert found == remembered(tmp_path / "made")


def test_a_damaged_list_is_named(recipe_of, tmp_path: Path) -> None:
    planned(recipe_of())
    (tmp_path / "made" / "photographs-000000.json").write_text("{}")
    with pytest.raises(DatasetError, match=r"photographs-000000\.json does not list photographs"):
        planned(recipe_of())


LISTS = {
    "an empty object": (lambda text: "{}", "photographs-000000.json does not list photographs (photographs: Field"),
    "a sha256": (
        lambda text: text.replace('"sha256": "', '"sha256": "00', 1),
        "does not list photographs (photographs.0.sha256",
    ),
    "a path elsewhere": (lambda text: text.replace("00.png", "../00.png"), "'../00.png' is no file below a folder"),
    "no size": (lambda text: text.replace("16", "0", 1), "does not list photographs (photographs.0.size"),
    "one less": (
        lambda text: text[: text.rindex("{")].rstrip(" ,\n") + "]}",
        "photographs-*.json list 13 of the 14 photographs: one is lost",
    ),
    "two exchanged": (
        lambda text: text.replace("00.png", "x").replace("01.png", "00.png").replace("x", "01.png"),
        "shard-000000.tar holds: seed 0 is 00.png as it was, and 01.png",
    ),
}


@pytest.mark.parametrize("name", LISTS)
def test_verify_reads_the_lists_of_photographs_and_compares_them_with_the_samples(
    recipe_of, command: Callable[..., str], name: str
) -> None:
    folder = made(recipe_of("generate.portion=0"))
    assert "all as written" in command("verify", folder)
    change, sentence = LISTS[name]
    path = folder / "photographs-000000.json"
    path.write_text(change(path.read_text()))
    said = " ".join(command("verify", folder, code=1).split())
    assert sentence in said
    assert said.endswith("restore it, or begin anew in another folder")
    assert "--repair" not in said
    files = sorted(folder.iterdir())
    with pytest.raises(DatasetError, match="restore it, or name another folder"):
        remove_damages(folder)
    assert sorted(folder.iterdir()) == files, "no list is removed, for nobody makes it again"


def test_verify_and_status_miss_a_lost_list(recipe_of, command: Callable[..., str]) -> None:
    folder = made(recipe_of())
    (folder / "photographs-000000.json").unlink()
    assert "photographs-*.json list 0 of the 14 photographs: one is lost" in command("verify", folder, code=1)
    assert "photographs-*.json list 0 of the 14 photographs: one is lost" in command("status", folder)


def test_a_lost_list_is_missed(recipe_of, tmp_path: Path) -> None:
    planned(recipe_of())
    (tmp_path / "made" / "photographs-000000.json").unlink()
    with pytest.raises(DatasetError, match=r"lists 0 of its 14 photographs: a photographs-\*\.json is lost"):
        planned(recipe_of())


def test_a_store_remembers_photographs_as_a_disk_does(photos: Path, tmp_path: Path) -> None:
    store = UPath("memory://photographs/made")
    assert remember(store, photos, 3) == remember(tmp_path / "made", photos, 3)
    assert remember(store, photos, None) == remember(tmp_path / "made", photos, None) == remembered(store)
    assert len(list(store.iterdir())) == 2


def test_a_recipe_that_names_no_photographs_says_so(fitted: Path) -> None:
    recipe = Recipe.load(fitted / "recipe.toml", LABELLED)
    assert len(planned(recipe.model_copy()).recipe.generate.units) == 1  # paths.unlabelled, the 4 annotated images
    nameless = recipe.model_copy(update={"paths": recipe.paths.model_copy(update={"unlabelled": None})})
    with pytest.raises(RecipeError, match=r"paths\.photographs is missing; it names the folder"):
        planned(nameless)


def test_the_batch_of_photographs_can_be_measured(recipe_of) -> None:
    recipe = recipe_of('generate.batch_size="auto"')
    assert largest_batch(Models.of(recipe, "cpu"), recipe, "cpu") == 6


def test_networks_and_the_page_read_it_as_any_dataset(recipe_of) -> None:
    recipe = recipe_of()
    assert len(shard_data(made(recipe)).seeds) == 12
    without_scores = recipe.model_copy(update={"paths": recipe.paths.model_copy(update={"held_out": None})})
    page = write_page(without_scores.model_copy(update={"train": recipe.train.changed(seeds=[])}))
    assert "Photographs, fit stretch; dataset" in (Path(str(page.where)) / "report.html").read_text()


def test_status_and_check_tell_of_both_datasets(recipe_of, photos: Path, tmp_path: Path) -> None:
    recipe = recipe_of('generate.images="both"')
    write_index(take_inventory(made(recipe_of())))
    (stage,) = [each for each in standings(recipe) if each.stage == "generate"]
    assert (stage.state, stage.note) == ("stopped", "painted: missing; made: 3 shards")
    write_index(take_inventory(made(recipe)))
    (stage,) = [each for each in standings(recipe) if each.stage == "generate"]
    assert (stage.state, stage.note) == ("done", "painted: 4 shards; made: 3 shards")
    (finding,) = [each for each in check(recipe) if each.subject == "paths.photographs"]
    assert finding.clause == "14 images, 16x16 pixels, to be labelled, fit stretch"
    nowhere = recipe_of(f'paths.photographs="{tmp_path / "none"}"')
    (finding,) = [each for each in check(nowhere) if each.subject == "paths.photographs"]
    assert finding.clause == f"{tmp_path / 'none'} does not exist; images are needed there"
    missing = lack("generate", nowhere)
    assert missing is not None
    assert "none, is no folder; images are needed there" in missing.clause


def test_a_runs_folder_tells_of_its_photographs(recipe_of, fitted: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(fitted / "out" / "interpreter", out / "interpreter")
    places = (f'paths.photographs="{photos}"', f'paths.out="{out}"', *LABELLED)
    write_index(take_inventory(made(Recipe.load(fitted / "recipe.toml", places))))
    assert {each.stage: each.note for each in standings_of(out)}["generate"] == "3 shards"
    assert (out / "photographed" / "shard-000002.tar").is_file()


def test_photographs_that_the_cluster_does_not_see_are_refused_before_a_job_is_sent(
    fitted: Path, photos: Path, tmp_path: Path
) -> None:
    address, places = "http://head:8265", [f'paths.photographs="{photos}"', f'paths.photographed="{fitted / "made"}"']
    here = (*places, *LABELLED, f'cluster.shared=["{fitted}"]')
    refused = rf"paths\.photographs = {photos}: on this machine only"
    with pytest.raises(RecipeError, match=refused), packed("generate", fitted / "recipe.toml", here, address):
        pass
    shared = (*places, *LABELLED, f'cluster.shared=["{fitted}", "{tmp_path}"]')
    with packed("generate", fitted / "recipe.toml", shared, address) as parcel:
        assert f'paths.photographed="{fitted / "made"}"' in parcel.command
        assert f'paths.photographs="{photos}"' in parcel.command


def test_an_actor_that_does_not_see_the_photographs_says_so(recipe_of, photos: Path, tmp_path: Path) -> None:
    plan = planned(recipe_of())
    photos.rename(tmp_path / "elsewhere")
    with pytest.raises(
        RuntimeError, match=r"does not see the photographs in .*photos; name a folder that all machines"
    ):
        build(plan, "cpu")


def test_the_dataset_says_where_its_images_come_from(recipe_of) -> None:
    recipe = json.loads((made(recipe_of()) / "dataset.json").read_text())["recipe"]
    assert (recipe["images"], recipe["fit"], recipe["samples"]) == ("photographs", "stretch", 14)
    assert not {"steps", "solver", "run_seed", "photographs"} & recipe.keys()
