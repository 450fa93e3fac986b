"""Bad inputs by the thousand: none may end in a traceback or hang, and what is accepted must be sound.

An input is a function of the seed and its number, so that what was found is found again:
`python tests/fuzz.py 50000 --seed 7` tries more than the test does, `--only 1234` the one of that number alone.
"""

import argparse
import contextlib
import io
import json
import math
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image

from cluster import ClusterError
from deeplab import DeepLabError
from generate import Denoiser, GenerateError, read_image
from generate.stored import StoredError
from label import DenoiserFeatures, Interpreter, LabelError, Scheme
from label.identity import stored_interpreter
from label.masks import class_ids, read_mask
from pipelines import Recipe
from pipelines.dataset.damage import damages
from pipelines.dataset.inventory import take_inventory, unit_of
from pipelines.dataset.manifest import open_dataset
from pipelines.dataset.members import grouped
from pipelines.dataset.npz import open_npz
from pipelines.dataset.reports import Candidate, parse_report
from pipelines.dataset.shards import decode
from pipelines.driver.tally import Tally
from pipelines.errors import InputError, RunError
from pipelines.files import storage
from pipelines.folders import dataset_folder
from pipelines.progress import Pace
from pipelines.record import Record
from pipelines.sections.generate import GenerateSection
from pipelines.units.weights import is_name_below

CLEAN = (InputError, GenerateError, LabelError, DeepLabError, RunError, ClusterError, StoredError)
SECONDS = 10.0  # that an input may take
VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 2, 255, 256, 2**31, 2**63 - 1, 2**63, 2**70, 10**30, 0.5, -0.5, 1e308),
    *(
        math.nan,
        math.inf,
        -math.inf,
        "",
        " ",
        "x",
        "../../x",
        "/etc/passwd",
        "a\0b",
        "[/red]",
        "<img src=x>",
        "é" * 300,
    ),
    *([], [1], [[1]], [-1], [None], ["a", "a"], [1e30], {}, {"a": 1}, {"a": {"b": []}}, [[0] * 3] * 3, "s3://b/x", "1"),
]
SCHEME = Scheme(("ground", "square", "dot"))


class HangError(Exception):
    """An input took longer than it may."""


@dataclass(frozen=True)
class Workshop:
    """What bad inputs are made from."""

    project: Path  # finished, and never changed
    folder: Path  # empty, for what is changed
    denoiser: Denoiser

    def copy(self, name: str) -> Path:
        """A fresh copy of a part of the project."""
        to = self.folder / name
        shutil.rmtree(to, ignore_errors=True)
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(self.project / name, to)
        return to


# ------------------------------------------------------------------------------------------------------------- changes


