"""What the storage refuses is one sentence without a secret; what is written goes to the very place that was named."""

import errno
import os
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError
from serving import files_of, web_server

from pipelines.errors import InputError, RecipeError, StorageError
from pipelines.files import disk, storage, stores
from pipelines.files.refusals import refusing, without_secrets
from pipelines.files.stores import opened
from pipelines.files.writable import must_be_writable
from pipelines.units.weights import local_weights

Command = Callable[..., str]


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "WAITS", (0.01,))


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path, ThreadingHTTPServer]]:
    """A server of the files in a folder, its address and that folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "served"
    folder.mkdir()
    with web_server(files_of(folder)) as server:
        yield f"127.0.0.1:{server.server_port}", folder, server


@pytest.mark.parametrize("name", ["ENOSPC", "EROFS", "EACCES", "ENOTDIR", "EIO", "ESTALE", "EDQUOT", "ENAMETOOLONG"])
def test_what_a_disk_refuses_becomes_one_sentence_with_the_place(tmp_path: Path, name: str) -> None:
    number = getattr(errno, name)
    with (
        pytest.raises(StorageError, match=f"^{tmp_path}/file cannot be written: {os.strerror(number)}; "),
        refusing(tmp_path),
    ):
        raise OSError(number, os.strerror(number), str(tmp_path / "file"))


def test_what_writers_of_other_libraries_hide_is_told(tmp_path: Path) -> None:
    said = "Error while serializing: I/O error: No space left on device (os error 28)"
    with pytest.raises(StorageError, match="cannot be written: No space left on device; make room"), refusing(tmp_path):
        raise SafetensorError(said)
    with pytest.raises(StorageError, match="cannot be written: Input/output error"), refusing(tmp_path):
        raise RuntimeError("unexpected pos 64 vs 0") from OSError(errno.EIO, os.strerror(errno.EIO))


def test_what_is_no_disks_trouble_stays_what_it_is(tmp_path: Path) -> None:
    for error in (RecipeError("ours"), ZeroDivisionError(), RuntimeError("ours"), FileNotFoundError(2, "none")):
        with pytest.raises(type(error)), refusing(tmp_path):
            raise error


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://user:SECRET@host/x.pt", "http://host/x.pt"),
        ("at https://host/x.pt?X-Amz-Signature=SECRET, 403", "at https://host/x.pt?..., 403"),
        ("s3://KEY:SECRET@bucket/x?versionId=SECRET", "s3://bucket/x?..."),
        ("at https://host/net.pt?X-Amz-Signature=abc&x=1; try", "at https://host/net.pt?...; try"),
        ("why? because a@b is no URL", "why? because a@b is no URL"),
        ("a path /a/b@c and host:6379 stay", "a path /a/b@c and host:6379 stay"),
        ("ray://host:10001 stays", "ray://host:10001 stays"),
    ],
)
def test_the_secrets_of_a_url_are_not_shown(text: str, shown: str) -> None:
    assert without_secrets(text) == shown


@pytest.mark.parametrize("url", ["http://user:SECRET@127.0.0.1:9/x.pt", "http://127.0.0.1:9/x.pt?sig=SECRET"])
def test_no_command_shows_the_secrets_of_weights(project: Path, command: Command, url: str, caplog: Any) -> None:
    said = command("fit", project / "recipe.toml", "--set", f'paths.denoiser="{url}"', code=1)
    assert "127.0.0.1:9/x.pt" in said
    assert "SECRET" not in said + caplog.text


@pytest.mark.parametrize("key", ["out", "annotated", "held_out", "photographs"])
def test_a_folder_of_a_recipe_is_no_url(project: Path, command: Command, monkeypatch: Any, key: str) -> None:
    monkeypatch.chdir(project)
    before = set(os.listdir())
    said = command("fit", project / "recipe.toml", "--set", f'paths.{key}="s3://bucket/x"', code=2)
    assert f"paths.{key} is s3://bucket/x, a URL; a folder on this machine is needed there" in said
    assert set(os.listdir()) == before


def test_a_planted_link_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    victim, planted = tmp_path / "victim", tmp_path / ".file.tmp"
    victim.write_bytes(b"precious")
    planted.symlink_to(victim)
    monkeypatch.setattr(disk, "temporary_of", lambda _: planted)
    for write in (storage.write_whole, storage.write_new):
        with pytest.raises(FileExistsError):
            write(tmp_path / "file", b"new")
    assert victim.read_bytes() == b"precious"


def test_every_write_has_a_temporary_file_of_its_own(tmp_path: Path) -> None:
    with storage.writing(tmp_path / "checkpoint.pt") as one, storage.writing(tmp_path / "checkpoint.pt") as other:
        one.write_bytes(b"one")
        other.write_bytes(b"other")
        assert one != other
    assert storage.names(tmp_path) == {"checkpoint.pt"}
    assert (tmp_path / "checkpoint.pt").read_bytes() == b"one", "the block that ended last"


def test_a_folder_takes_its_name_when_it_is_whole(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), storage.filling(tmp_path / "model") as part:
        part.write_bytes(bytes(1 // 0))
    assert list(tmp_path.iterdir()) == []
    with storage.filling(tmp_path / "model") as part:
        part.mkdir()
        (part / "weights").write_bytes(b"all")
    assert (tmp_path / "model" / "weights").read_bytes() == b"all"


def test_a_disk_that_cannot_sync_a_folder_is_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync = os.fsync

    def files_alone(handle: int) -> None:
        if os.path.isdir(os.readlink(f"/proc/self/fd/{handle}")):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", files_alone)
    storage.write_whole(tmp_path / "file", b"all")
    assert storage.read(tmp_path / "file") == b"all"


def test_all_of_a_stage_is_synced_before_its_record_says_that_it_is_done(
    project: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def synced(handle: int) -> None:
        order.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name)
        fsync(handle)

    def renamed(path: Path, to: Path) -> Path:
        order.append(f"named {to.name}")
        return replace(path, to)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    command("fit", project / "recipe.toml")
    done = order.index("named stage.json")
    assert {"interpreter.safetensors", "interpreter.json", "features.safetensors", "features.json"} <= set(order[:done])


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("foo://b/x", "foo://b/x cannot be opened: .*; name a path, or a URL such as s3://bucket/folder"),
        ("gs://b/x", r"gs://b/x is of a store whose package is not installed; `pip install 'datasetddpm\[gcs\]'`"),
    ],
)
def test_a_place_of_an_unknown_kind_or_without_its_package_is_named(
    project: Path, command: Command, place: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacking(protocol: str) -> None:
        if protocol in ("gs", "gcs"):
            raise ImportError("Please install gcsfs to access Google Storage")

    monkeypatch.setattr(stores, "get_filesystem_class", lacking)
    with pytest.raises(InputError, match=said):
        opened(place)
    assert "Traceback" not in command("status", place, code=2)
    command("generate", project / "recipe.toml", "--set", f'paths.dataset="{place}"', code=2)


def test_a_web_server_takes_no_dataset() -> None:
    with pytest.raises(StorageError, match="takes no files: a web server is read, and not written to"):
        must_be_writable(opened("http://127.0.0.1:9/dataset"))


@pytest.mark.parametrize("out", ["s3://bucket/x", "http://host/x", "s3:/bucket/x"])
def test_a_command_for_this_machine_makes_no_folder_named_like_a_url(
    finished: Path, command: Command, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    monkeypatch.chdir(finished)
    before = set(os.listdir())
    said = command("export", finished / "out" / "dataset", "--out", out, code=2)
    assert f"--out {out}: a path of this machine is needed, not a URL" in said
    command("segment", finished / "recipe.toml", finished / "annotated", "--out", out, code=2)
    command("convert", finished / "model", "--to", out, code=2)
    assert set(os.listdir()) == before


def test_a_published_set_is_imported_into_a_store(finished: Path, command: Command) -> None:
    command("export", finished / "out" / "dataset", "--out", finished / "set.npz")
    there = f"memory://{finished.name}/imported"
    command("import-npz", finished / "set.npz", "--out", there)
    assert "units:     1\n" in command("status", there)


def test_names_with_brackets_are_no_patterns(tmp_path: Path) -> None:
    folder = opened(f"memory://{tmp_path.name}/run[1]")
    other = opened(f"memory://{tmp_path.name}/run1")
    for place in (folder, other):
        stores.make_folder(place)
        storage.write_whole(place / "a[12]", str(place).encode())
        storage.write_whole(place / "a1", b"another")
    assert list(storage.read_all([folder / "a[12]", folder / "a1"])) == [str(folder).encode(), b"another"]
    storage.remove(folder / "a[12]")
    assert storage.names(folder) == {"a1"}
    assert storage.names(other) == {"a1", "a[12]"}


def test_weights_that_change_in_a_folder_on_the_web_are_fetched_anew(web: tuple[str, Path, Any]) -> None:
    address, folder, _ = web
    (folder / "model").mkdir()
    weights = folder / "model" / "w.safetensors"
    weights.write_bytes(b"first")
    assert (local_weights(f"http://{address}/model") / "w.safetensors").read_bytes() == b"first"
    weights.write_bytes(b"other")
    os.utime(weights, (2e9, 2e9))
    assert (local_weights(f"http://{address}/model") / "w.safetensors").read_bytes() == b"other"


def test_a_server_that_is_down_does_not_end_a_run_whose_weights_are_here(
    web: tuple[str, Path, ThreadingHTTPServer], capsys: pytest.CaptureFixture[str]
) -> None:
    address, folder, server = web
    (folder / "w.pt").write_bytes(b"weights")
    copy = local_weights(f"http://{address}/w.pt")
    server.shutdown()
    server.server_close()
    opened(f"http://{address}/w.pt").fs.clear_instance_cache()
    assert local_weights(f"http://{address}/w.pt") == copy
    assert "the copy in" in capsys.readouterr().out
    with pytest.raises(StorageError, match=f"{address}/other.pt cannot be listed"):
        local_weights(f"http://{address}/other.pt")


@pytest.mark.parametrize("cache", ["/proc/none", "{file}"])
def test_a_cache_that_takes_no_files_is_named(
    web: tuple[str, Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: str
) -> None:
    address, folder, _ = web
    (folder / "w.pt").write_bytes(b"weights")
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", cache.format(file=tmp_path / "file"))
    with pytest.raises(StorageError, match="cannot be written"):
        local_weights(f"http://{address}/w.pt")
