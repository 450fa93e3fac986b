"""Ray starts this in place of its setup_worker.py, and the zygote makes the worker (see `forked.quick_ray`)."""

import os
import sys

from zygote import Task, read_number

WORKER = """
import os, runpy, sys
from ray._private.runtime_env.context import RuntimeEnvContext
from ray._private.workers.setup_worker import parser

options, sys.argv = parser.parse_known_args()
os.environ.update(RuntimeEnvContext.deserialize(options.serialized_runtime_env_context or "{}").env_vars)
runpy.run_path(sys.argv[0], run_name="__main__")
"""

if __name__ == "__main__":
    task = Task(WORKER, sys.argv[1:], dict(os.environ), os.getcwd())
    connection = task.send(os.environ["TESTS_ZYGOTE"], 1, 2)
    read_number(connection)
    sys.exit(read_number(connection))
