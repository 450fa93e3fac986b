"""What this room raises for the user's mistakes."""


class CheckpointError(ValueError):
    """A checkpoint that is missing, cut short, or not of the shape that its configuration states."""


class ImageError(ValueError):
    """An image that cannot be read or used; the message names it."""
