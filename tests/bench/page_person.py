"""The simulated person in front of the page, in a real browser: drags the brush, clicks, and sees what is suggested."""

import base64
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from person import IGNORE, Mask, Stroke, next_stroke, right_regions
from playwright.sync_api import Page, WebSocket, expect, sync_playwright

sys.path.append(str(Path(__file__).parents[1]))
from chromium import executable

RIGHT = 0.97  # of a suggested region, for a person to accept it
WAIT = 120_000  # milliseconds, that a busy machine is waited for


def command(folder: Path, *words: str) -> list[str]:
    code = "from pipelines.cli import main; import sys; sys.argv[0] = 'datasetddpm'; main()"
    return [sys.executable, "-c", code, words[0], str(folder / "recipe.toml"), *words[1:]]


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    """The page's address, and the process that serves it."""
    process = subprocess.Popen(command(folder, "annotate", "--no-browser"), stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        lines = iter(process.stdout.readline, "")
        address = next(found.group() for line in lines if (found := re.search(r"http://\S+/", line)))
        yield address, psutil.Process(process.pid)
    finally:
        process.send_signal(2)
        process.wait(60)


@dataclass
class Annotator:
    """A person in front of the page, who knows what each image shows."""

    page: Page
    truth: dict[str, Mask]
    suggested: tuple[str, Mask] | None = None
    strokes: int = 0
    clicks: int = 0
    masks: dict[str, Mask] = field(default_factory=dict)  # what was drawn

    def hear(self, socket: WebSocket) -> None:
        """See what the page is told to show."""
        socket.on("framereceived", lambda frame: self._heard(json.loads(frame)))

    def _heard(self, message: dict[str, Any]) -> None:
        if message["kind"] == "suggestion":
            ids = np.frombuffer(base64.b64decode(message["mask"]), np.uint8)
            self.suggested = message["name"], ids.reshape(message["height"], message["width"])

    @property
    def name(self) -> str:
        return self.page.locator("#name").inner_text()

    def draw(self, most: int, longest: int) -> None:
        """So many strokes at most in the open image, as many as it needs."""
        truth = self.truth[self.name]
        for _ in range(most):
            stroke = next_stroke(truth, self._seen(self.name), self._drawn(), longest)
            if stroke is None:
                break
            self._draw(stroke)
            stroke.draw(self._drawn())

    def accept(self) -> None:
        """The suggested regions that are right."""
        if (seen := self._seen(self.name)) is None:
            return
        self.page.keyboard.press("r")
        for row, column in right_regions(self.truth[self.name], seen, self._drawn(), RIGHT):
            self.page.mouse.click(*self._place(row, column))
            self.clicks += 1
        self.page.keyboard.press("b")
        self._saved()

    def done(self) -> None:
        self.page.keyboard.press("d")
        self.page.wait_for_selector("#done[aria-pressed=true]", timeout=WAIT)

    def following(self) -> None:
        """Go to the image that the page names next."""
        before = self.name
        self.page.keyboard.press("n")
        expect(self.page.locator("#name")).not_to_have_text(before, timeout=WAIT)
        self._wait(lambda: self.suggested is None or self._seen(self.name) is not None)

    def _drawn(self) -> Mask:
        return self.masks.setdefault(self.name, np.full_like(self.truth[self.name], IGNORE))

    def _seen(self, name: str) -> Mask | None:
        return self.suggested[1] if self.suggested and self.suggested[0] == name else None

    def _draw(self, stroke: Stroke) -> None:
        self.page.keyboard.press(str(stroke.label + 1))
        self.page.mouse.move(*self._place(*stroke.curve[0]))
        self.page.mouse.down()
        for place in stroke.curve[1:]:
            self.page.mouse.move(*self._place(*place))
        self.strokes += 1
        before = self.suggested
        self.page.mouse.up()
        self._saved()
        self._wait(lambda: self.suggested is not before or self._is_one_class())

    def _is_one_class(self) -> bool:
        return not self.suggested and "Draw two classes" in self.page.locator("#status").inner_text()

    def _wait(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + WAIT / 1000
        while not condition():
            assert time.monotonic() < end, "no suggestion came"
            self.page.wait_for_timeout(20)

    def _saved(self) -> None:
        expect(self.page.locator("#saved")).to_have_text("saved", timeout=WAIT)

    def _place(self, row: int, column: int) -> tuple[float, float]:
        """Where the middle of a pixel is shown."""
        box = self.page.locator("#canvas").bounding_box()
        assert box
        side = len(self.truth[self.name])
        scale = min(box["width"], box["height"]) / side * 0.94
        left, top = box["x"] + (box["width"] - side * scale) / 2, box["y"] + (box["height"] - side * scale) / 2
        return left + (column + 0.5) * scale, top + (row + 0.5) * scale


@contextmanager
def opened(address: str, truth: dict[str, Mask]) -> Iterator[Annotator]:
    """A person in front of the page, with a brush that is a pixel wide."""
    with sync_playwright() as playwright:
        chrome = playwright.chromium.launch(executable_path=executable(), args=["--no-sandbox"])
        page = chrome.new_context(viewport={"width": 1280, "height": 800}).new_page()
        person = Annotator(page, truth)
        page.on("websocket", person.hear)
        page.goto(address)
        page.wait_for_selector("body[data-ready=yes]", timeout=WAIT)
        for _ in range(3):
            page.keyboard.press("[")
        yield person
        chrome.close()
