"""Ray and nothing else: a connection to a cluster, and a supervised pool that makes numbered units on it."""

from cluster.pool import Done, Failed, run_units
from cluster.runtime import Cluster, ClusterError, Resources, connect, room_for
from cluster.stopping import Stop, stop_on_signals
from cluster.training import train_together

__all__ = [
    "Cluster",
    "ClusterError",
    "Done",
    "Failed",
    "Resources",
    "Stop",
    "connect",
    "room_for",
    "run_units",
    "stop_on_signals",
    "train_together",
]
