"""The error of this room."""


class ClusterError(RuntimeError):
    """The cluster cannot do the work; the message is a sentence that says why."""
