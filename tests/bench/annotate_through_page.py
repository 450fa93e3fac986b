"""Faces annotated through the page in a real browser, then an interpreter fitted on them and scored.

The simulated person of bench_annotate drags the brush over the canvas, a stroke at a time along the middle of the
largest region that is labelled wrongly, and sees no more than the page: the image, and what is suggested. After some
strokes the person accepts the suggested regions that are right by a click, says Done, and goes where Next leads.

    drawn     faces that nothing of the demo was trained on, whose masks are exact (pip install '.[demo-data]')
    sampled   samples of the demo's diffusion model; the truth is what an interpreter fitted on the demo's 20 masks
              labels, which is wrong in places

What the page saved is given to `datasetddpm fit`, and that to `datasetddpm evaluate` on the 120 held-out faces. The
last line is JSON.

    python tests/bench/annotate_through_page.py --faces drawn --strokes 8
"""

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
from measuring import finish
from page_person import command, opened, served
from person import Mask
from PIL import Image

from label import Scheme
from pipelines.places import PACKAGE

DEMO = PACKAGE / "demo"
FIRST = 30_000_000  # of the drawn faces: numbers that no set of the demo holds
RECIPE = """name = "Faces annotated through the page"
[paths]
out = "out"
denoiser = "package:demo/model"
annotated = "annotated"
held_out = "package:demo/held_out"

[interpreter]
steps = [50, 150, 250]
blocks = [3, 4, 5, 6, 7]
batch_size = 512
min_class_pixels = 1
"""


def drawn_faces(folder: Path, count: int) -> dict[str, Mask]:
    """Images in `folder`, and their masks by the images' names."""
    from pipelines.demo.draw import draw_annotated

    truth = {}
    for number, image, mask in draw_annotated(range(FIRST, FIRST + count)):
        Image.fromarray(image).save(folder / f"{number}.png")
        truth[f"{number}.png"] = mask
    return truth


def sampled_faces(folder: Path, count: int) -> dict[str, Mask]:
    """Samples of the demo's model, as its own interpreter labels them."""
    with tempfile.TemporaryDirectory() as place:
        other = Path(place)
        (other / "recipe.toml").write_text(RECIPE.replace('"annotated"', '"package:demo/annotated"'))
        for words in (("sample", "-n", str(count)), ("fit",)):
            subprocess.run(command(other, *words), check=True)
        from label import DenoiserFeatures, Interpreter

        interpreter = Interpreter.from_pretrained(
            other / "out/interpreter", DenoiserFeatures.from_pretrained(other / "out/interpreter")
        )
        truth = {}
        for file in sorted((other / "out/samples").glob("*.png")):
            (folder / file.name).write_bytes(file.read_bytes())
            truth[file.name] = interpreter.predict(np.asarray(Image.open(file))[None]).masks[0]
    return truth


def prepared(folder: Path, faces: str, count: int) -> dict[str, Mask]:
    """A project of faces without masks; the masks that they should have, by the images' names."""
    (folder / "recipe.toml").write_text(RECIPE)
    (annotated := folder / "annotated").mkdir()
    (annotated / "scheme.toml").write_text(Scheme.load(DEMO / "annotated" / "scheme.toml").to_toml())
    return {"drawn": drawn_faces, "sampled": sampled_faces}[faces](annotated, count)


def saved(folder: Path) -> dict[str, float]:
    """What lies in the folder of annotated images."""
    origins = [np.asarray(Image.open(file)) for file in (folder / "annotated" / "drawn").glob("*.png")]
    drawn, accepted = (sum(int((origin == kind).sum()) for origin in origins) for kind in (1, 2))
    return {"images": len(origins), "drawn_pixels": drawn, "accepted_pixels": accepted}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", choices=["drawn", "sampled"], default="drawn")
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--strokes", type=int, default=8, help="the most in an image")
    parser.add_argument("--longest", type=int, default=6, help="pixels of a stroke")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder, start = Path(place), time.perf_counter()
        truth = prepared(folder, given.faces, given.images)
        with served(folder) as (address, process), opened(address, truth) as person:
            for number in range(given.images):
                if number:
                    person.following()
                person.draw(given.strokes, given.longest)
                person.accept()
                person.done()
                print(f"{number + 1}: {person.name}, {person.strokes} strokes, {person.clicks} accepted", flush=True)
            used = process.cpu_times()
        annotated = time.perf_counter() - start
        for stage in ("fit", "evaluate"):
            subprocess.run(command(folder, stage), check=True)
        scores = json.loads((folder / "out/scores/scores.json").read_text())["interpreter"][0]
        figures = {
            "miou": scores["mean_iou"], "strokes": person.strokes, "accepted_regions": person.clicks, **saved(folder),
            "minutes": round(annotated / 60, 1), "server_cpu_minutes": round((used.user + used.system) / 60, 1),
        }  # fmt: skip
        finish("annotate through the page", "cpu", vars(given), figures)


if __name__ == "__main__":
    main()
