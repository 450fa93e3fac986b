"""What a message says one should do is done, to the letter, and the same command ends well."""

import io
import json
import re
import shlex
import shutil
import tarfile
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import latent_models
import numpy as np
import pytest
import torch
import typer
from conftest import RECIPE, make_denoiser, make_unet, take_as_written
from PIL import Image
from remedies import (
    Carry,
    Case,
    Command,
    Done,
    Harm,
    adds,
    again,
    aside,
    both,
    changed,
    each,
    edited,
    edits,
    emptied,
    flipped,
    gone,
    instead,
    literally,
    made_here,
    make_units,
    nothing,
    nothing_more,
    removes,
    restored,
    runs,
    sets,
    with_units,
    without,
    written,
)
from safetensors.torch import load_file, save_file

import deeplab
from deeplab import Trainee
from generate import Denoiser, Schedule
from label import DenoiserFeatures, Interpreter, LabelError, Scheme
from label.source_kinds import package_of
from pipelines import Recipe, cli
from pipelines.cli import annotate
from pipelines.dataset.import_npz import import_npz
from pipelines.driver.tally import Failure, Tally
from pipelines.errors import RecipeError
from pipelines.files.lease import leased
from pipelines.files.stores import EXTRAS as STORES
from pipelines.folders import ddpm_folder
from pipelines.formats.out import FORMATS
from pipelines.pictures import pictures
from pipelines.record import CHECKPOINT, Record, part_of
from pipelines.stages import check
from pipelines.stages.report import write_page
from pipelines.training import plan as trainings
from pipelines.training.history import History

ROOT = Path(__file__).parent.parent
PACKAGES = {  # of modules that are called otherwise
    "cv2": "opencv-python-headless",
    "label_studio_sdk": "label-studio-sdk",
    "segmentation_models_pytorch": "segmentation-models-pytorch",
}
RECORD = "is no record of a stage; remove it, and run that stage again"
NO_RECORD = removes(r"datasetddpm: (\S+) is no")
NET = "out/deeplab/synthetic-seed0"
PAINT = "train-ddpm {recipe} --set train_ddpm.updates=1"


STAGES = [
    Case("fit {recipe}", written("out/interpreter/stage.json"), RECORD, NO_RECORD),
    Case("train {recipe}", written(f"{NET}/stage.json"), RECORD, NO_RECORD),
    Case("sample {recipe} -n 2", written("out/samples/stage.json"), RECORD, NO_RECORD),
    Case(PAINT, written("out/train-ddpm/stage.json"), RECORD, NO_RECORD),
    Case("report {recipe}", each(gone("out/deeplab"), written("out/quality/stage.json")), RECORD, NO_RECORD),
    Case("status {recipe}", written("out/scores/stage.json"), RECORD, NO_RECORD),
    Case("generate {recipe}", written("out/interpreter/stage.json"), RECORD, both(NO_RECORD, runs("fit {recipe}"))),
    Case("generate {recipe}", gone("out/interpreter"), "fit {recipe}` first", literally),
    Case("segment {recipe} {p}/annotated --out {p}/masks", gone("out/interpreter"), "fit {recipe}` first", literally),
    Case("report {recipe}", nothing, "evaluate {recipe}` first", literally),
    Case("fit {recipe}", gone("model"), "train-ddpm {recipe}` first", literally),
    Case("generate {recipe}", emptied("out/interpreter"), "holds no interpreter; fit one first", runs("fit {recipe}")),
    Case("evaluate {recipe}", gone(f"{NET}/stage.json"), "train {recipe}` first", literally),
    Case("generate {recipe}", flipped("out/interpreter/features.json"), "run `datasetddpm fit` again", again),
    Case("generate {recipe}", changed("out/interpreter/stage.json", files={}), "run `datasetddpm fit` again", again),
    Case(
        "segment {recipe} {p}/annotated --out {p}/masks",
        gone("out/interpreter/interpreter.json"),
        "holds no interpreter; fit one first",
        runs("fit {recipe}"),
    ),
    Case("evaluate {recipe}", flipped(f"{NET}/config.json"), "run `datasetddpm train` again", again),
    Case(
        "evaluate {recipe} --set interpreter.members=2",
        nothing,
        "restore the recipe",
        nothing_more,
        2,
        "evaluate {recipe}",
    ),
]


D = "out/dataset"


def units(*numbers: int) -> Harm:
    """These are not made yet."""
    return gone(*(f"{D}/shard-{number:06d}.{suffix}" for number in numbers for suffix in ("tar", "json")))


