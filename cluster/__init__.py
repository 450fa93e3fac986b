"""Ray and nothing else: a connection to a cluster, and a supervised pool that makes numbered units on it.

A name's file is imported when the name is first used: what needs no Ray does not wait for it.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cluster.errors import ClusterError as ClusterError
    from cluster.jobs import End as End
    from cluster.jobs import Load as Load
    from cluster.jobs import end_of as end_of
    from cluster.jobs import log_of as log_of
    from cluster.jobs import stop as stop
    from cluster.jobs import submit as submit
    from cluster.metrics import Gauges as Gauges
    from cluster.places import Crew as Crew
    from cluster.pool import run_units as run_units
    from cluster.runtime import Cluster as Cluster
    from cluster.runtime import Resources as Resources
    from cluster.runtime import connect as connect
    from cluster.runtime import room_for as room_for
    from cluster.stopping import Stop as Stop
    from cluster.stopping import stop_on_signals as stop_on_signals
    from cluster.training import train_together as train_together
    from cluster.work import Done as Done
    from cluster.work import Failed as Failed
    from cluster.work import Limits as Limits
else:
    _FILES = {
        "errors": ["ClusterError"],
        "jobs": ["End", "Load", "end_of", "log_of", "stop", "submit"],
        "metrics": ["Gauges"],
        "places": ["Crew"],
        "pool": ["run_units"],
        "runtime": ["Cluster", "Resources", "connect", "room_for"],
        "stopping": ["Stop", "stop_on_signals"],
        "training": ["train_together"],
        "work": ["Done", "Failed", "Limits"],
    }
    _FILE_OF = {name: file for file, names in _FILES.items() for name in names}
    __all__ = sorted(_FILE_OF)

    def __getattr__(name: str) -> object:
        if name not in _FILE_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_FILE_OF[name]}"), name)
