"""`datasetddpm annotate` as a process of its own, and what the tests ask of it without a browser."""

import http.client
import json
import os
import re
import shutil
import signal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from conftest import make_project, wait_for
from forked import Forked
from PIL import Image

# without Ray: annotating needs none
CODE = 'import sys\nfrom pipelines.cli import main\nsys.argv[0] = "datasetddpm"\nmain()\n'


class Server:
    """The command on a project, with its address."""

    def __init__(self, project: Path, *arguments: str | Path) -> None:
        self.process = Forked("annotate", project / "recipe.toml", *arguments, "--no-browser", code=CODE)
        wait_for(lambda: "Ctrl-C ends" in self.process.said or self.process.poll() is not None)
        found = re.search(r"http://127\.0\.0\.1:\d+/\S+/", self.process.said)
        assert found, self.process.said
        self.address = found.group()
        self.host, self.token = urlsplit(self.address).netloc, urlsplit(self.address).path.strip("/")

    def ask(
        self, path: str, method: str = "GET", body: Any = None, *, whole: bool = False, **headers: str
    ) -> tuple[int, bytes]:
        """Status and body; `whole`: the path as it is, without the token before it."""
        connection = http.client.HTTPConnection(self.host, timeout=30)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path if whole else f"/{self.token}/{path}", body, named)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def json(self, path: str, method: str = "GET", body: Any = None) -> Any:
        content = None if body is None else json.dumps(body).encode()
        status, answer = self.ask(path, method, content, Content_Type="application/json")
        assert status == 200, answer
        return json.loads(answer)

    def save(self, name: str, mask: np.ndarray, origin: np.ndarray, revision: str) -> tuple[int, Any]:
        status, answer = self.ask(f"api/masks/{name}", "PUT", mask.tobytes() + origin.tobytes(), If_Match=revision)
        return status, json.loads(answer)

    def revision(self, name: str) -> str:
        connection = http.client.HTTPConnection(self.host, timeout=30)
        connection.request("GET", f"/{self.token}/api/masks/{name}")
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer.headers["x-revision"]

    def end(self, number: int = signal.SIGINT) -> int:
        if self.process.poll() is None:
            os.kill(self.process.pid, number)
        return self.process.wait(30)


def bare_project(folder: Path, images: int = 6) -> Path:
    """The project of squares with images alone."""
    folder.mkdir(exist_ok=True)
    make_project(folder)
    annotated = folder / "annotated"
    for mask in annotated.glob("*.mask.png"):
        mask.unlink()
    for number in range(4, images):
        shutil.copy(annotated / f"{number % 4}.png", annotated / f"{number}.png")
    return folder


def stored(project: Path, name: str) -> np.ndarray:
    """Class ids of a mask as they lie in its file."""
    with Image.open(project / "annotated" / f"{name}.mask.png") as mask:
        return np.array(mask)


def origins(project: Path, name: str) -> np.ndarray:
    with Image.open(project / "annotated" / "drawn" / f"{name}.png") as origin:
        return np.array(origin)
