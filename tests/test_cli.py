"""The command itself, in processes of its own, on a project of tiny size."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from forked import ENVIRONMENT, Forked
from making import begun, commit, plain

from label import Scheme
from pipelines import Recipe
from pipelines.units.builder import build, planned

ROOT = Path(__file__).parent.parent
COMMAND = [sys.executable, "-c", "from pipelines.cli import main; main()"]


def run(*arguments: str | Path, code: int = 0) -> str:
    """Both streams of the command, which must end with this exit code."""
    process = Forked(*arguments)
    assert process.wait() == code, process.said
    return process.said


def run_from_a_shell(*arguments: str | Path, code: int = 0) -> str:
    """The same with nothing imported beforehand, and with a Ray that is as a user's."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)], env=ENVIRONMENT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def digests(project: Path, out: str = "out") -> list[str]:
    """sha256 of all shards."""
    return [json.loads(p.read_text())["sha256"] for p in sorted((project / out / "dataset").glob("shard-*.json"))]


def settings(project: Path, out: str) -> list[str]:
    return ["--set", f'paths.out="{project / out}"']


def test_a_run_makes_everything_once_and_then_finds_it(project):
    said = run_from_a_shell("run", project / "recipe.toml")
    assert [line.split(":")[1].split()[0] for line in said.splitlines() if ": made " in line] == ["made"] * 5
    assert "mIoU" in said
    page = project / "out" / "report" / "report.html"
    assert str(page) in said
    page = page.read_text()
    assert page.count("<figure>") >= 5
    assert "http" not in page, "the report needs nothing beside it"
    before = {path: path.stat().st_mtime_ns for path in (project / "out").rglob("*") if path.is_file()}
    again = run("run", project / "recipe.toml")
    assert again.count("found") == 5
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_one_actor_and_two_make_the_same_dataset_and_a_kill_changes_nothing(fitted):
    recipe = fitted / "recipe.toml"
    run("generate", recipe)
    expected = digests(fitted)
    assert len(expected) == 4
    killed = [*settings(fitted, "killed"), "--set", "cluster.actors=1"]
    (fitted / "killed").mkdir()
    (fitted / "killed" / "interpreter").symlink_to(fitted / "out" / "interpreter")
    process = Forked("generate", recipe, *killed)
    deadline = time.monotonic() + 120
    while not digests(fitted, "killed") and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert process.kill() == -signal.SIGKILL
    survived = digests(fitted, "killed")
    assert survived, "a shard was committed before the kill"
    assert survived == expected[: len(survived)]
    run("generate", recipe, *killed)
    assert digests(fitted, "killed") == expected


def test_a_dataset_of_another_recipe_is_refused_before_any_work(fitted):
    planned(Recipe.load(fitted / "recipe.toml"))
    said = run("generate", fitted / "recipe.toml", "--set", "generate.steps=4", code=2)
    assert "holds a dataset of another recipe, model or file" in said
    assert "Traceback" not in said


def test_a_diffusion_model_is_trained_sampled_and_opened(project):
    recipe = project / "recipe.toml"
    other = ["--set", f'paths.denoiser="{project / "trained"}"']
    said = run("train-ddpm", recipe, *other)
    assert "made a diffusion model after 4 updates" in said
    assert (project / "out" / "train-ddpm" / "sheet-0000004.png").is_file()
    run("sample", recipe, *other)
    assert len(list((project / "out" / "samples").glob("*.png"))) == 64
    assert "found" in run("train-ddpm", recipe, *other)


@pytest.mark.parametrize(
    ("damage", "stage", "sentence"),
    [
        ("step", "fit", "interpreter.stepz: unknown key"),
        ("block", "fit", "blocks 0 to 3: [9] are not among them"),
        ("mask", "fit", "2.mask.png is no image that can be read"),
        ("weights", "fit", "cut short"),
        ("steps", "generate", "generate.steps"),
        ("unfitted", "generate", "interpreter"),
        ("unmade", "train", "holds no dataset.json"),
        ("small", "fit", "no class has 999 pixels in any image"),
        ("nothing", "train-ddpm", "holds no images"),
        ("image", "train-ddpm", "3.png is no image that can be read (image file is truncated"),
    ],
)
def test_bad_input_ends_in_one_sentence_and_exit_code_2(project, damage, stage, sentence):
    overrides = {
        "step": ["--set", "interpreter.stepz=[1]"],
        "block": ["--set", "interpreter.blocks=[9]"],
        "steps": ["--set", "generate.steps=0"],
        "small": ["--set", "interpreter.min_class_pixels=999"],
        "nothing": ["--set", f'paths.unlabelled="{project / "model"}"'],
    }
    if damage == "mask":
        (project / "annotated" / "2.mask.png").write_bytes(b"no mask")
    if damage == "image":
        image = project / "annotated" / "3.png"
        image.write_bytes(image.read_bytes()[:60])
    if damage == "weights":
        weights = project / "model" / "unet" / "diffusion_pytorch_model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-100])
    start = run_from_a_shell if damage == "weights" else run  # once with all that an import may say
    said = start(stage, project / "recipe.toml", *overrides.get(damage, []), code=2)
    assert sentence in said
    assert "Traceback" not in said
    assert len(said.strip().splitlines()) == 1
    assert not (project / "out").exists()


