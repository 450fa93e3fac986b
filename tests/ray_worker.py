"""Ray starts this in place of its setup_worker.py, and the zygote makes the worker (see `forked.quick_ray`)."""

import os
import sys

from zygote import Task, read_number

# as Ray's setup_worker.py, which begins with a new interpreter: variables, folder, import paths
WORKER = """
import os, runpy, sys
from ray._private.runtime_env.context import RuntimeEnvContext
from ray._private.workers.setup_worker import parser

options, sys.argv = parser.parse_known_args()
context = RuntimeEnvContext.deserialize(options.serialized_runtime_env_context or "{}")
os.environ.update(context.env_vars)
if context.command_prefix:
    (_, folder, _) = context.command_prefix  # "cd", folder, "&&"
    os.chdir(folder)
sys.path[:0] = filter(None, context.env_vars.get("PYTHONPATH", "").split(":"))
runpy.run_path(sys.argv[0], run_name="__main__")
"""

if __name__ == "__main__":
    task = Task(WORKER, sys.argv[1:], dict(os.environ), os.getcwd())
    connection = task.send(os.environ["TESTS_ZYGOTE"], 1, 2)
    read_number(connection)
    sys.exit(read_number(connection))
