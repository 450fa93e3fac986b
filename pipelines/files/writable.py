"""A folder is tried before work goes into it, so that an hour's result never ends in a traceback."""

from pathlib import Path

from pipelines.errors import StorageError
from pipelines.files import stores
from pipelines.files.refusals import without_secrets
from pipelines.files.storage import Location, writing


def must_be_writable(folder: Location) -> None:
    """Make the folder where it is missing, and a file in it that is gone at once. Raises StorageError otherwise.

    A store's own refusal comes with its first object; where it has buckets, none is made.
    """
    try:
        if not isinstance(folder, Path):
            _must_be_a_store(folder)
            return
        folder.mkdir(parents=True, exist_ok=True)
        with writing(folder / ".tried") as temporary:
            temporary.touch()
        (folder / ".tried").unlink(missing_ok=True)
    except (OSError, StorageError) as error:
        why = getattr(error.__cause__ or error, "strerror", None) or str(error)
        shown = without_secrets(str(folder))
        raise StorageError(f"{shown} takes no files: {why}; name another folder, or change its permissions") from error


def _must_be_a_store(folder: Location) -> None:
    if getattr(folder, "protocol", "") in ("http", "https"):
        raise StorageError("a web server is read, and not written to")
    assert not isinstance(folder, Path)
    stores.make_folder(folder)
