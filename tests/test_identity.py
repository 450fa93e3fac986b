"""What the files of models tell unopened is what the opened models say."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from published import write_state_dict

from generate import CheckpointError, Denoiser
from generate.identity import locate
from label import DenoiserFeatures, Interpreter, InterpreterError
from label.identity import stored_interpreter
from pipelines import Recipe
from pipelines.stages.fit import fit

FLAGS = {
    "image_size": 16,
    "num_channels": 32,
    "channel_mult": "1,2",
    "num_res_blocks": 1,
    "attention_resolutions": "8",
    "diffusion_steps": 400,
    "resblock_updown": False,
    "use_scale_shift_norm": True,
    "learn_sigma": False,
}


def test_a_diffusers_folder_tells_digest_and_timesteps_of_its_denoiser(tiny_denoiser, tmp_path):
    tiny_denoiser.save_pretrained(tmp_path / "model")
    opened, files = Denoiser.from_pretrained(tmp_path / "model"), locate(tmp_path / "model", None)
    assert files.digest() == opened.digest
    assert files.timesteps() == len(opened.schedule) == 1000


@pytest.mark.parametrize("config", [{}, {"num_train_timesteps": 300}, {"trained_betas": [0.1, 0.2], "beta_end": 0.1}])
def test_a_schedule_that_says_less_or_more_has_the_timesteps_of_the_opened_one(tiny_denoiser, tmp_path, config):
    tiny_denoiser.save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "scheduler" / "scheduler_config.json").write_text(json.dumps(config))
    opened = Denoiser.from_pretrained(tmp_path / "model")
    assert locate(tmp_path / "model", None).timesteps() == len(opened.schedule)


def test_a_state_dict_tells_digest_and_timesteps_of_its_denoiser(tmp_path):
    write_state_dict(tmp_path / "small.pt", FLAGS)
    opened, files = Denoiser.from_pretrained(tmp_path / "small.pt", flags=FLAGS), locate(tmp_path / "small.pt", FLAGS)
    assert files.digest() == opened.digest
    assert files.timesteps() == len(opened.schedule) == 400
    assert locate(tmp_path / "small.pt", FLAGS | {"diffusion_steps": 500}).digest() != opened.digest


def test_files_that_are_not_there_are_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"ffhq\.pt is not there; a state_dict \(\.pt\) is needed"):
        locate(tmp_path / "ffhq.pt", None)
    with pytest.raises(CheckpointError, match="is not a folder; a diffusers folder with unet/"):
        locate(tmp_path / "model", None)


@pytest.fixture
def interpreter(project: Path) -> Interpreter:
    fit(Recipe.load(project / "recipe.toml"))
    denoiser, folder = Denoiser.from_pretrained(project / "model"), project / "out" / "interpreter"
    return Interpreter.from_pretrained(folder, DenoiserFeatures.from_pretrained(folder, denoiser))


def test_an_interpreters_folder_tells_its_digest_and_classes(interpreter: Interpreter, project: Path):
    assert isinstance(interpreter.features, DenoiserFeatures)
    stored = stored_interpreter(project / "out" / "interpreter", interpreter.features.denoiser.digest)
    assert (stored.digest, stored.scheme) == (interpreter.digest, interpreter.scheme)


def test_another_denoiser_other_features_and_cut_files_are_refused(interpreter: Interpreter, project: Path):
    assert isinstance(interpreter.features, DenoiserFeatures)
    folder, denoiser = project / "out" / "interpreter", interpreter.features.denoiser.digest
    with pytest.raises(InterpreterError, match=r"was fitted on denoiser [0-9a-f]{12}, this one is other; fit it again"):
        stored_interpreter(folder, "other")
    record = json.loads((folder / "features.json").read_text())
    (folder / "features.json").write_text(json.dumps(record | {"steps": [1]}))
    with pytest.raises(InterpreterError, match="was fitted on other features; fit it again"):
        stored_interpreter(folder, denoiser)
    (folder / "features.json").write_text(json.dumps(record))
    tensors = folder / "interpreter.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-10])
    with pytest.raises(InterpreterError, match=r"interpreter\.safetensors is cut short or damaged"):
        stored_interpreter(folder, denoiser)
    with pytest.raises(InterpreterError, match="holds no interpreter; fit one first"):
        stored_interpreter(project / "out", denoiser)


def test_no_network_is_built_to_know_what_models_are():
    code = "import sys, generate.identity, label.identity; sys.exit(bool({'torch', 'diffusers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
