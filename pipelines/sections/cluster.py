"""[cluster] of a recipe: where its work is done."""

# ruff: noqa: RUF012 - pydantic copies what is mutable of a model's defaults

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from pipelines.sections.keys import Count, Section

_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_ADDRESS = re.compile(
    rf"local|auto|(ray://)?({_LABEL}(\.{_LABEL}){{0,20}}|\[[0-9A-Fa-f:.]{{2,45}}\]):(?P<port>[0-9]{{1,5}})", re.ASCII
)


class ClusterSection(Section):
    """Where units are made and networks trained, and how long things may take."""

    address: str = "local"
    """The Ray cluster: host:6379, ray://host:10001, or auto for the one that a job runs in; local: this machine."""
    shared: list[str] = []
    """Folders that all machines of the cluster see."""
    actors: Count | Literal["auto"] = "auto"
    """Processes that make units; auto: as many as the machines hold, more as machines join."""
    cpus: Annotated[float, Field(gt=0)] = 1
    """CPUs that an actor or worker reserves."""
    gpus: Annotated[float, Field(ge=0)] | Literal["auto"] = "auto"
    """GPUs that an actor or worker reserves; auto: 1 where the cluster has any."""
    memory_gib: Annotated[float, Field(gt=0)] | None = None
    """GiB of memory that an actor or worker reserves; unset: none."""
    resources: dict[str, Annotated[float, Field(gt=0)]] = {}
    """What else an actor or worker reserves, by the names that the cluster gives it."""
    labels: dict[str, str] = {}
    """Labels of the machines that actors and workers may be placed on."""
    device: Literal["auto", "cuda", "cpu"] = "auto"
    """Where networks run; auto: cuda where an actor reserves a GPU."""
    retries: Annotated[int, Field(ge=0)] = 2
    """How often a unit is tried again, or a training goes on, after its process was lost."""
    start_seconds: Annotated[float, Field(gt=0)] = 1800
    """Seconds for an actor to load its models; then it is replaced."""
    unit_seconds: Annotated[float, Field(gt=0)] = 7200
    """Seconds for a unit; then it hangs, and is tried again."""
    grace_seconds: Annotated[float, Field(ge=0)] = 25
    """Seconds for current units to be finished, after SIGTERM or Ctrl-C."""
    patience_seconds: Annotated[float, Field(gt=0)] = 120
    """Seconds without a machine that could hold an actor; then the run ends."""

    @field_validator("address")
    @classmethod
    def _is_an_address(cls, address: str) -> str:
        match = _ADDRESS.fullmatch(address)
        if not match or not 0 < int(match["port"] or 1) < 2**16:
            raise ValueError(f"{address!r} is none; local, auto, host:6379 or ray://host:10001 are")
        return address

    @model_validator(mode="after")
    def _can_be_reserved(self) -> "ClusterSection":
        if own := sorted({"CPU", "GPU", "memory", "object_store_memory"} & self.resources.keys()):
            raise ValueError(f"resources name {', '.join(own)}; the keys cpus, gpus and memory_gib reserve those")
        amounts = {"cpus": self.cpus, "gpus": self.gpus, **self.resources}
        for name, amount in amounts.items():
            if not isinstance(amount, str) and amount > 1 and amount % 1:
                raise ValueError(f"{name} {amount} cannot be reserved; above 1 Ray takes whole numbers alone")
        return self
