"""The page that a dataset is given away with."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from huggingface_hub import DatasetCard
from PIL import Image
from test_preview import NAMES, SCHEME, dataset_in, sample

from pipelines import DatasetError, Recipe
from pipelines.dataset.damage import damages
from pipelines.dataset.inventory import INDEX, take_inventory
from pipelines.dataset.manifest import open_dataset
from pipelines.errors import InputError
from pipelines.folders import scores_folder
from pipelines.record import RECORD
from pipelines.sharing.card import Words, page
from pipelines.sharing.facts import facts_of
from pipelines.sharing.licences import HUB_LICENCES, Licence, licence_of

Command = Callable[..., str]
CC_BY = Licence("cc-by-4.0")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return dataset_in(tmp_path / "dataset")


def rows(text: str, section: str) -> dict[str, str]:
    """The table of a section: the first cell of each row, and the last."""
    part = text.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    lines = [line.strip("| ").split(" | ") for line in part.splitlines() if line.startswith("| ")]
    return {line[0]: line[-1] for line in lines}


def with_scores(project: Path, interpreter: str) -> None:
    """Scores as evaluate keeps them, measured with this interpreter."""
    folder = scores_folder(Recipe.load(project / "recipe.toml"))
    folder.mkdir()
    results = {"interpreter": [{"mean_iou": 0.5}], "synthetic": [{"mean_iou": 0.25}, {"mean_iou": 0.5}]}
    record = {"digest": "d", "seconds": 1.0, "results": results, "inputs": {"interpreter": interpreter}}
    (folder / RECORD).write_text(json.dumps(record))


def test_its_head_is_what_the_hub_reads(folder: Path, command: Command) -> None:
    command("card", folder, "--license", "CC-BY-4.0", "--title", "Faces: a, b")
    data: Any = DatasetCard.load(folder / "README.md").data
    assert (data.license, data.pretty_name, data.size_categories) == ("cc-by-4.0", "Faces: a, b", ["n<1K"])
    assert (data.task_categories, data.task_ids) == (["image-segmentation"], ["semantic-segmentation"])
    assert data.configs[0]["data_files"] == [{"split": "train", "path": "shard-*.tar"}]
    assert "synthetic" in data.tags


def test_it_says_what_the_shards_hold(folder: Path) -> None:
    text = page(Words("Faces", CC_BY), facts_of(folder))
    content, classes = rows(text, "What is in it"), rows(text, "Classes")
    assert (content["samples"], content["dropped by the filter, not in the shards"]) == ("24", "6")
    assert content["images"].startswith("8x8 pixels")
    assert content["shards"] == f"3, {sum(path.stat().st_size for path in folder.glob('*.tar')):,} bytes"
    pixels = np.concatenate([sample(seed).mask.ravel() for seed in range(30) if seed % 10 < 8])
    for number, name in enumerate(NAMES):
        line = f"| {number} | {name} | #{bytes(SCHEME.colors[number]).hex()} | {(pixels == number).mean():.2%} | 24 |"
        assert line in text
        assert str(number) in classes


def test_it_says_from_what_and_how_the_dataset_was_made(finished: Path, command: Command) -> None:
    dataset = open_dataset(finished / "out" / "dataset")
    with_scores(finished, dataset.interpreter)
    settings = ('card.origin="Drawings of ours."', "card.license=mit", 'card.authors=["A. Painter"]')
    said = command("card", finished / "recipe.toml", *(word for setting in settings for word in ("--set", setting)))
    assert "of 19 samples in" in said
    text = (finished / "out" / "dataset" / "README.md").read_text()
    made = rows(text, "How it was made")
    assert made["diffusion model"] == f"sha256 `{dataset.denoiser}`"
    assert made["what it was trained on"] == "Drawings of ours."
    assert made["solver"] == "dpmsolver++, 3 steps, run seed 0"
    assert made["interpreter"] == f"sha256 `{dataset.interpreter}`"
    assert made["what it reads"] == "decoder blocks 1, 2, 3 at diffusion steps 50, 150"
    assert made["annotated images that it was fitted on"] == "4"
    assert made["filter"] == "dropped the most uncertain 20% of each 6"
    assert rows(text, "Scores") == {
        "on held-out annotated images": "mIoU",
        "---": "---",
        "the interpreter, which labelled this dataset": "0.500",
        "DeepLab trained on synthetic images": "0.375",
    }
    assert "Given away by A. Painter under mit." in text
    assert str(finished) not in text, "a path of this machine is nobody's business"


def test_without_a_recipe_the_run_around_the_folder_is_looked_at(finished: Path) -> None:
    folder = finished / "out" / "dataset"
    with_scores(finished, open_dataset(folder).interpreter)
    facts = facts_of(folder)
    assert facts.features is not None
    assert facts.scores == {"interpreter": 0.5, "synthetic": 0.375}
    assert facts.annotated is None


def test_scores_and_annotated_images_of_another_interpreter_are_left_out(finished: Path) -> None:
    with_scores(finished, "another")
    (finished / "annotated" / "0.mask.png").unlink()
    facts = facts_of(finished / "out" / "dataset", Recipe.load(finished / "recipe.toml"))
    assert (facts.scores, facts.annotated) == (None, None)
    assert "Nothing was measured on held-out images." in page(Words("Faces", CC_BY), facts)


def test_a_card_is_written_twice_with_the_same_bytes_and_is_no_damage(folder: Path, command: Command) -> None:
    written = []
    for _ in range(2):
        command("card", folder, "--license", "mit")
        written.append({name: (folder / name).read_bytes() for name in ("README.md", "strip.png", "croissant.json")})
    assert written[0] == written[1]
    assert not damages(take_inventory(folder))
    with Image.open(folder / "strip.png") as strip:
        assert strip.format == "PNG"


def test_a_pipe_in_a_class_name_ends_no_cell(folder: Path) -> None:
    path = folder / "dataset.json"
    path.write_text(path.read_text().replace("hair, long", "hair|long"))
    assert "| 1 | hair\\|long | #" in page(Words("Faces", CC_BY), facts_of(folder))


def test_where_shards_hold_the_dropped_the_page_says_so(tmp_path: Path) -> None:
    facts = facts_of(dataset_in(tmp_path / "all", keep_all=True))
    assert rows(page(Words("Faces", CC_BY), facts), "What is in it")["dropped by the filter, but in the shards"] == (
        "6; `kept` in index.parquet says which"
    )


def test_an_imported_set_says_so_and_names_no_models(folder: Path) -> None:
    record = json.loads((folder / "dataset.json").read_text())
    record |= {"denoiser": "", "interpreter": "", "recipe": {"npz": {}, "portion": 0.0, "unit_size": 10}}
    (folder / "dataset.json").write_text(json.dumps(record))
    text = page(Words("Faces", CC_BY), facts_of(folder))
    assert "**Synthetic.** A published synthetic set, turned into shards" in text
    made = rows(text, "How it was made")
    assert made["filter"] == "none"
    assert not made.keys() & {"diffusion model", "solver", "interpreter"}


def test_a_licence_without_a_name_on_the_hub_comes_with_its_text(folder: Path, command: Command) -> None:
    command("card", folder, "--license", "Our own", "--license-link", "https://example.org/licence")
    data = yaml.safe_load((folder / "README.md").read_text().split("---")[1])
    assert (data["license"], data["license_name"]) == ("other", "Our own")
    assert data["license_link"] == "https://example.org/licence"


def test_no_licence_is_guessed() -> None:
    for name in (None, "", " "):
        with pytest.raises(InputError, match="no licence is named, and none is guessed"):
            licence_of(name, None)
    with pytest.raises(InputError, match="the Hub has no licence called 'cc-by'"):
        licence_of("cc-by", None)
    assert licence_of(" MIT ", None) == Licence("mit")
    assert {"cc-by-4.0", "apache-2.0", "openrail", "odc-by"} <= HUB_LICENCES


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (lambda folder: (folder / INDEX).unlink(), "is not finished: index.parquet is missing; `datasetddpm generate`"),
        (lambda folder: (folder / "dataset.json").unlink(), "holds no dataset.json; generate a dataset there first"),
        (lambda folder: (folder / "shard-000001.tar").write_bytes(b"x"), "is missing or not as long as its report"),
    ],
)
def test_a_dataset_that_is_not_whole_has_no_card(
    harm: Callable[[Path], object], sentence: str, folder: Path, command: Command
) -> None:
    harm(folder)
    said = command("card", folder, "--license", "mit", code=2)
    assert sentence in said
    assert said.count("\n") == 1
    assert not (folder / "README.md").exists()


def test_a_dataset_with_a_unit_missing_is_named(finished: Path) -> None:
    folder = finished / "out" / "dataset"
    (folder / "shard-000002.json").unlink()
    with pytest.raises(DatasetError, match="lacks 1 of its 4 shards; generate them first"):
        facts_of(folder)


def test_a_card_without_a_licence_or_with_settings_of_no_recipe_is_refused(folder: Path, command: Command) -> None:
    assert "no licence is named" in command("card", folder, code=2)
    said = command("card", folder, "--set", "card.license=mit", code=2)
    assert said == f"datasetddpm: --set goes with a recipe; {folder} is a folder\n"