EXPORT = "export {p}/out/dataset --out {p}/x.npz"
VOC = "export {p}/out/dataset --format voc --out {p}/voc"
AS_CVAT = "export {p}/out/dataset --format cvat --out {p}/cvat"
OTHER = "generate {recipe} --set generate.steps=7"
DATASETS = [
    Case(EXPORT, units(1), "`datasetddpm generate` makes the others", made_here()),
    Case(EXPORT, units(1), "name --partial", adds("--partial")),
    Case("train {recipe}", each(gone(NET), units(1)), "`datasetddpm generate` makes the others", made_here()),
    Case("train {recipe}", each(gone(NET), units(1)), "name --partial", adds("--partial")),
    Case("verify {p}/out/dataset", units(1), "generate goes on with them", made_here(), 1),
    Case("generate {recipe} --set generate.samples=6", nothing, "give at least 22", adds("--set generate.samples=22")),
    Case(
        "generate {recipe} --set generate.samples=6",
        nothing,
        "or name another folder in paths.dataset",
        both(made_here('paths.dataset="other"'), adds("--set paths.dataset=other")),
    ),
    Case(
        OTHER,
        nothing,
        "name another output folder",
        both(made_here('paths.dataset="other"'), adds("--set paths.dataset=other")),
    ),
    Case(OTHER, nothing, "or remove that one", both(edits(gone(D)), made_here())),
    Case("generate {recipe}", aside(f"{D}/dataset.json"), "restore it", restored(f"{D}/dataset.json")),
    Case("generate {recipe}", gone(f"{D}/dataset.json"), "remove them", both(edits(gone(D)), made_here())),
    Case(
        "generate {recipe}",
        gone(f"{D}/dataset.json"),
        "name another folder",
        both(made_here('paths.dataset="other"'), adds("--set paths.dataset=other")),
    ),
    Case(EXPORT, gone(D), "holds no dataset.json; generate a dataset there first", made_here()),
    Case("train {recipe}", gone(D), "generate {recipe}` first", made_here()),
    Case(EXPORT, emptied(D), "generate a dataset there first", made_here()),
    Case(EXPORT, units(0, 1, 2, 3), "`datasetddpm generate` makes the others", made_here()),
    Case(
        "train {recipe}",
        each(gone(NET), written(f"{D}/shard-000001.tar", b"")),
        'or train without by train.corrupt_shards = "skip"',
        adds("--set train.corrupt_shards=skip"),
    ),
    Case("card {p}/out/dataset", nothing, "--license cc-by-4.0", adds("--license cc-by-4.0")),
    Case("card {recipe}", nothing, "or card.license in the recipe", adds("--set card.license=cc-by-4.0")),
    Case("card {recipe} --license own", nothing, "name one that it has, as cc-by-4.0", adds("--license cc-by-4.0")),
    Case("card {recipe} --license own", nothing, "--license-link", adds("--license-link https://host/own")),
    Case(
        "card {recipe} --license own",
        nothing,
        "or card.license_link in the recipe",
        adds("--set card.license_link=https://host/own"),
    ),
    Case(
        "card {recipe} --license mit",
        units(1),
        "generate them first",
        both(made_here(), runs("generate {recipe}")),
    ),
    *(
        Case(f"{command} --license mit", gone(f"{D}/index.parquet"), "`datasetddpm generate` writes it", again)
        for command in ("card {recipe}", "card {p}/out/dataset")
    ),
    instead(
        "card {p}/out/dataset --license mit --set name=x",
        "--set goes with a recipe",
        "card {recipe} --license mit --set name=x",
        nothing,
    ),
    Case(VOC, written("voc/mine"), "name another --out, or remove it", edits(gone("voc"))),
    instead(VOC, "name another --out", VOC + "2", written("voc/mine")),
    instead(f"{VOC} --split 1,1", "give two or three shares that add up to 1", f"{VOC} --split 0.5,0.5"),
    instead(f"{VOC} --split 0.999,0.001", "give a larger share", f"{VOC} --split 0.6,0.4"),
    instead(f"{EXPORT} --split 0.5,0.5", "leave out --split", EXPORT),
    instead(f"{EXPORT} --split 0.5,0.5", "or name another --format", f"{VOC} --split 0.5,0.5"),
    Case(
        AS_CVAT,
        changed(f"{D}/dataset.json", names=["a: b", "square", "dot"]),
        "or a scheme with another name for it",
        both(edits(gone(D)), made_here()),
    ),
    instead(AS_CVAT, "name another --format", VOC, changed(f"{D}/dataset.json", names=["a: b", "square", "dot"])),
    instead(f"{VOC} --instances", "leave out --instances", VOC),
    instead(f"{VOC} --where share>2", "write one as", f"{VOC} --where 'uncertainty < 0.2'"),
    instead("export {p}/out/dataset --out s3://b/x --format voc", "copy it there afterwards", VOC),
    instead(
        "preview {p}/out/dataset --seeds 1-a --out {p}/x.png",
        "write seeds as 3,17,40-43",
        "preview {p}/out/dataset --seeds 0 --out {p}/x.png",
    ),
    instead(
        "push {p}/out hf://datasets/me/it --dry-run",
        "name the folder of one",
        "push {p}/out/interpreter hf://me/it --license mit --dry-run",
    ),
    Case(
        "push {p}/out/dataset hf://datasets/me/it --dry-run",
        nothing,
        "run `datasetddpm card {p}/out/dataset` first",
        runs("card {p}/out/dataset --license mit"),
    ),
]


FIT, TRAIN, STATUS = "fit {recipe}", "train {recipe}", "status {recipe}"


PUBLISHED = "generate.filter=published"
RECIPES = [
    sets(STATUS, "interpreter.stepz=[50]", "is interpreter.steps meant?", "interpreter.steps=[50]"),
    sets(STATUS, "interpreter.features=maee", "is mae meant?", "interpreter.features=mae"),
    sets(STATUS, "steps", "is not of the form section.key=value", "generate.steps=4"),
    instead("fit {p}/nowhere.toml", "a recipe in TOML is needed", FIT),
    instead("fit nowhere", "or the name of a shipped one: bedroom_28", "status bedroom_28"),
    sets(STATUS, "train.seeds=[1, 1]", "give it once", "train.seeds=[1]"),
    sets(
        STATUS,
        'train.mix=[{source="synthetic", share=0.0}]',
        "give at least one of them a share above 0",
        'train.mix=[{source="synthetic", share=1.0}]',
    ),
    sets(
        STATUS,
        'train.mix=[{source="synthetic", share=0.9}, {source="annotated", share=0.1}]',
        "raise it",
        'train.mix=[{source="synthetic", share=0.7}, {source="annotated", share=0.3}]',
    ),
    sets(
        STATUS,
        'train.mix=[{source="synthetic", share=0.9}, {source="annotated", share=0.1}]',
        "or batch_size",
        'train.mix=[{source="synthetic", share=0.9}, {source="annotated", share=0.1}] & train.batch_size=10',
    ),
    instead(
        f"{STATUS} --set {PUBLISHED} --set generate.unit_size=40 --set generate.samples=40",
        "raise portion to 0.78",
        f"{STATUS} --set {PUBLISHED} --set generate.unit_size=40 --set generate.samples=40 --set generate.portion=0.78",
    ),
    sets(
        STATUS,
        PUBLISHED,
        "take units of 156 with samples a multiple of it",
        f"{PUBLISHED} & generate.unit_size=156 & generate.samples=312",
    ),
    sets(STATUS, PUBLISHED, 'take filter "most_certain"', 'generate.filter="most_certain"'),
    sets(STATUS, "cluster.resources={CPU=1}", "the keys cpus, gpus and memory_gib reserve those", "cluster.cpus=1"),
    sets(STATUS, "paths.out=s3://bucket/x", "a folder on this machine is needed there", "paths.out=other"),
    sets(FIT, "denoiser.prompt=a", "reads no words; leave it out"),
    sets(
        TRAIN,
        "train.encoder=resnet19",
        "there are resnet18",
        "train.encoder=resnet18 & train.steps=1 & train.baseline=false",
    ),
    sets("sample {recipe} -n 2", 'generate.batch_size="auto"', "give a number", "generate.batch_size=2"),
    instead(
        "sample {recipe} -n 3 --of 2", "--of takes a number that is no smaller than -n", "sample {recipe} -n 2 --of 3"
    ),
    Case(
        "sample {recipe} -n 2",
        each(written("out/samples/1.png"), written("out/samples/1.mask.png")),
        "move images and masks to paths.annotated",
        edits(lambda project: (project / "out" / "samples").rename(project / "moved")),
    ),
    Case(
        "sample {recipe} -n 2",
        each(written("out/samples/1.png"), written("out/samples/1.mask.png")),
        "or name another paths.out",
        adds("--set paths.out=other"),
    ),
    instead(
        "segment {recipe} --out {p}/x", "a recipe and images are needed", "segment {recipe} {p}/annotated --out {p}/x"
    ),
    instead(
        "segment {recipe} {p}/annotated --out {p}/annotated",
        "name another folder",
        "segment {recipe} {p}/annotated --out {p}/x",
    ),
    instead("init {p}/new", "--model PLACE", "init {p}/new --model {p}/model"),
    Case("init {p}/new --model {p}/model", written("new/recipe.toml"), "or remove it", edits(gone("new/recipe.toml"))),
    instead(
        "init {p}/new --model {p}/model",
        "name another folder",
        "init {p}/newer --model {p}/model",
        written("new/recipe.toml"),
    ),
    Case(
        f"{TRAIN} --set train.ignore_above=0.1",
        with_units("generate.uncertainty_maps=false"),
        "generate another with generate.uncertainty_maps = true",
        both(
            made_here('paths.dataset="other"', "generate.uncertainty_maps=true"),
            adds("--set paths.dataset=other --set train.baseline=false"),
        ),
    ),
    instead(
        f"{TRAIN} --set train.ignore_above=0.1",
        "or leave ignore_above out",
        f"{TRAIN} --set train.baseline=false",
        with_units("generate.uncertainty_maps=false"),
    ),
    Case(
        f"{TRAIN} --set 'train.mix=[{{source=\"{{p}}/more\", share=1.0}}]'",
        nothing,
        "more, which holds no dataset.json",
        edits(lambda project: shutil.copytree(project / D, project / "more") and None),
    ),
    Case(
        TRAIN,
        lambda project: (project / "recipe.toml").write_text(
            (project / "recipe.toml").read_text().split("[generate]")[0]
        ),
        "add that section",
        edits(lambda project: (project / "recipe.toml").write_text(RECIPE)),
    ),
]


