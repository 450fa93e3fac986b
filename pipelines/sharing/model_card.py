"""The page that a model is given away with: an interpreter, a denoiser or a DeepLab network."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from generate.identity import HUB_ID, locate, read_json
from label.feature_records import features_record
from label.identity import interpreter_record
from pipelines.errors import DatasetError
from pipelines.files.storage import Location
from pipelines.sharing.card import README, Words
from pipelines.sharing.licences import licence_of
from pipelines.sharing.markdown import head, table
from pipelines.sharing.parcels import Kind, Parcel, made_piece, model_pieces

Rows = Iterator[tuple[str, object]]


@dataclass(frozen=True)
class _Form:
    """What cards of one kind of model have in common."""

    library: str
    task: str
    is_what: str
    rows: Callable[[Path, Words], Rows]
    use: str  # Python, with NAME for the repository
    limits: Sequence[str]


def carded_parcel(
    kind: Kind, folder: Location, name: str, license_name: str | None, license_link: str | None, origin: str | None
) -> Parcel:
    """A model's files with its README.md: the one that lies there, or one that is made for the repository `name`.

    Raises InputError where one is to be made and no licence is named, DatasetError for a folder that is not here.
    """
    if not isinstance(folder, Path):
        raise DatasetError(f"{folder} is not on this machine; models are given away from a folder here")
    pieces = model_pieces(kind, folder)
    if (folder / README).is_file():
        return Parcel(kind, pieces | {README: made_piece((folder / README).read_bytes())})
    words = Words(name.rpartition("/")[2], licence_of(license_name, license_link), (), origin)
    return Parcel(kind, pieces | {README: made_piece(model_page(kind, folder, words, name).encode())})


def model_page(kind: Kind, folder: Path, words: Words, name: str) -> str:
    """README.md of the model in the folder, which is given away as the repository `name`."""
    form = _FORMS[kind]
    top = head(
        {
            **words.licence.fields,
            "library_name": form.library,
            "pipeline_tag": form.task,
            "tags": ["datasetddpm", kind],
        }
    )
    by = f" by {', '.join(words.authors)}" if words.authors else ""
    parts = [
        f"# {words.title}\n\n{form.is_what}\n",
        f"## What it is\n\n{table(('', ''), form.rows(folder, words))}",
        f"## Use\n\n```python\n{form.use.replace('NAME', name)}```\n",
        "## Known limits\n\n" + "".join(f"- {limit}\n" for limit in form.limits),
        f"## Licence\n\nGiven away{by} under {words.licence.sentence}. The licences of what it was trained on may "
        "bind it, too.\n",
    ]
    return top + "\n" + "\n".join(parts)


def _interpreter(folder: Path, words: Words) -> Rows:
    record, features = interpreter_record(folder), features_record(folder)
    steps, blocks = (", ".join(map(str, features[key])) for key in ("steps", "blocks"))
    source = features["source"]["path"]
    yield "classes", ", ".join(record["names"])
    yield "members", record["members"]
    yield "features of a pixel", f"{record['channels']}, of decoder blocks {blocks} at diffusion steps {steps}"
    yield "diffusion model that it reads", f"`{source}`" if HUB_ID.fullmatch(source) else "in the folder denoiser"
    yield "its sha256", f"`{features['denoiser']}`"
    yield from _trained(words)


def _denoiser(folder: Path, words: Words) -> Rows:
    files: Any = locate(folder, None)
    config, scheduler = read_json(files.config), read_json(files.scheduler)
    yield "images", f"{config['sample_size']} pixels, {config['in_channels']} channels"
    yield "channels of its levels", ", ".join(map(str, config["block_out_channels"]))
    yield "predicts", scheduler.get("prediction_type", "epsilon")
    yield "timesteps", files.timesteps()
    yield "weights", f"{files.weights.stat().st_size:,} bytes"
    yield "sha256", f"`{files.digest()}`"
    yield from _trained(words)


def _network(folder: Path, words: Words) -> Rows:
    path = folder / "config.json"
    try:
        architecture = json.loads(path.read_text("utf-8"))["architecture"]
        network = architecture["network"]
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path} does not describe a network of ours; train it again") from error
    yield "classes", ", ".join(architecture["class_names"]) or architecture["classes"]
    yield "network", f"DeepLab{network['variant'].upper()} on {network['encoder']}"
    yield "output stride", network["output_stride"]
    stage = folder / "stage.json"
    if stage.is_file() and (train := json.loads(stage.read_text("utf-8")).get("inputs", {}).get("train")):
        length = f"{train['epochs']} epochs" if train.get("epochs") else f"{train['steps']} steps"
        yield "training", f"{length}, {train['batch_size']} images at once"
    yield from _trained(words)


def _trained(words: Words) -> Rows:
    yield "what it was trained on", words.origin or "not said"


_FORMS: dict[Kind, _Form] = {
    "interpreter": _Form(
        "datasetddpm",
        "image-segmentation",
        "An interpreter: an ensemble that labels every pixel of an image from the activations of a diffusion model, "
        "and says how sure it is ([Baranchuk et al., 2022](https://arxiv.org/abs/2112.03126)).",
        _interpreter,
        """\
from PIL import Image

from label import Interpreter
from pipelines import segment

interpreter = Interpreter.from_pretrained("NAME")
segment(Image.open("photo.jpg"), interpreter).overlay.save("overlay.png")
""",
        (
            "It was fitted on a few annotated images of one domain; outside of it, its masks and its uncertainty are "
            "of little worth.",
            "It needs the diffusion model for every image.",
        ),
    ),
    "denoiser": _Form(
        "diffusers",
        "unconditional-image-generation",
        "A diffusion model that paints images of one domain, and whose activations an interpreter reads.",
        _denoiser,
        """\
from diffusers import DDPMPipeline

DDPMPipeline.from_pretrained("NAME")().images[0].save("painted.png")
""",
        (
            "It paints what it was trained on; what was rare or absent there is so in its images.",
            "Its images may resemble those that it was trained on; that was not measured.",
        ),
    ),
    "network": _Form(
        "datasetddpm",
        "image-segmentation",
        "A DeepLab network that segments images of one domain.",
        _network,
        """\
import numpy as np
from huggingface_hub import snapshot_download
from PIL import Image

import deeplab

network = deeplab.load(snapshot_download("NAME"))
masks = deeplab.predict(network, np.asarray(Image.open("photo.jpg").convert("RGB"))[None])
""",
        (
            "Where it was trained on synthetic images, their masks were predictions, and it has learnt their mistakes.",
            "It knows the domain and about the size of the images that it was trained on.",
        ),
    ),
}
