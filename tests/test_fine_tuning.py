"""Stage train-ddpm from a model that exists, or a published network: what it takes over, and what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import make_unet

from generate import Denoiser, Schedule
from generate.checkpoint import schedule_of
from generate.guided import build_unet
from generate.guided_flags import TRAINED, parse_flags
from generate.trainee import build_published
from pipelines.errors import RecipeError
from pipelines.recipe import Recipe
from pipelines.stages.train_ddpm import train_ddpm
from pipelines.training.painter import begun, facts_of

Command = Callable[..., str]
GOLDEN = Path(__file__).parent / "golden"
AT_ONCE = ("train_ddpm.warmup=1", "train_ddpm.ema_decay=0.0")
NETWORK_KEYS = ("size", "channels", "head_channels", "norm_groups")


@pytest.fixture
def path(project: Path) -> Path:
    """A recipe that says nothing of the network, and writes its model beside the one that is there."""
    lines = (project / "recipe.toml").read_text().replace('denoiser = "model"', 'denoiser = "trained"').splitlines()
    start = lines.index("[train_ddpm]")
    kept = [line for i, line in enumerate(lines) if i < start or not line.startswith(NETWORK_KEYS)]
    (project / "recipe.toml").write_text("\n".join([*kept, 'init = "model"']))
    return project / "recipe.toml"


def test_a_training_begins_with_the_weights_of_init(path: Path) -> None:
    train_ddpm(Recipe.load(path, ("train_ddpm.learning_rate=1e-9",)))
    before, after = (Denoiser.from_pretrained(path.parent / name) for name in ("model", "trained"))
    for one, other in zip(before.unet.parameters(), after.unet.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3)  # it is stored in half precision
    train_ddpm(Recipe.load(path, ("train_ddpm.learning_rate=1e-2", *AT_ONCE)))
    moved = Denoiser.from_pretrained(path.parent / "trained")
    assert any(
        (a - b).abs().max() > 0.01 for a, b in zip(before.unet.parameters(), moved.unet.parameters(), strict=True)
    )


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train_ddpm.size=64", r"train_ddpm\.size is 64, but that of .*model is 16; leave the key out"),
        ("train_ddpm.channels=[8,32]", r"train_ddpm\.channels is \(8, 32\), but that of .*model is \(8, 16\); leave"),
        ("train_ddpm.prediction=epsilon", r"train_ddpm\.prediction is epsilon, but that of .*model is v_prediction"),
        ("train_ddpm.noise_schedule=linear", r"train_ddpm\.noise_schedule is linear, but that of .*model is cosine"),
    ],
)
def test_a_key_that_contradicts_init_is_named(path: Path, override: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        train_ddpm(Recipe.load(path, (override,)))
    assert not list((path.parent / "out").glob("train-ddpm*"))


def test_a_key_that_says_what_init_says_is_no_contradiction(path: Path) -> None:
    unet, schedule = begun(Recipe.load(path, ("train_ddpm.size=16", "train_ddpm.channels=[8,16]")).train_ddpm)
    assert facts_of(unet, schedule)["attention"] == (8,)


def test_another_model_under_the_same_name_begins_another_training(path: Path, command: Command) -> None:
    command("train-ddpm", path)
    assert "found" in command("train-ddpm", path)
    torch.manual_seed(5)
    Denoiser(make_unet(), Schedule.named("cosine", "v_prediction"), digest="other").save_pretrained(
        path.parent / "model"
    )
    assert "made" in command("train-ddpm", path)


def test_a_model_is_not_trained_into_its_own_folder(path: Path) -> None:
    with pytest.raises(RecipeError, match=r"train_ddpm\.init and paths\.denoiser are both .*model; name another"):
        train_ddpm(Recipe.load(path, ('paths.denoiser="model"',)))


def test_a_guided_diffusion_pt_is_trained_on_with_its_learned_variance(path: Path) -> None:
    """By its hybrid loss: the channels of the variance move, too."""
    flags = json.loads((GOLDEN / "adm_lsun_like.json").read_text())["flags"]
    line = " ".join(f"--{name}={value}" for name, value in flags.items() if value != "")
    path.write_text(path.read_text().replace('init = "model"', f'init_flags = "{line}"'))
    init = f'train_ddpm.init="{GOLDEN / "adm_lsun_like.pt"}"'
    train_ddpm(Recipe.load(path, (init, "train_ddpm.learning_rate=1e-3", *AT_ONCE)))
    before = Denoiser.from_pretrained(GOLDEN / "adm_lsun_like.pt", flags=flags)
    after = Denoiser.from_pretrained(path.parent / "trained")
    assert after.schedule.variance == "learned_range"
    assert torch.equal(after.schedule.betas, before.schedule.betas)
    moved = (after.unet.conv_out.weight - before.unet.conv_out.weight).abs().amax((1, 2, 3))
    assert moved.shape == (6,)
    assert (moved > 1e-4).all()


def test_init_may_be_a_hub_id(path: Path) -> None:
    assert Recipe.load(path, ('train_ddpm.init="google/ddpm-cat-256"',)).train_ddpm.init == Path("google/ddpm-cat-256")


def test_init_and_preset_are_two_ways(path: Path) -> None:
    with pytest.raises(RecipeError, match="init and preset both say which network is trained; give one of them"):
        Recipe.load(path, ("train_ddpm.preset=adm_64",))


def test_flags_without_a_pt_are_refused(path: Path) -> None:
    path.write_text(path.read_text().replace('init = "model"', 'init_flags = "ffhq"'))
    with pytest.raises(RecipeError, match=r"init_flags are those of a \.pt in init, which is missing"):
        Recipe.load(path)


@pytest.mark.parametrize(
    ("name", "size", "millions", "classes"),
    [("adm_64", 64, 296, 1000), ("adm_128", 128, 422, 1000), ("adm_256", 256, 553, 0)],
)
def test_the_presets_are_the_published_networks(name: str, size: int, millions: int, classes: int) -> None:
    """Two were published with an embedding of each class, of which there is none here."""
    flags = parse_flags(TRAINED[name])
    unet, schedule = build_unet(flags), schedule_of(flags)
    assert facts_of(unet, schedule)["size"] == size
    assert schedule.variance == "learned_range"
    embeddings = classes * 4 * flags.num_channels
    assert round((sum(p.numel() for p in unet.parameters()) + embeddings) / 1e6) == millions


def test_a_fresh_network_of_the_published_kind_predicts_nothing_and_depends_on_its_seed() -> None:
    flags = parse_flags("--image_size 32 --num_channels 32 --num_res_blocks 1 --num_heads 1 --learn_sigma True")
    one, again, other = (build_published(flags, seed) for seed in (0, 0, 1))
    assert (one(torch.randn(1, 3, 32, 32), 5).sample == 0).all()
    assert torch.equal(one.conv_in.weight, again.conv_in.weight)
    assert not torch.equal(one.conv_in.weight, other.conv_in.weight)
