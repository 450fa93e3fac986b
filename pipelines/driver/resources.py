"""What a recipe asks of a cluster: resources, limits and device of an actor."""

from cluster import Limits, Resources
from pipelines.errors import StorageError
from pipelines.sections.cluster import ClusterSection


def limits_of(settings: ClusterSection) -> Limits:
    return Limits(
        start=settings.start_seconds,
        unit=settings.unit_seconds,
        grace=settings.grace_seconds,
        patience=settings.patience_seconds,
        ends=(StorageError,),
    )


def resources_of(settings: ClusterSection, gpus: float) -> Resources:
    """What an actor asks of a cluster with so many GPUs: one of them, where the recipe leaves it open."""
    asked = settings.gpus if settings.gpus != "auto" else float(gpus > 0 and settings.device != "cpu")
    memory = None if settings.memory_gib is None else int(settings.memory_gib * 2**30)
    return Resources(settings.cpus, asked, memory, settings.resources, settings.labels)


def device_of(settings: ClusterSection, resources: Resources) -> str:
    """Where the networks run: on a GPU if one is reserved, unless the recipe says otherwise."""
    return settings.device if settings.device != "auto" else "cuda" if resources.gpus else "cpu"
