import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import ray

from cluster import Cluster, ClusterError, Resources, connect, room_for

# A command in a process of its own; unit 2 is made when the file "go" appears in the folder.
DRIVER = """
import os, sys, time
from pathlib import Path

from cluster import Resources, connect, run_units, stop_on_signals


folder = Path(__file__).parent


def build():
    def make(unit):
        (folder / f"actor-{unit}").write_text(str(os.getpid()))
        while unit == 2 and not (folder / "go").exists():
            time.sleep(0.02)
        return unit
    return make


if __name__ == "__main__":
    with connect(sys.argv[1], cpus=1 if sys.argv[1] == "local" else None), stop_on_signals() as stop:
        for outcome in run_units(build, range(6), actors=1, resources=Resources(), stop=stop):
            print("unit", outcome.unit, flush=True)
        print("stopped" if stop.requested else "finished", flush=True)
"""


@pytest.fixture
def driver(tmp_path: Path) -> Path:
    file = tmp_path / "driver.py"
    file.write_text(DRIVER)
    return file


def start(driver: Path, address: str) -> subprocess.Popen[str]:
    """In a process group of its own, as a terminal starts it."""
    root = Path(__file__).parent.parent
    return subprocess.Popen(
        [sys.executable, driver, address],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root), "RAY_AUTH_MODE": "disabled"},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def lines_until(process: subprocess.Popen[str], last: str) -> list[str]:
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line.strip())
        if line.strip() == last:
            break
    return lines


def test_a_local_cluster_has_what_was_asked_for(ray_cluster: Cluster) -> None:
    assert (ray_cluster.cpus, ray_cluster.gpus) == (4, 2)


def test_a_connection_inside_another_shares_it_and_leaves_it_up(ray_cluster: Cluster) -> None:
    with connect() as inner:
        assert inner.address == ray_cluster.address
    assert ray.is_initialized()


@pytest.mark.parametrize(
    ("resources", "room"),
    [
        (Resources(cpus=1), 4),
        (Resources(cpus=1.5), 2),
        (Resources(cpus=1, gpus=1), 2),
        (Resources(cpus=0.1, gpus=0.1), 20),
        (Resources(cpus=5), 0),
        (Resources(memory=2**60), 0),
        (Resources(custom={"tape": 1}), 0),
        (Resources(labels={"zone": "nowhere"}), 0),
    ],
)
def test_there_is_room_for_as_many_actors_as_the_scarcest_resource_allows(
    ray_cluster: Cluster, resources: Resources, room: int
) -> None:
    assert room_for(resources) == room


def test_an_actor_that_reserves_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a core or a GPU"):
        Resources(cpus=0)


def test_a_joined_cluster_keeps_its_own_size() -> None:
    with pytest.raises(ValueError, match="leave them out"), connect("10.0.0.1:6379", gpus=8):
        pass


@pytest.mark.parametrize("variable", [None, "RAY_ADDRESS", "RAY_TMPDIR"])
def test_a_cluster_that_does_not_answer_is_refused_at_once(
    variable: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However its address came: as an argument, from the environment, or from a file that outlived its cluster."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text(address)
    if variable is not None:
        monkeypatch.setenv(variable, address if variable == "RAY_ADDRESS" else str(tmp_path))
    with (
        pytest.raises(ClusterError, match=f"No Ray cluster answers at '{address}' \\(.*refused\\): start one"),
        connect(address if variable is None else "auto"),
    ):
        pass


def test_a_signal_to_the_whole_group_ends_a_joined_run_after_the_current_unit_and_leaves_the_cluster_up(
    ray_cluster: Cluster, driver: Path
) -> None:
    with start(driver, ray_cluster.address) as process:
        assert lines_until(process, "unit 1")[-1] == "unit 1"
        os.killpg(process.pid, signal.SIGTERM)
        (driver.parent / "go").touch()
        assert lines_until(process, "stopped") == ["unit 2", "stopped"]
        assert process.wait(timeout=120) == 0
    assert not (driver.parent / "actor-3").exists()
    assert [node["Alive"] for node in ray.nodes()] == [True]


def test_ctrl_c_ends_a_local_run_after_the_current_unit_and_with_it_its_cluster(driver: Path) -> None:
    with start(driver, "local") as process:
        assert lines_until(process, "unit 1")[-1] == "unit 1"
        os.killpg(process.pid, signal.SIGINT)
        (driver.parent / "go").touch()
        assert lines_until(process, "stopped") == ["unit 2", "stopped"]
        assert process.wait(timeout=120) == 0
    actor = int((driver.parent / "actor-2").read_text())
    assert not Path(f"/proc/{actor}").exists()