def flipped(content: bytes, rng: random.Random) -> bytes:
    """The bytes with one thing wrong."""
    data = bytearray(content)
    way = rng.randrange(7)
    if way == 0 or not data:
        return rng.choice([b"", b"\0" * 100, b"null", b"[" * 5000, b"\xff\xfe\xfd", b"<html>404</html>", b"x" * 70_000])
    place = rng.randrange(len(data))
    if way == 1:
        return bytes(data[:place])
    if way == 2:
        data[place:place] = rng.randbytes(rng.randrange(1, 40))
    elif way == 3:
        del data[place : place + rng.randrange(1, 40)]
    elif way == 4:
        data[place : place + 40] = data[:40]
    else:
        for _ in range(rng.randrange(1, 9)):
            data[rng.randrange(min(len(data), 200) if way == 5 else len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def changed(tree: Any, rng: random.Random) -> Any:
    """The tree of JSON with one value, key or entry that is another, gone or new."""
    if not isinstance(tree, dict | list) or not tree or rng.random() < 0.15:
        return rng.choice(VALUES)
    copy: Any = dict(tree) if isinstance(tree, dict) else list(tree)
    key = rng.choice(list(copy)) if isinstance(copy, dict) else rng.randrange(len(copy))
    way = rng.random()
    if way < 0.15:
        del copy[key]
    elif way < 0.25 and isinstance(copy, dict):
        copy[rng.choice(["more", "", "\0", "__class__"])] = rng.choice(VALUES)
    else:
        copy[key] = changed(copy[key], rng)
    return copy


def rewritten(content: bytes, rng: random.Random) -> bytes:
    """JSON with a value changed, or any byte."""
    if rng.random() < 0.4:
        return flipped(content, rng)
    return json.dumps(changed(json.loads(content), rng)).encode()


# --------------------------------------------------------------------------------------------------------------- areas


def recipes(shop: Workshop, rng: random.Random) -> None:
    """Overrides of any value at any key, or a file with a byte changed."""
    path, overrides = shop.project / "recipe.toml", tuple[str, ...]()
    if rng.random() < 0.3:
        path = shop.folder / "recipe.toml"
        path.write_bytes(flipped((shop.project / "recipe.toml").read_bytes(), rng))
    else:
        keys = ["name", *(f"{name}.{key}" for name, section in sections().items() for key in section.keys())]  # noqa: SIM118
        overrides = tuple(f"{rng.choice(keys)}={_toml(rng.choice(VALUES))}" for _ in range(rng.randrange(1, 3)))
    recipe = Recipe.load(path, overrides)
    dataset_folder(recipe)
    json.dumps(recipe.model_dump(mode="json"), allow_nan=False)
    assert 0 <= recipe.generate.run_seed < 2**63
    assert isinstance(recipe.generate, GenerateSection)


def sections() -> dict[str, Any]:
    from pipelines.recipe import sections

    return sections()


def _toml(value: Any) -> str:
    if isinstance(value, float):
        return str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(held)}" for key, held in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False) if value is not None else "none"


def pictures(shop: Workshop, rng: random.Random) -> None:
    """Images and masks of every kind, with bytes changed."""
    kind = rng.choice(["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"])
    mode = rng.choice(["RGB", "L", "P"])
    image, buffer = Image.fromarray(np.full((16, 16, 3), 90, dtype=np.uint8)).convert(mode), io.BytesIO()
    image.convert("RGB" if kind in ("WEBP", "JPEG") else mode).save(buffer, kind)
    path = shop.folder / f"picture.{kind.lower()}"
    path.write_bytes(flipped(buffer.getvalue(), rng))
    with contextlib.suppress(GenerateError):
        assert read_image(path).dtype == np.uint8
    ids = class_ids(read_mask(path), SCHEME, greys_are_colors=rng.random() < 0.5)
    assert ids.ndim == 2


def arrays(shop: Workshop, rng: random.Random) -> None:
    """Masks as .npy, with bytes changed."""
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((16, 16), dtype=rng.choice(["u1", "i8", "f4", "?"])))
    path = shop.folder / "mask.npy"
    path.write_bytes(flipped(buffer.getvalue(), rng))
    assert read_mask(path).values.ndim == 2


def schemes(shop: Workshop, rng: random.Random) -> None:
    """scheme.toml with bytes or values changed."""
    path, plain = shop.folder / "scheme.toml", (shop.project / "annotated" / "scheme.toml").read_bytes()
    classes = [{"name": "a", "color": [1, 2, 3]}, {"name": "b", "color": [4, 5, 6]}]
    text = _toml(changed(classes, rng)) if rng.random() < 0.6 else ""
    path.write_bytes(f"classes = {text}".encode("utf-8", "replace") if text else flipped(plain, rng))
    scheme = Scheme.load(path)
    assert len(scheme.palette) == 768
    assert all(0 <= value <= 255 for value in scheme.palette)


def checkpoints(shop: Workshop, rng: random.Random) -> None:
    """A diffusers folder of which a file is changed; what opens has finite weights."""
    folder = shop.copy("model")
    file = rng.choice(sorted(path for path in folder.rglob("*") if path.is_file()))
    content = file.read_bytes()
    file.write_bytes(rewritten(content, rng) if file.suffix == ".json" else flipped(content, rng))
    opened = Denoiser.from_pretrained(folder)
    assert all(bool(tensor.isfinite().all()) for tensor in opened.unet.state_dict().values())


def saved(shop: Workshop, rng: random.Random) -> None:
    """A .pt that is none, with any flags."""
    path = shop.folder / "net.pt"
    path.write_bytes(flipped((shop.project / "model" / "unet" / "config.json").read_bytes(), rng))
    names = ["image_size", "num_channels", "num_res_blocks", "channel_mult", "attention_resolutions", "diffusion_steps"]
    flags: Any = {rng.choice(names): rng.choice(VALUES) for _ in range(2)}
    Denoiser.from_pretrained(
        path, flags=flags if rng.random() < 0.7 else " ".join(f"--{k} {v}" for k, v in flags.items())
    )


