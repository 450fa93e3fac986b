"""Who may import whom, read from the imports themselves."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = {"generate", "label", "deeplab", "cluster", "pipelines"}
MAY_IMPORT = {
    "generate": set(),
    "label": {"generate"},
    "deeplab": set(),
    "cluster": set(),
    "pipelines": {"generate", "label", "deeplab", "cluster"},
}
ONLY_HOME = {"ray": "cluster", "segmentation_models_pytorch": "deeplab", "webdataset": "pipelines"}


def imported(source: str) -> set[str]:
    """Top-level names of everything that a source file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.partition(".")[0])
    return names


def trespasses(package: str, source: str) -> set[str]:
    """What a file of `package` imports and may not."""
    names = imported(source)
    strangers = (names & OURS) - MAY_IMPORT[package] - {package}
    return strangers | {name for name, home in ONLY_HOME.items() if name in names and package != home}


@pytest.mark.parametrize("path", [p for o in sorted(OURS) for p in sorted((ROOT / o).rglob("*.py"))], ids=str)
def test_a_file_imports_only_what_its_room_may(path):
    package = path.relative_to(ROOT).parts[0]
    assert not trespasses(package, path.read_text("utf-8"))


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("generate", "import label"),
        ("label", "from pipelines.shards import Sample"),
        ("deeplab", "def f():\n    import generate.pixels"),
        ("cluster", "import deeplab as d"),
        ("pipelines", "import ray"),
        ("pipelines", "from segmentation_models_pytorch import DeepLabV3"),
        ("label", "import webdataset"),
    ],
)
def test_the_check_finds_a_trespass(package, source):
    assert trespasses(package, source)


@pytest.mark.parametrize("module", ["generate", "label", "deeplab", "pipelines.worker"])
def test_importing_a_room_does_not_import_ray(module):
    every_name = f"[getattr({module}, name) for name in getattr({module}, '__all__', ())]"
    code = f"import sys, {module}; {every_name}; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT).returncode == 0


def test_the_public_surface_is_there():
    import cluster
    import deeplab
    import generate
    import label
    import pipelines

    surface = {
        generate: {"Denoiser", "sample", "trajectory"},
        label: {
            "DenoiserFeatures",
            "Interpreter",
            "image_uncertainty",
            "jensen_shannon",
            "keep_most_certain",
        },
        deeplab: {"build", "evaluate", "fit", "mean_iou"},
        cluster: {"run_units"},
        pipelines: {"Recipe", "read_shards", "segment", "write_shard"},
    }
    for package, names in surface.items():
        assert names <= set(package.__all__)


@pytest.mark.parametrize("room", sorted(OURS))
def test_every_public_name_is_found_and_is_no_files_name(room):
    """A file that is imported takes its place in the package, before a name that is looked up later."""
    package = import_module(room)
    assert all(hasattr(package, name) for name in package.__all__)
    assert not set(package.__all__) & {path.stem for path in (ROOT / room).iterdir()}


def test_a_name_that_a_room_lacks_is_refused():
    with pytest.raises(AttributeError, match="No generate attribute paint"):
        _ = import_module("generate").paint
