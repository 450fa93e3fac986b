"""The page's pictures for the documentation: empty, in the middle, its uncertainty, the sheet, dark, on a tablet.

python tests/bench/annotate_pictures.py docs
"""

import sys
import tempfile
from pathlib import Path

from annotate_through_page import drawn_faces, prepared
from page_person import Annotator, opened, served
from PIL import Image

FACES, BEGUN, STROKES, LONGEST = 30, 4, 9, 24


def picture(person: Annotator, file: Path) -> None:
    """As few colours as a small file needs."""
    person.page.mouse.move(2, 2)
    person.page.wait_for_timeout(500)
    person.page.screenshot(path=file)
    Image.open(file).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(file, optimize=True)


def main(out: Path) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        truth = prepared(folder, "drawn", 0)
        with served(folder) as (address, _), opened(address, truth) as person:
            picture(person, out / "annotate-empty.png")
        truth |= drawn_faces(folder / "annotated", FACES)
        with served(folder) as (address, _), opened(address, truth) as person:
            for number in range(BEGUN):
                if number:
                    person.following()
                person.draw(STROKES, LONGEST)
                if number == 1:
                    person.accept()
                    person.done()
            person.page.wait_for_timeout(15_000)  # until what it would do is known
            picture(person, out / "annotate.png")
            person.page.keyboard.press("u")
            picture(person, out / "annotate-uncertainty.png")
            person.page.keyboard.press("u")
            person.page.keyboard.press("l")
            picture(person, out / "annotate-dark.png")
            person.page.keyboard.press("l")
            person.page.keyboard.press("t")
            picture(person, out / "annotate-sheet.png")
            person.page.keyboard.press("t")
            person.page.set_viewport_size({"width": 820, "height": 1180})
            picture(person, out / "annotate-tablet.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
