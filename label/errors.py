"""What this room raises for the user's mistakes."""


class AnnotationError(ValueError):
    """An annotated folder with mistakes; the message lists them."""


class InterpreterError(ValueError):
    """An interpreter's folder that is incomplete, or that belongs to another denoiser or other features."""


class SchemeError(ValueError):
    """A scheme file that does not describe classes."""
