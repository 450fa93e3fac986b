import errno
import os
import resource
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pipelines.errors import StorageError
from pipelines.files import storage
from pipelines.files.storage import location


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "WAITS", (0.01, 0.02))


@pytest.fixture(params=["disk", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> storage.Location:
    where = location(tmp_path / "folder" if request.param == "disk" else f"memory://{tmp_path}")
    where.mkdir(parents=True, exist_ok=True)
    return where


def test_what_is_read_is_what_was_written_last(folder):
    for content in (b"first", b"second"):
        storage.write_whole(folder / "file", content)
    assert storage.read(folder / "file") == b"second"
    assert storage.names(folder) == {"file"}
    assert storage.sizes(folder) == {"file": 6}
    assert -1 < storage.ages(folder)["file"] < 60


def test_many_files_are_read_in_their_order(folder):
    paths = [folder / f"{i:03d}" for i in range(100)]
    for i, path in enumerate(paths):
        storage.write_whole(path, str(i).encode())
    assert [int(content) for content in storage.read_all(paths[::-1])] == list(range(100))[::-1]
    assert list(storage.read_all(paths[:1])) == [b"0"]


def test_a_new_file_is_made_by_one_only(folder):
    storage.write_new(folder / "file", b"mine")
    with pytest.raises(FileExistsError):
        storage.write_new(folder / "file", b"yours")
    assert storage.read(folder / "file") == b"mine"
    assert storage.names(folder) == {"file"}


def test_a_folder_that_is_not_there_holds_nothing(folder):
    assert storage.names(folder / "none") == set()
    assert storage.sizes(folder / "none") == {}


def test_removing_twice_is_once(folder):
    storage.write_whole(folder / "file", b"")
    storage.remove(folder / "file")
    storage.remove(folder / "file")
    assert storage.names(folder) == set()


def test_a_file_url_is_a_path(tmp_path):
    assert location(f"file://{tmp_path}/a") == location(tmp_path / "a") == tmp_path / "a"


def test_a_write_that_fails_leaves_what_was_there_and_nothing_else(tmp_path, monkeypatch):
    storage.write_whole(tmp_path / "file", b"old")

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageError, match="file cannot be written: No space left on device; make room"):
        storage.write_whole(tmp_path / "file", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


def test_a_disk_that_refuses_a_removal_once_keeps_no_temporary_file(tmp_path, monkeypatch):
    unlink, refused = Path.unlink, iter([True])

    def refuses_once(path: Path, *arguments: object, **options: bool) -> None:
        if next(refused, False):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        unlink(path, **options)

    monkeypatch.setattr(Path, "unlink", refuses_once)
    storage.write_new(tmp_path / "file", b"whole")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_a_block_writes_takes_its_name_when_the_block_ends_well(tmp_path):
    with storage.writing(tmp_path / "file") as temporary:
        temporary.write_bytes(b"half")
        assert [storage.is_temporary(name) for name in storage.names(tmp_path)] == [True]
    assert (tmp_path / "file").read_bytes() == b"half"
    assert storage.names(tmp_path) == {"file"}


def test_of_a_block_that_fails_nothing_stays(tmp_path):
    with pytest.raises(ZeroDivisionError), storage.writing(tmp_path / "file") as temporary:
        temporary.write_bytes(bytes(temporary.write_bytes(b"half") // 0))
    with pytest.raises(FileNotFoundError, match="another"), storage.writing(tmp_path / "file"):
        (tmp_path / "another").read_bytes()
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_in_such_a_block_is_named(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with (
            pytest.raises(StorageError, match="file cannot be written: File too large; make room or repair it"),
            storage.writing(tmp_path / "file") as temporary,
        ):
            temporary.write_bytes(bytes(2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_goes_while_a_folder_is_listed_is_not_in_the_list(tmp_path, monkeypatch):
    (tmp_path / "stays").touch()
    (tmp_path / "goes").touch()
    scandir = os.scandir

    def then_removed(folder: Path):
        entries = scandir(folder)
        (tmp_path / "goes").unlink()
        return entries

    monkeypatch.setattr(os, "scandir", then_removed)
    assert storage.sizes(tmp_path) == {"stays": 0}


def test_a_storage_that_recovers_is_waited_for(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(storage, "WAITS", (0.2,) * 25)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # a file cannot be larger, as with a quota
    room = threading.Timer(0.5, resource.setrlimit, (resource.RLIMIT_FSIZE, (soft, hard)))
    room.start()
    storage.write_whole(tmp_path / "file", bytes(2000))
    room.join()
    assert (tmp_path / "file").stat().st_size == 2000
    assert "File too large; tried again in 0.2 s" in caplog.text


def test_a_folder_that_is_gone_is_named_at_once(tmp_path):
    with pytest.raises(StorageError, match=r"none/file cannot be written: No such file.*name a place that exists"):
        storage.write_whole(tmp_path / "none" / "file", b"")


def test_a_mistake_that_is_not_the_storages_is_not_called_so(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        storage.write_whole(tmp_path / "folder", b"")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
@pytest.mark.parametrize(("option", "reason"), [("size=64k", "No space left"), ("ro", "Read-only file system")])
def test_a_full_or_read_only_disk_is_named(tmp_path, option, reason):
    if subprocess.run(["mount", "-t", "tmpfs", "-o", option, "tmpfs", tmp_path], check=False).returncode:
        pytest.skip("root may not mount here")
    try:
        with pytest.raises(StorageError, match=reason):
            storage.write_whole(tmp_path / "file", bytes(200_000))
        assert list(tmp_path.iterdir()) == []
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_a_process_killed_while_it_writes_leaves_no_file_of_that_name(tmp_path):
    code = (
        "import os, pathlib, signal, sys; from pipelines.files import storage\n"
        "os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n"
        "storage.write_whole(pathlib.Path(sys.argv[1]), bytes(5000))"
    )
    root = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "file")], check=False, cwd=root)
    assert done.returncode == -9
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".file.")
    assert storage.is_temporary(left.name)
