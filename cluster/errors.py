"""What this room raises for what is not our fault."""


class ClusterError(RuntimeError):
    """The cluster cannot do the work; the message says why, in a sentence."""
