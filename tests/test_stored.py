"""What a stored file holds is checked: it is refused in one sentence with name and field, and the remedy helps."""

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from generate import Denoiser
from generate.stored import STRICT, Natural, StoredError, Tree, stored
from label import DenoiserFeatures, Interpreter, LabelError
from label.identity import stored_interpreter
from pipelines import Recipe
from pipelines.dataset.damage import damages, remove_damages
from pipelines.dataset.inventory import take_inventory
from pipelines.dataset.manifest import open_dataset
from pipelines.dataset.reports import counts_of, parse_report
from pipelines.driver.tally import Tally
from pipelines.errors import DatasetError
from pipelines.progress import Pace
from pipelines.units.builder import build, planned

Command = Callable[..., str]
Harm = Callable[[Path], object]


@dataclass(frozen=True)
class Thing:
    __pydantic_config__ = STRICT

    count: Natural
    share: float
    rest: Tree


@pytest.mark.parametrize(
    ("content", "clause"),
    [
        (b"", "Invalid JSON"),
        (b"\xff\xfe", "Invalid JSON"),
        (b"[" * 100_000, "Invalid JSON: recursion limit"),
        (b"null", "it should be an object"),
        (b"[]", "it should be an object"),
        (b"{}", "count: "),
        (b'{"count": "1", "share": 0, "rest": {}}', "count: it should be a valid integer, not '1'"),
        (b'{"count": true, "share": 0, "rest": {}}', "count: it should be a valid integer, not True"),
        (b'{"count": -1, "share": 0, "rest": {}}', "count: it should be greater than or equal to 0, not -1"),
        (b'{"count": 9223372036854775808, "share": 0, "rest": {}}', "count: "),
        (b'{"count": 1, "share": NaN, "rest": {}}', "share: it should be a finite number"),
        (b'{"count": 1, "share": 1e999, "rest": {}}', "share: it should be a finite number"),
        (b'{"count": 1, "share": 0, "rest": {"a": [1, {"b": Infinity}]}}', "rest: inf is no number that JSON knows"),
        (b'{"count": 1, "share": 0, "rest": {}, "more": 1}', "more: "),
    ],
)
def test_what_is_no_such_thing_is_a_clause_with_its_field(content: bytes, clause: str) -> None:
    assert stored(b'{"count": 1, "share": 1, "rest": {"a": null}}', Thing) == Thing(1, 1.0, {"a": None})
    with pytest.raises(StoredError, match="^" + clause.replace("(", r"\(")):
        stored(content, Thing)


def changed(file: str, **fields: Any) -> Harm:
    """Other values of these fields; those of None are gone."""

    def harm(folder: Path) -> None:
        record = json.loads((folder / file).read_text()) | fields
        (folder / file).write_text(json.dumps({key: value for key, value in record.items() if value is not ...}))

    return harm


def written(file: str, content: bytes) -> Harm:
    return lambda folder: (folder / file).write_bytes(content)


ANY = [b"", b"\xff\xfe", b"null", b"[]", b"{}", b'"x"', b"1", b"{", b"[" * 3000]
REPORT, DATASET = "shard-000001.json", "dataset.json"
BAD_REPORTS = [
    *(written(REPORT, content) for content in ANY),
    changed(REPORT, unit="1"),
    changed(REPORT, unit="../../x"),
    changed(REPORT, unit=-1),
    changed(REPORT, counts={}),
    changed(REPORT, counts={"kept": 9, "dropped": 0}),
    changed(REPORT, candidates=None),
    changed(REPORT, candidates=[{}]),
    changed(REPORT, seconds={"sample": "long"}),
    changed(REPORT, candidates=[{"seed": 6, "kept": True, "uncertainty": math.nan, "class_pixels": []}]),
    changed(REPORT, more=1),
]
BAD_DATASETS = [
    *(written(DATASET, content) for content in ANY),
    changed(DATASET, names=5),
    changed(DATASET, names=["one"]),
    changed(DATASET, names=["a\nb", "b", "c"]),
    changed(DATASET, colors=[[1, 2]]),
    changed(DATASET, colors=[[1, 2, 3], [1, 2, 256], [0, 0, 0]]),
    changed(DATASET, recipe=None),
    changed(DATASET, recipe={"samples": "x", "unit_size": 6}),
    changed(DATASET, recipe={"samples": 22, "unit_size": 0}),
    changed(DATASET, recipe={"samples": 22, "unit_size": 6, "keep_all": True}),
    changed(DATASET, recipe={"samples": 22, "unit_size": 6, "portion": math.inf}),
    changed(DATASET, recipe={"uncertainty": "O"}),
    changed(DATASET, versions=...),
]


