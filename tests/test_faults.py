"""What a run must survive: real processes, real signals, three nodes with a GPU each in their books.

Every test ends with the sha256 of all shards, which must be those of an undisturbed run.
"""

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from conftest import make_project, wait_for
from forked import ENVIRONMENT, Forked, quick_ray
from ray.cluster_utils import Cluster

from cluster import ClusterError, connect, run_units
from generate import denoiser_images as painting
from label import Interpreter
from pipelines import Recipe, read_shards
from pipelines.dataset.damage import damages, missing_units
from pipelines.dataset.inventory import shard_path, take_inventory
from pipelines.dataset.reports import Report, reports
from pipelines.driver.tally import Tally
from pipelines.errors import LeaseError
from pipelines.files import disk, storage
from pipelines.files.lease import holder
from pipelines.stages import generate as generate_stage
from pipelines.stages.fit import fit
from pipelines.stages.generate import generate
from pipelines.stopping import Stopped
from pipelines.units import unit as unit_module
from pipelines.units.builder import build, planned

UNITS = 8
SETTINGS = (
    "generate.samples=48",
    "cluster.actors=auto",
    "cluster.gpus=1",
    "cluster.cpus=0.3",
    "cluster.device=cpu",
    "cluster.retries=1",
)
VARIABLES = {**ENVIRONMENT, "RAY_gcs_rpc_server_reconnect_timeout_s": "3"}

# ---------------------------------------------------------------------------------------------- faults in an actor


@dataclass(frozen=True)
class Faulty:
    """A builder of units to which something happens on their way; what is noted in the folder happens once."""

    builder: Callable[[], Callable[[int], Report]]
    notes: Path
    killed_in: dict[int, str] = field(default_factory=dict)
    always: dict[int, str] = field(default_factory=dict)  # "kill", "raise" or "hang"
    largest_batch: int = 1000
    pace: tuple[float, float] = (0.0, 0.0)  # seconds that a unit takes on the first node, and on the others
    waits: tuple[float, ...] = storage.WAITS
    together: tuple[int, ...] = ()  # for each unit, how many processes must have begun one before it is made

    def __call__(self) -> Callable[[int], Report]:
        storage.WAITS = self.waits
        make = self.builder()
        _watch_phases(self)
        return lambda unit: self._made(make, unit)

    def _made(self, make: Callable[[int], Report], unit: int) -> Report:
        _now["unit"], _now["files"] = unit, 0
        (self.notes / f"began-{unit}-{os.getpid()}").touch()
        match self.always.get(unit):
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "raise":
                raise ArithmeticError(f"unit {unit} cannot be made")
            case "hang":
                time.sleep(1000)
        if self.together:
            wait_for(lambda: len(processes(self.notes)) >= self.together[unit])
        time.sleep(self.pace[_is_on_another_node()])
        return make(unit)

    def reached(self, phase: str) -> None:
        unit = _now["unit"]
        if self.killed_in.get(unit) == phase and not (self.notes / f"killed-{unit}").exists():
            (self.notes / f"killed-{unit}").touch()
            os.kill(os.getpid(), signal.SIGKILL)


_now: dict[str, int] = {}


def _is_on_another_node() -> bool:
    import ray

    node = ray.get_runtime_context().get_node_id()
    return node != min(n["NodeID"] for n in ray.nodes() if n["Resources"].get("GPU"))


def _watch_phases(faulty: Faulty) -> None:
    """In this process, let every phase of a unit tell that it was reached."""
    sample, predict, sync = painting.sample, Interpreter.predict, disk.sync
    tar_of = unit_module.tar_of

    def sampling(*args: Any, batch_size: int, **options: Any) -> Iterator[np.ndarray]:
        if batch_size > faulty.largest_batch:
            raise torch.OutOfMemoryError("CUDA out of memory")
        for batch in sample(*args, batch_size=batch_size, **options):
            faulty.reached("sampling")
            yield batch

    def predicting(*args: Any, **options: Any) -> Any:
        labels = predict(*args, **options)
        faulty.reached("labelling")
        return labels

    def packing(*args: Any) -> bytes:
        tar = tar_of(*args)
        faulty.reached("encoding")
        return tar

    def syncing(path: Path) -> None:
        sync(path)
        if disk.is_temporary(path.name):  # all of a file is written, and it has not its name yet
            faulty.reached(("commit of the shard", "commit of the report")[_now["files"]])
            _now["files"] += 1

    painting.sample, unit_module.tar_of, disk.sync = sampling, packing, syncing
    Interpreter.predict = predicting


# ------------------------------------------------------------------------------------------------------- the scene


