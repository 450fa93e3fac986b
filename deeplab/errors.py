"""What this room raises for the user's mistakes."""


class ExportError(ValueError):
    """A network that cannot be exported, or a file that is none of ours."""
