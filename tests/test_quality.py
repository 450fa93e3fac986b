"""What is found of a dataset before anybody trains on it: copies, breadth, classes, each with its pictures."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from conftest import copy_of
from making import commit
from PIL import Image

from label import Scheme
from pipelines import Recipe, read_shards
from pipelines.annotated import annotated_few
from pipelines.dataset.index import candidates
from pipelines.dataset.inventory import take_inventory
from pipelines.dataset.reports import Candidate, reports
from pipelines.dataset.shards import Sample
from pipelines.dataset.where import rows_where
from pipelines.errors import DatasetError, RecipeError
from pipelines.files.lease import leased
from pipelines.folders import dataset_folder, quality_folder, report_page
from pipelines.quality import image_sets
from pipelines.quality.findings import NEAR, Copies, Quality, warnings_of
from pipelines.quality.image_sets import in_memory, real_sets, sample_set
from pipelines.quality.looking import QUALITY, read_quality
from pipelines.quality.measure import Compared, breadth, compared, copies, searches
from pipelines.quality.neighbours import evenly, nearest, nearest_other, typical_distance
from pipelines.quality.pictures import Album
from pipelines.stages.report import write_page
from pipelines.study.controls import RawPixels

RNG = np.random.default_rng(0)
SCHEME = Scheme(("ground", "square"))


@pytest.fixture(scope="module")
def untrained(finished_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """Of a project with a dataset and no network, whose page is written."""
    project = copy_of(finished_once, tmp_path_factory.mktemp("quality") / "project")
    shutil.rmtree(project / "out" / "deeplab")
    recipe = Recipe.load(project / "recipe.toml")
    assert write_page(recipe).fresh
    return recipe


@pytest.fixture
def recipe(untrained: Recipe, tmp_path: Path) -> Recipe:
    """Of a copy, to be changed at will."""
    return Recipe.load(copy_of(untrained.paths.out.parent, tmp_path / "copy") / "recipe.toml")


def photographs(folder: Path, images: list[np.ndarray]) -> Path:
    folder.mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number}.png")
    return folder


def named(recipe: Recipe, **paths: Path) -> Recipe:
    return recipe.model_copy(update={"paths": recipe.paths.model_copy(update=paths)})


def compared_with(recipe: Recipe) -> list[str]:
    return [each.name for each in real_sets(recipe, annotated_few(recipe, (16, 16)), (16, 16))]


def test_training_images_at_a_url_or_in_archives_are_no_set(recipe: Recipe, tmp_path: Path) -> None:
    archives = tmp_path / "archives"
    archives.mkdir()
    (archives / "images.tar").write_bytes(b"")
    without = compared_with(recipe)
    for place in ("s3://bucket/images", archives):
        elsewhere = recipe.model_copy(update={"paths": recipe.paths.model_copy(update={"unlabelled": place})})
        assert compared_with(elsewhere) == without


def found(recipe: Recipe) -> Quality:
    write_page(recipe)
    return read_quality(quality_folder(recipe))


def of(quality: Quality, name: str) -> Copies:
    return next(each for each in quality.copies if each.of == name)


@pytest.mark.parametrize(("points", "members"), [(1, 1), (7, 5), (700, 40)])
def test_the_nearest_is_that_of_the_plain_loop(points: int, members: int) -> None:
    ours, theirs = torch.from_numpy(RNG.normal(size=(points, 6))), torch.from_numpy(RNG.normal(size=(members, 6)))
    result = nearest(ours, theirs)
    for place, point in enumerate(ours.numpy()):
        distances = [float(np.linalg.norm(point - member)) for member in theirs.numpy()]
        assert result.member[place] == int(np.argmin(distances))
        assert result.distance[place] == pytest.approx(min(distances))


def test_no_point_is_its_own_nearest_and_of_two_that_are_equal_the_distance_is_nothing() -> None:
    points = torch.from_numpy(RNG.normal(size=(1100, 4))).float()
    points[1099] = points[3]
    result = nearest_other(points)
    assert (result.member != np.arange(1100)).all()
    assert (result.member[1099], result.member[3]) == (3, 1099)
    assert result.distance[3] == 0


def test_the_typical_distance_is_the_median_of_all_pairs() -> None:
    points = torch.from_numpy(RNG.normal(size=(9, 4)))
    pairs = sorted(float((points[i] - points[j]).norm()) for i in range(9) for j in range(i))
    assert typical_distance(points) == pytest.approx(pairs[(len(pairs) - 1) // 2])


@pytest.mark.parametrize(
    ("count", "most", "places"), [(3, 5, [0, 1, 2]), (5, 5, [0, 1, 2, 3, 4]), (9, 3, [0, 4, 8]), (0, 2, [])]
)
def test_some_of_many_lie_evenly_over_them(count: int, most: int, places: list[int]) -> None:
    assert evenly(count, most) == places


def dataset(folder: Path, units: int, size: int) -> Path:
    """Units of samples of noise, the last of each dropped."""
    folder.mkdir()
    for unit in range(units):
        seeds = range(unit * size, (unit + 1) * size)
        samples = [
            Sample(seed, np.full((4, 4, 3), seed, np.uint8), np.zeros((4, 4), np.uint8), 0.1, {}) for seed in seeds[:-1]
        ]
        commit(folder, unit, samples, SCHEME, [Candidate(seeds[-1], False, 0.1, [16, 0])])
    return folder


def test_all_kept_samples_are_looked_at_and_each_image_is_its_seeds(tmp_path: Path) -> None:
    folder = dataset(tmp_path / "data", 3, 4)
    samples = sample_set(folder, reports(folder))
    seeds = [0, 1, 2, 4, 5, 6, 8, 9, 10]
    assert samples.labels == [f"seed {seed}" for seed in seeds]
    assert samples.total == 9
    assert [int(image[0, 0, 0]) for image in samples.load(range(9))] == seeds
    assert {place: int(image[0, 0, 0]) for place, image in samples.at([7, 2]).items()} == {2: 2, 7: 9}


def test_of_very_many_samples_those_of_some_shards_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_sets, "MOST_SHARDS", 2)
    monkeypatch.setattr(image_sets, "MOST", 3)
    folder = dataset(tmp_path / "data", 3, 4)
    samples = sample_set(folder, reports(folder))
    assert samples.labels == ["seed 0", "seed 2", "seed 10"]
    assert samples.total == 9
    (folder / "shard-000001.tar").unlink()  # and no other shard is opened
    assert [int(image[0, 0, 0]) for image in samples.load(range(3))] == [0, 2, 10]


def test_a_dataset_of_which_the_filter_kept_nothing_is_refused(tmp_path: Path) -> None:
    folder = dataset(tmp_path / "data", 1, 1)
    with pytest.raises(DatasetError, match="holds no sample that the filter kept"):
        sample_set(folder, reports(folder))


def sides(samples: np.ndarray, real: np.ndarray) -> tuple[Compared, list[Compared]]:
    ours, theirs = (
        in_memory(name, [f"{name} {i}" for i in range(len(images))], images, "")
        for name, images in (("seed", samples), ("held-out images", real))
    )
    return compared(RawPixels((8, 8), 3), ours, [theirs])


def test_a_repeated_sample_and_a_repeated_real_image_are_counted_and_named() -> None:
    samples, real = (RNG.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8) for count in (9, 6))
    samples[7], samples[4] = samples[2], real[5]
    ours, theirs = sides(samples, real)
    among, against = (copies(ours, search, Album()) for search in searches(ours, theirs))
    assert (among.of, among.near, among.nearest) == ("other samples", 2, 0)
    assert [(pair.left, pair.right) for pair in among.pairs if pair.nearness == 0] == [("seed 2", "seed 7")]
    assert (against.of, against.near, against.looked_at) == ("held-out images", 1, 6)
    assert (against.pairs[0].left, against.pairs[0].right) == ("seed 4", "held-out images 5")


def test_samples_like_no_real_image_are_shown_the_strangest_first() -> None:
    real = RNG.integers(100, 110, (8, 8, 8, 3), dtype=np.uint8)
    samples = RNG.integers(100, 110, (8, 8, 8, 3), dtype=np.uint8)
    samples[3], samples[6] = 200, 255
    result = breadth(*sides(samples, real), Album())
    assert result is not None
    assert [pair.left for pair in result.strange[:2]] == ["seed 6", "seed 3"]
    assert result.compared == 8
    assert result.precision <= 0.75


def test_three_images_are_too_few_for_precision_and_recall() -> None:
    few = RNG.integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    assert breadth(*sides(few, few), Album()) is None


def test_the_page_is_written_before_anything_is_trained(untrained: Recipe) -> None:
    page = report_page(untrained).read_text("utf-8")
    assert "Scores on the held-out images" not in page
    assert all(f"<h2>{title}</h2>" in page for title in ("Copies", "Breadth", "Classes", "Samples"))


def test_every_pair_has_its_picture_beside_the_findings_and_on_the_page(untrained: Recipe) -> None:
    quality, samples = read_quality(quality_folder(untrained)), list(read_shards(dataset_folder(untrained)))
    by_seed = {f"seed {sample.seed}": sample.image for sample in samples}
    pairs = of(quality, "other samples").pairs
    assert pairs
    for pair in pairs:
        with Image.open(io.BytesIO((quality_folder(untrained) / pair.picture).read_bytes())) as picture:
            assert np.array_equal(np.asarray(picture)[:, :16], by_seed[pair.left])
            assert np.array_equal(np.asarray(picture)[:, 18:], by_seed[pair.right])
    assert report_page(untrained).read_text("utf-8").count('<img class="pair"') == len(
        list(quality_folder(untrained).glob("*.png"))
    )


def test_the_same_dataset_gives_the_same_findings_and_is_looked_at_once(untrained: Recipe, recipe: Recipe) -> None:
    assert not write_page(recipe).fresh
    shutil.rmtree(quality_folder(recipe))
    write_page(recipe)
    for path in quality_folder(untrained).iterdir():
        if path.name != "stage.json":
            assert (quality_folder(recipe) / path.name).read_bytes() == path.read_bytes(), path.name


def test_a_page_that_is_there_touches_nothing(recipe: Recipe) -> None:
    write_page(recipe)
    before = {path: path.stat().st_mtime_ns for path in recipe.paths.out.rglob("*")}
    assert not write_page(recipe).fresh
    assert {path: path.stat().st_mtime_ns for path in recipe.paths.out.rglob("*")} == before


def test_class_presence_is_that_of_the_masks(untrained: Recipe) -> None:
    masks = [sample.mask for sample in read_shards(dataset_folder(untrained))]
    quality = read_quality(quality_folder(untrained))
    for i, each in enumerate(quality.classes):
        assert each.images == pytest.approx(np.mean([(mask == i).any() for mask in masks]), abs=1e-6)
        assert each.pixels == pytest.approx(np.mean([(mask == i).mean() for mask in masks]), abs=1e-6)
        assert each.annotated_images == 1


def test_the_index_says_what_is_nearest_and_says_it_again_after_it_was_written_anew(recipe: Recipe) -> None:
    index = dataset_folder(recipe) / "index.parquet"
    before = pq.read_table(index).to_pylist()
    kept = [row for row in before if row["kept"]]
    assert all(row["nearest"].startswith(("other samples: seed ", "annotated images: ")) for row in kept)
    assert min(row["nearness"] for row in kept) == min(each.nearest for each in found(recipe).copies)
    assert {row["nearest"] for row in before if not row["kept"]} == {None}
    near = rows_where("nearness >= 0", candidates(take_inventory(dataset_folder(recipe))))
    assert near.tolist() == [row["kept"] for row in before]
    index.unlink()
    write_page(recipe)
    assert pq.read_table(index).to_pylist() == before


def test_an_index_that_another_process_has_taken_stays_and_that_is_told(
    recipe: Recipe, capsys: pytest.CaptureFixture[str]
) -> None:
    (dataset_folder(recipe) / "index.parquet").unlink()
    with leased(dataset_folder(recipe)):
        write_page(recipe)
    assert "does not say what is nearest to each sample" in " ".join(capsys.readouterr().out.split())
    assert not (dataset_folder(recipe) / "index.parquet").exists()


def test_a_training_image_that_was_painted_again_is_warned_of(recipe: Recipe, tmp_path: Path) -> None:
    samples = [sample.image for sample in read_shards(dataset_folder(recipe))]
    strange = [RNG.integers(0, 256, (40, 30, 3), dtype=np.uint8) for _ in range(3)]
    changed = named(recipe, unlabelled=photographs(tmp_path / "unlabelled", [*strange, samples[5]]))
    quality = found(changed)
    copied = of(quality, "training images")
    assert (copied.looked_at, copied.total, copied.pairs[0].right, copied.nearest) == (4, 4, "3.png", 0)
    (sentence,) = (each for each in quality.warnings if "training images" in each)
    assert "the diffusion model repeats what it has seen" in sentence
    assert sentence in report_page(changed).read_text("utf-8")


def test_a_folder_that_is_not_on_this_machine_is_not_compared(recipe: Recipe, tmp_path: Path) -> None:
    gone = named(recipe, unlabelled=tmp_path / "gone", photographs=tmp_path / "gone")
    assert compared_with(gone) == ["annotated images"]


def test_a_dataset_of_photographs_is_not_compared_with_itself(recipe: Recipe, tmp_path: Path) -> None:
    images = photographs(tmp_path / "unlabelled", [np.zeros((16, 16, 3), np.uint8)])
    of_photographs = named(recipe, unlabelled=images).model_copy(
        update={"generate": recipe.generate.changed(images="photographs")}
    )
    assert compared_with(of_photographs) == ["annotated images"]


def test_annotated_images_of_other_classes_are_refused(recipe: Recipe) -> None:
    assert recipe.paths.annotated is not None
    scheme = recipe.paths.annotated / "scheme.toml"
    scheme.write_text(scheme.read_text().replace("dot", "spot"))
    with pytest.raises(DatasetError, match=r"has the classes ground, square, spot; the dataset in"):
        write_page(recipe)


def test_findings_that_are_damaged_are_refused(recipe: Recipe) -> None:
    place = quality_folder(recipe)
    with pytest.raises(RecipeError, match="run `datasetddpm report` again"):
        read_quality(place / "none")
    (place / QUALITY).write_text("{")
    assert found(recipe).total == 19  # it was not what was written, so it is made again
    content = json.loads((place / QUALITY).read_text())
    (place / QUALITY).write_text(json.dumps({**content, "near": -1}))
    with pytest.raises(RecipeError, match="near: it should be greater than or equal to 0"):
        read_quality(place)


def test_of_each_kind_of_copies_one_sentence_says_how_many_there_are() -> None:
    figures = [Copies(name, 9, 9, near, 0.0, 1.0) for name, near in (("other samples", 1), ("held-out images", 0))]
    assert warnings_of(figures, 1234) == [
        "1 of 1,234 samples is a near-duplicate of other samples: a network sees the same image again"
    ]
    assert NEAR < 1
