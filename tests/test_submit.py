"""A stage as a job: on a head of its own, on loopback, from a clean directory."""

import contextlib
import random
import shlex
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from urllib.request import urlopen

import psutil
import pytest
from forked import ENVIRONMENT, Forked

from cluster import ClusterError, end_of, stop
from pipelines import Recipe, RecipeError
from pipelines.dataset.damage import damages, missing_units
from pipelines.dataset.inventory import take_inventory
from pipelines.dataset.reports import reports
from pipelines.driver.submission import is_reachable, packed, result
from pipelines.units.builder import build, planned

ROOT = Path(__file__).parent.parent
VARIABLES = {**ENVIRONMENT, "COLUMNS": "300", "PYTHONPATH": str(ROOT)}
RAY_COMMAND = """
import sys
from forked import quick_ray
from ray.scripts.scripts import main

sys.argv[0] = "ray"
with quick_ray():
    main()
"""
METRICS: list[str] = []  # where the head exports them


def free_ports(count: int) -> list[int]:
    """Below those that the system gives out, or another Ray may be given one before the head listens there."""
    servers: list[socket.socket] = []
    with contextlib.ExitStack() as stack:
        while len(servers) < count:
            with contextlib.suppress(OSError):
                server = socket.create_server(("127.0.0.1", random.randrange(21_000, 31_000)))
                servers.append(stack.enter_context(server))
        return [server.getsockname()[1] for server in servers]


@pytest.fixture(scope="module")
def head() -> Iterator[str]:
    """`ray start --head` with two cores; yields the HTTP address of its dashboard, which listens on loopback only."""
    port, dashboard, client, agent, agent_grpc, metrics = free_ports(6)
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as home:
        ray = ["start", "--head", "--block", "--num-cpus=2", "--num-gpus=0"]
        ports = [f"--port={port}", f"--dashboard-port={dashboard}", f"--ray-client-server-port={client}"]
        ports += [f"--dashboard-agent-listen-port={agent}", f"--dashboard-agent-grpc-port={agent_grpc}"]
        ports += [f"--metrics-export-port={metrics}"]  # every Ray of this machine would take the same
        places = [f"--temp-dir={home}", "--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1"]
        environment = {name: value for name, value in VARIABLES.items() if name != "PYTHONPATH"}
        environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
        process = Forked(*ray, *ports, *places, code=RAY_COMMAND, environment=environment, folder=Path(home))
        try:
            wait_for_port(dashboard, process)
            METRICS.append(f"http://127.0.0.1:{metrics}/metrics")
            yield f"http://127.0.0.1:{dashboard}"
        finally:
            for started in psutil.Process(process.pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    started.kill()
            process.kill()


def wait_for_port(port: int, process: Forked) -> None:
    deadline = time.monotonic() + 180
    while True:
        assert process.poll() is None, f"the head has ended: {process.said}"
        assert time.monotonic() < deadline, "the dashboard does not answer"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.2)


def run(directory: Path, *arguments: str | Path, code: int = 0) -> str:
    directory.mkdir(exist_ok=True)
    process = Forked(*arguments, environment=VARIABLES, folder=directory)
    assert process.wait(timeout=400) == code, process.said
    return process.said


def test_a_submitted_stage_makes_the_dataset_and_its_log_is_followed(head: str, fitted: Path, tmp_path: Path) -> None:
    said = run(tmp_path / "clean", "submit", "generate", fitted / "recipe.toml", "--address", head, "--follow")
    assert "submitted raysubmit_" in said
    assert "actors for 4 of 4 units" in said, "the job's own output"
    assert list((tmp_path / "clean").iterdir()) == []
    folder = fitted / "out" / "dataset"
    assert damages(take_inventory(folder)) == []
    assert missing_units(folder) == []
    alone = build(planned(Recipe.load(fitted / "recipe.toml", (f'paths.dataset="{tmp_path / "alone"}"',))))
    assert [report.sha256 for report in reports(folder)] == [alone(unit).sha256 for unit in range(4)]


def test_a_job_that_fails_ends_the_follower_with_1_and_with_what_is_missing(head: str, fitted: Path) -> None:
    (fitted / "out" / "dataset" / "shard-000002.tar" / "in the way").mkdir(parents=True)
    said = run(fitted, "submit", "generate", fitted / "recipe.toml", "--address", head, "--follow", code=1)
    assert "unit 2 failed 3 times" in said
    assert "ended with exit code 1, FAILED" in said
    assert "lacks units 2; submit it again" in said


def test_a_running_job_exports_metrics_and_a_stop_ends_it_in_good_order(head: str, fitted: Path) -> None:
    folder, many = fitted / "out" / "dataset", ("--set", "generate.samples=3000")
    said = run(fitted, "submit", "generate", fitted / "recipe.toml", "--address", head, *many)
    job = next(word for word in said.split() if word.startswith("raysubmit_")).rstrip(";")
    deadline = time.monotonic() + 120
    while not take_inventory(folder).committed:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    while "ray_datasetddpm_units_done{" not in (metrics := urlopen(METRICS[0]).read().decode()):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert "ray_datasetddpm_actors_alive{" in metrics
    assert "stopping" in run(fitted, "stop", job, "--address", head)
    while (end := end_of(head, job)) is None:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert end.status == "STOPPED"
    assert damages(take_inventory(folder)) == []
    assert not list(folder.glob("lease-*")), "the driver had the time to say goodbye"
    assert "has ended already" in run(fitted, "stop", job, "--address", head)


