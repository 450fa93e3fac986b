"""What a listing, an archive or a file calls itself is a name, never a path; and a file is what it is, not its name."""

import io
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from serving import Quiet, web_server
from upath import UPath

from generate import ImageError, read_image
from generate.stored import StoredError
from label import AnnotationError
from label.masks import read_mask
from pipelines.dataset.members import grouped
from pipelines.errors import RecipeError
from pipelines.units import weights
from pipelines.units.weights import is_name_below, local_weights


@contextmanager
def served(answer: Callable[[str], tuple[str, bytes, str] | None]) -> Iterator[tuple[str, list[str]]]:
    """A server on loopback: path -> (content type, body, ETag), None for nothing there; yields its address, its log."""
    asked: list[str] = []

    class Handler(Quiet):
        def do_GET(self) -> None:
            asked.append(f"{self.command} {self.path}")
            found = answer(self.path)
            kind, body, tag = found or ("text/plain", b"", "")
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            if tag:
                self.send_header("ETag", tag)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

    with web_server(Handler) as server:
        yield f"http://127.0.0.1:{server.server_port}", asked


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "deep" / "below" / "cache"))
    return tmp_path


@pytest.mark.parametrize("href", ["../../../../authorized_keys", "unet/../../../../key", "a\\..\\..\\key", "unet//key"])
def test_a_listing_that_names_a_file_outside_its_folder_is_refused_and_nothing_is_fetched(
    cache: Path, href: str
) -> None:
    page = f'<a href="unet/config.json">x</a><a href="{href}">k</a>'.encode()
    answers = {"/model": ("text/html", page, "")}
    with (
        served(lambda path: answers.get(path, ("text/plain", b"OWNED", ""))) as (url, _),
        pytest.raises(RecipeError, match="which is no file below it; nothing is fetched"),
    ):
        local_weights(f"{url}/model")
    assert not [path for path in cache.rglob("*") if path.is_file()]


@pytest.mark.parametrize("key", ["/../../../../pwn/keys", "/a/../../keys", "//keys"])
def test_a_key_of_a_store_that_steps_up_is_refused(cache: Path, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights.storage, "contents", lambda _: {"net.txt": "1", key.removeprefix("/"): "1"})
    with pytest.raises(RecipeError, match="which is no file below it"):
        local_weights("memory://faces/w")
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_names_are_below_a_folder_where_no_system_takes_them_for_a_step_elsewhere() -> None:
    good = ("config.json", "unet/config.json", "..x/y", "ünï/a b+c.bin")
    bad = ("", "/etc/passwd", "..", "a/../b", "./a", "a//b", "a\\b", "C:x", "a\0b", "a\nb", "x" * 300)
    assert [is_name_below(name) for name in (*good, *bad)] == [True] * len(good) + [False] * len(bad)


def test_weights_in_a_folder_of_a_web_server_are_fetched_anew_when_its_server_says_that_they_changed(
    cache: Path,
) -> None:
    files = {"/m/config.json": (b"one", '"1"')}

    def answer(path: str) -> tuple[str, bytes, str] | None:
        if path.rstrip("/") == "/m":
            return "text/html", b'<a href="?C=N;O=D">Name</a><a href="config.json">c</a>', ""
        return ("application/json", *files[path]) if path in files else None

    with served(answer) as (url, _):
        assert (local_weights(f"{url}/m") / "config.json").read_bytes() == b"one"
        files["/m/config.json"] = (b"two", '"2"')
        assert (local_weights(f"{url}/m") / "config.json").read_bytes() == b"two"


def test_a_refused_url_is_named_without_its_password(project: Path, command: Callable[..., str]) -> None:
    said = command("fit", project / "recipe.toml", "--set", 'paths.denoiser="s9://me:hunter2@host/x"', code=2)
    assert "s9://host/x" in said
    assert "hunter2" not in said


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"


def test_a_png_that_is_postscript_starts_no_ghostscript(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *_, **__: pytest.fail("it was started"))
    (tmp_path / "a.png").write_bytes(POSTSCRIPT)
    with pytest.raises(ImageError, match="no image that can be read"):
        read_image(tmp_path / "a.png")
    with pytest.raises(AnnotationError, match="no image that can be read"):
        read_mask(tmp_path / "a.png")


def png() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((4, 4, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def tar(*members: tuple[str, bytes, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as opened:
        for name, content, kind in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, "/etc/passwd" if kind != tarfile.REGTYPE else "", len(content)
            opened.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


WHOLE = [(f"000000000007.{suffix}", png(), tarfile.REGTYPE) for suffix in ("json", "mask.png", "png")]


@pytest.mark.parametrize(
    ("member", "clause"),
    [
        (("../../x.png", png(), tarfile.REGTYPE), "is no part of a sample"),
        (("/etc/x.png", png(), tarfile.REGTYPE), "is no part of a sample"),
        (("abc.png", png(), tarfile.REGTYPE), "is no part of a sample"),
        (("README", b"x", tarfile.REGTYPE), "is no part of a sample"),
        (("000000000009.png", b"", tarfile.SYMTYPE), "is no file"),
        (("000000000009.png", b"", tarfile.LNKTYPE), "is no file"),
        (("000000000007.png", png(), tarfile.REGTYPE), "is there twice"),
        (("000000000009.png", png(), tarfile.REGTYPE), "lacks its json and mask.png"),
    ],
)
def test_a_member_of_a_tar_that_is_no_samples_is_named(member: tuple[str, bytes, bytes], clause: str) -> None:
    assert len(list(grouped(tar(*WHOLE)))) == 1
    with pytest.raises(StoredError, match=clause):
        list(grouped(tar(*WHOLE, member)))


@pytest.mark.parametrize("cut", [1, 100, 513, 700, 1500])
def test_a_tar_that_is_cut_is_a_clause(cut: int) -> None:
    with pytest.raises(StoredError):
        list(grouped(tar(*WHOLE)[:cut]))


def test_a_typo_in_the_name_of_a_bucket_makes_no_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.files.writable import must_be_writable

    folder = UPath("s3://facse/out")
    monkeypatch.setattr(type(folder), "mkdir", lambda *_, **__: pytest.fail("a bucket was made"))
    must_be_writable(folder)


def test_a_warning_shows_no_secrets_either() -> None:
    import logging

    from pipelines.cli import _WithoutSecrets

    record = logging.LogRecord("storage", logging.WARNING, "", 0, "%s is slow", ("s3://me:hunter2@b/x?key=1",), None)
    assert _WithoutSecrets("%(message)s").format(record) == "s3://b/x?... is slow"


def test_weights_at_a_signed_url_have_the_name_without_the_signature(cache: Path) -> None:
    with served(lambda path: ("application/octet-stream", b"net", '"1"')) as (url, _):
        copy = local_weights(f"{url}/lsun_cat.pt?X-Amz-Signature=ab.cd")
    assert (copy.name, copy.read_bytes()) == ("lsun_cat.pt", b"net")