def picture(name: str, pixels: np.ndarray) -> Harm:
    def harm(project: Path) -> None:
        Image.fromarray(pixels).save(project / "annotated" / name)

    return harm


def scheme(*rows: str) -> Harm:
    return written("annotated/scheme.toml", f"classes = [{', '.join(rows)}]")


def masks(change: Callable[[np.ndarray], np.ndarray]) -> Harm:
    """Every mask changed."""

    def harm(project: Path) -> None:
        for path in (project / "annotated").glob("*.mask.png"):
            Image.fromarray(change(np.asarray(Image.open(path)))).save(path)

    return harm


COLOURS = np.array([(10, 20, 30), (200, 0, 0), (0, 0, 200)], dtype=np.uint8)
NAMED = ("ground", "square", "dot")
OWN = [f'{{ name = "{name}", color = {color.tolist()} }}' for name, color in zip(NAMED, COLOURS, strict=True)]
SAME = [row.replace("[200, 0, 0]", "[10, 20, 30]") for row in OWN]


def two_colours(ids: np.ndarray) -> np.ndarray:
    return COLOURS[2 * (ids > 0)]


def three_colours(_: np.ndarray) -> np.ndarray:
    return COLOURS[IDS]


def drawn_among_them(project: Path) -> None:
    """One of the annotated images."""
    drawn(project / "drawn")
    edited("1.png", "7.png", "drawn/1.json")(project)
    for suffix in ("png", "json"):
        (project / f"drawn/1.{suffix}").rename(project / f"annotated/7.{suffix}")


