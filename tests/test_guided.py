import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDPMPipeline
from hypothesis import given, settings
from hypothesis import strategies as st
from published import SMALL, published_shapes, write_state_dict

from generate import CheckpointError, Denoiser, Schedule, trajectory
from generate.guided import build_unet, layout, split
from generate.guided_flags import FlagError, parse_flags

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="module", params=["adm_lsun_like", "iddpm_like"])
def golden(request):
    """Numbers of the public implementation on a small network of random weights, and that network opened by us."""
    flags = json.loads((GOLDEN / f"{request.param}.json").read_text())["flags"]
    with np.load(GOLDEN / f"{request.param}.npz") as file:
        numbers = {name: torch.from_numpy(file[name]) for name in file.files}
    return Denoiser.from_pretrained(GOLDEN / f"{request.param}.pt", flags=flags), numbers


def test_noising_agrees_with_the_publication(golden):
    denoiser, numbers = golden
    for step in numbers["steps"].tolist():
        x_t = denoiser.add_noise(numbers["x0"], torch.tensor([step] * 2), numbers["noise"])
        torch.testing.assert_close(x_t, numbers[f"xt_{step}"], atol=1e-6, rtol=0)


def test_raw_outputs_agree_with_the_publication(golden):
    denoiser, numbers = golden
    for step in numbers["steps"].tolist():
        out = denoiser(numbers[f"xt_{step}"], torch.tensor([step] * 2))
        torch.testing.assert_close(out, numbers[f"model_out_{step}"], atol=1e-4, rtol=0)


@pytest.mark.parametrize("where", ["output", "input"])
def test_activations_of_every_block_agree_with_the_publication(golden, where):
    denoiser, numbers = golden
    blocks = range(len(denoiser.blocks))
    for step in numbers["steps"].tolist():
        maps = denoiser.activations(numbers[f"xt_{step}"], torch.tensor([step] * 2), blocks, where)
        for block, activation in zip(blocks, maps, strict=True):
            name = f"act_{where.removesuffix('put')}_{step}_b{block}"
            assert list(activation.shape) == numbers[f"{name}_shape"].tolist()
            torch.testing.assert_close(activation.mean((2, 3)), numbers[f"{name}_mean_c"], atol=1e-4, rtol=0)
            torch.testing.assert_close(activation.std((2, 3)), numbers[f"{name}_std_c"], atol=1e-4, rtol=0)
            if name in numbers:
                torch.testing.assert_close(activation, numbers[name], atol=1e-4, rtol=0)


@pytest.mark.parametrize("solver", ["ddim", "ddpm"])
def test_trajectories_agree_with_the_publication(golden, solver):
    denoiser, numbers = golden
    timesteps = numbers[f"{solver}_timesteps"].flip(0).tolist()
    noises = numbers.get(f"{solver}_noises")
    steps = list(trajectory(denoiser, numbers[f"{solver}_xT"], solver=solver, timesteps=timesteps, step_noise=noises))
    for x, name in ((steps[0], "after_first"), (steps[6], "after_half"), (steps[-1], "final")):
        torch.testing.assert_close(x, numbers[f"{solver}_{name}"], atol=1e-3, rtol=0)


all_flags = st.fixed_dictionaries(
    {
        "image_size": st.sampled_from([32, 64]),
        "num_channels": st.sampled_from([32, 64]),
        "channel_mult": st.sampled_from(["1,2", "1,1,2", "1,2,2,4", "2,1,2", "1,3"]),
        "num_res_blocks": st.integers(1, 3),
        "attention_resolutions": st.sampled_from(["8", "16,8", "32,16", "16"]),
        "num_heads": st.sampled_from([1, 2, 4]),
        "num_heads_upsample": st.sampled_from([-1, 2]),
        "num_head_channels": st.sampled_from([-1, 16, 32]),
        "use_new_attention_order": st.booleans(),
        "resblock_updown": st.booleans(),
        "use_scale_shift_norm": st.booleans(),
        "learn_sigma": st.booleans(),
    }
)


@settings(max_examples=60, deadline=None)
@given(all_flags)
def test_every_tensor_of_a_state_dict_finds_its_place_and_no_other_is_left(given_flags):
    flags = parse_flags(given_flags)
    unet = build_unet(flags)
    rules = layout(flags, unet)
    shapes = published_shapes(given_flags)
    assert {name: rule.shape for name, rule in rules.items()} == shapes
    targets = [target for rule in rules.values() for target in rule.targets]
    sizes = {name: tensor.numel() for name, tensor in unet.state_dict().items()}
    assert sorted(targets) == sorted(sizes)
    for name, rule in rules.items():
        parts = split(torch.empty(shapes[name], device="meta"), rule, flags)
        assert [part.numel() for part in parts] == [sizes[target] for target in rule.targets]


