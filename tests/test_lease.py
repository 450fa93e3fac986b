import errno
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import wait_for

from pipelines.dataset.damage import remove_temporaries
from pipelines.dataset.inventory import take_inventory
from pipelines.errors import LeaseError, StorageError
from pipelines.files import lease, owner, storage
from pipelines.files.lease import Place, holder, leased
from pipelines.files.owner import Entry, Owner
from pipelines.files.stores import opened

ELSEWHERE = replace(Owner.this_process(), name="process 7 on node-b", machine="node-b with a boot of its own")


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "SECONDS", 0.5)
    monkeypatch.setattr(lease, "RENEWAL", 100.0)


@pytest.fixture
def renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEWAL", 0.05)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write(folder: Path, owner: Owner) -> Path:
    path = folder / f"lease-{owner.token}.json"
    path.write_bytes(Entry(owner, 0.0, 0.0, 0.0).renew().content())
    return path


def test_a_second_driver_is_refused_at_once_and_told_who_writes(tmp_path):
    with leased(tmp_path), pytest.raises(LeaseError, match=rf"process {os.getpid()} on .* writes, since 20"):
        lease.take(Place(tmp_path))
    assert files(tmp_path) == []


def test_the_lease_of_a_killed_process_of_this_machine_is_taken_over_at_once(tmp_path):
    code = (
        "import os, signal, sys, pathlib; from pipelines.files.lease import leased\n"
        "with leased(pathlib.Path(sys.argv[1])): os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False, cwd=Path(__file__).parent.parent)
    (left,) = files(tmp_path)
    with leased(tmp_path) as taken:
        assert files(tmp_path) == [taken.path.name] != [left]
    assert files(tmp_path) == []


def test_a_number_that_another_process_has_now_does_not_keep_a_dead_lease_alive(tmp_path):
    write(tmp_path, replace(Owner.this_process(), process=f"{os.getpid()} 12345"))
    with leased(tmp_path) as taken:
        assert files(tmp_path) == [taken.path.name]


def test_a_lease_of_another_machine_that_stands_still_is_taken_over_whatever_its_clock_says(tmp_path):
    path = write(tmp_path, ELSEWHERE)
    entry = Entry.parse(path.read_bytes())
    assert entry is not None
    path.write_bytes(replace(entry, expires=time.time() + 1e6).content())
    with leased(tmp_path) as taken:
        assert files(tmp_path) == [taken.path.name]


def test_a_lease_of_another_machine_that_moves_is_held_whatever_its_clock_says(tmp_path, monkeypatch):
    monkeypatch.setattr(lease, "SECONDS", 5.0)
    path = write(tmp_path, ELSEWHERE)

    def beat() -> None:
        time.sleep(0.2)
        write(tmp_path, replace(ELSEWHERE, token="another"))
        path.unlink()

    thread = threading.Thread(target=beat)
    thread.start()
    with pytest.raises(LeaseError, match="process 7 on node-b writes"), leased(tmp_path):
        pass
    thread.join()


def test_a_lease_whose_writer_was_killed_half_way_is_watched_and_taken_over(tmp_path):
    (tmp_path / "lease-1.json").write_text('{"owner": {"na')
    with leased(tmp_path) as taken:
        assert files(tmp_path) == [taken.path.name]


@pytest.mark.usefixtures("renewed")
def test_a_lease_is_renewed_while_it_is_held(tmp_path):
    with leased(tmp_path):
        first = holder(tmp_path)
        assert first is not None
        wait_for(lambda: (entry := holder(tmp_path)) and entry.renewed > first.renewed)
        second = holder(tmp_path)
    assert second is not None
    assert first.renewed < second.renewed < second.expires


def test_every_renewal_has_a_file_of_its_own_whatever_the_clock_on_the_wall_says(tmp_path, monkeypatch):
    monkeypatch.setattr(owner.time, "time", lambda: 1000.0)
    with leased(tmp_path) as held:
        (first,) = files(tmp_path)
        held.renew()
        (second,) = files(tmp_path)
    assert first != second, "or who watches it would take its holder for dead"


def test_a_removal_that_comes_late_does_not_touch_a_holder_who_was_dead_and_has_come_back(tmp_path):
    with leased(tmp_path) as frozen:
        seen_as_dead = frozen.path
        time.sleep(lease.SECONDS)
        storage.write_whole(tmp_path / "shard", b"after a renewal")
        seen_as_dead.unlink(missing_ok=True)
        with pytest.raises(LeaseError, match="writes, since"):
            lease.take(Place(tmp_path))


def test_a_dead_lease_that_cannot_be_removed_leaves_none_of_who_tried(tmp_path, monkeypatch):
    write(tmp_path, ELSEWHERE)
    remove, refused = storage.remove, iter([True])

    def refuses_once(path: Path) -> None:
        if next(refused, False):
            raise StorageError("no answer")
        remove(path)

    monkeypatch.setattr(storage, "remove", refuses_once)
    with pytest.raises(StorageError), leased(tmp_path):
        pass
    with leased(tmp_path) as taken:
        assert files(tmp_path) == [taken.path.name]


def test_of_many_that_find_a_dead_lease_one_takes_it(tmp_path):
    write(tmp_path, replace(Owner.this_process(), process="1 never"))
    won: list[lease.Lease] = []
    refused: list[LeaseError] = []

    def take() -> None:
        try:
            won.append(lease.take(Place(tmp_path)))
        except LeaseError as error:
            refused.append(error)

    threads = [threading.Thread(target=take) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(refused)) == (1, 15)


@pytest.mark.usefixtures("renewed")
def test_a_driver_that_slept_too_long_learns_that_its_folder_was_taken_over(tmp_path):
    with leased(tmp_path) as slept:
        theirs = write(tmp_path, ELSEWHERE)
        wait_for(lambda: slept.lost)
    assert files(tmp_path) == [theirs.name], "what is another's stays"


@pytest.mark.usefixtures("renewed")
def test_who_lost_the_folder_changes_nothing_more_not_even_the_winners_temporary_files(tmp_path):
    (tmp_path / "shard").write_bytes(b"winner's")
    (tmp_path / ".shard.0011.tmp").write_bytes(b"winner's")
    with leased(tmp_path) as slept:
        theirs = write(tmp_path, ELSEWHERE)
        wait_for(lambda: slept.lost)
        changes = [
            lambda: storage.write_whole(tmp_path / "shard", b"loser's"),
            lambda: storage.write_new(tmp_path / "new", b"loser's"),
            lambda: storage.remove(tmp_path / ".shard.0011.tmp"),
            lambda: storage.remove_folder(tmp_path),
            lambda: storage.make_folder(tmp_path / "folder"),
            lambda: storage.rename(tmp_path / "shard", tmp_path / "other"),
            lambda: remove_temporaries(take_inventory(tmp_path)),
        ]
        for change in changes:
            with pytest.raises(LeaseError, match="was taken over by another process; this one stops"):
                change()
        with pytest.raises(LeaseError), storage.writing(tmp_path / "shard"):
            pass
    assert files(tmp_path) == [".shard.0011.tmp", theirs.name, "shard"]


def test_a_driver_that_was_frozen_asks_before_it_changes_anything(tmp_path):
    with leased(tmp_path) as frozen:
        time.sleep(lease.SECONDS)
        write(tmp_path, ELSEWHERE)
        assert not frozen.lost
        with pytest.raises(LeaseError, match="was taken over"):
            storage.write_whole(tmp_path / "shard", b"loser's")


def test_what_is_beside_a_leased_folder_is_anyones(tmp_path):
    with leased(tmp_path / "stage", beside=True) as mine:
        mine.lost = True
        storage.write_whole(tmp_path / "another", b"")
        for name in ("stage", "stage.part-1", "stage@2"):
            with pytest.raises(LeaseError):
                storage.write_whole(tmp_path / name, b"")


@pytest.mark.usefixtures("renewed")
@pytest.mark.parametrize("error", [OSError(errno.ESTALE, "Stale file handle"), ZeroDivisionError("ours")])
def test_any_error_of_the_thread_that_renews_ends_the_run(tmp_path, monkeypatch, error):
    names = storage.names

    def fails(folder: Path) -> set[str]:
        if threading.current_thread().name == "lease":
            raise error
        return names(folder)

    with leased(tmp_path) as held:
        monkeypatch.setattr(storage, "names", fails)
        wait_for(lambda: held.trouble)
        with pytest.raises(LeaseError, match="its lease is not renewed any more"):
            storage.write_whole(tmp_path / "shard", b"")


@pytest.mark.usefixtures("renewed")
def test_a_lease_that_is_not_answered_for_a_while_is_renewed_when_the_storage_answers_again(tmp_path, monkeypatch):
    names, silent = storage.names, threading.Event()

    def refuses(folder: Path) -> set[str]:
        if silent.is_set():
            raise StorageError("no answer")
        return names(folder)

    with leased(tmp_path) as held:
        monkeypatch.setattr(storage, "names", refuses)
        silent.set()
        time.sleep(0.2)
        before = held.sure
        silent.clear()
        wait_for(lambda: held.sure > before)
        storage.write_whole(tmp_path / "shard", b"")


def test_an_own_lease_whose_acknowledgement_was_lost_is_recognised(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "WAITS", (0.01, 0.01))
    folder = opened(f"memory://{tmp_path}")
    folder.mkdir(parents=True, exist_ok=True)
    pipe, lost = folder.fs.pipe_file, iter([True])

    def answer_lost(*arguments: Any, **options: Any) -> None:
        pipe(*arguments, **options)
        if next(lost, False):
            raise OSError(errno.ETIMEDOUT, "read timeout after the PUT was taken")

    monkeypatch.setattr(folder.fs, "pipe_file", answer_lost)
    with leased(folder):
        assert len(storage.names(folder)) == 1
    assert storage.names(folder) == set()


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_folder_without_hard_links_is_leased_and_claimed(tmp_path, monkeypatch, number):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)
    with leased(tmp_path):
        storage.write_new(tmp_path / "dataset.json", b"mine")
        with pytest.raises(FileExistsError):
            storage.write_new(tmp_path / "dataset.json", b"yours")
    assert files(tmp_path) == ["dataset.json"]


