"""What this room raises for the user's mistakes; pipelines/errors.py draws the whole tree."""


class DeepLabError(ValueError):
    """Any mistake that this room finds."""


class NetworkError(DeepLabError):
    """Settings, encoder weights or a folder that make no network; the message says what is wrong with them."""


class DownloadError(NetworkError, OSError):
    """Encoder weights that are not on this machine and could not be fetched."""


class BatchError(DeepLabError):
    """Images or masks that a network cannot be trained on or measured by."""


class ExportError(DeepLabError):
    """A network that cannot be exported, or a file that is none of ours."""