IDS = np.arange(256, dtype=np.uint8).reshape(16, 16) % 3
MASKS = [
    Case(FIT, gone("annotated/scheme.toml"), "is missing; it names the classes", edits(scheme('"a"', '"b"', '"c"'))),
    Case(FIT, scheme("{}", '"b"', '"c"'), 'write { name = "sky" }', edits(scheme('{ name = "sky" }', '"b"', '"c"'))),
    Case(FIT, scheme("{}", '"b"', '"c"'), 'or "sky" alone', edits(scheme('"sky"', '"b"', '"c"'))),
    Case(
        FIT,
        scheme('{ name = "a", color = 3 }', '"b"', '"c"'),
        "three whole numbers are needed, 0 to 255, as [90, 160, 250]",
        edits(scheme('{ name = "a", color = [90, 160, 250] }', '{ name = "b", color = [1, 2, 3] }', OWN[2])),
    ),
    Case(FIT, picture("0_mask.png", IDS), "are both masks of 0.png; remove one", edits(gone("annotated/0_mask.png"))),
    Case(FIT, picture("0.jpg", IDS), "would share 0.mask.png; remove one", edits(gone("annotated/0.jpg"))),
    Case(
        FIT,
        picture("0.bmp", IDS),
        "or rename it and give it a mask",
        both(
            edits(lambda project: (project / "annotated/0.bmp").rename(project / "annotated/7.bmp")),
            edits(picture("7.mask.png", IDS)),
        ),
    ),
    Case(FIT, picture("9.mask.png", IDS), "has no image; expected 9.png", edits(picture("9.png", IDS))),
    Case(FIT, masks(lambda ids: COLOURS[ids]), "give each its color there", edits(scheme(*OWN))),
    Case(FIT, masks(lambda ids: COLOURS[ids]), "or save class ids as a grey image", edits(masks(lambda _: IDS))),
    Case(
        FIT,
        each(masks(two_colours), scheme(*SAME)),
        "give each its own",
        edits(each(scheme(*OWN), masks(three_colours))),
    ),
    Case(
        FIT,
        each(masks(lambda ids: COLOURS[ids] + np.uint8(1)), scheme(*OWN)),
        "paint in the classes' colours",
        edits(masks(lambda mask: mask - np.uint8(1))),
    ),
    Case(
        FIT,
        each(scheme(*OWN), gone("annotated/0.mask.png"), picture("0_mask.jpg", COLOURS[IDS])),
        "save the mask as PNG",
        both(edits(gone("annotated/0_mask.jpg")), edits(picture("0.mask.png", COLOURS[IDS]))),
    ),
    Case(
        FIT,
        each(scheme('"a"', '"b"'), masks(lambda ids: np.where(ids == 1, 255, 0).astype(np.uint8))),
        "write two classes as 0 and 1",
        edits(masks(lambda ids: ids // 255)),
    ),
    Case(
        FIT,
        each(scheme('"a"', '"b"'), masks(lambda ids: np.where(ids == 1, 255, 0).astype(np.uint8))),
        "or give them these colours in scheme.toml, [0, 0, 0] and [255, 255, 255]",
        edits(scheme('{ name = "a", color = [0, 0, 0] }', '{ name = "b", color = [255, 255, 255] }')),
    ),
    Case(
        FIT,
        picture("0.png", np.zeros((16, 20, 3), np.uint8)),
        "cut it to their proportions",
        edits(picture("0.png", COLOURS[IDS])),
    ),
    Case(
        FIT,
        gone(*(f"annotated/{number}.mask.png" for number in range(4))),
        "the mask of 0.png would be 0.mask.png",
        edits(picture("0.mask.png", IDS)),
    ),
    Case(FIT, masks(lambda ids: ids % 2), "label some", edits(picture("0.mask.png", IDS))),
    Case(FIT, masks(lambda ids: ids % 2), "or take it out of scheme.toml", edits(scheme('"a"', '"b"'))),
    Case(FIT, masks(lambda ids: 0 * ids), "label pixels of the others, too", edits(picture("0.mask.png", IDS))),
    Case(
        FIT,
        scheme('{ name = "a", colour = [1, 2, 3] }', *OWN[1:]),
        "name and color are what a class may have",
        edits(scheme('{ name = "a", color = [1, 2, 3] }', *OWN[1:])),
    ),
    Case(
        FIT,
        drawn_among_them,
        "7.json holds drawings of LabelMe, of which `datasetddpm import` makes masks",
        both(
            runs("import labelme {p}/annotated --scheme {p}/annotated/scheme.toml --unlabelled ground --out {p}/few"),
            edits(lambda project: (project / "few/7.mask.png").rename(project / "annotated/7.mask.png")),
        ),
        0,
    ),
    Case(
        f"{FIT} --set paths.annotated=drawn",
        lambda project: drawn(project / "drawn"),
        "run `datasetddpm import labelme",
        both(literally, adds("--set paths.annotated=drawn-masks")),
    ),
]


def drawn(folder: Path) -> None:
    """Annotations as labelme writes them."""
    folder.mkdir()
    for number in range(2):
        Image.fromarray(COLOURS[IDS]).save(folder / f"{number}.png")
        shapes = [
            {"label": label, "points": [[left, 0], [left + 6, 0], [left + 6, 15]], "shape_type": "polygon"}
            for label, left in (("square", 0), ("dot", 8))
        ]
        content = {"version": "5", "flags": {}, "shapes": shapes, "imagePath": f"{number}.png", "imageHeight": 16}
        (folder / f"{number}.json").write_text(json.dumps({**content, "imageWidth": 16, "imageData": None}))


def checkpoint(content: bytes | None, **changes: object) -> Harm:
    """Of the training of a network that is not finished; without content, one of other settings."""

    def harm(project: Path) -> None:
        gone(NET)(project)
        recipe = Recipe.load(project / "recipe.toml")
        (run,) = trainings.runs(recipe, ["synthetic"])
        part = part_of(run.folder, run.inputs)
        part.mkdir(parents=True)
        if content is not None:
            (part / CHECKPOINT).write_bytes(content)
            return
        trainee = Trainee(trainings.build(run) if changes else deeplab.build(3, encoder="resnet18"), run.optimisation)
        History.start().write(part, {**run.inputs, **changes}, trainee)

    return harm


def painters_checkpoint(content: object) -> Harm:
    """Of train-ddpm, not finished."""

    def harm(project: Path) -> None:
        recipe = Recipe.load(project / "recipe.toml", ("train_ddpm.updates=1",))
        assert recipe.paths.unlabelled is not None
        inputs = {"train_ddpm": recipe.train_ddpm.made_with(), "images": pictures(recipe.paths.unlabelled).files}
        part = part_of(ddpm_folder(recipe), inputs)
        part.mkdir(parents=True)
        torch.save(content, part / CHECKPOINT)

    return harm


STUDY = "study {recipe} --cells 0 --page {p}"
TRAININGS = [
    Case(TRAIN, checkpoint(b""), "remove it to train anew", removes(r"(\S+) is no checkpoint")),
    Case(TRAIN, checkpoint(None, seed=7), "remove it to train anew", removes(r"(\S+) is of a training")),
    Case(TRAIN, checkpoint(None), "remove that folder to train anew", removes(r"datasetddpm: (\S+): ")),
    Case(PAINT, painters_checkpoint({}), "to train anew", removes(r"; remove (\S+) to train anew")),
    Case(
        PAINT,
        painters_checkpoint({"origin": {"images": {}}}),
        "is of another training",
        removes(r"; remove (\S+) to train anew"),
    ),
    sets(PAINT, "paths.denoiser=s3://bucket/model", "name one", "paths.denoiser=other"),
    sets(
        PAINT,
        "train_ddpm.init=model",
        "name another folder for what is made",
        "train_ddpm.init=model & paths.denoiser=other & train_ddpm.size=16",
    ),
    instead(
        f"{STATUS} --set train_ddpm.init=model --set train_ddpm.preset=adm_64",
        "give one of them",
        f"{STATUS} --set train_ddpm.init=model",
    ),
    instead(
        f"{PAINT} --set train_ddpm.init=model --set paths.denoiser=other --set train_ddpm.layers=2",
        "leave the key out",
        "train-ddpm {recipe} --set train_ddpm.init=model --set paths.denoiser=other --set train_ddpm.updates=1",
    ),
    Case(
        PAINT,
        written("annotated/broken.png"),
        "repair or remove what is broken",
        edits(gone("annotated/broken.png")),
    ),
    Case(f"{STUDY}/new/page.md", nothing, "make it first", edits(lambda project: (project / "new").mkdir())),
    instead(f"{STUDY}/new/page.md", "or name another page with --page", f"{STUDY}/page.md"),
    instead(f"{STUDY}/recipe.toml", "name another with --page", f"{STUDY}/page.md"),
    Case(
        f"{STUDY}/page.md",
        written("out/study/cells/interpreter-seed0.json"),
        "remove it, and it is measured again",
        removes(r"datasetddpm: (\S+) is no"),
    ),
    Case(FIT, each(gone("out"), written("out")), "name another folder", adds("--set paths.out=other"), 1),
    Case(FIT, each(gone("out"), written("out")), "name another folder", edits(gone("out")), 1),
]


def large(project: Path) -> None:
    """A model of larger images, in large."""
    Denoiser(make_unet(size=32), Schedule.named("cosine", "v_prediction"), digest="large").save_pretrained(
        project / "large"
    )


def latent(project: Path) -> None:
    """A model that paints from words in sd, one that paints without them in plain."""
    latent_models.saved(latent_models.stable_diffusion(), project / "sd")
    latent_models.saved(latent_models.plain(), project / "plain")


def words(prompts: str, *settings: str, place: str = "sd") -> str:
    """Two samples of a latent diffusion model that paints apart."""
    given = (
        f"paths.painter={place}",
        "painter.kind=latent",
        *([f"painter.prompts={prompts}"] if prompts else []),
        *settings,
    )
    return " ".join(["sample {recipe} -n 2", *(f"--set '{setting}'" for setting in given)])


TOLD = """--set 'painter.prompts=["a"]'"""
SEEN = "--set paths.denoiser=sd --set interpreter.blocks=[1,2,3]"
READ = "segment {recipe} {p}/annotated --out {p}/x"
WORDLESS = (
    "--set paths.painter=plain --set 'painter.kind=\"latent\"' --set paths.dataset=other --set generate.samples=2"
)
LATENT = [
    instead(words(""), "from words; name some", words('["a horse"]'), latent),
    instead(
        words('["a horse"]', place="plain"), "paints without words; leave prompts out", words("", place="plain"), latent
    ),
    instead(words("[]"), "one prompt at least", words('["a cow"]'), latent),
    instead(words('["a cow", ""]'), "write what is to be painted", words('["a cow", "a horse"]'), latent),
    instead(words('["a cow", ""]'), "or leave it out", words('["a cow"]'), latent),
    instead(
        words('["a cow"]', 'painter.choices={of=["red"]}'),
        "write {of} where it belongs",
        words('["a {of} cow"]', 'painter.choices={of=["red"]}'),
        latent,
    ),
    instead(
        words('["a {of} cow"]', "painter.choices={of=[]}"),
        "name one choice at least",
        words('["a {of} cow"]', 'painter.choices={of=["red"]}'),
        latent,
    ),
    instead(words('["a { cow"]'), "write {{ and }} for braces", words('["a {{ cow"]'), latent),
    instead(
        words('["a {of} cow"]'),
        "add choices.of",
        words('["a {of} cow"]', 'painter.choices={of=["red"]}'),
        latent,
    ),
    instead(words('["a a a a a a a a a cow"]'), "shorten it", words('["a cow"]'), latent),
    instead(
        f"sample {{recipe}} -n 2 --set paths.painter=sd {TOLD}",
        'add kind = "latent"',
        words('["a"]'),
        latent,
    ),
    instead(
        f"sample {{recipe}} -n 2 --set paths.painter=model {TOLD}",
        "or leave it out",
        "sample {recipe} -n 2 --set paths.painter=model",
        latent,
    ),
    instead(
        f"sample {{recipe}} -n 2 {SEEN}",
        'name it in paths.painter as well, with painter.kind = "latent"',
        words('["a"]') + f" {SEEN}",
        latent,
    ),
    instead(
        f"sample {{recipe}} -n 2 {SEEN}",
        "or name another model there",
        "sample {recipe} -n 2 --set paths.denoiser=model",
        latent,
    ),
    instead(f"fit {{recipe}} {SEEN} --set interpreter.noises=2", "leave it out", f"fit {{recipe}} {SEEN}", latent),
    instead(f"fit {{recipe}} {SEEN} --set denoiser.compile=default", "leave it out", f"fit {{recipe}} {SEEN}", latent),
    Case(f"{READ} {SEEN}", latent, "fit it again", runs(f"fit {{recipe}} {SEEN}")),
    instead(f"{READ} {SEEN}", "or open the denoiser that it was fitted on", READ, latent),
    instead(
        f"generate {{recipe}} {WORDLESS} {TOLD}",
        "without words; leave them out",
        f"generate {{recipe}} {WORDLESS}",
        each(latent, lambda project: make_units(project, *shlex.split(WORDLESS)[1::2])),
    ),
    instead(
        "generate {recipe} --set paths.painter=large --set paths.dataset=other",
        "name two models of one size",
        "generate {recipe} --set paths.painter=model --set paths.dataset=other",
        each(large, lambda project: make_units(project, "paths.painter=model", "paths.dataset=other")),
    ),
]


def labelme(project: Path) -> None:
    drawn(project / "drawn")


def zipped(project: Path) -> None:
    labelme(project)
    shutil.make_archive(str(project / "packed"), "zip", project / "drawn")


def npz(project: Path) -> None:
    """A published synthetic set of three classes."""
    rows = {"arr_0": COLOURS[IDS][None], "arr_1": IDS[None], "arr_2": np.zeros(1)}
    np.savez(project / "x.npz", **rows)


def yolo(yaml: str, *images: str) -> Harm:
    def harm(project: Path) -> None:
        for place in ("labels", "images"):
            (project / "yolo" / place).mkdir(parents=True)
        (project / "yolo" / "data.yaml").write_text(yaml)
        (project / "yolo" / "labels" / "a.txt").write_text("0 0.1 0.1 0.4 0.1 0.4 0.9\n1 0.5 0.1 0.9 0.1 0.9 0.9\n")
        for name in images:
            Image.fromarray(COLOURS[IDS]).save(project / "yolo" / "images" / name)

    return harm


def coloured(suffix: str) -> Harm:
    def harm(project: Path) -> None:
        for place in ("images", "masks"):
            (project / "painted" / place).mkdir(parents=True)
        Image.fromarray(COLOURS[IDS]).save(project / "painted" / "images" / "a.png")
        Image.fromarray(COLOURS[IDS]).save(project / "painted" / "masks" / f"a.{suffix}")

    return harm


TABLE = "name,red,green,blue\n" + "".join(
    f"{name},{','.join(map(str, color))}\n" for name, color in zip(NAMED, COLOURS.tolist(), strict=True)
)
CVAT = (
    '<annotations><image id="0" name="0.png" width="16" height="16">'
    '<polygon label="square" points="0,0;6,0;6,15"/></image></annotations>'
)
DRAWN = "import labelme {p}/drawn --out {p}/few"
YOLO = "import yolo {p}/yolo --out {p}/few"
PAINTED = "import colours {p}/painted --out {p}/few"
NPZ = "import npz {p}/x.npz --out {p}/more"
IMPORTS = [
    Case(DRAWN, each(labelme, written("few/mine")), "name a folder that is not there yet", edits(gone("few"))),
    instead(f"{DRAWN} --columns a,b", "says nothing of labelme; leave it out", DRAWN, labelme),
    instead(
        "import labelme {p}/packed.zip --out {p}/few",
        "unpack it, and name the folder",
        "import labelme {p}/unpacked --out {p}/few",
        each(zipped, lambda project: shutil.unpack_archive(project / "packed.zip", project / "unpacked")),
    ),
    Case(
        YOLO,
        yolo("x: 1", "a.png"),
        "it needs names: [car, tree]",
        edits(written("yolo/data.yaml", "names: [car, tree]")),
    ),
    Case(YOLO, yolo("names: [car, tree]", "a.png", "a.jpg"), "remove one", edits(gone("yolo/images/a.jpg"))),
    Case(
        YOLO,
        yolo("names: [car, tree]"),
        "expected a.jpg or .png",
        edits(lambda project: Image.fromarray(COLOURS[IDS]).save(project / "yolo" / "images" / "a.png")),
    ),
    Case(
        PAINTED,
        coloured("png"),
        "name a scheme.toml with colours by --scheme",
        both(edits(scheme(*OWN)), adds("--scheme {p}/annotated/scheme.toml")),
    ),
    Case(
        PAINTED,
        coloured("png"),
        "or put class_dict.csv with name,red,green,blue there",
        edits(written("painted/class_dict.csv", TABLE)),
    ),
    Case(
        PAINTED,
        each(coloured("jpg"), written("painted/class_dict.csv", TABLE)),
        "save the mask as PNG",
        edits(each(gone("painted"), coloured("png"), written("painted/class_dict.csv", TABLE))),
    ),
    Case(
        "import cvat {p}/drawn/a.xml --out {p}/few",
        each(labelme, written("drawn/a.xml", "<annotations><track/></annotations>")),
        "export it from CVAT as CVAT for images 1.1",
        edits(written("drawn/a.xml", CVAT)),
    ),
    Case(NPZ, nothing, "name an npz file of images, labels and uncertainty", runs(EXPORT)),
    Case(NPZ, written("x.npz", b"PK"), "copy or download it again", runs(EXPORT)),
    Case(
        f"{NPZ} --scheme {{p}}/two.toml",
        each(npz, written("two.toml", 'classes = ["a", "b"]')),
        "name a scheme with all of them",
        edits(written("two.toml", 'classes = ["a", "b", "c"]')),
    ),
    instead(f"{NPZ} --scheme {{p}}/two.toml", "or none", NPZ, each(npz, written("two.toml", 'classes = ["a", "b"]'))),
    instead(f"{NPZ} --columns a,b", "says nothing of npz; leave it out", NPZ, npz),
]
PHOTOS = "generate {recipe} --set generate.images=photographs --set paths.photographs={p}/photos"


def other_photographs(folder: Path) -> None:
    folder.mkdir()
    Image.fromarray(COLOURS[IDS]).save(folder / "other.png")


def photographs(project: Path) -> None:
    """Six of them, labelled."""
    shutil.copytree(project / "annotated", project / "photos")
    given = shlex.split(PHOTOS.replace("{p}", str(project)))
    make_units(project, *given[3::2])


def another_photograph(project: Path) -> None:
    """In place of the last."""
    (project / "photos/3.png").rename(project / "photos/z.png")


MORE = PHOTOS.replace("{p}/photos", "{p}/more")
LOST = "photographs-000000.json"
LABELLED = [
    Case(
        PHOTOS,
        each(photographs, aside(f"out/photographed/{LOST}")),
        "restore it",
        restored(f"out/photographed/{LOST}"),
    ),
    Case(
        PHOTOS,
        each(photographs, gone(f"out/photographed/{LOST}")),
        "or name another folder in paths.photographed",
        both(made_here("paths.photographed=other"), adds("--set paths.photographed=other")),
    ),
    Case(
        MORE,
        each(photographs, lambda project: other_photographs(project / "more")),
        "name that folder in paths.photographs",
        adds("--set paths.photographs={p}/photos"),
    ),
    Case(
        MORE,
        each(photographs, lambda project: other_photographs(project / "more")),
        "or another one in paths.photographed",
        both(made_here("paths.photographed=other"), adds("--set paths.photographed=other")),
    ),
    Case(
        PHOTOS,
        each(photographs, another_photograph),
        "3.png has vanished since it was first listed; put it back, or begin another dataset",
        both(made_here("paths.photographed=other"), adds("--set paths.photographed=other")),
    ),
]


def failed(project: Path) -> None:
    """A unit that was given up."""
    units(2)(project)
    Tally(4, 22, failures=[Failure(2, "ArithmeticError: no", 3)]).write(project / D)


def says(line: str, words: str, code: int = 0) -> Carry:
    """Another command, which says more."""

    def carry(done: Done) -> None:
        assert f"`datasetddpm {done.words(line)}`" in done.said
        assert words in done.run(line, code)

    return carry


def names_classes(done: Done) -> None:
    (scheme, line) = re.findall(r"name your classes in (\S+), then: datasetddpm (.+)", done.said)[0]
    Path(scheme).write_text('classes = ["sky", "sea"]')
    done.run(line)


CHECK = "check {recipe}"
LOOKS = [
    instead(
        f"{CHECK} --set paths.denoiser=nowhere",
        "name a diffusion model",
        f"{CHECK} --set paths.denoiser=model",
        without("unlabelled"),
    ),
    Case(
        f"{CHECK} --set paths.denoiser=nowhere",
        without("unlabelled"),
        "or paths.unlabelled to train one",
        adds("--set paths.unlabelled=annotated"),
    ),
    sets(CHECK, "paths.painter=nowhere", "name a model that paints", "paths.painter=model"),
    instead(
        f"{CHECK} --set paths.painter=large",
        "name two models of one size",
        f"{CHECK} --set paths.painter=model",
        large,
    ),
    Case(
        f"{CHECK} --set interpreter.features=swav --set paths.weights.swav=w.pth",
        nothing,
        "put the file there",
        edits(written("w.pth")),
    ),
    Case(
        "status {p}/out/dataset",
        written(f"{D}/shard-000001.tar", b""),
        "verify {p}/out/dataset` looks at every byte",
        says("verify {p}/out/dataset", "shard-000001.tar", 1),
        0,
    ),
    Case(STATUS, failed, "says why", says("status {p}/out/dataset", "failed 3 times: ArithmeticError: no"), 0),
    instead("status foo://b/x", "name a path", "status {p}/out/dataset"),
    Case(
        "init {p}/new --model {p}/model", nothing, "name your classes in", names_classes, 0, "check {p}/new/recipe.toml"
    ),
]


def held(project: Path) -> None:
    """The annotated images, with another name for a class."""
    shutil.copytree(project / "annotated", project / "held")
    edited("dot", "disc", "held/scheme.toml")(project)


def trains_again(done: Done) -> None:
    """What the same command says next."""
    again(replace(done, said=done.run(done.line, 2)))


def unreadable(name: str) -> Harm:
    """As another version wrote it, of a dataset that `report` has looked at."""

    def harm(project: Path) -> None:
        gone("out/deeplab")(project)
        write_page(Recipe.load(project / "recipe.toml"))
        written(f"out/quality/{name}", "[]")(project)
        take_as_written(project / "out" / "quality")

    return harm


def imported(name: str, side: int) -> Harm:
    """A dataset of images of this size."""

    def harm(project: Path) -> None:
        ids = np.resize(IDS, (1, side, side))
        np.savez(project / f"{name}.npz", arr_0=COLOURS[ids], arr_1=ids, arr_2=np.zeros(1))
        import_npz(project / f"{name}.npz", project / name, Scheme(NAMED))

    return harm


def mixed(*sources: str) -> str:
    rows = ", ".join(f'{{source="{source}", share={1 / len(sources)}}}' for source in sources)
    return f"{TRAIN} --set 'train.mix=[{rows}]' --set train.baseline=false"


ONE = "--set train.baseline=false"
TWO = "--set train.baseline=false --set paths.held_out=held"
PUSH = f"push {{p}}/{NET} hf://me/it --license mit --dry-run"
QUALITY = removes(r"; remove (\S+), and")
NETWORKS = [
    instead(f"evaluate {{recipe}} {TWO}", "name other images", f"evaluate {{recipe}} {ONE}", held),
    Case(
        f"evaluate {{recipe}} {ONE}",
        edited("dot", "disc", "annotated/scheme.toml"),
        "or run `datasetddpm fit` again",
        both(again, edits(with_units()), trains_again),
    ),
    Case("report {recipe}", unreadable("quality.json"), "and run `datasetddpm report` again", QUALITY),
    Case("report {recipe}", unreadable("nearest.json"), "and run `datasetddpm report` again", QUALITY),
    instead(
        "report {recipe} --set paths.annotated=held",
        "name the annotated images that it was made from",
        "report {recipe}",
        each(held, gone("out/deeplab")),
    ),
    Case(PUSH, written(f"{NET}/config.json", "{}"), "train it again", runs(f"{TRAIN} {ONE}")),
    Case(
        mixed("synthetic", "more"),
        imported("more", 32),
        "mix datasets of one size",
        edits(each(gone("more"), imported("more", 16))),
    ),
]


CASES = [*STAGES, *DATASETS, *RECIPES, *MASKS, *TRAININGS, *LATENT, *IMPORTS, *LABELLED, *LOOKS, *NETWORKS]


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """No word of a table is broken."""
    monkeypatch.setattr("pipelines.cli.setup.console.width", 400)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_remedy_in_a_message_works(finished: Path, command: Command, case: Case) -> None:
    case.harm(finished)
    before = Done(finished, command, case.line, "")
    said = before.run(case.line, case.code)
    assert before.words(case.words) in said
    more = case.carry(replace(before, said=said))
    before.run(f"{case.lastly or case.line} {more or ''}")


def test_who_finds_a_folder_in_use_waits_for_the_end_or_takes_another_place(project: Path, command: Command) -> None:
    recipe, other = project / "recipe.toml", ("--set", "paths.out=other")
    (project / "out").mkdir()
    with leased(project / "out" / "interpreter", beside=True):
        said = command("fit", recipe, code=1)
        assert said.endswith("; wait for its end, stop it, or name another paths.out\n")
        assert "made an interpreter" in command("fit", recipe, *other)
    assert "made an interpreter" in command("fit", recipe)


CODE = [
    path for room in ("generate", "label", "deeplab", "cluster", "pipelines") for path in (ROOT / room).rglob("*.py")
]


def test_a_folder_of_no_finished_stage_is_one_when_that_stage_has_run(finished: Path, command: Command) -> None:
    with pytest.raises(RecipeError, match="holds no finished stage; run the stage that makes it first"):
        Record.read(finished / "out" / "samples")
    command("sample", finished / "recipe.toml", "-n", "1")
    Record.read(finished / "out" / "samples")


def test_a_model_that_was_opened_from_nowhere_is_opened_and_named(tmp_path: Path) -> None:
    denoiser = make_denoiser()
    DenoiserFeatures(denoiser, steps=[50], blocks=[1]).save_pretrained(tmp_path)
    with pytest.raises(LabelError, match="does not say where its denoiser is; open it and name it"):
        DenoiserFeatures.from_pretrained(tmp_path)
    assert DenoiserFeatures.from_pretrained(tmp_path, denoiser).denoiser is denoiser


def test_models_that_overflow_in_half_precision_do_not_in_single(finished: Path, command: Command) -> None:
    weights = finished / "model" / "unet" / "diffusion_pytorch_model.safetensors"
    tensors, key = load_file(weights), "down_blocks.0.resnets.0.conv1.weight"  # what it makes is normalised
    save_file(tensors | {key: 1e5 * tensors[key]}, weights)
    command("fit", finished / "recipe.toml")
    half = 'denoiser.dtype="float16"'
    with pytest.raises(FloatingPointError, match=r'take denoiser\.dtype = "float32", or other'):
        make_units(finished, "paths.dataset=other", half)
    shutil.rmtree(finished / "other")  # or another folder is named
    make_units(finished, "paths.dataset=other", half.replace("16", "32"))


def test_what_a_message_tells_to_install_is_an_extra_with_what_is_missed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    text = "".join(path.read_text() for path in CODE)
    named = set(re.findall(r"datasetddpm\[([a-z-]+)\]", text))
    named |= set(STORES.values()) | {format.extra for format in FORMATS.values() if format.extra}
    named |= set(re.findall(r'library\("\w+", "([a-z-]+)"', text))
    assert named == set(extras) - {"dev", "demo-data"}
    packages = {name: {re.split(r"[\[><=]", each)[0] for each in needed} for name, needed in extras.items()}
    for format in FORMATS.values():
        assert {PACKAGES.get(module, module) for module in format.needs} <= packages.get(format.extra or "", set())
    assert set(annotate.PACKAGES) <= packages["annotate"]
    assert "transformers" in packages["latent"]
    plain = {re.split(r"[\[><=]", each)[0] for each in project["dependencies"]}
    assert {package_of(kind) for kind in ("swav", "mae", "timm:x")} <= plain
    assert {PACKAGES.get(name, name) for name in check.PACKAGES} <= plain
    assert all(check.OF_STORES[scheme] in packages[extra] for scheme, extra in STORES.items())


def test_a_command_that_a_message_names_is_one_with_that_option() -> None:
    text = " ".join(re.sub(r'"\s*\n\s*f?"', "", path.read_text()) for path in CODE)
    commands = vars(typer.main.get_command(cli.app))["commands"]
    named = re.findall(r"`datasetddpm ([a-z-]+)([^`]*)`(?: with (--[a-z-]+))?", text)
    assert len(named) > 20
    for name, rest, beside in named:
        options = {option for each in commands[name].params for option in each.opts}
        assert {*re.findall(r"--[a-z-]+", f"{rest} {beside}")} <= options, (name, rest, beside)


def without_its_last_sample(shard: Path) -> bytes:
    """As long as before."""
    content, file = shard.read_bytes(), io.BytesIO()
    with tarfile.open(shard) as tar, tarfile.open(fileobj=file, mode="w") as shorter:
        last = tar.getnames()[-1].partition(".")[0]
        for member in tar.getmembers():
            if not member.name.startswith(last):
                shorter.addfile(member, tar.extractfile(member))
    return file.getvalue().ljust(len(content), b"\0")


def test_repair_makes_again_whatever_a_message_says_is_damaged(
    finished: Path, command: Command, local_ray: None
) -> None:
    recipe, folder, said = finished / "recipe.toml", finished / D, dict[str, str]()
    voc = ("export", folder, "--format", "voc", "--out", finished / "voc")
    tar = (folder / "shard-000002.tar").read_bytes()
    for name, content, call in (
        ("shard-000001.tar", b"", voc),
        ("shard-000002.tar", tar[:512] + b"x" + tar[513:], ("train", recipe)),
        ("shard-000000.tar", without_its_last_sample(folder / "shard-000000.tar"), voc),
        ("shard-000003.json", (folder / "shard-000000.json").read_bytes(), voc),
    ):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(content)
        said[name] = command(*call, code=2)
        if name != "shard-000003.json":  # the last one stays, and hides the others from `export`
            (folder / name).write_bytes(whole)
    assert all("run `datasetddpm generate` with --repair" in each for each in said.values())
    (folder / "shard-000001.tar").write_bytes(b"")
    (folder / "shard-000002.tar").write_bytes(tar[:512] + b"x" + tar[513:])
    assert "`datasetddpm generate RECIPE --repair` makes them again" in command("verify", folder, code=1)
    command("generate", recipe, "--repair")
    (folder / "index.parquet").write_bytes(b"no table")
    assert "index.parquet does not say what the reports say" in command("verify", folder, code=1)
    command("generate", recipe)
    assert "4 shards, all as written" in command("verify", folder)
    command(*voc)
    command("train", recipe)


TENSORS = "out/interpreter/interpreter.safetensors"


def not_finite(name: str) -> Harm:
    """The first value of each tensor is nan."""

    def harm(project: Path) -> None:
        tensors = load_file(project / name)
        for tensor in tensors.values():
            if tensor.is_floating_point():
                tensor.view(-1)[:1] = torch.nan
        save_file(tensors, project / name)

    return harm


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (gone("out/interpreter/interpreter.json"), "holds no interpreter; fit one first"),
        (written("out/interpreter/features.json"), "is cut short or damaged; fit the interpreter again"),
        (written(TENSORS), "is cut short or damaged; fit the interpreter again"),
        (not_finite(TENSORS), "is not finite; fit the interpreter again"),
        (changed("out/interpreter/interpreter.json", members=2), "fit the interpreter again"),
        (changed("out/interpreter/interpreter.json", features="0" * 64), "was fitted on other features; fit it again"),
        (changed("out/interpreter/features.json", denoiser="0" * 64), "fit it again, or open the denoiser"),
        (lambda project: save_file({}, project / "out/interpreter/features.safetensors"), "holds no noise; fit the"),
    ],
)
def test_fit_makes_again_an_interpreter_that_says_so_when_it_is_opened(
    finished: Path, command: Command, harm: Harm, words: str
) -> None:
    harm(finished)
    with pytest.raises(LabelError, match=re.escape(words)):
        Interpreter.from_pretrained(finished / "out" / "interpreter")
    command("fit", finished / "recipe.toml")
    assert len(Interpreter.from_pretrained(finished / "out" / "interpreter").scheme) == 3


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (gone(f"{NET}/config.json"), "deeplab.save() writes one, so train again"),
        (gone(f"{NET}/model.safetensors"), "deeplab.save() writes one, so train again"),
        (written(f"{NET}/config.json"), "train again"),
        (written(f"{NET}/config.json", "{}"), "train again"),
        (written(f"{NET}/model.safetensors"), "is cut short, or of another network than config.json describes; train"),
        (not_finite(f"{NET}/model.safetensors"), "has a value that is not finite; train again"),
    ],
)
def test_train_makes_again_a_network_that_says_so_when_it_is_opened(
    finished: Path, command: Command, harm: Harm, words: str
) -> None:
    harm(finished)
    with pytest.raises(deeplab.NetworkError, match=re.escape(words)):
        deeplab.load(finished / NET)
    command("train", finished / "recipe.toml", "--set", "train.baseline=false")
    assert len(deeplab.load(finished / NET).architecture.class_names) == 3
