"""croissant.json, read by the library of those who made the format."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlcroissant
import numpy as np
import pytest
from test_preview import SCHEME, dataset_in, sample

from pipelines.dataset.inventory import INDEX, unit_of
from pipelines.dataset.reports import reports
from pipelines.sharing.croissant import CROISSANT, listed

pytestmark = pytest.mark.filterwarnings("ignore")  # mlcroissant and rdflib warn of their own calls


@pytest.fixture
def opened(tmp_path: Path, command: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> mlcroissant.Dataset:
    """A dataset of three shards, with its card, as mlcroissant opens it."""
    folder = dataset_in(tmp_path / "dataset")
    command("card", folder, "--license", "cc0-1.0", "--title", 'Faces | "große"')
    for module in ("extract", "download"):
        monkeypatch.setattr(f"mlcroissant._src.core.constants.{module.upper()}_PATH", _cache(tmp_path, module))
    monkeypatch.setattr("mlcroissant._src.operation_graph.operations.extract.EXTRACT_PATH", _cache(tmp_path, "extract"))
    return mlcroissant.Dataset(str(folder / CROISSANT))


def _cache(folder: Path, name: str) -> Any:
    from etils import epath

    return epath.Path(folder / "cache" / name)


def test_it_is_valid_and_lacks_only_what_nobody_said(opened: mlcroissant.Dataset) -> None:
    assert not opened.metadata.issues.errors
    assert len(opened.metadata.issues.warnings) == 3  # a citation, a version, a date
    assert opened.metadata.name == 'Faces | "große"'
    assert opened.metadata.license == ["cc0-1.0"]


@pytest.mark.parametrize("name", ["image", "mask", "uncertainty_map"])
def test_its_records_are_the_pictures_in_the_shards(name: str, opened: mlcroissant.Dataset) -> None:
    found = {row[f"{name}s/seed"]: np.asarray(row[f"{name}s/{name}"]) for row in opened.records(f"{name}s")}
    assert sorted(found) == [seed for seed in range(30) if seed % 10 < 8]
    for seed, picture in found.items():
        written = sample(seed)
        assert written.pixel_uncertainty is not None
        levels = np.rint(255 * written.pixel_uncertainty / np.log(len(SCHEME)))
        expected = {"image": written.image, "mask": written.mask, "uncertainty_map": levels}[name]
        assert np.array_equal(picture, expected)


def test_its_candidates_are_the_rows_of_the_index(opened: mlcroissant.Dataset) -> None:
    rows = list(opened.records("candidates"))
    assert [row["candidates/seed"] for row in rows] == list(range(30))
    assert [row["candidates/seed"] for row in rows if not row["candidates/kept"]] == [8, 9, 18, 19, 28, 29]
    assert rows[7]["candidates/uncertainty"] == 0.07
    assert sum(rows[7]["candidates/class_pixels"]) == 64


def test_it_lists_the_shards_and_the_index_by_their_sha256(tmp_path: Path, command: Callable[..., str]) -> None:
    folder = dataset_in(tmp_path / "dataset")
    assert listed(folder) is None
    command("card", folder, "--license", "mit")
    shards = {f"shard-{r.unit:06d}.tar": r.sha256 for r in reports(folder)}
    assert listed(folder) == shards | {INDEX: hashlib.sha256((folder / INDEX).read_bytes()).hexdigest()}
    assert [unit_of(name) for name in listed(folder) or ()] == [0, 1, 2, None]
    assert len(json.loads((folder / CROISSANT).read_text())["recordSet"]) == 4
