"""What a recipe may say is bounded: finite numbers, seeds of 63 bits, text that is text; each mistake names its key."""

from collections.abc import Callable
from pathlib import Path

import pytest

from label import Scheme, SchemeError
from pipelines import Recipe, RecipeError
from pipelines.folders import dataset_folder

Command = Callable[..., str]

REFUSED = {
    "generate.portion": ["nan", "inf", "-inf"],
    "generate.run_seed": ["-1", "9223372036854775808", str(2**200)],
    "generate.samples": ["0", "900000000001", "10000000000000000000"],
    "generate.unit_size": ["0", "1000001", str(2**70)],
    "generate.steps": [str(2**70), "0"],
    "interpreter.learning_rate": ["nan", "inf", "-inf", "0"],
    "interpreter.seed": ["-1", "9223372036854775808", str(2**200)],
    "interpreter.members": ["1", "1000000000"],
    "interpreter.steps": ["[-1]", "[]"],
    "interpreter.blocks": ["[-3]"],
    "train.learning_rate": ["inf", "nan"],
    "train.epochs": ["inf", "nan", "0"],
    "train.keep": ["nan", "inf"],
    "train.ignore_above": ["inf", "nan"],
    "train.ema_decay": ["nan"],
    "train.decoded_gib": ["inf"],
    "train.seeds": ["[-1]", "[9223372036854775808]", "[18446744073709551616]", "[5, 5]"],
    "train.decoder_channels": ["1000000000"],
    "train.encoder": ['"' + "a" * 5000 + '"', '"res\\u0000net"'],
    "train.encoder_weights": ['"' + "é" * 200 + '"', '"a/' + "x" * 256 + '"'],
    "train_ddpm.seed": ["-1", str(2**64)],
    "train_ddpm.layers": ["1000000"],
    "train_ddpm.channels": ["[8, 1000000]"],
    "study.seeds": ["[1, 1]"],
    "cluster.memory_gib": ["inf", "nan", "1e300"],
    "cluster.cpus": ["nan", "inf", "1.5"],
    "cluster.gpus": ["1.5"],
    "cluster.resources": ["{CPU = 1}", "{GPU = 1}", "{x = inf}", "{x = 1.5}"],
    "cluster.unit_seconds": ["inf", "1e300"],
    "cluster.address": [
        *(
            '""',
            "foo",
            "127.0.0.1:99999",
            "127.0.0.1:-5",
            "127.0.0.1:0",
            "a..b:6379",
            "ray://",
            "http://127.0.0.1:8265",
        ),
        *("127.0.0.1", "' '", "'local '", "::1:6379", "'a b:1'", "-a:1", "ray://x", '"' + "x" * 300 + ':1"', "a:1:2"),
    ],
    "paths.out": ['"a\\u0000b"', '"' + "a" * 300 + '"', '"a\\u0007b"'],
    "paths.annotated": ['"x/' + "é" * 200 + '"'],
    "name": ['"a\\u0000b"'],
    "classes.names": ['["a"]', '["a", "a"]', '["a", "b\\u0000"]', '["a", " "]'],
}
CASES = [(key, value) for key, values in REFUSED.items() for value in values]


@pytest.mark.parametrize(("key", "value"), CASES, ids=[f"{key}={value[:20]}" for key, value in CASES])
def test_a_value_that_no_run_can_have_is_refused_by_its_key(project: Path, key: str, value: str) -> None:
    with pytest.raises(RecipeError) as refused:
        Recipe.load(project / "recipe.toml", (f"{key}={value}",))
    named = str(refused.value)
    assert key in named or key.partition(".")[0] in named
    assert "\0" not in named
    assert len(named.splitlines()) == 1


@pytest.mark.parametrize(
    "address", ["local", "auto", "head:6379", "ray://a-b.c_d.svc:10001", "[::1]:6379", "10.0.0.1:1"]
)
def test_every_kind_of_address_is_one(project: Path, address: str) -> None:
    assert Recipe.load(project / "recipe.toml", (f'cluster.address="{address}"',)).cluster.address == address


@pytest.mark.parametrize("seed", [0, 1, 2**63 - 1])
def test_every_seed_of_63_bits_is_one(project: Path, seed: int) -> None:
    recipe = Recipe.load(project / "recipe.toml", (f"generate.run_seed={seed}", f"train.seeds=[{seed}]"))
    assert (recipe.generate.run_seed, recipe.train.seeds) == (seed, [seed])


@pytest.mark.parametrize("text", ["x = " + "[" * 3000, "\xff", "a = {b = " * 500, "name = 1\nname = 2", "\0"])
def test_a_file_that_is_no_recipe_is_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.toml").write_bytes(text.encode("latin-1"))
    with pytest.raises(RecipeError):
        Recipe.load(tmp_path / "r.toml")


@pytest.mark.parametrize("name", ["a" * 5000, "a\0b", "x" * 300 + ".toml"])
def test_a_name_that_no_file_has_is_no_recipe(name: str) -> None:
    with pytest.raises(RecipeError):
        Recipe.load(name)


def test_an_override_of_many_brackets_is_refused(project: Path) -> None:
    with pytest.raises(RecipeError, match=r"override generate\.steps"):
        Recipe.load(project / "recipe.toml", ("generate.steps=" + "[" * 3000,))


@pytest.mark.parametrize("place", ["foo://bucket/x", "s3:/", "://x", "github://x"])
def test_a_place_that_cannot_be_opened_is_refused_by_its_key(project: Path, place: str) -> None:
    recipe = Recipe.load(project / "recipe.toml", (f'paths.dataset="{place}"',))
    try:
        folder = dataset_folder(recipe)
    except RecipeError as error:
        assert str(error).startswith("paths.dataset: ")  # noqa: PT017 - some of them are paths on this machine
    else:
        assert isinstance(folder, Path)


@pytest.mark.parametrize("denoiser", ["../nothere", "models/typo.", "a--b/c", "models/-x", "x/" + "y" * 200])
def test_a_denoiser_that_is_neither_there_nor_a_hub_id_is_one_sentence(
    project: Path, command: Command, denoiser: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (said,) = command(
        "fit", project / "recipe.toml", "--set", f'paths.denoiser="{denoiser}"', "--set", 'paths.unlabelled=""', code=2
    ).splitlines()[-1:]
    assert said.startswith("datasetddpm: ")


@pytest.mark.parametrize("color", [(0, 0, 256), (-1, 0, 0)])
def test_colours_are_of_8_bits(color: tuple[int, int, int]) -> None:
    with pytest.raises(SchemeError, match="0 to 255"):
        Scheme(("a", "b"), ((0, 0, 0), color))


@pytest.mark.parametrize("name", ["a\nb", "\x1b[31m", "", " ", "a\0"])
def test_the_name_of_a_class_is_text(name: str) -> None:
    with pytest.raises(SchemeError, match="a class is called"):
        Scheme(("sky", name))


@pytest.mark.parametrize("arguments", [("export", "x", "--out", "s3://b/x"), ("convert", "x", "--to", "gs://b/x")])
def test_a_url_is_no_folder_of_this_machine_that_is_called_so(
    arguments: tuple[str, ...], command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "a path of this machine is needed" in command(*arguments, code=2)
    assert not list(tmp_path.iterdir())