def refused(command: Command, *arguments: str | Path, code: int = 2) -> str:
    """The only sentence of a command that ends so."""
    (said,) = command(*arguments, code=code).strip().splitlines()
    return said


@pytest.mark.parametrize("harm", BAD_DATASETS)
def test_a_dataset_json_that_is_none_is_named_by_all_that_read_it(finished: Path, command: Command, harm: Harm) -> None:
    folder = finished / "out" / "dataset"
    harm(folder)
    for arguments in (("status", folder), ("verify", folder), ("export", folder, "--out", finished / "x.npz")):
        assert "dataset.json does not describe a dataset (" in refused(command, *arguments)


@pytest.mark.parametrize("harm", BAD_REPORTS)
def test_a_report_that_is_none_is_named_by_all_that_read_it(finished: Path, command: Command, harm: Harm) -> None:
    folder = finished / "out" / "dataset"
    harm(folder)
    for arguments in (("status", folder), ("export", folder, "--out", finished / "x.npz")):
        assert f"{REPORT} is no report of a shard (" in refused(command, *arguments)
    assert f"{REPORT} is no report of a shard" in command("verify", folder, code=1)
    assert not (finished / "x.npz").exists()


def edited(change: Callable[[dict[str, Any]], Any]) -> Harm:
    def harm(folder: Path) -> None:
        report = json.loads((folder / REPORT).read_text())
        change(report)
        kept = sum(candidate["kept"] for candidate in report["candidates"])
        report["counts"] = {"kept": kept, "dropped": len(report["candidates"]) - kept}
        (folder / REPORT).write_text(json.dumps(report))

    return harm


@pytest.mark.parametrize(
    "change",
    [
        lambda report: next(c for c in report["candidates"] if c["kept"]).update(uncertainty=99.0),
        lambda report: next(c for c in report["candidates"] if c["kept"]).update(class_pixels=[1, 2, 3]),
        lambda report: report["candidates"][-1].update(seed=777),
        lambda report: report["candidates"][0].update(kept=not report["candidates"][0]["kept"]),
        lambda report: [candidate.update(kept=True) for candidate in report["candidates"]],
    ],
)
def test_a_report_that_says_otherwise_than_its_tar_is_found_by_verify_and_by_train(
    finished: Path, command: Command, change: Callable[[dict[str, Any]], Any]
) -> None:
    folder = finished / "out" / "dataset"
    assert "all as written" in command("verify", folder)
    edited(change)(folder)
    assert REPORT in command("verify", folder, code=1)
    (finished / "out" / "deeplab" / "synthetic-seed0" / "stage.json").unlink()
    assert REPORT in refused(command, "train", finished / "recipe.toml")


def test_an_export_lacks_no_sample_that_a_report_keeps(finished: Path, command: Command) -> None:
    folder = finished / "out" / "dataset"
    edited(lambda report: [candidate.update(kept=True) for candidate in report["candidates"]])(folder)
    assert "which its report keeps" in refused(command, "export", folder, "--out", finished / "x.npz")
    assert not (finished / "x.npz").exists()