def test_all_stages_run_as_one_job_and_the_networks_train_on_the_clusters_workers(
    head: str, project: Path, tmp_path: Path
) -> None:
    recipe = (project / "recipe.toml", "--address", head, "--follow", "--set", "train.workers=2")
    said = run(tmp_path / "clean", "submit", "run", *recipe, "--set", "train.baseline=false")
    assert [f"{stage}: made" in said for stage in ("fit", "generate", "train", "evaluate", "report")] == [True] * 5
    assert "TrainWorker" in said, "what rank 0 prints is the job's output"
    assert (project / "out" / "report" / "report.html").is_file()
    assert damages(take_inventory(project / "out" / "dataset")) == []
    said = run(tmp_path / "clean", "submit", "train", *recipe, "--set", "train.baseline=false")
    assert "train: found 1 DeepLabV3+ networks" in said
    network = project / "out" / "deeplab" / "synthetic-seed0"
    (network / "stage.json").unlink()
    job = next(word for word in said.split() if word.startswith("raysubmit_")).rstrip(";")
    loaded = Recipe.load(project / "recipe.toml", ("train.baseline=false",))
    assert result(loaded, "train", head, job) == [f"{network} holds no finished stage; submit it again to go on"]


def test_an_unknown_job_and_an_address_where_nobody_answers_are_named(head: str) -> None:
    with pytest.raises(ClusterError, match="knows no job 'raysubmit_no'"):
        stop(head, "raysubmit_no")
    with pytest.raises(ClusterError, match=r"No Ray dashboard answers at 'http://127\.0\.0\.1:9'"):
        stop("http://127.0.0.1:9", "any")


def test_a_local_weight_file_is_refused_before_anything_is_sent(fitted: Path) -> None:
    recipe = fitted / "recipe.toml"
    with (
        pytest.raises(RecipeError, match=r"paths\.denoiser = .*model, paths\.dataset = .*: on this machine only"),
        packed("generate", recipe, (), "http://10.0.0.1:8265"),
    ):
        pass


def test_a_file_of_encoder_weights_stays_behind_and_a_name_does_not(fitted: Path) -> None:
    for weights, stays in ((fitted / "resnet.pth", True), ("imagenet", False)):
        if isinstance(weights, Path):
            weights.touch()
        with pytest.raises(RecipeError) as refusal:
            packed(
                "train", fitted / "recipe.toml", (f'train.encoder_weights="{weights}"',), "http://10.0.0.1:8265"
            ).__enter__()
        assert (f"train.encoder_weights = {weights}" in str(refusal.value)) == stays


def test_a_folder_of_a_mixed_training_is_refused_or_goes_by_its_whole_path(fitted: Path) -> None:
    other, address = fitted / "another set", "http://10.0.0.1:8265"
    other.mkdir()
    mix = 'train.mix=[{source="synthetic", share=3}, {source="another set", augmentation="strong"}]'
    with pytest.raises(RecipeError, match=rf"train\.mix\.source 1 = {other}"):
        packed("train", fitted / "recipe.toml", (mix,), address).__enter__()
    shared = 'cluster.shared=["."]'
    with packed("train", fitted / "recipe.toml", (mix, shared), address) as parcel:
        settings = tuple(after for before, after in pairwise(shlex.split(parcel.command)) if before == "--set")
        there = Recipe.load(parcel.load.folder / "recipe.toml", settings)
    here = Recipe.load(fitted / "recipe.toml", (mix, shared))
    assert (there.train.mix, there.cluster.shared) == (here.train.mix, here.cluster.shared)


def test_shared_folders_and_urls_are_reachable_and_loopback_is_this_machine(fitted: Path) -> None:
    recipe = Recipe.load(fitted / "recipe.toml", (f'cluster.shared=["{fitted}"]',))
    assert is_reachable(fitted / "out", recipe, "http://10.0.0.1:8265")
    assert not is_reachable(Path("/elsewhere"), recipe, "http://10.0.0.1:8265")
    assert is_reachable(Path("/elsewhere"), recipe, "http://localhost:8265")


def test_a_parcel_holds_recipe_and_interpreter_and_nothing_else(fitted: Path) -> None:
    settings = (f'cluster.shared=["{fitted}"]',)
    with packed("generate", fitted / "recipe.toml", settings, "http://10.0.0.1:8265") as parcel:
        assert {path.name for path in parcel.load.folder.iterdir()} == {"recipe.toml", "out"}
        assert {path.name for path in (parcel.load.folder / "out").iterdir()} == {"interpreter"}
        assert {path.name for path in parcel.load.packages} == {"generate", "label", "deeplab", "cluster", "pipelines"}
        assert 'paths.out="out"' in parcel.command
    assert not parcel.load.folder.exists()


def test_a_stage_that_is_not_for_clusters_and_a_missing_interpreter_are_named(project: Path) -> None:
    with pytest.raises(RecipeError, match="'fit' is no stage for a cluster; known are generate, train, run"):
        packed("fit", project / "recipe.toml", (), "http://127.0.0.1:1").__enter__()
    with pytest.raises(RecipeError, match="holds no interpreter; run `datasetddpm fit` first"):
        packed("generate", project / "recipe.toml", (), "http://127.0.0.1:1").__enter__()
