"""Every code block of README and docs is run, loaded or parsed; commands, keys, files and links in their text exist."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from blocks import HERE, ROOT, SMALLER, Block, BrokenBlock, Workshop, blocks, check
from conftest import copy_of
from mentions import lacking

DOCUMENTS = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "pipelines" / "demo" / "README.md",
]
TEXTS = {str(path.relative_to(ROOT)): path.read_text("utf-8") for path in DOCUMENTS}
BLOCKS = [block for document, text in TEXTS.items() for block in blocks(document, text)]


class Head:
    """Ray's client of a cluster's head, where every job has ended well."""

    def __init__(self, address: str) -> None:
        assert address == HERE["http://head:8265"]

    def submit_job(self, *, entrypoint: str, runtime_env: dict[str, object]) -> str:
        return "raysubmit_abc"

    async def tail_job_logs(self, job: str):
        yield f"{job} prints this\n"

    def get_job_info(self, job: str) -> SimpleNamespace:
        return SimpleNamespace(status="SUCCEEDED", driver_exit_code=0, message="")


@pytest.fixture(scope="module")
def whole(command: Callable[..., str], finished_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished project with its scores and its page, and with all that the blocks name."""
    project = copy_of(finished_once, tmp_path_factory.mktemp("docs") / "project")
    command("run", project / "recipe.toml")
    (project / "photos").mkdir()
    for path in sorted((project / "annotated").glob("?.png"))[:2]:
        shutil.copy(path, project / "photos")
    (project / "runs").mkdir()
    (project / "runs" / "demo").symlink_to(project / "out")
    (project / "pipelines").symlink_to(ROOT / "pipelines")
    return project


@pytest.fixture
def workshop(whole: Path, command: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> Workshop:
    monkeypatch.chdir(whole)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr("cluster.jobs._client", Head)
    return Workshop(whole, command)


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_block_of_the_docs_does_what_it_shows(block: Block, workshop: Workshop) -> None:
    check(block, workshop)


def test_what_is_run_smaller_stands_in_a_block() -> None:
    everything = "\n".join(block.text for block in BLOCKS)
    assert not [said for said in (*SMALLER, *HERE) if said not in everything]


BROKEN = {
    "an option": ("console", "$ datasetddpm run recipe.toml --fast", "No such option"),
    "a command": ("console", "$ datasetddpm paint recipe.toml", "No such command"),
    "a key of an override": ("console", "$ datasetddpm run recipe.toml --set generate.step=5", "unknown key"),
    "a file": ("console", "$ datasetddpm run missing.toml", "is no file"),
    "another program": ("console", "$ datasetddmp run recipe.toml", "no command of ours"),
    "a target of make": ("console", "$ make everything", "non-zero exit status 2"),
    "a printed line": ("console", "$ datasetddpm run recipe.toml\nfit: built an interpreter", "has the form"),
    "a line that another command prints": ("console", "$ make test\nfit: made an interpreter (4 s)", "has the form"),
    "an import": ("python", "from label import Interpretor", "cannot import name"),
    "a call": ("python", "import label\nlabel.load_annotations('annotated', (16, 16), width=64)", "width"),
    "a folder": ("python", "import label\nlabel.load_annotations('annotated-faces', (64, 64))", "does not exist"),
    "a recipe's key": ("toml", 'name = "x"\n[paths]\nout = "x"\nmodel = "y"\nannotated = "z"', "unknown key"),
    "a recipe's value": ("toml", 'name = "x"\n[paths]\nout = "x"\nannotated = "z"', "denoiser"),
    "a scheme": ("toml", "classes = ['sky', 3]", "does not list classes"),
    "a path": ("text", "pipelines/worker.py  makes units", "there is no pipelines/worker.py"),
    "a diagram": ("mermaid", "flow LR", "a diagram begins with"),
    "yaml": ("yaml", "a: [1", "expected"),
    "json": ("json", "{'a': 1}", "property name"),
    "no rule": ("", "anything", "no rule for a block without language"),
    "an unknown language": ("perl", "print 1", "no rule for perl"),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_block_fails(broken: str, workshop: Workshop) -> None:
    language, text, message = BROKEN[broken]
    readme = f"# A page\n\n```{language}\n{text}\n```\n"
    (block,) = blocks("README.md", readme)
    with pytest.raises((Exception, SystemExit), match=re.escape(message)):  # whatever the block itself raises
        check(block, workshop)


def test_a_block_that_is_never_closed_fails() -> None:
    with pytest.raises(BrokenBlock, match=r"README\.md:3: this block has no end"):
        list(blocks("README.md", "one\n\n```console\n$ make demo\n"))


@pytest.mark.parametrize("document", TEXTS)
def test_what_a_text_names_is_there(document: str) -> None:
    assert lacking(ROOT / document, TEXTS[document]) == []


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("Run `datasetddpm paint recipe.toml`.", "command paint"),
        ("Run `datasetddpm run\nrecipe.toml --fast`.", "option --fast of run"),
        ("Each takes `--set generate.step=50`.", "key generate.step"),
        ('Set `cluster.gpu = 1` or `cluster.gpus = "auto"`.', "key cluster.gpu"),
        ("See `tests/test_all.py` and `tests/test_docs.py`.", "file tests/test_all.py"),
        ("It is proven (`test_all.py`).", "file test_all.py"),
        ("Measured (results/never.md).", "file results/never.md"),
        ("See [the docs](docs/ALL.md), [here](README.md#words) or [there](https://example.org).", "link docs/ALL.md"),
    ],
)
def test_a_text_that_names_what_is_not_there_fails(text: str, wrong: str) -> None:
    assert lacking(ROOT / "README.md", text) == [wrong]