@pytest.mark.parametrize(
    "name", ["shard-000001.bak.json", "shard-000001 (1).json", "shard-foo.json", "shard-00001.json"]
)
def test_a_copy_of_a_report_is_no_unit(finished: Path, command: Command, name: str) -> None:
    folder = finished / "out" / "dataset"
    before = command("status", folder)
    (folder / name).write_bytes((folder / REPORT).read_bytes())
    assert command("status", folder) == before
    assert "4 shards, all as written" in command("verify", folder)


def test_shards_of_another_digest_are_no_part_of_a_dataset(finished: Path, command: Command) -> None:
    folder = finished / "out" / "dataset"
    changed(REPORT, digest="f" * 64)(folder)
    for arguments in (("status", folder), ("export", folder, "--out", finished / "x.npz")):
        assert "is the report of another unit or dataset" in refused(command, *arguments)


def test_shards_without_a_dataset_json_are_not_mixed_with_those_of_another_run(
    finished: Path, command: Command
) -> None:
    (finished / "out" / "dataset" / DATASET).unlink()
    said = refused(command, "generate", finished / "recipe.toml", "--set", "generate.run_seed=5")
    assert "holds shards, but no dataset.json that says what they are" in said
    assert not (finished / "out" / "dataset" / DATASET).exists()


def test_train_and_export_take_a_part_of_a_dataset_only_where_they_are_told_so(
    finished: Path, command: Command
) -> None:
    folder = finished / "out" / "dataset"
    for unit in (1, 2, 3):
        for path in folder.glob(f"shard-00000{unit}.*"):
            path.unlink()
    said = "has 1 of 4 units; `datasetddpm generate` makes the others, or name --partial to go on with these"
    assert said in refused(command, "train", finished / "recipe.toml")
    assert said in refused(command, "export", folder, "--out", finished / "x.npz")
    assert "made" in command("export", folder, "--out", finished / "x.npz", "--partial")
    assert "made" in command("train", finished / "recipe.toml", "--partial", "--set", "train.baseline=false")


INTERPRETER = [
    *(written("interpreter.json", content) for content in ANY),
    *(written("features.json", content) for content in ANY),
    changed("interpreter.json", members=5),
    changed("interpreter.json", members=10**9),
    changed("interpreter.json", channels=5),
    changed("interpreter.json", names=["a", "b"], colors=[[0, 0, 0], [1, 1, 1]]),
    changed("interpreter.json", colors=[[0, 0, 0], [1, 1, 1], [1, 1, 300]]),
    changed("interpreter.json", upsampling="cubic"),
    changed("features.json", steps=[]),
    changed("features.json", steps=["1"]),
    changed("features.json", where="elsewhere"),
    changed("features.json", denoiser=...),
    changed("features.json", denoiser=7),
    lambda folder: (folder / "features.safetensors").unlink(),
    lambda folder: (folder / "interpreter.safetensors").unlink(),
    lambda folder: save_file({"other": torch.zeros(2)}, folder / "features.safetensors"),
]


@pytest.fixture(scope="module")
def opened(finished_once: Path) -> Denoiser:
    return Denoiser.from_pretrained(finished_once / "model")


@pytest.mark.parametrize("harm", INTERPRETER)
def test_whatever_is_damaged_of_an_interpreter_is_refused_by_all_that_open_it(
    finished: Path, opened: Denoiser, harm: Harm
) -> None:
    folder = finished / "out" / "interpreter"
    stored_interpreter(folder, opened.digest)
    harm(folder)
    with pytest.raises(LabelError, match=r"fit it again|fit the interpreter again|steps|blocks|noise"):
        Interpreter.from_pretrained(folder, DenoiserFeatures.from_pretrained(folder, opened))