@pytest.mark.parametrize("new_order", [True, False])
def test_no_number_of_a_state_dict_is_lost_or_changed(tmp_path, new_order):
    flags = SMALL | {"use_new_attention_order": new_order}
    weights = write_state_dict(tmp_path / "small.pt", flags)
    denoiser = Denoiser.from_pretrained(tmp_path / "small.pt", flags=flags)
    came = torch.cat([tensor.flatten() for tensor in weights.values()]).sort().values
    assert torch.equal(torch.cat([p.flatten() for p in denoiser.unet.parameters()]).sort().values, came)


def test_a_file_of_the_format_before_torch_1_6_opens_alike(tmp_path):
    weights = write_state_dict(tmp_path / "new.pt", SMALL)
    torch.save(weights, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    new, old = (Denoiser.from_pretrained(tmp_path / f"{name}.pt", flags=SMALL).unet for name in ("new", "old"))
    assert all(torch.equal(a, b) for a, b in zip(new.parameters(), old.parameters(), strict=True))


def test_the_class_of_a_conditional_network_is_painted(tmp_path):
    flags = SMALL | {"class_cond": True}
    weights = write_state_dict(tmp_path / "conditional.pt", flags, scale=0.1)
    plain = {name: tensor for name, tensor in weights.items() if name != "label_emb.weight"}
    plain["time_embed.2.bias"] = weights["time_embed.2.bias"] + weights["label_emb.weight"][207]
    torch.save(plain, tmp_path / "plain.pt")
    x_t, t = torch.randn(1, 3, 16, 16), torch.tensor([40])
    conditional = Denoiser.from_pretrained(tmp_path / "conditional.pt", flags=flags | {"class_label": 207})
    expected = Denoiser.from_pretrained(tmp_path / "plain.pt", flags=SMALL)(x_t, t)
    torch.testing.assert_close(conditional(x_t, t), expected)


def test_rescaled_timesteps_are_told_as_a_thousand_steps_would_be(tmp_path):
    write_state_dict(tmp_path / "small.pt", SMALL, scale=0.1)
    many = Denoiser.from_pretrained(
        tmp_path / "small.pt", flags=SMALL | {"diffusion_steps": 4000, "rescale_timesteps": True}
    )
    few = Denoiser.from_pretrained(tmp_path / "small.pt", flags=SMALL)
    x_t = torch.randn(1, 3, 16, 16)
    torch.testing.assert_close(many(x_t, torch.tensor([2000])), few(x_t, torch.tensor([500])))


def test_a_converted_checkpoint_opens_in_diffusers_and_computes_the_same(tmp_path):
    write_state_dict(tmp_path / "small.pt", SMALL, scale=0.1)
    denoiser = Denoiser.from_pretrained(tmp_path / "small.pt", flags=SMALL)
    denoiser.save_pretrained(tmp_path / "folder")
    pipeline = DDPMPipeline.from_pretrained(tmp_path / "folder")
    x_t, t = torch.randn(1, 3, 16, 16), torch.tensor([77])
    torch.testing.assert_close(pipeline.unet(x_t, t).sample, denoiser(x_t, t))
    assert pipeline.scheduler.config.variance_type == "learned_range"
    assert np.allclose(pipeline.scheduler.betas, denoiser.schedule.betas)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"diffusion_steps": 4000, "rescale_timesteps": True}, "rescale_timesteps with 4000 steps"),
        ({"channel_mult": "2,1"}, "channel_mult does not start with 1"),
        ({"attention_resolutions": "16,8", "num_head_channels": -1}, "num_heads with attention"),
    ],
)
def test_what_a_diffusers_folder_cannot_hold_is_not_written(tmp_path, changed, reason):
    write_state_dict(tmp_path / "small.pt", SMALL | changed)
    denoiser = Denoiser.from_pretrained(tmp_path / "small.pt", flags=SMALL | changed)
    with pytest.raises(CheckpointError, match=reason):
        denoiser.save_pretrained(tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


class TestAStateDictThatIsWrong:
    @pytest.fixture
    def path(self, tmp_path):
        write_state_dict(tmp_path / "small.pt", SMALL)
        return tmp_path / "small.pt"

    @pytest.mark.parametrize(
        ("flag", "value"),
        [
            ("learn_sigma", True),
            ("num_res_blocks", 1),
            ("resblock_updown", True),
            ("use_scale_shift_norm", True),
            ("num_channels", 32),
            ("channel_mult", "1,2"),
            ("attention_resolutions", "8"),
        ],
    )
    def test_is_refused_with_its_first_tensors_and_the_flag_that_explains_it(self, path, flag, value):
        other = {"num_res_blocks": 2, "num_channels": 64, "channel_mult": "1,4", "attention_resolutions": "16"}
        with pytest.raises(CheckpointError, match=rf"\d+ tensors differ \(.+: file .+its shapes say --{flag} {value}$"):
            Denoiser.from_pretrained(path, flags=SMALL | {flag: other.get(flag, False)})

    def test_is_refused_without_flags_unless_it_is_called_like_a_preset(self, path):
        with pytest.raises(CheckpointError, match=r"needs its flags.+lsun_horse"):
            Denoiser.from_pretrained(path)
        with pytest.raises(CheckpointError, match="tensors differ"):
            Denoiser.from_pretrained(path.rename(path.with_name("lsun_horse.pt")))

    def test_is_refused_when_it_is_another_kind_of_file(self, path):
        torch.save({"step": 3, "model": {}}, path)
        with pytest.raises(CheckpointError, match=r"no state_dict.+'step', 'model'"):
            Denoiser.from_pretrained(path, flags=SMALL)
        torch.save({"encoder.weight": torch.zeros(3)}, path)
        with pytest.raises(CheckpointError, match="tensors differ"):
            Denoiser.from_pretrained(path, flags=SMALL)

    def test_is_refused_when_it_is_cut_short(self, path):
        path.write_bytes(path.read_bytes()[:-5000])
        with pytest.raises(CheckpointError, match="cut short"):
            Denoiser.from_pretrained(path, flags=SMALL)

    def test_is_refused_when_it_holds_code_and_none_of_it_runs(self, path, tmp_path):
        torch.save({"weight": _Trap(tmp_path / "sprung")}, path)
        with pytest.raises(CheckpointError, match="could run its code"):
            Denoiser.from_pretrained(path, flags=SMALL)
        assert not (tmp_path / "sprung").exists()

    def test_is_refused_when_it_is_not_there(self, tmp_path):
        with pytest.raises(CheckpointError, match="is not there"):
            Denoiser.from_pretrained(tmp_path / "ffhq.pt")

    def test_is_refused_with_a_class_that_it_does_not_know(self, tmp_path):
        flags = SMALL | {"class_cond": True, "class_label": 1000}
        write_state_dict(tmp_path / "conditional.pt", flags)
        with pytest.raises(CheckpointError, match="knows classes 0 to 999"):
            Denoiser.from_pretrained(tmp_path / "conditional.pt", flags=flags)

    def test_flags_of_a_diffusers_folder_are_refused(self, tiny_denoiser, tmp_path):
        tiny_denoiser.save_pretrained(tmp_path / "folder")
        with pytest.raises(CheckpointError, match="opened by its own config"):
            Denoiser.from_pretrained(tmp_path / "folder", flags="ffhq")


class _Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


LSUN_LINE = (
    "--attention_resolutions 32,16,8 --class_cond False --diffusion_steps 1000 --dropout 0.1 --image_size 256 "
    "--learn_sigma True --noise_schedule linear --num_channels 256 --num_head_channels 64 --num_res_blocks 2 "
    "--resblock_updown True --use_fp16 True --use_scale_shift_norm True"
)


def test_the_published_command_line_a_mapping_and_the_preset_mean_the_same():
    mapping: dict[str, str] = dict(zip(LSUN_LINE.replace("--", "").split()[::2], LSUN_LINE.split()[1::2], strict=True))
    assert parse_flags(LSUN_LINE) == parse_flags(mapping) == parse_flags("lsun_horse")
    assert parse_flags(LSUN_LINE.replace("32,16,8", "'32,16,8'").replace("image_size 256", "image_size=256")) == (
        parse_flags("ffhq")
    )


def test_false_is_false():
    assert not parse_flags("--resblock_updown False").resblock_updown
    assert parse_flags("--resblock_updown True").resblock_updown


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("lsun_goat", "no preset; known are lsun_bedroom"),
        ("--class_cond True", "class_cond True needs a class"),
        ("--class_label 3", "needs class_cond True"),
        ("--timestep_respacing 250", "chosen when sampling"),
        ("--num_goats 3", "--num_goats is unknown; known are image_size"),
        ("--learn_sigma perhaps --num_channels many", r"--num_channels: .+; --learn_sigma: "),
        ("--learn_sigma --num_channels 64", "--learn_sigma has no value"),
        ("num_channels 64 --learn_sigma True", "known are lsun_bedroom"),
        ("--num_channels 64 learn_sigma True", "'learn_sigma' stands where a --flag is expected"),
        ("--image_size 96", "channel_mult has no default for image_size 96"),
        ("--image_size 36 --channel_mult 1,1,1,1", "cannot be halved 3 times"),
        ("--num_channels 40", "32 must divide them"),
        ("--num_head_channels 48", "does not divide"),
        ("--num_heads 3", "num_heads does not divide"),
        ("--diffusion_steps 20", "needs more than 20"),
        ("--channel_mult 1,x", "--channel_mult: "),
    ],
)
def test_flags_that_cannot_be_honoured_are_refused_by_name(flags, message):
    with pytest.raises(FlagError, match=message):
        parse_flags(flags)


def accepted(function, *arguments) -> bool:
    try:
        function(*arguments)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_flags_refuse_the_numbers_of_steps_that_make_no_schedule(name):
    for steps in range(2, 30):
        flags = f"--noise_schedule {name} --diffusion_steps {steps}"
        assert accepted(parse_flags, flags) == accepted(Schedule.named, name, "epsilon", steps)
