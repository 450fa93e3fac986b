"""What this room raises for the user's mistakes; pipelines/errors.py draws the whole tree."""


class LabelError(ValueError):
    """Any mistake that this room finds."""


class AnnotationError(LabelError):
    """An annotated folder with mistakes; the message lists them."""


class InterpreterError(LabelError):
    """An interpreter's folder that is incomplete, or that belongs to another denoiser or other features."""


class FittingError(LabelError):
    """A training of an interpreter whose numbers are no longer finite; the message names the batch."""


class SchemeError(LabelError):
    """A scheme file that does not describe classes."""