@pytest.mark.parametrize("harm", INTERPRETER[4:6] + INTERPRETER[-3:-1])
def test_fit_as_a_message_says_makes_a_damaged_interpreter_again(finished: Path, command: Command, harm: Harm) -> None:
    recipe = finished / "recipe.toml"
    harm(finished / "out" / "interpreter")
    assert "run `datasetddpm fit` again" in refused(command, "generate", recipe)
    assert "made an interpreter" in command("fit", recipe)
    assert "found" in command("generate", recipe)
    assert "found an interpreter" in command("fit", recipe)


def test_a_network_that_is_damaged_is_trained_again_as_the_message_says(finished: Path, command: Command) -> None:
    recipe, weights = finished / "recipe.toml", finished / "out" / "deeplab" / "synthetic-seed0" / "model.safetensors"
    weights.write_bytes(b"")
    assert "run `datasetddpm train` again" in refused(command, "evaluate", recipe)
    assert "made 2" in command("train", recipe)
    assert weights.stat().st_size > 0


def test_nan_in_the_weights_of_a_network_is_refused(finished: Path) -> None:
    import deeplab

    folder = finished / "out" / "deeplab" / "synthetic-seed0"
    tensors = load_file(folder / "model.safetensors")
    next(tensor for tensor in tensors.values() if tensor.is_floating_point()).view(-1)[0] = math.nan
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(deeplab.NetworkError, match="has a value that is not finite; train again"):
        deeplab.load(folder)


@pytest.mark.parametrize("content", [*ANY, b'{"units":1,"samples":1,"failures":[],"newkey":1}'])
def test_a_damaged_journal_keeps_no_status_from_being_said(finished: Path, command: Command, content: bytes) -> None:
    folder = finished / "out" / "dataset"
    (folder / "run.json").write_bytes(content)
    (folder / "pace.json").write_bytes(content)
    assert "4 of 4" in command("status", folder)
    assert Tally.read(folder) is None
    assert Pace.read(folder) is None


def test_a_tally_is_read_as_it_was_written(tmp_path: Path) -> None:
    tally = Tally(4, 22, units_done=3, heard=4, ended="finished")
    tally.write(tmp_path)
    read = Tally.read(tmp_path)
    assert read is not None
    assert asdict(read) == asdict(tally)


def test_what_is_sound_is_read(finished: Path) -> None:
    folder = finished / "out" / "dataset"
    assert open_dataset(folder).names == ["ground", "square", "dot"]
    report = parse_report((folder / REPORT).read_bytes(), folder / REPORT)
    assert report.counts == counts_of(report.candidates)
    assert take_inventory(folder).count == 4
    assert np.isfinite([candidate.uncertainty for candidate in report.candidates]).all()
    assert Recipe.load(finished / "recipe.toml").generate.units == range(4)


def test_repair_takes_away_a_report_that_says_otherwise_than_its_tar(finished: Path, command: Command) -> None:
    folder = finished / "out" / "dataset"
    edited(lambda report: report["candidates"][0].update(kept=not report["candidates"][0]["kept"]))(folder)
    assert [damage.unit for damage in remove_damages(folder)] == [1]
    make = build(planned(Recipe.load(finished / "recipe.toml")))
    make(1)
    assert "4 shards, all as written" in command("verify", folder)


def test_a_dataset_whose_number_of_samples_is_null_is_none(finished: Path) -> None:
    path = finished / "out" / "dataset" / "dataset.json"
    content = json.loads(path.read_text("utf-8"))
    content["recipe"]["samples"] = None
    path.write_text(json.dumps(content), "utf-8")
    with pytest.raises(DatasetError, match="recipe: samples is no number"):
        open_dataset(path.parent)


def test_a_report_with_the_uncertainty_of_too_few_classes_is_damaged(finished: Path) -> None:
    path = finished / "out" / "dataset" / "shard-000001.json"
    content = json.loads(path.read_text("utf-8"))
    content["candidates"][0]["class_uncertainty"].pop()
    path.write_text(json.dumps(content), "utf-8")
    (damage,) = damages(take_inventory(path.parent))
    assert (damage.file, damage.unit) == (path.name, 1)
