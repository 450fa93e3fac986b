"""What this room raises, and how the errors of all rooms hang together. A message is one sentence for the user.

ValueError                  the user's mistake: exit code 2
├── generate.GenerateError  ├── CheckpointError, ImageError, TrainingError
├── label.LabelError        ├── AnnotationError, InterpreterError, FittingError, SchemeError
├── deeplab.DeepLabError    ├── NetworkError (DownloadError), BatchError, ExportError
└── InputError              └── RecipeError, DatasetError
RuntimeError                what happens to a run: exit code 1
├── cluster.ClusterError
└── RunError                └── LeaseError, StorageError
"""


class InputError(ValueError):
    """Any mistake in what this room is given."""


class RecipeError(InputError):
    """A recipe with mistakes; the message lists all of them by key."""


class DatasetError(InputError):
    """A dataset directory that is not what its reader or writer needs."""


class RunError(RuntimeError):
    """Anything that ends a run, and is nobody's mistake in a recipe."""


class LeaseError(RunError):
    """The folder is another driver's; the message names it."""


class StorageError(RunError):
    """The storage is full, read-only, gone or refuses; the message says which file and why."""
