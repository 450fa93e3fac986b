"""What was measured of a study: a file for each cell, so that a study that was stopped goes on."""

import json
import math
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from generate.stored import StoredError, stored_tree
from pipelines.digests import digest_of
from pipelines.errors import RecipeError
from pipelines.files.storage import write_whole
from pipelines.files.writable import must_be_writable
from pipelines.folders import study_cell
from pipelines.recipe import Recipe
from pipelines.study.grid import Cell, Kind, grid

_NOT_MEASURED = {"name", "paths", "features", "study", "cluster", "train_ddpm"}
_NOT_READ: dict[Kind, set[str]] = {
    "interpreter": {"generate", "train"},
    "pixels": {"generate", "train"},
    "untrained": {"generate", "train"},
    "supervised": {"generate"},
}


def missing(recipe: Recipe) -> list[Cell]:
    """Cells that are not measured yet, each once: all of the first seed before any of the second."""
    seen: dict[str, Cell] = {}
    cells = [cell for row in grid(recipe) for cell in row.cells]
    for cell in sorted(cells, key=lambda cell: recipe.study.seeds.index(cell.seed)):
        seen.setdefault(cell.name, cell)
    return [cell for cell in seen.values() if result(recipe, cell) is None]


def result(recipe: Recipe, cell: Cell) -> dict[str, Any] | None:
    """What was measured of a cell with this recipe, or None."""
    path = study_cell(recipe, cell.name)
    if not path.is_file():
        return None
    try:
        measured = stored_tree(path.read_bytes())
    except StoredError as error:
        raise RecipeError(f"{path} is no measured cell ({error}); remove it, and it is measured again") from error
    return measured if measured.get("digest") == _digest(recipe, cell) else None


def keep(recipe: Recipe, cell: Cell, measured: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Write a cell's file, with what it was measured by, on and when."""
    kept = {key: _finite(value) for key, value in measured.items()} | {
        "digest": _digest(recipe, cell),
        "seconds": round(seconds, 1),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "commit": _commit(),
        "machine": machine(),
    }
    path = study_cell(recipe, cell.name)
    must_be_writable(path.parent)
    write_whole(path, (json.dumps(kept, indent=2, allow_nan=False) + "\n").encode())
    return kept


def _finite(value: Any) -> Any:
    """For JSON, in which nan is no number: a score that counts no class is none."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def machine() -> str:
    """The processor or GPU that the cells ran on, and how many cores torch used."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines() if Path("/proc/cpuinfo").is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {torch.get_num_threads()} thread(s)"


def _commit() -> str:
    git = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False, cwd=Path(__file__).parent
    )
    return git.stdout.strip() if git.returncode == 0 else "unknown"


def _digest(recipe: Recipe, cell: Cell) -> str:
    others = _NOT_MEASURED | _NOT_READ.get(cell.kind, set())
    settings = recipe.model_dump(mode="json", exclude=others, exclude_defaults=True)
    images = {"images": cell.images} if cell.images else {}
    return digest_of({"recipe": settings, "kind": cell.kind, "seed": cell.seed, "changes": cell.changes} | images)
