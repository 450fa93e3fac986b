"""Who may import whom, and how long a file and a function may be: read from the code itself."""

import ast
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from forked import Forked

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
ROOMS = (
    "errors",
    "files",
    "sections",
    "",
    "dataset",
    "units",
    "quality",
    "features",
    "driver",
    "training",
    "formats",
    "sharing",
    "annotator",
    "stages",
    "study",
    "cli",
)
"""Inside pipelines/, errors.py, the rooms, and "", its other files: each imports those before it, never those after."""
NO_WAY = {("training", "driver"), ("training", "cluster")}
"""What the order alone would allow: a training knows of no cluster."""
WITH_RAY = {"driver", "stages", "study", "cli"}
LONGEST_FILE, LONGEST_FUNCTION = 250, 40

FILES = [path for room in sorted(OURS) for path in sorted((ROOT / room).rglob("*.py"))]


def imported(source: str) -> set[str]:
    """Dotted names of everything that a source file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def trespasses(package: str, source: str) -> set[str]:
    """What a file of a top-level room imports and may not."""
    names = {name.partition(".")[0] for name in imported(source)}
    strangers = (names & OURS) - MAY_IMPORT[package] - {package}
    return strangers | {name for name, home in ONLY_HOME.items() if name in names and package != home}


def room_of(name: str) -> str:
    """The room inside pipelines/ of a dotted name: pipelines.units.unit -> units."""
    second = name.split(".")[1] if "." in name else ""
    return second if second in ROOMS else ""


def upward(room: str, source: str) -> set[str]:
    """What a file of a room inside pipelines/ imports and may not: rooms after its own, and Ray where it has none."""
    names = imported(source)
    rooms = {room_of(name) for name in names if name.partition(".")[0] == "pipelines"}
    wrong = {other for other in rooms if ROOMS.index(other) > ROOMS.index(room) or (room, other) in NO_WAY}
    if room not in WITH_RAY and any(name.partition(".")[0] == "cluster" for name in names):
        wrong.add("cluster")
    return wrong


def too_long(source: str) -> Iterator[str]:
    """The file, and each function, that is longer than the law allows."""
    if len(source.splitlines()) > LONGEST_FILE:
        yield f"{len(source.splitlines())} lines"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            lines = node.end_lineno - node.lineno + 1
            if lines > LONGEST_FUNCTION:
                yield f"{node.name}: {lines} lines"


def circles(arrows: dict[str, set[str]]) -> list[str]:
    """Files that can be reached from themselves."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        ways = list(arrows[start])
        while ways:
            here = ways.pop()
            if here not in seen:
                seen.add(here)
                ways += arrows.get(here, ())
        return seen

    return sorted(name for name in arrows if name in reached(name))


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_a_file_imports_only_what_its_room_may(path):
    package = path.relative_to(ROOT).parts[0]
    assert not trespasses(package, path.read_text("utf-8"))


@pytest.mark.parametrize("path", [p for p in FILES if p.relative_to(ROOT).parts[0] == "pipelines"], ids=module_of)
def test_inside_pipelines_imports_run_one_way(path):
    module = module_of(path)
    if module != "pipelines":  # its __init__ offers names of all rooms, looked up when they are used
        assert not upward(room_of(module), path.read_text("utf-8"))


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_files_and_functions_fit_on_a_few_screens(path):
    assert not list(too_long(path.read_text("utf-8")))


def test_no_file_imports_itself_by_a_detour():
    known = {module_of(path) for path in FILES}
    arrows = {module_of(path): imported(path.read_text("utf-8")) & known - {module_of(path)} for path in FILES}
    assert not circles(arrows)


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("generate", "import label"),
        ("label", "from pipelines.dataset.shards import Sample"),
        ("deeplab", "def f():\n    import generate.pixels"),
        ("cluster", "import deeplab as d"),
        ("pipelines", "import ray"),
        ("pipelines", "from segmentation_models_pytorch import DeepLabV3"),
        ("label", "import webdataset"),
    ],
)
def test_the_check_of_rooms_finds_a_trespass(package, source):
    assert trespasses(package, source)


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("files", "from pipelines.recipe import Recipe"),
        ("sections", "from pipelines.recipe import Recipe"),
        ("", "from pipelines.dataset.shards import Sample"),
        ("dataset", "from pipelines.units import models"),
        ("units", "from cluster import connect"),
        ("training", "from pipelines.driver.placing import placed"),
        ("driver", "def f():\n    import pipelines.stages.fit"),
        ("stages", "from pipelines.cli.options import tell"),
        ("study", "from pipelines import cli"),
    ],
)
def test_the_check_of_inner_rooms_finds_a_trespass(room, source):
    assert upward(room, source)


def test_the_check_of_lengths_finds_a_long_file_and_a_long_function():
    assert list(too_long("x = 1\n" * (LONGEST_FILE + 1)))
    assert list(too_long("def f():\n" + "    x = 1\n" * LONGEST_FUNCTION))
    assert not list(too_long("def f():\n" + "    x = 1\n" * (LONGEST_FUNCTION - 1)))


def test_the_check_of_circles_finds_one():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == ["a", "b", "c"]


@pytest.mark.parametrize("module", ["generate", "label", "deeplab", "pipelines.units.builder"])
def test_importing_a_room_does_not_import_ray(module):
    every_name = f"[getattr({module}, name) for name in getattr({module}, '__all__', ())]"
    code = f"import sys, {module}; {every_name}; sys.exit('ray' in sys.modules)"
    assert Forked(code=code).wait() == 0, "the zygote's libraries do not import it either"


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
