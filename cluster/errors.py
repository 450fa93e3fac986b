"""The error of this room."""


class ClusterError(RuntimeError):
    """The cluster cannot do the work; the message is a sentence that says why."""


def untrusted(address: str) -> ClusterError:
    """Of a cluster that asks for a token, and gets none or another's."""
    return ClusterError(
        f"The cluster at {address} asks for its token, and does not take this machine's: put it into RAY_AUTH_TOKEN or "
        "~/.ray/auth_token, with RAY_AUTH_MODE=token"
    )
