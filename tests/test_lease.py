import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import wait_for

from pipelines import lease
from pipelines.errors import LeaseError
from pipelines.lease import Entry, Owner, Place, holder, leased

ELSEWHERE = replace(Owner.this_process(), name="process 7 on node-b", machine="node-b with a boot of its own")


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "SECONDS", 0.5)
    monkeypatch.setattr(lease, "RENEWAL", 0.05)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write(folder: Path, owner: Owner, number: int = 1) -> Path:
    path = folder / f"lease-{number:06d}.json"
    path.write_bytes(Entry(owner, 0.0, 0.0, 0.0).renew().content())
    return path


def test_a_second_driver_is_refused_at_once_and_told_who_writes(tmp_path):
    with leased(tmp_path), pytest.raises(LeaseError, match=rf"process {os.getpid()} on .* writes, since 20"):
        lease._take(Place(tmp_path))
    assert files(tmp_path) == []


def test_the_lease_of_a_killed_process_of_this_machine_is_taken_over_at_once(tmp_path):
    code = (
        "import os, signal, sys, pathlib; from pipelines.lease import leased\n"
        "with leased(pathlib.Path(sys.argv[1])): os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False, cwd=Path(__file__).parent.parent)
    assert files(tmp_path) == ["lease-000001.json"]
    with leased(tmp_path) as taken:
        assert (taken.number, files(tmp_path)) == (2, ["lease-000002.json"])
    assert files(tmp_path) == []


def test_a_number_that_another_process_has_now_does_not_keep_a_dead_lease_alive(tmp_path):
    owner = Owner.this_process()
    write(tmp_path, replace(owner, process=f"{os.getpid()} 12345"))
    with leased(tmp_path) as taken:
        assert taken.number == 2


def test_a_lease_of_another_machine_that_stands_still_is_taken_over_whatever_its_clock_says(tmp_path):
    path = write(tmp_path, ELSEWHERE)
    entry = Entry.parse(path.read_bytes())
    assert entry is not None
    path.write_bytes(replace(entry, expires=time.time() + 1e6).content())
    with leased(tmp_path) as taken:
        assert taken.number == 2


def test_a_lease_of_another_machine_that_moves_is_held_whatever_its_clock_says(tmp_path, monkeypatch):
    monkeypatch.setattr(lease, "SECONDS", 5.0)
    path = write(tmp_path, ELSEWHERE)

    def beat() -> None:
        time.sleep(0.2)
        path.write_bytes(Entry(ELSEWHERE, 0.0, 1.0, 2.0).content())

    thread = threading.Thread(target=beat)
    thread.start()
    with pytest.raises(LeaseError, match="process 7 on node-b writes"), leased(tmp_path):
        pass
    thread.join()


def test_a_lease_whose_writer_was_killed_half_way_is_watched_and_taken_over(tmp_path):
    (tmp_path / "lease-000001.json").write_text('{"owner": {"na')
    with leased(tmp_path) as taken:
        assert taken.number == 2


def test_a_lease_is_renewed_while_it_is_held(tmp_path):
    with leased(tmp_path):
        first = holder(tmp_path)
        assert first is not None
        wait_for(lambda: (entry := holder(tmp_path)) and entry.renewed > first.renewed)
        second = holder(tmp_path)
    assert second is not None
    assert first.renewed < second.renewed < second.expires


def test_of_many_that_find_a_dead_lease_one_takes_it(tmp_path):
    write(tmp_path, replace(Owner.this_process(), process="1 never"))
    won: list[lease.Lease] = []
    refused: list[LeaseError] = []

    def take() -> None:
        try:
            won.append(lease._take(Place(tmp_path)))
        except LeaseError as error:
            refused.append(error)

    threads = [threading.Thread(target=take) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(refused)) == (1, 15)


def test_a_driver_that_slept_too_long_learns_that_its_folder_was_taken_over(tmp_path):
    with leased(tmp_path) as slept:
        write(tmp_path, ELSEWHERE, number=slept.number + 1)
        wait_for(lambda: slept.lost)
    assert "lease-000002.json" in files(tmp_path), "what is another's stays"
