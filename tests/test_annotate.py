"""`datasetddpm annotate` over the wire: who is answered, what is written, and what is refused."""

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import numpy as np
import pytest
from annotating import Server, bare_project, origins, stored
from PIL import Image
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from generate import read_image
from label import load_annotations


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bare_project(tmp_path_factory.mktemp("annotate"))


@pytest.fixture(scope="module")
def server(project: Path) -> Iterator[Server]:
    served = Server(project)
    yield served
    served.end()


def test_an_address_without_the_token_or_with_a_wrong_one_is_refused(server: Server) -> None:
    for path in ("/", "/api/state", f"/{server.token[:-1]}/api/state", f"/{server.token}x/", "//", "/page/main.js"):
        status, said = server.ask(path, whole=True)
        assert (status, b"token" in said) == (403, True), path


def test_another_host_and_another_origin_are_refused(server: Server) -> None:
    assert server.ask("api/state", Host="evil.example:80")[0] == 403
    assert server.ask("api/state", Host="127.0.0.1")[0] == 403
    assert server.ask("api/state", Origin="http://evil.example")[0] == 403
    assert server.ask("api/state", Origin="null")[0] == 403
    assert server.ask("api/state", Origin=f"http://{server.host}")[0] == 200


@pytest.mark.parametrize("wrong", ["token", "origin"])
def test_a_websocket_with_a_wrong_token_or_origin_is_refused(server: Server, wrong: str) -> None:
    path = "live" if wrong == "origin" else "x/live"
    address = f"ws://{server.host}/{server.token if wrong == 'origin' else 'guess'}/{path}"
    with (
        pytest.raises((InvalidStatus, ConnectionClosed)),
        connect(address, origin="http://evil.example" if wrong == "origin" else None) as live,  # type: ignore[arg-type]
    ):
        live.recv(5)


@pytest.mark.parametrize(
    "path",
    [
        "page/../endpoints.py",
        "page/%2e%2e/endpoints.py",
        "page/..%2fendpoints.py",
        "api/images/..%2f..%2frecipe.toml",
        "api/images/%2fetc%2fpasswd",
        "api/images/../recipe.toml",
        "api/masks/..%2frecipe.toml",
        "api/images/scheme.toml",
    ],
)
def test_no_path_leads_out_of_the_folder(server: Server, path: str) -> None:
    status, said = server.ask(path)
    assert status in (403, 404)
    assert b"denoiser" not in said
    assert b"root:" not in said
    assert b"import" not in said


def test_a_name_that_leads_out_is_no_name_for_an_added_image(server: Server, project: Path) -> None:
    before = sorted(project.rglob("*"))
    picture = (project / "annotated" / "0.png").read_bytes()
    for name in ("..%5cevil.png", ".hidden.png", "..", "%00.png"):
        assert server.ask(f"api/images/{name}", "POST", picture)[0] in (404, 405, 422), name
    assert sorted(project.rglob("*")) == before


def test_300_mb_are_refused_before_they_are_read(server: Server) -> None:
    with closing(HTTPConnection(server.host, timeout=60)) as connection:
        connection.putrequest("POST", f"/{server.token}/api/images/large.png")
        connection.putheader("Content-Length", "300000000")
        connection.endheaders()
        response = connection.getresponse()
        assert response.status == 422
        assert b"more than 50 MB" in response.read()


def test_what_is_no_image_is_refused_in_a_sentence(server: Server) -> None:
    status, said = server.ask("api/images/new.png", "POST", b"not an image")
    assert (status, "PNG or JPEG is needed" in json.loads(said)["detail"]) == (422, True)


def test_an_added_image_has_the_models_size_and_never_the_name_of_another(server: Server, project: Path) -> None:
    wide = Image.fromarray(np.full((20, 40, 3), 90, np.uint8))
    wide.save(project / "wide.png")
    content = (project / "wide.png").read_bytes()
    names = [server.json("api/state")["images"][0]["name"]]
    names += [json.loads(server.ask("api/images/0.png", "POST", content)[1])["name"] for _ in range(2)]
    assert names == ["0.png", "0-2.png", "0-3.png"]
    assert read_image(project / "annotated" / "0-2.png").shape == (16, 16, 3)


