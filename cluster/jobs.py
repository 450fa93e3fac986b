"""Jobs on a Ray cluster: submit, follow, stop, over the HTTP address of its head.

Where the cluster asks for a token, Ray's client sends the one of RAY_AUTH_TOKEN or its token file.
"""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import requests
from ray.exceptions import AuthenticationError
from ray.job_submission import JobStatus, JobSubmissionClient

from cluster.errors import ClusterError, untrusted

_GREETING_SECONDS = 10.0  # for the first answer
_ANSWER_SECONDS = 60.0  # for each further one
_REFUSED = (RuntimeError, requests.RequestException)
_STARTING_SECONDS = 60.0  # a head answers before it can run jobs


@dataclass(frozen=True)
class Load:
    """What travels to the cluster: a folder that the job starts in, packages, and environment variables."""

    folder: Path
    packages: tuple[Path, ...]
    excludes: tuple[str, ...] = ()
    variables: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class End:
    """How a job ended, as Ray has it: the job of a killed driver may well be called SUCCEEDED."""

    status: str
    exit_code: int | None
    message: str


def submit(address: str, command: str, load: Load, *, grace_seconds: float) -> str:
    """Start the command as a job on the head's machine; returns the job's name.

    A stop is SIGTERM, and SIGKILL once the grace is over. ClusterError: nobody answers, or it is refused.
    """
    runtime: dict[str, Any] = {
        "working_dir": str(load.folder),
        "py_modules": [str(package) for package in load.packages],
        "excludes": list(load.excludes),
        "env_vars": load.variables | {"RAY_JOB_STOP_WAIT_TIME_S": str(round(grace_seconds))},
    }
    client, patience_ends = _client(address), time.monotonic() + _STARTING_SECONDS
    while True:
        try:
            return client.submit_job(entrypoint=command, runtime_env=runtime)
        except ClusterError:
            raise
        except _REFUSED as error:
            if "No available agent" not in str(error) or time.monotonic() > patience_ends:
                raise ClusterError(f"The cluster at {address} does not take the job: {error}") from error
        time.sleep(1.0)


def log_of(address: str, job: str) -> Iterator[str]:
    """Yield what the job prints, from its beginning to its end, in pieces."""
    client = _client(address)
    with asyncio.Runner() as runner:
        pieces = client.tail_job_logs(job)
        while (piece := runner.run(anext(pieces, None))) is not None:
            yield piece


def end_of(address: str, job: str) -> End | None:
    """None while it runs or waits."""
    try:
        info = _client(address).get_job_info(job)
    except ClusterError:
        raise
    except _REFUSED as error:
        raise ClusterError(f"The cluster at {address} knows no job {job!r}: {error}") from error
    status = JobStatus(info.status)
    return End(status.value, info.driver_exit_code, info.message or "") if status.is_terminal() else None


def stop(address: str, job: str) -> bool:
    """Ask a job to end in good order; false when it has ended already."""
    try:
        return end_of(address, job) is None and _client(address).stop_job(job)
    except ClusterError:
        raise
    except _REFUSED as error:
        raise ClusterError(f"The job {job!r} cannot be stopped: {error}") from error


class _Client(JobSubmissionClient):
    """Ray's own waits for ever for a server that keeps silent; a token that is refused is an error of its own."""

    def _do_request(self, method: str, endpoint: str, **options: Any) -> Any:
        options.setdefault("timeout", _ANSWER_SECONDS)
        try:
            return super()._do_request(method, endpoint, **options)
        except AuthenticationError as error:
            raise untrusted(self._address) from error


def _client(address: str) -> JobSubmissionClient:
    if not address.startswith(("http://", "https://")):
        raise _nobody(address)
    try:
        with urlopen(f"{address.rstrip('/')}/api/version", timeout=_GREETING_SECONDS):
            pass  # whoever answers at all is asked further
    except HTTPError:
        pass
    except (OSError, ValueError, HTTPException) as error:
        raise _nobody(address) from error
    try:
        return _Client(address)
    except AuthenticationError as error:
        raise untrusted(address) from error
    except ClusterError:
        raise
    except (ConnectionError, ValueError, RuntimeError, requests.RequestException, KeyError) as error:
        raise _nobody(address) from error


def _nobody(address: str) -> ClusterError:
    return ClusterError(f"No Ray dashboard answers at {address!r}: give its HTTP address, such as http://head:8265")
