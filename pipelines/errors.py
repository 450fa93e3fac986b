"""What this room raises: the first two for the user's mistakes, the others for what happens to a run."""


class RecipeError(ValueError):
    """A recipe with mistakes; the message lists all of them by key."""


class DatasetError(ValueError):
    """A dataset directory that is not what its reader or writer needs."""


class LeaseError(RuntimeError):
    """The folder is another driver's; the message names it."""


class StorageError(RuntimeError):
    """The storage is full, read-only, gone or refuses; the message says which file and why."""