@dataclass
class Scene:
    """A project with its undisturbed shards, and a cluster to make them on."""

    project: Path
    cluster: Cluster
    expected: list[str]
    folder: Path  # of one test's run
    patch: pytest.MonkeyPatch

    def recipe(self, *settings: str) -> Recipe:
        return Recipe.load(self.project / "recipe.toml", (*SETTINGS, *self._place(), *settings))

    def _place(self) -> tuple[str, ...]:
        return f'paths.dataset="{self.folder}"', f'cluster.address="{self.cluster.address}"'

    def faults(self, *, after: dict[int, Callable[[], Any]] | None = None, **faults: Any) -> Path:
        """Let these happen in the actors of this test, and `after` so many units in the driver; returns the notes."""
        notes = self.folder.parent / "notes"
        notes.mkdir(exist_ok=True)

        def run(builder: Any, units: Any, **options: Any) -> Any:
            with closing(run_units(Faulty(builder, notes, **faults), units, **options)) as outcomes:
                for number, outcome in enumerate(outcomes):
                    (after or {}).get(number, lambda: None)()
                    yield outcome

        self.patch.setattr(generate_stage, "run_units", run)
        return notes

    def command(self, *arguments: str) -> Forked:
        """The command in a process of its own, as a shell starts it."""
        settings = [part for setting in (*SETTINGS, *self._place()) for part in ("--set", setting)]
        recipe = self.project / "recipe.toml"
        return Forked(arguments[0], recipe, *settings, *arguments[1:], environment=VARIABLES)

    def assert_as_undisturbed(self) -> None:
        assert digests(self.folder) == self.expected
        assert damages(take_inventory(self.folder)) == []
        assert missing_units(self.folder) == []
        assert holder(self.folder) is None


def processes(notes: Path) -> set[str]:
    """Those that have begun a unit."""
    return {path.name.split("-")[2] for path in notes.glob("began-*")}


def descendants(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def end(process: Forked) -> None:
    """With all that it started: the processes of a local Ray form groups of their own."""
    left = [psutil.Process(process.pid), *descendants(process.pid)] if process.poll() is None else []
    for one in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    process.wait()


def digests_of(folder: Path, units: set[int]) -> list[str]:
    return [hashlib.sha256(shard_path(folder, unit).read_bytes()).hexdigest() for unit in sorted(units)]


def digests(folder: Path) -> list[str]:
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("shard-*.tar"))]


@pytest.fixture(scope="module")
def three_nodes() -> Iterator[Cluster]:
    """A head without GPUs and three nodes with one each; a node is given up after two seconds without a sign."""
    with quick_ray(), pytest.MonkeyPatch.context() as patch:
        for name, value in VARIABLES.items():
            patch.setenv(name, value)
        quick = {"health_check_period_ms": 500, "health_check_failure_threshold": 3, "health_check_timeout_ms": 500}
        head = {"num_cpus": 0, "include_dashboard": False, "_system_config": quick}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        for _ in range(3):
            cluster.add_node(num_cpus=1, num_gpus=1)
        with connect(str(cluster.address)):
            yield cluster
        cluster.shutdown()


