"""`datasetddpm annotate --review`: samples of a dataset are looked at and corrected beside it."""

import base64
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from annotating import Server
from conftest import content
from websockets.sync.client import connect

from label import load_annotations
from pipelines import Recipe, read_shards
from pipelines.annotator.review import copied, image_name, most_uncertain
from pipelines.folders import corrected_folder, dataset_folder


@pytest.fixture
def recipe(finished: Path) -> Recipe:
    return Recipe.load(finished / "recipe.toml")


def test_the_most_uncertain_samples_that_were_kept_come_first(recipe: Recipe) -> None:
    samples = list(read_shards(dataset_folder(recipe)))
    found = most_uncertain(dataset_folder(recipe), 5)
    assert [s.uncertainty for s in found] == sorted((s.uncertainty for s in samples), reverse=True)[:5]


def test_what_was_corrected_before_stays(recipe: Recipe) -> None:
    dataset, to = dataset_folder(recipe), corrected_folder(recipe)
    to.mkdir()
    samples = most_uncertain(dataset, 3)
    (to / image_name(samples[0])).write_bytes(b"kept")
    folder = copied(samples, dataset, to)
    assert (to / image_name(samples[0])).read_bytes() == b"kept"
    assert sorted(folder.names) == sorted(image_name(sample) for sample in samples)


def test_a_sample_is_corrected_in_a_folder_of_its_own_and_no_shard_changes(recipe: Recipe, finished: Path) -> None:
    dataset = dataset_folder(recipe)
    assert isinstance(dataset, Path)
    before, sample = content(dataset), most_uncertain(dataset, 3)[0]
    server, name = Server(finished, "--review", "3"), image_name(sample)
    with connect(f"ws://{server.host}/{server.token}/live") as live:
        live.send(json.dumps({"open": name}))
        told = json.loads(live.recv(10))
    suggested = np.frombuffer(base64.b64decode(told["mask"]), np.uint8).reshape(sample.mask.shape)
    assert (suggested == sample.mask).all()
    assert np.frombuffer(base64.b64decode(told["doubt"]), np.uint8).any(), "the shards hold the uncertainty of pixels"
    assert server.save(name, 2 - suggested, np.ones_like(suggested), server.revision(name))[0] == 200
    assert (
        "those of the recipe or of the dataset"
        in server.ask("api/classes", "PUT", b"[]", Content_Type="application/json")[1].decode()
    )
    assert server.end() == 0
    assert content(dataset) == before
    read = load_annotations(corrected_folder(recipe), (16, 16))
    assert read.names == [Path(name).stem]
    assert (read.masks[0] == 2 - sample.mask).all()


def test_images_beside_review_and_a_dataset_without_index_are_refused(
    finished: Path, command: Callable[..., str]
) -> None:
    line = ("annotate", finished / "recipe.toml")
    assert "leave the others out" in command(*line, finished / "annotated", "--review", "2", code=2)
    (finished / "out" / "dataset" / "index.parquet").unlink()
    assert "index.parquet is missing; `datasetddpm generate` writes it" in command(*line, "--review", "2", code=2)
