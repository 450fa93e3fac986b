from dataclasses import replace

import numpy as np
import pytest
import torch
from making import noise_images
from PIL import Image

from generate import ImageError
from generate.batches import part_of_batch
from generate.settings import Training
from generate.train import Workers, batch_of, image_paths, learning_rate, train, trainee

SETTINGS = Training(updates=6, batch_size=4, warmup=2, checkpoint_every=3)


@pytest.fixture
def paths(tmp_path):
    return noise_images(tmp_path, 10)


def fresh(denoiser):
    denoiser.unet.requires_grad_(True).train()
    return trainee(denoiser.unet, SETTINGS)


def weights_after(denoiser, paths, checkpoint, kill_after: int | None) -> list[torch.Tensor]:
    """Train to the end; if killed, forget everything but the checkpoint and start again."""
    start = {name: tensor.clone() for name, tensor in denoiser.unet.state_dict().items()}
    state = fresh(denoiser)
    for update in train(state, denoiser.schedule, paths, SETTINGS, checkpoint):
        if update.number == kill_after:
            denoiser.unet.load_state_dict(start)
            state = fresh(denoiser)
            state.load(checkpoint)
            for _ in train(state, denoiser.schedule, paths, SETTINGS, checkpoint):
                pass
            break
    state.ema.copy_to(denoiser.unet.parameters())
    return [p.detach().clone() for p in denoiser.unet.parameters()]


def test_a_killed_training_ends_with_the_weights_of_an_undisturbed_one(tiny_denoiser, paths, tmp_path):
    start = {name: tensor.clone() for name, tensor in tiny_denoiser.unet.state_dict().items()}
    undisturbed = weights_after(tiny_denoiser, paths, tmp_path / "a.pt", None)
    tiny_denoiser.unet.load_state_dict(start)
    killed = weights_after(tiny_denoiser, paths, tmp_path / "b.pt", 5)
    for first, second in zip(undisturbed, killed, strict=True):
        torch.testing.assert_close(first, second, atol=1e-6, rtol=1e-5)


def test_a_stopped_training_loses_no_update_and_ends_with_the_same_weights(tiny_denoiser, paths, tmp_path):
    start = {name: tensor.clone() for name, tensor in tiny_denoiser.unet.state_dict().items()}
    undisturbed = weights_after(tiny_denoiser, paths, tmp_path / "a.pt", None)
    tiny_denoiser.unet.load_state_dict(start)
    state, asked = fresh(tiny_denoiser), iter([False, True])
    checkpoint = tmp_path / "b.pt"
    stopped = train(state, tiny_denoiser.schedule, paths, SETTINGS, checkpoint, stop=lambda: next(asked))
    assert [update.number for update in stopped] == [1, 2], "which is no multiple of checkpoint_every"
    tiny_denoiser.unet.load_state_dict(start)
    state = fresh(tiny_denoiser)
    state.load(checkpoint)
    assert [u.number for u in train(state, tiny_denoiser.schedule, paths, SETTINGS, checkpoint)] == [3, 4, 5, 6]
    state.ema.copy_to(tiny_denoiser.unet.parameters())
    for first, second in zip(undisturbed, tiny_denoiser.unet.parameters(), strict=True):
        torch.testing.assert_close(first, second.detach(), atol=1e-6, rtol=1e-5)


def test_parts_of_an_update_add_up_to_the_whole(tiny_denoiser, paths, tmp_path):
    start = {name: tensor.clone() for name, tensor in tiny_denoiser.unet.state_dict().items()}
    gradients = []
    for parts in (1, 3):
        tiny_denoiser.unet.load_state_dict(start)
        settings = replace(SETTINGS, updates=1, accumulate=parts)
        state = fresh(tiny_denoiser)
        keep = Workers(
            sum_gradients=lambda unet: gradients.append(
                [p.grad.clone() for p in unet.parameters() if p.grad is not None]
            )
        )
        list(train(state, tiny_denoiser.schedule, paths, settings, tmp_path / "e.pt", workers=keep))
    for whole, added in zip(*gradients, strict=True):
        torch.testing.assert_close(whole, added, atol=1e-5, rtol=1e-3)


