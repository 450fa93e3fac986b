"""The connection to Ray, and what an actor asks of it."""

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import AuthenticationError

from cluster.errors import ClusterError, untrusted

_OBJECT_STORE_BYTES = 300 * 2**20  # units hand back reports; their samples go to storage, not through Ray
_ANSWER_SECONDS = 5.0
_SETTINGS = 4  # the type of the first frame of HTTP/2


@dataclass(frozen=True)
class Resources:
    """What one actor reserves: cores, GPUs (a fraction shares one), bytes of memory, and what a cluster names itself.

    A fixed number of cores is also the number of threads that the actor's numerical libraries use.
    `labels` are those of the machines that an actor may be placed on.
    """

    cpus: float = 1
    gpus: float = 0
    memory: int | None = None
    custom: dict[str, float] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if min(self.cpus, self.gpus) < 0 or self.cpus == self.gpus == 0:
            raise ValueError(f"An actor needs a core or a GPU, or a part of one: {self} reserves neither.")

    def options(self) -> dict[str, Any]:
        """As Ray's options of an actor, which it never restarts by itself."""
        asked = {"num_cpus": self.cpus, "num_gpus": self.gpus, "memory": self.memory, "resources": self.custom}
        return asked | {"label_selector": self.labels, "max_restarts": 0, "max_task_retries": 0}


@dataclass(frozen=True)
class Cluster:
    """The cluster as it was when the connection was made."""

    address: str
    cpus: float
    gpus: float


@contextmanager
def connect(
    address: str = "local", *, cpus: int | None = None, gpus: int | None = None, log_to_driver: bool = False
) -> Iterator[Cluster]:
    """Start a Ray cluster on this machine ("local"), or join the one at `address`.

    "auto" is the address in RAY_ADDRESS, which a submitted job has, or that of the last `ray start` here.
    The end of the block ends what its beginning made: a local cluster is shut down, a joined one only left.
    A process has one connection, so a `connect` inside another shares it and leaves it as it was.
    `cpus` and `gpus` are those of a local cluster; without them they are what Ray detects.
    With `log_to_driver` what the cluster's processes print comes here as well.
    """
    if address != "local" and (cpus is not None or gpus is not None):
        raise ValueError(f"cpus and gpus describe a local cluster, the one at {address!r} has its own: leave them out.")
    if ray.is_initialized():
        yield _describe()
        return
    before = signal.getsignal(signal.SIGTERM)
    if address == "local":
        _start(cpus, gpus, log_to_driver=log_to_driver)
    else:
        _join(address, log_to_driver=log_to_driver)
    if callable(before) and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)  # Ray's own ends the process with another exit code
    try:
        yield _describe()
    finally:
        ray.shutdown()


def room_for(resources: Resources) -> int:
    """How many such actors the machines of the connected cluster hold, whether or not they are busy now."""
    return sum(_room_on(node, resources) for node in ray.nodes() if node["Alive"])


def _room_on(node: dict[str, Any], resources: Resources) -> int:
    if any(node["Labels"].get(key) != value for key, value in resources.labels.items()):
        return 0
    asked = {"CPU": resources.cpus, "GPU": resources.gpus, "memory": resources.memory or 0, **resources.custom}
    return min(int(node["Resources"].get(name, 0) / amount + 1e-9) for name, amount in asked.items() if amount > 0)


def _start(cpus: int | None, gpus: int | None, *, log_to_driver: bool) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(
        address="local",
        num_cpus=cpus,
        num_gpus=gpus,
        include_dashboard=False,
        object_store_memory=_OBJECT_STORE_BYTES,
        logging_level=logging.ERROR,
        log_to_driver=log_to_driver,
    )


def _join(address: str, *, log_to_driver: bool) -> None:
    known = _look_up() if address == "auto" else address
    host, _, port = (known or "").removeprefix("ray://").rpartition(":")
    try:
        if port.isdigit():  # Ray itself would try for minutes, deaf to signals
            _must_be_ray(host, int(port))
        ray.init(address=known or address, logging_level=logging.ERROR, log_to_driver=log_to_driver)
    except AuthenticationError as error:
        raise untrusted(known or address) from error
    except (OSError, OverflowError) as error:
        reason = str(error).partition("\n")[0]
        raise ClusterError(
            f'No Ray cluster answers at {known or address!r} ({reason}): start one, or use "local".'
        ) from error


def _must_be_ray(host: str, port: int) -> None:
    """Raises OSError where nobody answers, or somebody who does not speak gRPC: that is HTTP/2, greeted by settings."""
    with socket.create_connection((host.strip("[]"), port), timeout=_ANSWER_SECONDS) as connection:
        if os.environ.get("RAY_USE_TLS", "0") not in ("0", ""):
            return
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, _SETTINGS, 0, 0, 0, 0, 0]))
        answer = connection.recv(9)
        if len(answer) < 4 or answer[0] or answer[3] != _SETTINGS:
            raise OSError("what listens there is no Ray")


def _look_up() -> str | None:
    """The address that Ray takes for "auto": of the environment, or of the file that `ray start` leaves behind."""
    file = Path(os.environ.get("RAY_TMPDIR", "/tmp"), "ray", "ray_current_cluster")
    return os.environ.get("RAY_ADDRESS") or (file.read_text("utf-8").strip() if file.exists() else None)


def _describe() -> Cluster:
    total = ray.cluster_resources()
    address = ray.get_runtime_context().gcs_address
    return Cluster(address, cpus=total.get("CPU", 0), gpus=total.get("GPU", 0))