def test_a_saved_mask_is_what_fit_reads_and_says_what_was_drawn(server: Server, project: Path) -> None:
    mask, origin = np.full((16, 16), 255, np.uint8), np.zeros((16, 16), np.uint8)
    mask[:4], origin[:4] = 1, 1
    mask[4:8], origin[4:8] = 2, 2
    assert server.save("1.png", mask, origin, server.revision("1.png"))[0] == 200
    read = load_annotations(project / "annotated", (16, 16))
    assert (read.masks[read.names.index("1")] == mask).all()
    assert "1" not in [Path(name).stem for name in read.unmasked]
    assert (origins(project, "1") == origin).all()
    assert not any("drawn" in name for name in [*read.names, *read.unmasked])


def test_a_mask_that_was_changed_meanwhile_is_not_overwritten(server: Server) -> None:
    old, ones = server.revision("2.png"), np.ones((16, 16), np.uint8)
    assert server.save("2.png", ones, ones, old)[0] == 200
    status, said = server.save("2.png", 2 * ones, ones, old)
    assert (status, "changed in another tab" in said["detail"]) == (409, True)


def test_a_mask_of_another_size_or_class_is_refused(server: Server) -> None:
    ones, revision = np.ones((16, 16), np.uint8), server.revision("3.png")
    assert "bytes came" in server.save("3.png", ones[:8], ones, revision)[1]["detail"]
    assert "has class 7" in server.save("3.png", 7 * ones, ones, revision)[1]["detail"]
    assert "an origin is 9" in server.save("3.png", ones, 9 * ones, revision)[1]["detail"]


def test_classes_are_added_renamed_and_recoloured_and_no_mask_changes(server: Server, project: Path) -> None:
    mask = np.tile(np.arange(3, dtype=np.uint8).repeat(6)[:16], (16, 1))
    server.save("5.png", mask, np.ones_like(mask), server.revision("5.png"))
    rows = server.json("api/classes")["classes"]
    rows[1] |= {"name": 'a "new" name', "color": rows[2]["color"]}
    rows[2] |= {"color": [1, 2, 3]}
    server.json("api/classes", "PUT", [*rows, {"name": "fourth", "color": [9, 9, 9]}])
    read = load_annotations(project / "annotated", (16, 16))
    assert read.scheme.names == ("ground", 'a "new" name', "dot", "fourth")
    assert (read.masks[read.names.index("5")] == mask).all(), "though class 1 has the colour that class 2 had"
    assert (stored(project, "5") == mask).all()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("a", [0, 0, 0]), ("b", [1, 1, 1])], "a class is missing"),
        ([("a", [0, 0, 0]), ("b", [0, 0, 0]), ("c", [1, 1, 1]), ("d", [2, 2, 2])], "a colour of its own"),
        ([("a", [0, 0, 0]), ("b", [255, 255, 255]), ("c", [1, 1, 1]), ("d", [2, 2, 2])], "white is that of"),
        ([("a", [0, 0, 0]), ("a", [2, 0, 0]), ("c", [1, 1, 1]), ("d", [2, 2, 2])], "given twice"),
    ],
)
def test_classes_that_cannot_be_are_refused(server: Server, rows: list[tuple[str, list[int]]], message: str) -> None:
    body = json.dumps([{"name": name, "color": color} for name, color in rows]).encode()
    status, said = server.ask("api/classes", "PUT", body, Content_Type="application/json")
    assert (status, message in json.loads(said)["detail"]) == (422, True), said


def test_ctrl_c_ends_it_and_says_what_comes_next(tmp_path: Path) -> None:
    server = Server(bare_project(tmp_path / "short"))
    assert server.end() == 0
    assert "next: datasetddpm fit" in server.process.said


def test_a_package_that_is_missing_is_named_with_what_installs_it(
    command: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.cli.annotate.PACKAGES", ("fastapi", "no_such_package"))
    said = command("annotate", "demo", code=2)
    assert "needs no_such_package; run `pip install 'datasetddpm[annotate]'`" in said


def test_the_folder_inside_the_package_is_not_written_to(command: Callable[..., str]) -> None:
    assert "--set paths.annotated=FOLDER" in command("annotate", "demo", "--no-browser", code=2)


def test_a_port_that_is_taken_is_named(command: Callable[..., str], tmp_path: Path) -> None:
    project = bare_project(tmp_path / "taken")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        said = command("annotate", project / "recipe.toml", "--port", port, "--no-browser", code=1)
    assert f"port {port} cannot be had" in said