def test_workers_share_an_update_without_a_gap_or_an_overlap():
    for count in (1, 3, 5, 8):
        parts = [range(8)[part_of_batch(Training(batch_size=8), rank, count)] for rank in range(count)]
        assert [place for part in parts for place in part] == list(range(8))
        assert all(parts)


def test_in_bfloat16_the_loss_falls_as_well(tiny_denoiser, paths, tmp_path):
    settings = replace(SETTINGS, updates=60, learning_rate=3e-3, precision="bfloat16")
    updates = train(fresh(tiny_denoiser), tiny_denoiser.schedule, paths, settings, tmp_path / "f.pt")
    losses = [update.loss for update in updates]
    assert np.mean(losses[-10:]) < np.mean(losses[:10])


def test_what_a_network_drops_is_a_function_of_seed_and_update(tiny_denoiser, paths, tmp_path):
    for module in tiny_denoiser.unet.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.3
    start = {name: tensor.clone() for name, tensor in tiny_denoiser.unet.state_dict().items()}
    losses = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        tiny_denoiser.unet.load_state_dict(start)
        state = fresh(tiny_denoiser)
        losses.append([u.loss for u in train(state, tiny_denoiser.schedule, paths, SETTINGS, tmp_path / "g.pt")])
    assert losses[0] == losses[1]


def test_training_lowers_the_loss(tiny_denoiser, paths, tmp_path):
    state = fresh(tiny_denoiser)
    settings = replace(SETTINGS, updates=60, learning_rate=3e-3)
    losses = [u.loss for u in train(state, tiny_denoiser.schedule, paths, settings, tmp_path / "c.pt")]
    assert np.mean(losses[-10:]) < np.mean(losses[:10])


def test_an_epoch_shows_every_image_once(paths):
    whole = np.concatenate([batch_of(paths, 16, replace(SETTINGS, mirror=False, batch_size=5), u) for u in (0, 1)])
    stored = np.stack([np.asarray(Image.open(path)) for path in paths])
    assert {image.tobytes() for image in whole} == {image.tobytes() for image in stored}


def test_a_larger_image_is_reduced_to_its_central_square(tmp_path):
    image = np.zeros((32, 96, 3), dtype=np.uint8)
    image[:, 32:64] = 200
    Image.fromarray(image).save(tmp_path / "wide.png")
    (found,) = batch_of([tmp_path / "wide.png"], 16, replace(SETTINGS, batch_size=1), 0)
    assert found.shape == (16, 16, 3)
    assert (found[4:-4, 4:-4] == 200).all()


def test_an_image_is_read_upright_whatever_its_kind(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: to be turned clockwise
    Image.fromarray(pixels).save(tmp_path / "grey.png", "TIFF", exif=exif)
    (found,) = batch_of([tmp_path / "grey.png"], 16, replace(SETTINGS, batch_size=1, mirror=False), 0)
    assert np.array_equal(found, np.stack([np.rot90(pixels, -1)] * 3, axis=-1))


def test_an_image_that_breaks_during_the_training_is_named(tiny_denoiser, paths, tmp_path):
    paths[3].write_bytes(paths[3].read_bytes()[:60])
    with pytest.raises(ImageError, match=r"3\.png is no image that can be read"):
        list(train(fresh(tiny_denoiser), tiny_denoiser.schedule, paths, SETTINGS, tmp_path / "d.pt"))


def test_the_rate_warms_up_and_falls_to_nothing():
    settings = Training(updates=100, warmup=10, learning_rate=1.0)
    rates = [learning_rate(update, settings) for update in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == rates[10] == 1.0
    assert rates[100] == pytest.approx(0.0)


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no images"):
        image_paths(tmp_path)


def test_a_folder_that_is_not_there_is_told_from_one_without_images(tmp_path):
    with pytest.raises(ValueError, match="nowhere does not exist; images are needed there"):
        image_paths(tmp_path / "nowhere")
