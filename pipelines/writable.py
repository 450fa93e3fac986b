"""A folder is tried before work goes into it, so that an hour's result never ends in a traceback."""

from pathlib import Path

from pipelines.errors import StorageError
from pipelines.storage import Location, writing


def must_be_writable(folder: Location) -> None:
    """Make the folder where it is missing, and a file in it that is gone at once. Raises StorageError otherwise.

    A store is not asked: its own refusal comes with its first object, and to make a folder there could make a bucket.
    """
    if not isinstance(folder, Path):
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with writing(folder / ".tried") as temporary:
            temporary.touch()
        (folder / ".tried").unlink(missing_ok=True)
    except (OSError, StorageError) as error:
        why = getattr(error.__cause__ or error, "strerror", None) or str(error)
        raise StorageError(f"{folder} takes no files: {why}; name another folder, or change its permissions") from error
