import hashlib
import io
import json
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from diffusers import UNet2DModel
from filelock import FileLock
from forked import quick_ray
from PIL import Image

from generate import Denoiser, Schedule

if TYPE_CHECKING:
    from cluster import Cluster

torch.set_num_threads(1)  # as units have; last bits depend on it

# The files that take longest come first, so that no worker of pytest is left alone with one of them.
LONG = ("submit", "cli", "faults", "cluster_training", "train_deeplab", "object_store", "cluster_pool", "full_size")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {f"test_{name}.py": place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


@pytest.fixture
def tiny_denoiser() -> Denoiser:
    """A UNet of random weights on 16x16 images, with four decoder blocks: two at 8x8, two at 16x16."""
    return make_denoiser()


def make_unet(out_channels: int = 3, size: int = 16) -> UNet2DModel:
    return UNet2DModel(
        sample_size=size,
        out_channels=out_channels,
        layers_per_block=1,
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=8,
        norm_num_groups=4,
    )


def make_denoiser() -> Denoiser:
    torch.manual_seed(0)
    return Denoiser(make_unet(), Schedule.named("cosine", "v_prediction"), digest="tiny")


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator["Cluster"]:
    """One local Ray with four cores and two GPUs that exist in its books only."""
    from cluster import connect  # imported here, since the tests of most modules need no Ray

    with quick_ray(), connect(cpus=4, gpus=2) as cluster:
        yield cluster


@pytest.fixture
def local_ray() -> Iterator[None]:
    """For tests whose stages start a Ray of their own."""
    with quick_ray():
        yield


RECIPE = """
name = "Squares"
[paths]
out = "out"
denoiser = "model"
annotated = "annotated"
held_out = "annotated"
unlabelled = "annotated"
[interpreter]
steps = [50, 150]
blocks = [1, 2, 3]
members = 3
batch_size = 128
max_epochs = 5
min_class_pixels = 1
[generate]
samples = 22
unit_size = 6
batch_size = 3
steps = 3
portion = 0.2
uncertainty_maps = true
[cluster]
actors = 2
gpus = 0
[train]
variant = "v3+"
encoder = "mobilenet_v2"
encoder_depth = 3
output_stride = 16
decoder_channels = 16
atrous_rates = [1, 2, 4]
steps = 4
batch_size = 4
baseline = true
class_weights = "inverse_sqrt"
[train_ddpm]
size = 16
channels = [8, 16]
head_channels = 8
norm_groups = 4
updates = 4
batch_size = 2
checkpoint_every = 2
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with recipe.toml, a denoiser of random weights, and four images of squares with their masks."""
    return make_project(tmp_path)


@pytest.fixture
def fitted(project: Path) -> Path:
    """That folder with an interpreter."""
    from pipelines import Recipe
    from pipelines.stages.fit import fit

    fit(Recipe.load(project / "recipe.toml"))
    return project


def make_project(folder: Path) -> Path:
    make_denoiser().save_pretrained(folder / "model")
    annotated = folder / "annotated"
    annotated.mkdir()
    (annotated / "scheme.toml").write_text('classes = [{ name = "ground" }, { name = "square" }, { name = "dot" }]')
    for i in range(4):
        image, mask = np.full((16, 16, 3), 40 * i, dtype=np.uint8), np.zeros((16, 16), dtype=np.uint8)
        image[i : i + 9, 2:11], mask[i : i + 9, 2:11] = (220, 40, 90), 1
        image[12:14, 12:15], mask[12:14, 12:15] = (20, 240, 240), 2
        Image.fromarray(image).save(annotated / f"{i}.png")
        Image.fromarray(mask).save(annotated / f"{i}.mask.png")
    (folder / "recipe.toml").write_text(RECIPE)
    return folder


@pytest.fixture(scope="session")
def finished_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished project, made once for all workers of pytest."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    project, whole = shared / "finished", shared / "finished.whole"
    with FileLock(shared / "finished.lock"):
        if not whole.exists():
            shutil.rmtree(project, ignore_errors=True)
            project.mkdir()
            make_finished(project)
            whole.touch()
    return project


def make_finished(folder: Path) -> None:
    """A project with everything up to its networks: interpreter, dataset of four shards, a network of each source."""
    from pipelines import Recipe
    from pipelines.dataset.index import write_index
    from pipelines.dataset.inventory import take_inventory
    from pipelines.folders import dataset_folder
    from pipelines.stages.fit import fit
    from pipelines.stages.train import train
    from pipelines.units.builder import build, planned

    project = make_project(folder)
    recipe = Recipe.load(project / "recipe.toml")
    fit(recipe)
    make = build(planned(recipe))
    for unit in recipe.generate.units:
        make(unit)
    write_index(take_inventory(dataset_folder(recipe)))
    train(recipe)


@pytest.fixture
def finished(finished_once: Path, tmp_path: Path) -> Path:
    """A copy of that project, to be harmed at will."""
    return copy_of(finished_once, tmp_path / "finished")


def copy_of(project: Path, to: Path) -> Path:
    """The project in another place; its recipe names what lies beside it."""
    shutil.copytree(project, to)
    return to


def take_as_written(folder: Path) -> None:
    """As if the stage had written what lies there, so that the files themselves are looked at."""
    path = folder / "stage.json"
    if path.is_file() and path.read_text() != "{":
        record = json.loads(path.read_text())
        kept = (folder / name for name in record["files"])
        files = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in kept if file.is_file()}
        path.write_text(json.dumps({**record, "files": files}))


def wait_for(condition: Callable[[], object], seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited for {seconds} s in vain"
        time.sleep(0.02)


def content(folder: Path) -> dict[Path, bytes | None]:
    """Every file with its bytes, and every folder."""
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.fixture
def traffic(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """What this process asks of the storage from now on: "list" counts listings, a file's name how often it is read."""
    from pipelines.dataset import inventory
    from pipelines.files import storage

    counts: Counter[str] = Counter()

    def counted(call: Callable[[Any], Any], name: Callable[[Any], str]) -> Callable[[Any], Any]:
        def count(place: Any) -> Any:
            counts[name(place)] += 1
            return call(place)

        return count

    for listing in ("sizes", "names", "ages"):
        monkeypatch.setattr(storage, listing, counted(getattr(storage, listing), lambda _: "list"))
    monkeypatch.setattr(inventory, "listed", counted(inventory.listed, lambda _: "list"))
    monkeypatch.setattr(storage, "read", counted(storage.read, lambda path: path.name))
    return counts


@pytest.fixture(scope="session")
def command() -> Callable[..., str]:
    """`datasetddpm` with these arguments, in this process."""
    return _command


def _command(*arguments: str | Path, code: int = 0) -> str:
    """Both streams of the command, which must end with this exit code; what it lets through fails the test."""
    from pipelines.cli import main

    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said), redirect_stderr(said):
        patch.setattr(sys, "argv", ["datasetddpm", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
    assert (ended.value.code or 0) == code, said.getvalue()
    return said.getvalue()