@pytest.fixture(scope="module")
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The project, fitted, and the digests of the shards that one process makes of it without Ray."""
    project = make_project(tmp_path_factory.mktemp("project"))
    recipe = Recipe.load(project / "recipe.toml", SETTINGS)
    fit(recipe)
    make = build(planned(recipe))
    return project, [make(unit).sha256 for unit in range(UNITS)]


@pytest.fixture
def scene(
    three_nodes: Cluster, shared: tuple[Path, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Scene:
    monkeypatch.setattr("cluster.places.BACK_OFF", 0.01)
    return Scene(shared[0], three_nodes, shared[1], tmp_path / "dataset", monkeypatch)


# ------------------------------------------------------------------------------------------------- units and actors


def test_an_actor_killed_in_any_phase_of_its_unit_changes_nothing(scene: Scene) -> None:
    phases = ["sampling", "labelling", "encoding", "commit of the shard", "commit of the report"]
    notes = scene.faults(killed_in=dict(enumerate(phases)))
    outcome = generate(scene.recipe())
    assert outcome.failures == []
    assert sorted(path.name for path in notes.glob("killed-*")) == [f"killed-{unit}" for unit in range(5)]
    scene.assert_as_undisturbed()


def test_units_that_raise_kill_their_process_or_hang_are_named_and_the_others_finished(scene: Scene) -> None:
    scene.faults(always={1: "raise", 3: "kill", 5: "hang"})
    outcome = generate(scene.recipe("cluster.unit_seconds=10", "cluster.retries=0"))
    first, second, third = sorted(outcome.failures)
    assert first == "unit 1 failed 1 times: ArithmeticError: unit 1 cannot be made"
    assert second.startswith("unit 3 failed 1 times: its process was lost")
    assert third == "unit 5 failed 1 times: it took longer than the 10 s it may take"
    assert missing_units(scene.folder) == [1, 3, 5]
    assert digests(scene.folder) == [sha256 for unit, sha256 in enumerate(scene.expected) if unit not in (1, 3, 5)]
    told = Tally.read(scene.folder)
    assert told is not None
    assert sorted(failure.unit for failure in told.failures) == [1, 3, 5]


def test_bad_weights_stop_the_run_within_seconds_and_with_one_reason(scene: Scene, tmp_path: Path) -> None:
    model = shutil.copytree(scene.project / "model", tmp_path / "model")
    recipe = scene.recipe(f'paths.denoiser="{model}"', "cluster.actors=1")
    plan = planned(recipe)
    weights = model / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    scene.patch.setattr(generate_stage, "planned", lambda *_: plan)
    begin = time.monotonic()
    with pytest.raises(ClusterError, match="No actor can be built, the builder raised CheckpointError") as caught:
        generate(recipe)
    assert time.monotonic() - begin < 90
    assert str(caught.value).count("CheckpointError") == 1


def test_a_missing_gpu_stops_the_run_and_is_no_slow_run_on_the_cpu(scene: Scene) -> None:
    with pytest.raises(ClusterError, match="no CUDA device, though one is needed"):
        generate(scene.recipe("cluster.device=cuda", "cluster.actors=1"))
    assert take_inventory(scene.folder).committed == set()


def test_a_gpu_out_of_memory_halves_the_batch_and_the_samples_say_so(
    scene: Scene, capsys: pytest.CaptureFixture[str], shared: tuple[Path, list[str]]
) -> None:
    scene.faults(largest_batch=2)
    assert generate(scene.recipe("cluster.actors=1")).failures == []
    assert capsys.readouterr().out.count("out of memory") == 1
    assert {report.batch_size for report in reports(scene.folder)} == {2}
    undisturbed = list(read_shards(scene.project / "out" / "dataset"))
    for made, expected in zip(read_shards(scene.folder), undisturbed, strict=True):
        assert made.seed == expected.seed
        assert made.provenance == {**expected.provenance, "batch_size": 2}
        assert np.abs(made.image.astype(int) - expected.image).max() <= 1
        assert (made.mask != expected.mask).mean() < 0.02
    assert damages(take_inventory(scene.folder)) == []


def test_a_slow_node_keeps_the_others_waiting_for_one_unit_at_most(scene: Scene) -> None:
    notes = scene.faults(pace=(5.0, 0.5))
    generate(scene.recipe())
    scene.assert_as_undisturbed()
    made_by = [path.name.split("-")[2] for path in notes.glob("began-*")]
    assert len(made_by) == UNITS
    slow = min(made_by.count(pid) for pid in set(made_by))
    assert slow <= 2


# ---------------------------------------------------------------------------------------------------------- nodes


def test_a_node_is_lost_and_one_that_joins_late_gets_work(scene: Scene) -> None:
    lost = list(scene.cluster.worker_nodes)[-1]
    notes = scene.faults(
        after={
            0: lambda: scene.cluster.remove_node(lost, allow_graceful=False),
            1: lambda: scene.cluster.add_node(num_cpus=1, num_gpus=1),
        },
        together=(3, 3, 3, 4, 4, 4, 4, 4),
    )
    assert generate(scene.recipe()).failures == []
    scene.assert_as_undisturbed()
    assert len(processes(notes)) == 4, "three actors, and one on the node that joined"


# --------------------------------------------------------------------------------------------- drivers and storage


def test_a_second_driver_is_refused_and_after_the_heads_death_takes_over(scene: Scene) -> None:
    driver = scene.command("generate", "--address", "local", "--set", "cluster.gpus=0", "--set", "cluster.actors=1")
    try:
        wait_for(lambda: take_inventory(scene.folder).committed)
        with pytest.raises(LeaseError, match=f"process {driver.pid} on .* writes, since"):
            generate(scene.recipe())
        head = next(child for child in descendants(driver.pid) if "gcs_server" in child.name())
        head.kill()
        driver.wait(timeout=180)
    finally:
        end(driver)
    assert driver.returncode != 0, driver.said
    assert 0 < len(take_inventory(scene.folder).committed) < UNITS, driver.said
    assert generate(scene.recipe()).failures == []
    scene.assert_as_undisturbed()


def test_sigterm_ends_the_run_within_the_grace_and_a_second_ctrl_c_at_once(scene: Scene) -> None:
    def signals(*numbers: signal.Signals) -> Callable[[], None]:
        def send() -> None:
            for number in numbers:
                os.kill(os.getpid(), number)

        return send

    scene.faults(after={1: signals(signal.SIGTERM)}, always={3: "hang"})
    with pytest.raises(Stopped) as stopped:
        generate(scene.recipe("cluster.grace_seconds=1", "cluster.actors=2"))
    assert stopped.value.exit_code == 128 + signal.SIGTERM
    assert holder(scene.folder) is None
    made = take_inventory(scene.folder).committed
    assert 2 <= len(made) <= 4
    assert stopped.value.sentence == (
        f"stopped by SIGTERM; generate was at {len(made)} of 8 units, which are kept in {scene.folder}; "
        "the same command goes on"
    )
    scene.faults(after={0: signals(signal.SIGINT, signal.SIGINT)}, pace=(0.3, 0.3))
    with pytest.raises(KeyboardInterrupt):
        generate(scene.recipe("cluster.actors=2"))
    assert made < take_inventory(scene.folder).committed
    assert holder(scene.folder) is None
    scene.faults()
    assert generate(scene.recipe()).failures == []
    scene.assert_as_undisturbed()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_stops_the_run_in_one_sentence_and_shows_nothing_half_written(scene: Scene) -> None:
    scene.folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", scene.folder], check=False).returncode:
        pytest.skip("root may not mount here")
    try:
        scene.faults(waits=(0.1, 0.2))
        scene.patch.setattr(storage, "WAITS", (0.1,))
        with pytest.raises(ClusterError, match=r"StorageError: .* cannot be written: No space left on device"):
            generate(scene.recipe())
        made = take_inventory(scene.folder).committed
        assert 0 < len(made) < UNITS
        faults = {damage.fault for damage in damages(take_inventory(scene.folder))}
        assert faults <= {"has no report, so it was not committed"}, "an actor killed as it wrote leaves nothing"
        assert digests_of(scene.folder, made) == [scene.expected[unit] for unit in sorted(made)]
        subprocess.run(["mount", "-o", "remount,size=10m", scene.folder], check=True)
        assert generate(scene.recipe()).failures == []
        scene.assert_as_undisturbed()
    finally:
        subprocess.run(["umount", "-l", scene.folder], check=True)


def test_repair_makes_again_what_is_damaged_and_nothing_else(scene: Scene) -> None:
    shutil.copytree(scene.project / "out" / "dataset", scene.folder)
    before = {path: path.stat().st_mtime_ns for path in scene.folder.glob("shard-*.tar")}
    tar = [scene.folder / f"shard-{unit:06d}.tar" for unit in range(UNITS)]
    tar[0].unlink()
    tar[1].with_suffix(".json").unlink()
    tar[2].write_bytes(tar[2].read_bytes()[:-1024])
    content = bytearray(tar[3].read_bytes())
    content[900] ^= 1
    tar[3].write_bytes(content)
    (scene.folder / ".shard-000004.tar.0011aabb.tmp").write_bytes(b"half")
    assert len(damages(take_inventory(scene.folder))) == 5
    assert generate(scene.recipe(), repair=True).failures == []
    scene.assert_as_undisturbed()
    assert [path for path in tar if path.stat().st_mtime_ns == before[path]] == tar[4:]


def test_a_shard_is_never_half_visible_while_it_is_made(scene: Scene) -> None:
    """Whoever looks at any moment sees committed shards whole, and their bytes are the final ones."""
    seen: set[tuple[int, str]] = set()
    ended = threading.Event()

    def look() -> None:
        while not ended.is_set():
            made = sorted(take_inventory(scene.folder).committed) if scene.folder.is_dir() else []
            seen.update(zip(made, digests_of(scene.folder, set(made)), strict=True))

    watching = threading.Thread(target=look)
    watching.start()
    try:
        generate(scene.recipe("cluster.actors=2"))
    finally:
        ended.set()
        watching.join()
    assert {unit for unit, _ in seen} == set(range(UNITS))
    assert all(sha256 == scene.expected[unit] for unit, sha256 in seen)


def test_a_plan_of_ten_thousand_units_is_resumed_in_seconds(scene: Scene) -> None:
    recipe = scene.recipe("generate.samples=60_000")
    folder = planned(recipe).folder
    for unit in range(9_990):
        shard_path(folder, unit).touch()
        shard_path(folder, unit).with_suffix(".json").touch()
    begin = time.monotonic()
    assert take_inventory(folder).missing(recipe.generate.units) == list(range(9_990, 10_000))
    assert time.monotonic() - begin < 10
