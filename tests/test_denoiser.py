import shutil

import pytest
import torch
from diffusers import DDPMPipeline, UNet2DModel

from generate import CheckpointError, Denoiser, Schedule


def test_activations_are_what_the_whole_forward_pass_computes(tiny_denoiser):
    x_t, t = torch.randn(2, 3, 16, 16), torch.tensor([50, 150])
    seen = {}
    unet = tiny_denoiser.unet
    handles = [
        unet.up_blocks[0].attentions[0].register_forward_hook(lambda m, i, out: seen.update({0: out})),
        unet.up_blocks[0].upsamplers[0].register_forward_hook(lambda m, i, out: seen.update({1: out})),
        unet.up_blocks[1].resnets[0].register_forward_hook(lambda m, i, out: seen.update({2: out})),
        unet.conv_norm_out.register_forward_pre_hook(lambda m, inputs: seen.update({3: inputs[0]})),
    ]
    tiny_denoiser(x_t, t)
    for handle in handles:
        handle.remove()
    for block, activation in zip([3, 0, 1, 2], tiny_denoiser.activations(x_t, t, [3, 0, 1, 2]), strict=True):
        assert torch.equal(activation, seen[block])


def test_input_activations_are_the_joined_maps_that_a_block_reads(tiny_denoiser):
    x_t, t = torch.randn(1, 3, 16, 16), torch.tensor([50])
    seen = []
    handle = (
        tiny_denoiser.unet.up_blocks[1].resnets[1].register_forward_pre_hook(lambda m, inputs: seen.append(inputs[0]))
    )
    tiny_denoiser(x_t, t)
    handle.remove()
    (activation,) = tiny_denoiser.activations(x_t, t, [3], where="input")
    assert torch.equal(activation, seen[0])


def test_nothing_behind_the_last_wanted_block_is_computed(tiny_denoiser):
    reached = []
    handle = tiny_denoiser.unet.up_blocks[1].register_forward_pre_hook(lambda *_: reached.append(True))
    tiny_denoiser.activations(torch.randn(1, 3, 16, 16), torch.tensor([10]), [0, 1])
    handle.remove()
    assert not reached


def test_no_hook_is_left_behind(tiny_denoiser):
    tiny_denoiser.activations(torch.randn(1, 3, 16, 16), torch.tensor([10]), [1])
    assert not any(module._forward_hooks for module in tiny_denoiser.unet.modules())


def test_a_block_that_does_not_exist_is_refused_with_those_that_do(tiny_denoiser):
    with pytest.raises(ValueError, match=r"blocks 0 to 3: \[4\] are not among them"):
        tiny_denoiser.activations(torch.randn(1, 3, 16, 16), torch.tensor([10]), [0, 4])


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile builds its kernels with a compiler")
def test_a_compiled_denoiser_computes_the_same_and_still_gives_its_activations():
    unet = UNet2DModel(
        sample_size=8,
        layers_per_block=1,
        block_out_channels=(8,),
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
        add_attention=False,
        norm_num_groups=4,
    )
    denoiser = Denoiser(unet, Schedule.named("cosine", "v_prediction"), digest="tiny")
    x_t, t = torch.randn(2, 3, 8, 8), torch.tensor([50, 150])
    expected, (activations,) = denoiser(x_t, t), denoiser.activations(x_t, t, [0])
    denoiser.compile()
    torch.testing.assert_close(denoiser(x_t, t), expected)
    assert torch.equal(denoiser.activations(x_t, t, [0])[0], activations)
    with torch.compiler.set_stance("fail_on_recompile"):  # the hooks have left nothing behind
        torch.testing.assert_close(denoiser(x_t, t), expected)


def test_a_saved_denoiser_opens_again_and_computes_the_same(tiny_denoiser, tmp_path):
    tiny_denoiser.save_pretrained(tmp_path)
    again = Denoiser.from_pretrained(tmp_path)
    x_t, t = torch.randn(1, 3, 16, 16), torch.tensor([77])
    torch.testing.assert_close(again(x_t, t), tiny_denoiser(x_t, t))
    assert torch.equal(again.schedule.betas, tiny_denoiser.schedule.betas)


def test_diffusers_opens_what_is_saved(tiny_denoiser, tmp_path):
    tiny_denoiser.save_pretrained(tmp_path)
    pipeline = DDPMPipeline.from_pretrained(tmp_path)
    assert pipeline.scheduler.config.prediction_type == tiny_denoiser.schedule.prediction


def test_the_digest_names_the_weights_and_not_their_place(tiny_denoiser, tmp_path):
    for folder in ("a", "b"):
        tiny_denoiser.save_pretrained(tmp_path / folder)
    weights = tmp_path / "b" / "unet" / "diffusion_pytorch_model.safetensors"
    first, same = (Denoiser.from_pretrained(tmp_path / folder).digest for folder in ("a", "b"))
    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1
    weights.write_bytes(changed)
    assert first == same != Denoiser.from_pretrained(tmp_path / "b").digest


def test_half_precision_weights_open_as_float32(tiny_denoiser, tmp_path):
    tiny_denoiser.save_pretrained(tmp_path)
    assert Denoiser.from_pretrained(tmp_path, dtype=torch.bfloat16).unet.dtype == torch.bfloat16
    assert Denoiser.from_pretrained(tmp_path).unet.dtype == torch.float32


class TestACheckpointThatIsWrong:
    @pytest.fixture
    def folder(self, tiny_denoiser, tmp_path):
        tiny_denoiser.save_pretrained(tmp_path)
        return tmp_path

    def test_is_refused_when_it_is_cut_short(self, folder):
        weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1000])
        with pytest.raises(CheckpointError, match="cut short"):
            Denoiser.from_pretrained(folder)

    def test_is_refused_when_its_tensors_are_of_another_shape(self, folder):
        config = folder / "unet" / "config.json"
        config.write_text(config.read_text().replace('"out_channels": 3', '"out_channels": 6'))
        with pytest.raises(CheckpointError, match=r"conv_out.bias: file \(3,\), network \(6,\)"):
            Denoiser.from_pretrained(folder)

    def test_is_refused_when_its_configuration_is_no_json(self, folder):
        (folder / "unet" / "config.json").write_text("{")
        with pytest.raises(CheckpointError, match=r"config\.json is no configuration"):
            Denoiser.from_pretrained(folder)

    def test_is_refused_when_a_part_is_missing(self, folder):
        (folder / "scheduler" / "scheduler_config.json").unlink()
        with pytest.raises(CheckpointError, match=r"holds no scheduler/scheduler_config\.json"):
            Denoiser.from_pretrained(folder)

    def test_is_refused_when_it_is_not_there(self, tmp_path):
        with pytest.raises(CheckpointError, match="is not a folder"):
            Denoiser.from_pretrained(tmp_path / "nowhere")
