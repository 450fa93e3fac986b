"""The same training loop in several processes of a Ray cluster, which PyTorch's process group joins."""

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import ray
import ray.train
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer
from ray.util import placement_group_table, remove_placement_group
from ray.util.placement_group import PlacementGroup

from cluster.errors import ClusterError
from cluster.runtime import Resources
from cluster.stopping import interrupt


def train_together(
    loop: Callable[..., None],
    *,
    workers: int,
    resources: Resources,
    retries: int,
    storage: Path,
    patience: float = 120.0,
) -> None:
    """Call the picklable `loop(rank=...)` in `workers` processes at once, and return when all have ended.

    They are one process group: nccl where each reserves a GPU, gloo elsewhere. When one is lost, all are started
    again, at most `retries` times: the loop goes on from what it has stored. Ray Train replaces those lost in the loop;
    one lost while the group starts ends its controller (Ray 2.60) and leaves its cores and GPUs reserved, so they are
    freed here and the whole call is made again. Raises ClusterError when it failed for good, or when for `patience`
    seconds there was no room for all. `storage` is for Ray's own notes of the run, and must be seen by all machines.
    """
    os.environ["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] = str(patience)  # Ray Train has no other way to say it
    logging.getLogger("ray.train").setLevel(logging.ERROR)
    before = _reserved()
    for attempt in count():
        trainer = _trainer(loop, workers, resources, retries, storage.resolve(), f"ray-{attempt}")
        try:
            with _own_interrupts():
                trainer.fit()
        except ray.train.TrainingFailedError as error:
            _free(_reserved() - before)
            failure = error.controller_failure if isinstance(error, ray.train.ControllerError) else None
            if type(failure).__name__ == "WorkerGroupStartupTimeoutError":  # of a package that Ray calls internal
                raise ClusterError(
                    f"For {patience:g} s there was no room for {workers} workers, each asks for {resources}."
                ) from error
            if failure is not None and attempt < retries:
                continue
            reason = str(error).strip().splitlines()
            raise ClusterError(
                f"the training on {workers} workers failed: {reason[-1] if reason else error}"
            ) from error
        return


def _trainer(
    loop: Callable[..., None], workers: int, resources: Resources, retries: int, storage: Path, name: str
) -> TorchTrainer:
    reserved = {"CPU": resources.cpus, "GPU": resources.gpus, "memory": resources.memory or 0} | resources.custom
    return TorchTrainer(
        partial(_ranked, loop),
        torch_config=TorchConfig(backend="nccl" if resources.gpus else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=workers,
            use_gpu=bool(resources.gpus),
            resources_per_worker={resource: float(amount) for resource, amount in reserved.items() if amount},
            label_selector=resources.labels or None,
        ),
        run_config=RunConfig(
            name=name,
            storage_path=str(storage),
            failure_config=FailureConfig(max_failures=retries, controller_failure_limit=0),
            worker_runtime_env={"env_vars": _variables(resources)},
        ),
    )


def _reserved() -> set[str]:
    """This job's placement groups, by id; a job's id is the end of theirs."""
    job, groups = ray.get_runtime_context().get_job_id(), placement_group_table()
    return {key for key, group in groups.items() if key.endswith(job) and group["state"] != "REMOVED"}


def _free(groups: set[str]) -> None:
    for key in groups:
        remove_placement_group(PlacementGroup(ray.PlacementGroupID(bytes.fromhex(key))))


def _variables(resources: Resources) -> dict[str, str]:
    """What libraries read at their import: a thread a core; no GPU without one reserved, for Ray would show all."""
    threads = {"OMP_NUM_THREADS": str(max(1, int(resources.cpus)))}
    return threads if resources.gpus else threads | {"CUDA_VISIBLE_DEVICES": ""}


@contextmanager
def _own_interrupts() -> Iterator[None]:
    """Ctrl-C is a KeyboardInterrupt: Ray Train ends the process with exit code 0, and leaves its handler behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit:
        interrupt(before, signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def _ranked(loop: Callable[..., None], _config: dict[str, Any] | None = None) -> None:
    loop(rank=ray.train.get_context().get_world_rank())