def test_a_dead_holder_is_found_without_proc_as_on_macos(tmp_path, monkeypatch):
    monkeypatch.setattr(owner, "PROC", tmp_path / "none")
    monkeypatch.setattr(owner, "_boot_of_macos", lambda: "a session")
    sleeping = subprocess.Popen(["sleep", "100"])
    started = owner._start_of(sleeping.pid)
    theirs = replace(Owner.this_process(), process=f"{sleeping.pid} {started}")
    assert started
    assert theirs.is_here
    assert not theirs.is_gone
    write(tmp_path, theirs)
    with pytest.raises(LeaseError, match="writes, since"), leased(tmp_path):
        pass
    sleeping.kill()
    sleeping.wait()
    monkeypatch.setattr(lease, "SECONDS", 60.0)
    with leased(tmp_path) as taken:
        assert files(tmp_path) == [taken.path.name]


def test_where_nothing_tells_of_processes_a_lease_is_watched(tmp_path, monkeypatch):
    monkeypatch.setattr(owner, "PROC", tmp_path / "none")
    monkeypatch.setattr(owner, "_boot_of_macos", lambda: "")
    write(tmp_path, replace(Owner.this_process(), process="99999 1"))
    with leased(tmp_path) as taken:
        assert files(tmp_path) == [taken.path.name]
