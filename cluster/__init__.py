"""Ray and nothing else: a connection to a cluster, and a supervised pool that makes numbered units on it."""

from cluster.jobs import End, Load, end_of, log_of, stop, submit
from cluster.metrics import Gauges
from cluster.places import Crew
from cluster.pool import run_units
from cluster.runtime import Cluster, ClusterError, Resources, connect, room_for
from cluster.stopping import Stop, stop_on_signals
from cluster.training import train_together
from cluster.work import Done, Failed, Limits

__all__ = [
    "Cluster",
    "ClusterError",
    "Crew",
    "Done",
    "End",
    "Failed",
    "Gauges",
    "Limits",
    "Load",
    "Resources",
    "Stop",
    "connect",
    "end_of",
    "log_of",
    "room_for",
    "run_units",
    "stop",
    "stop_on_signals",
    "submit",
    "train_together",
]
