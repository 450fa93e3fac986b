"""To the Hub and back: datasets, and models, against a Hub of our own on loopback."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
from hub import Hub, serving
from huggingface_hub import DatasetCard, ModelCard
from PIL import Image
from test_preview import dataset_in

import deeplab
from generate import Denoiser
from label import Interpreter, InterpreterError
from pipelines import read_shards
from pipelines.errors import DatasetError
from pipelines.sharing.parcels import Piece
from pipelines.sharing.push import portions, target_of

Command = Callable[..., str]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    made = Hub()
    monkeypatch.setenv("HF_TOKEN", "hf_nothing")
    with serving(made) as url:
        for name, value in {
            "ENDPOINT": url,
            "HUGGINGFACE_CO_URL_TEMPLATE": url + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HUB_CACHE": str(tmp_path / "cache"),
            "HF_HUB_OFFLINE": False,
        }.items():
            monkeypatch.setattr(huggingface_hub.constants, name, value)
        yield made


@pytest.fixture
def folder(tmp_path: Path, command: Command) -> Path:
    """A dataset of three shards with its card."""
    folder = dataset_in(tmp_path / "dataset")
    command("card", folder, "--license", "cc-by-4.0")
    return folder


def test_a_dry_run_lists_every_file_with_its_bytes_and_asks_no_network(
    folder: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    (folder / "run.json").write_text("{}")
    *lines, last = command("push", folder, "hf://datasets/me/faces", "--dry-run").splitlines()
    listed = {line.split()[1]: int(line.split()[0].replace(",", "")) for line in lines}
    assert listed == {path.name: path.stat().st_size for path in folder.iterdir() if path.name != "run.json"}
    assert last == f"push: 11 files, {sum(listed.values()):,} bytes, would go to hf://datasets/me/faces"
    assert [line.split()[1] for line in lines[:3]] == ["dataset.json", "shard-000000.tar", "shard-000001.tar"]
    assert lines[-1].endswith("README.md")


def test_a_dataset_arrives_byte_for_byte_its_page_last(folder: Path, command: Command, hub: Hub) -> None:
    said = command("push", folder, "hf://datasets/me/faces")
    assert said.splitlines()[-1].endswith("are in hf://datasets/me/faces")
    assert hub.repositories == {"datasets/me/faces": {path.name: path.read_bytes() for path in folder.iterdir()}}
    assert hub.commits[-1] == ["README.md"]


def test_what_came_back_is_the_dataset(folder: Path, command: Command, hub: Hub) -> None:
    command("push", folder, "hf://datasets/me/faces")
    there = huggingface_hub.snapshot_download("me/faces", repo_type="dataset")
    read, written = list(read_shards(Path(there))), list(read_shards(folder))
    assert [sample.seed for sample in read] == [sample.seed for sample in written]
    assert all(np.array_equal(one.mask, other.mask) for one, other in zip(read, written, strict=True))
    assert DatasetCard.load(Path(there) / "README.md").data.to_dict()["license"] == "cc-by-4.0"


def test_the_same_command_goes_on_where_it_was_stopped(
    folder: Path, command: Command, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.sharing.push.PORTION_FILES", 4)
    hub.refused_after = 2
    said = command("push", folder, "hf://datasets/me/faces", code=1)
    assert "hf://datasets/me/faces takes no files" in said
    assert "run it again: it goes on" in said
    assert "README.md" not in hub.repositories["datasets/me/faces"]
    hub.refused_after = None
    command("push", folder, "hf://datasets/me/faces")
    sent = [name for commit in hub.commits for name in commit]
    assert sorted(sent) == sorted(path.name for path in folder.iterdir()), "no file was sent twice"
    before = len(hub.commits)
    command("push", folder, "hf://datasets/me/faces")
    assert len(hub.commits) == before


def test_only_what_changed_is_sent_again(folder: Path, command: Command, hub: Hub) -> None:
    command("push", folder, "hf://datasets/me/faces")
    command("card", folder, "--license", "mit")
    command("push", folder, "hf://datasets/me/faces")
    assert hub.commits[2:] == [["croissant.json"], ["README.md"]]


def test_a_dataset_that_has_grown_sends_what_is_new(folder: Path, command: Command, hub: Hub) -> None:
    command("push", folder, "hf://datasets/me/faces")
    grown, before = dataset_in(folder.parent / "grown", units=4), len(hub.commits)
    command("card", grown, "--license", "cc-by-4.0")
    command("push", grown, "hf://datasets/me/faces")
    sent = {name for commit in hub.commits[before:] for name in commit}
    assert {name for name in sent if name.startswith("shard-")} == {"shard-000003.tar", "shard-000003.json"}
    assert hub.repositories["datasets/me/faces"] == {path.name: path.read_bytes() for path in grown.iterdir()}


@pytest.mark.parametrize(
    ("held", "named"),
    [
        ({"shard-000099.tar": b"another's"}, "shard-000099.tar"),
        ({"dataset.json": b'{"digest": "another"}'}, "dataset.json"),
        ({"dataset.json": b"[]"}, "dataset.json"),
    ],
)
def test_a_repository_of_another_dataset_is_refused(
    held: dict[str, bytes], named: str, folder: Path, command: Command, hub: Hub
) -> None:
    hub.repositories["datasets/me/faces"] = dict(held)
    said = command("push", folder, "hf://datasets/me/faces", code=2)
    assert said.splitlines()[-1] == (
        f"datasetddpm: hf://datasets/me/faces holds {named}, which is not of this dataset; name another repository"
    )
    assert hub.repositories["datasets/me/faces"] == held


def test_an_interpreter_comes_back_with_its_denoiser_and_labels_alike(
    finished: Path, command: Command, hub: Hub
) -> None:
    folder = finished / "out" / "interpreter"
    before = Interpreter.from_pretrained(folder)
    command("push", folder, "hf://me/squares", "--license", "mit", "--origin", "squares of ours")
    for path in finished.rglob("*.safetensors"):
        path.unlink()  # nothing of this machine is needed any more
    after = Interpreter.from_pretrained("me/squares")
    assert after.digest == before.digest
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)
    assert np.array_equal(after.predict(images).masks, before.predict(images).masks)
    page = hub.repositories["me/squares"]["README.md"].decode()
    assert ModelCard(page).data.to_dict()["license"] == "mit"
    assert 'Interpreter.from_pretrained("me/squares")' in page
    assert "| what it was trained on | squares of ours |" in page
    sent = b"".join(
        content for name, content in hub.repositories["me/squares"].items() if name.endswith(("json", "md"))
    )
    assert str(finished).encode() not in sent, "a path of this machine is nobody's business"


def test_an_interpreter_whose_denoiser_is_on_the_hub_brings_none(finished: Path, command: Command, hub: Hub) -> None:
    command("push", finished / "model", "hf://me/painter", "--license", "mit")
    record = json.loads((finished / "out" / "interpreter" / "features.json").read_text())
    record["source"] = {"path": "me/painter", "flags": None}
    (finished / "out" / "interpreter" / "features.json").write_text(json.dumps(record))
    command("push", finished / "out" / "interpreter", "hf://me/squares", "--license", "mit")
    assert not [name for name in hub.repositories["me/squares"] if name.startswith("denoiser/")]
    before = Interpreter.from_pretrained(finished / "out" / "interpreter").digest
    assert Interpreter.from_pretrained("me/squares").digest == before


def test_a_denoiser_comes_back_as_it_was(finished: Path, command: Command, hub: Hub) -> None:
    command("push", finished / "model", "hf://me/painter", "--license", "mit")
    assert Denoiser.from_pretrained("me/painter").digest == Denoiser.from_pretrained(finished / "model").digest
    assert "| images | 16 pixels, 3 channels |" in hub.repositories["me/painter"]["README.md"].decode()


def test_a_network_comes_back_as_it_was_and_its_page_says_how_it_is_opened(
    finished: Path, command: Command, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = finished / "out" / "deeplab" / "synthetic-seed0"
    command("push", folder, "hf://models/me/net", "--license", "mit")
    page = hub.repositories["me/net"]["README.md"].decode()
    code = page.partition("```python\n")[2].partition("```")[0]
    monkeypatch.chdir(finished)
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(finished / "photo.jpg")
    scope: dict[str, np.ndarray] = {}
    exec(code, scope)
    assert np.array_equal(scope["masks"], deeplab.predict(deeplab.load(folder), np.zeros((1, 16, 16, 3), np.uint8)))
    assert "| classes | ground, square, dot |" in page


def test_a_page_that_lies_there_goes_as_it_is(finished: Path, command: Command, hub: Hub) -> None:
    (finished / "model" / "README.md").write_text("# Mine\n")
    command("push", finished / "model", "hf://me/painter")
    assert hub.repositories["me/painter"]["README.md"] == b"# Mine\n"


def test_without_a_network_one_sentence_says_so(
    folder: Path, command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "nothing cached"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    said = command("push", folder, "hf://datasets/me/faces", code=1)
    assert said.count("\n") == 1
    assert "connect to the network, log in with `hf auth login`" in said
    with pytest.raises(InterpreterError, match="me/faces is no folder here, and as a Hub id it is neither cached nor"):
        Interpreter.from_pretrained("me/faces")


def test_a_hub_id_of_something_else_is_no_interpreter(folder: Path, command: Command, finished: Path, hub: Hub) -> None:
    command("push", finished / "model", "hf://me/painter", "--license", "mit")
    with pytest.raises(InterpreterError, match="me/painter on the Hub holds no interpreter"):
        Interpreter.from_pretrained("me/painter")


@pytest.mark.parametrize("url", ["me/faces", "hf://me/faces", "hf://datasets/", "hf://datasets/a/b/c", "s3://me/faces"])
def test_a_place_that_takes_no_dataset_is_named(url: str) -> None:
    with pytest.raises(DatasetError, match="is no place for a dataset; hf://datasets/OWNER/NAME is one"):
        target_of(url, "dataset")


def test_a_place_that_takes_no_model_is_named() -> None:
    with pytest.raises(DatasetError, match="is no place for an interpreter; hf://OWNER/NAME is one"):
        target_of("hf://datasets/me/faces", "interpreter")


def test_portions_are_in_order_and_within_their_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.sharing.push.PORTION_FILES", 3)
    monkeypatch.setattr("pipelines.sharing.push.PORTION_BYTES", 100)
    sizes = {"a": 60, "b": 30, "c": 20, "d": 500, "e": 1, "f": 1, "g": 1, "h": 1, "README.md": 1}
    made = portions({name: Piece(b"", size) for name, size in sizes.items()})
    assert ["".join(portion) for portion in made] == ["ab", "c", "d", "efg", "h", "README.md"]


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (lambda folder: (folder / "README.md").unlink(), "holds no README.md; run `datasetddpm card"),
        (lambda folder: (folder / "shard-000001.tar").write_bytes(b"x"), "is of other files than lie there"),
        (lambda folder: (folder / "shard-000001.json").unlink(), "is of other files than lie there"),
        (lambda folder: (folder / "index.parquet").write_bytes(b"x"), "is of other files than lie there"),
        (lambda folder: (folder / "croissant.json").write_text("{"), "is of other files than lie there"),
        (lambda folder: (folder / "dataset.json").unlink(), "holds no dataset, interpreter, denoiser or network"),
    ],
)
def test_a_dataset_without_its_card_does_not_go(
    harm: Callable[[Path], object], sentence: str, folder: Path, command: Command
) -> None:
    harm(folder)
    said = command("push", folder, "hf://datasets/me/faces", "--dry-run", code=2)
    assert sentence in said
    assert said.count("\n") == 1


def test_what_a_model_lacks_is_said_in_one_sentence(finished: Path, command: Command) -> None:
    interpreter, network = finished / "out" / "interpreter", finished / "out" / "deeplab" / "synthetic-seed0"
    (network / "config.json").write_text("{}")
    said = command("push", network, "hf://me/it", "--license", "mit", "--dry-run", code=2)
    assert "config.json does not describe a network of ours" in said
    (network / "config.json").unlink()
    record = json.loads((interpreter / "features.json").read_text())
    said = command("push", interpreter, "hf://me/it", "--dry-run", code=2)
    assert "no licence is named, and none is guessed" in said
    said = command("push", network, "hf://me/it", "--license", "mit", "--dry-run", code=2)
    assert "holds no config.json, so it is no network that was trained to its end" in said
    record["source"] = None
    (interpreter / "features.json").write_text(json.dumps(record))
    said = command("push", interpreter, "hf://me/it", "--license", "mit", "--dry-run", code=2)
    assert "only one that reads a denoiser is given away" in said
    said = command("push", finished / "out" / "dataset", "hf://datasets/me/it", "--license", "mit", code=2)
    assert "go with a model; `card` says them of a dataset" in said
