"""What this room raises for the user's mistakes; pipelines/errors.py draws the whole tree."""


class GenerateError(ValueError):
    """Any mistake that this room finds."""


class CheckpointError(GenerateError):
    """A checkpoint that is missing, cut short, or not of the shape that its configuration states."""


class TrainingError(GenerateError):
    """A training whose numbers are no longer finite; the message names the step."""


class ImageError(GenerateError):
    """An image that cannot be read or used; the message names it."""