def test_a_unit_that_cannot_be_made_is_named_and_the_exit_code_is_1(fitted):
    (fitted / "out" / "dataset" / "shard-000002.tar" / "in the way").mkdir(parents=True)
    said = run("generate", fitted / "recipe.toml", code=1)
    assert "unit 2 failed 3 times" in said
    assert len(digests(fitted)) == 3


def test_verify_names_a_damaged_shard(fitted):
    make = build(planned(Recipe.load(fitted / "recipe.toml")))
    folder = fitted / "out" / "dataset"
    for unit in (0, 1, 3):
        make(unit)
    assert "not made yet: units 2" in run("verify", folder, code=1)
    make(2)
    assert "4 shards, all as written" in run("verify", folder)
    path = folder / "shard-000001.tar"
    content = bytearray(path.read_bytes())
    content[700] ^= 1
    path.write_bytes(content)
    assert "shard-000001.tar is not what was written" in run("verify", folder, code=1)


def test_status_tells_how_far_a_dataset_is(fitted):
    build(planned(Recipe.load(fitted / "recipe.toml")))(1)
    said = run("status", fitted / "out" / "dataset")
    assert "units:     1 of 4" in said
    assert "missing:   units 0, 2 to 3" in said
    assert "holds no dataset.json" in run("status", fitted, code=2)


SLOW = {"torch", "diffusers", "ray", "pyarrow", "webdataset", "matplotlib"}
WATCHED = f"""
import sys
from pipelines.cli import main
try:
    main()
finally:
    print("slow:", *sorted({SLOW} & set(sys.modules)))
"""


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("--help", 0),
        ("generate --help", 0),
        ("status {dataset}", 0),
        ("status {recipe}", 0),
        ("status {run}", 0),
        ("verify {dataset}", 0),
        ("status {dataset}/none", 2),
        ("fit {recipe}/none.toml", 2),
        ("generate {recipe} --set generate.steps=0", 2),
        ("run horse_21 --set train.lots=1", 2),
        ("submit generate {recipe} --set train.lots=1", 2),
        ("fit {recipe}", 2),
        ("generate {recipe}", 2),
        ("train {recipe}", 2),
        ("evaluate {recipe} --set paths.held_out={dataset}", 2),
        ("segment {recipe} {recipe} --out {dataset}", 2),
        ("export-model {recipe} --onnx {dataset}", 2),
        ("convert --to {dataset}", 2),
        ("card {dataset}", 2),
        ("card {recipe}", 2),
    ],
)
def test_help_mistakes_and_looks_at_a_folder_wait_for_neither_torch_nor_ray(tmp_path, arguments, code):
    dataset, recipe = tmp_path / "dataset", tmp_path / "recipe.toml"
    scheme = Scheme(("ground", "square"))
    begun(dataset, scheme)
    commit(dataset, 0, [plain(0)], scheme)
    recipe.write_text('name = "short"\n[paths]\nout = "out"\ndenoiser = "model"\nannotated = "annotated"\n')
    words = arguments.format(dataset=dataset, recipe=recipe, run=tmp_path).split()
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, *words], capture_output=True, text=True, check=False, cwd=ROOT, env=ENVIRONMENT
    )
    assert done.returncode == code, done.stderr
    assert done.stdout.splitlines()[-1] == "slow:"


def test_a_broken_image_is_named_the_rest_is_segmented_and_the_exit_code_is_1(fitted):
    photos, out = fitted / "photos", fitted / "made"
    photos.mkdir()
    whole = (fitted / "annotated" / "1.png").read_bytes()
    (photos / "whole.png").write_bytes(whole)
    (photos / "cut.png").write_bytes(whole[:60])
    said = run("segment", fitted / "recipe.toml", photos, "--out", out, "--fit", "tile", code=1)
    assert f"{photos / 'cut.png'} is no image that can be read" in said
    assert "segment: made masks of 1 images" in said
    assert sorted(p.name for p in out.iterdir()) == [
        "whole.json",
        "whole.mask.png",
        "whole.overlay.png",
        "whole.uncertainty.png",
    ]
    said = run("segment", fitted / "recipe.toml", photos, "--out", photos, code=2)
    assert said.splitlines() == [
        f"datasetddpm: {photos} holds cut.png itself; name another folder, so that no file there is overwritten"
    ]