def states(shop: Workshop, rng: random.Random) -> None:
    """A .pt whose tensors have the names of a published one, and any shape."""
    names = [
        *("time_embed.0.weight", "input_blocks.0.0.weight", "input_blocks.1.0.out_layers.3.bias", "out.2.bias"),
        *("output_blocks.2.1.conv.weight", "input_blocks.1.0.in_layers.0.weight", "label_emb.weight"),
        *("input_blocks.3.0.op.weight", "input_blocks.2.1.qkv.weight", "middle_block.1.qkv.weight", "x", ""),
    ]
    shape = [[rng.choice([0, 1, 3, 8, 64]) for _ in range(rng.randrange(5))] for _ in range(3)]
    state: dict[Any, Any] = {rng.choice(names): torch.zeros(sides) for sides in shape}
    if rng.random() < 0.2:
        state[rng.choice([1, None, "a"])] = rng.choice([1, "x", [torch.zeros(1)]])
    torch.save(state, shop.folder / "lsun_cat.pt")
    Denoiser.from_pretrained(shop.folder / "lsun_cat.pt", flags=rng.choice([None, {"image_size": 64}]))


def interpreters(shop: Workshop, rng: random.Random) -> None:
    """An interpreter's folder of which a file is changed."""
    folder = shop.copy("out/interpreter")
    file = rng.choice(sorted(path for path in folder.iterdir() if path.is_file()))
    content = file.read_bytes()
    file.write_bytes(rewritten(content, rng) if file.suffix == ".json" else flipped(content, rng))
    Record.read(folder)
    stored_interpreter(folder, shop.denoiser.digest)
    Interpreter.from_pretrained(folder, DenoiserFeatures.from_pretrained(folder, shop.denoiser))


def datasets(shop: Workshop, rng: random.Random) -> None:
    """A dataset of which a report, its description or a journal is changed: no other numbers go unseen."""
    folder = shop.copy("out/dataset")
    file = folder / rng.choice(["dataset.json", "shard-000001.json", "shard-000003.json", "run.json", "pace.json"])
    before = file.read_bytes() if file.exists() else b'{"units": 4, "samples": 22, "failures": []}'
    file.write_bytes(rewritten(before, rng))
    Tally.read(folder)
    Pace.read(folder)
    dataset = open_dataset(folder)
    found = [damage for damage in damages(take_inventory(folder)) if damage.unit == unit_of(file.name)]
    if file.name.startswith("shard-") and not found:
        now, then = (parse_report(content, file) for content in (file.read_bytes(), before))
        same = ("unit", "digest", "counts", "bytes", "sha256")
        assert all(getattr(now, name) == getattr(then, name) for name in same)
        stored = [[_in_its_tar(c) for c in r.candidates if c.kept or dataset.keeps_all] for r in (now, then)]
        assert stored[0] == stored[1]


def _in_its_tar(candidate: Candidate) -> tuple[Any, ...]:
    """What the sample says as well; the rest of a report is in no other place, by which it could be told."""
    return candidate.seed, candidate.kept, candidate.uncertainty, candidate.class_pixels


def tars(shop: Workshop, rng: random.Random) -> None:
    """A shard with bytes changed: verify sees each, and what is read of it is a sample."""
    folder = shop.copy("out/dataset")
    file = folder / "shard-000001.tar"
    before = file.read_bytes()
    file.write_bytes(flipped(before, rng))
    if file.read_bytes() != before:
        assert damages(take_inventory(folder))
    for record in grouped(file.read_bytes()):
        sample = decode(record)
        assert math.isfinite(sample.uncertainty)
        assert sample.image.dtype == sample.mask.dtype == np.uint8


def archives(shop: Workshop, rng: random.Random) -> None:
    """An npz with bytes changed."""
    buffer, path = io.BytesIO(), shop.folder / "set.npz"
    images, labels = np.zeros((4, 8, 8, 3), dtype=np.uint8), np.zeros((4, 8, 8), dtype=np.uint8)
    (np.savez if rng.random() < 0.5 else np.savez_compressed)(buffer, images, labels, np.zeros(4, dtype=np.float32))
    path.write_bytes(flipped(buffer.getvalue(), rng))
    npz = open_npz(path)
    assert np.isfinite(npz.all_uncertainty()).all()
    for member in (npz.images, npz.labels):
        for _ in npz.blocks(member, [range(npz.rows)]):
            pass


def options(shop: Workshop, rng: random.Random) -> None:
    """Commands that read a folder or an address, with any words."""
    words = [
        *(str(value) for value in VALUES if isinstance(value, str) and "\0" not in value),
        *("--out", "--set", "--format", "--partial", "--model", "--fit", "-n", "-1", "npz", "s3:/", "foo://x", "://"),
        *(str(shop.project / name) for name in ("recipe.toml", "out/dataset", "out", "annotated", "model")),
        *("generate.steps=5", "paths=3", "a..b=1", "=", "name.x=1", "classes=3", "\x7f", "ray://", "http://[::1"),
    ]
    command = rng.choice(["status", "verify", "export", "check", "import-npz"])
    arguments = [rng.choice(words) for _ in range(rng.randrange(1, 5))]
    _said([command, *(word for word in arguments if not word.startswith("s3://"))], shop)


def _said(arguments: list[str], shop: Workshop) -> str:
    from pipelines.cli import main

    said = io.StringIO()
    with (
        patch.object(sys, "argv", ["datasetddpm", *arguments]),
        patch.object(storage, "WAITS", ()),
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(said),
        contextlib.chdir(shop.folder),
        contextlib.suppress(SystemExit),
    ):
        main()
    return said.getvalue()


def names(shop: Workshop, rng: random.Random) -> None:
    """Names of a listing: what passes stays below its folder."""
    parts = ["..", ".", "", "a", "b.json", "/", "\\", "C:", "%2e%2e", "\0", "\n", "é", "x" * 250, " "]
    name = rng.choice("//\\").join(rng.choice(parts) for _ in range(rng.randrange(1, 6)))
    if is_name_below(name):
        assert (shop.folder / name).resolve().is_relative_to(shop.folder.resolve())
        assert not name.startswith("/")


AREAS: dict[str, Callable[[Workshop, random.Random], None]] = {
    each.__name__: each
    for each in (
        *(recipes, pictures, arrays, schemes, checkpoints, saved, states, interpreters),
        *(datasets, tars, archives, options, names),
    )
}


# ---------------------------------------------------------------------------------------------------------------- runs


@dataclass(frozen=True)
class Finding:
    """An input that did what none may."""

    number: int
    area: str
    trouble: str  # the last line of its traceback
    traceback: str


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise HangError(f"it took longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def tried(shop: Workshop, seed: int, number: int) -> Finding | None:
    """Try the input of this number; None where it ended as it should."""
    rng = random.Random(f"{seed}-{number}")
    area = list(AREAS)[number % len(AREAS)]
    try:
        with limited(SECONDS):
            AREAS[area](shop, rng)
    except CLEAN:
        return None
    except Exception as error:
        return Finding(number, area, f"{type(error).__name__}: {error}"[:300], traceback.format_exc())
    return None


def main() -> None:
    """Try many, and say what was found, each kind once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int, nargs="?", default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int)
    given = parser.parse_args()
    from conftest import make_finished
    from diffusers.utils import logging

    logging.set_verbosity_error()  # of keys that it does not know
    with tempfile.TemporaryDirectory() as temporary:
        project, folder = Path(temporary) / "project", Path(temporary) / "work"
        project.mkdir()
        folder.mkdir()
        make_finished(project)
        shop, start = Workshop(project, folder, Denoiser.from_pretrained(project / "model")), time.monotonic()
        numbers = range(given.count) if given.only is None else [given.only]
        found = [finding for number in numbers if (finding := tried(shop, given.seed, number))]
    kinds = Counter((finding.area, finding.traceback.splitlines()[-4:-1][0]) for finding in found)
    for (area, line), times in kinds.most_common():
        first = next(f for f in found if (f.area, f.traceback.splitlines()[-4:-1][0]) == (area, line))
        print(f"{times} x {area}, first {first.number}: {first.trouble}\n{first.traceback}")
    print(f"{len(numbers)} inputs of seed {given.seed} in {time.monotonic() - start:.0f} s: {len(found)} findings")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
