import numpy as np
import pytest

from generate import Denoiser
from label import DenoiserFeatures, Fitting, Interpreter, InterpreterError, load_annotations

SETTINGS = Fitting(members=3, batch_size=64, max_epochs=6, min_class_pixels=1)


@pytest.fixture
def annotations(project):
    return load_annotations(project / "annotated", (16, 16))


@pytest.fixture
def interpreter(tiny_denoiser, annotations):
    features = DenoiserFeatures(tiny_denoiser, steps=[50], blocks=[0, 3])
    return Interpreter.fit(
        features, annotations.images, annotations.masks, classes=annotations.scheme, settings=SETTINGS
    )


def test_an_interpreter_labels_what_it_was_shown(interpreter, annotations):
    labels = interpreter.predict(annotations.images)
    assert labels.masks.dtype == np.uint8
    assert (labels.masks == annotations.masks).mean() > 0.8


def test_uncertainty_is_in_nats_and_an_images_is_that_of_its_highest_tenth(interpreter, annotations):
    labels = interpreter.predict(annotations.images)
    assert labels.pixel_uncertainty.min() >= 0
    assert labels.pixel_uncertainty.max() <= np.log(3)
    highest = np.sort(labels.pixel_uncertainty.reshape(4, -1), axis=1)[:, -25:]
    assert np.allclose(labels.uncertainty, highest.mean(1), atol=1e-6)


def test_an_image_is_labelled_alone_as_in_a_batch(interpreter, annotations):
    together, alone = interpreter.predict(annotations.images), interpreter.predict(annotations.images[2:3])
    assert np.array_equal(together.masks[2], alone.masks[0])
    assert np.allclose(together.pixel_uncertainty[2], alone.pixel_uncertainty[0], atol=1e-4)


def test_a_saved_interpreter_labels_the_same(interpreter, annotations, tiny_denoiser, tmp_path):
    interpreter.save_pretrained(tmp_path / "saved")
    features = DenoiserFeatures.from_pretrained(tmp_path / "saved", tiny_denoiser)
    again = Interpreter.from_pretrained(tmp_path / "saved", features)
    assert again.digest == interpreter.digest
    assert again.scheme == interpreter.scheme
    first, second = interpreter.predict(annotations.images), again.predict(annotations.images)
    assert np.array_equal(first.masks, second.masks)
    assert np.allclose(first.pixel_uncertainty, second.pixel_uncertainty, atol=1e-5)


def test_a_folder_may_be_given_as_text(interpreter, tmp_path):
    interpreter.save_pretrained(f"{tmp_path}/saved")
    assert Interpreter.from_pretrained(f"{tmp_path}/saved", interpreter.features).digest == interpreter.digest


def test_the_upsampling_is_kept_and_makes_another_interpreter(interpreter, annotations, tmp_path):
    nearest = Interpreter(interpreter.features, interpreter.classifiers, interpreter.scheme, upsampling="nearest")
    assert nearest.digest != interpreter.digest
    nearest.save_pretrained(tmp_path)
    again = Interpreter.from_pretrained(tmp_path, interpreter.features)
    assert again.upsampling == "nearest"
    doubts = [i.predict(annotations.images).pixel_uncertainty for i in (nearest, again, interpreter)]
    assert np.allclose(doubts[0], doubts[1], atol=1e-5)
    assert not np.allclose(doubts[0], doubts[2], atol=1e-3)


def test_an_interpreter_fitted_on_nearest_features_keeps_them_nearest(interpreter, annotations):
    fitted = Interpreter.fit(
        interpreter.features,
        annotations.images,
        annotations.masks,
        classes=annotations.scheme,
        settings=SETTINGS,
        upsampling="nearest",
    )
    assert fitted.upsampling == "nearest"
    assert (fitted.predict(annotations.images).masks == annotations.masks).mean() > 0.8


def test_other_features_are_refused(interpreter, tiny_denoiser, tmp_path):
    interpreter.save_pretrained(tmp_path / "saved")
    with pytest.raises(InterpreterError, match="was fitted on other features"):
        Interpreter.from_pretrained(tmp_path / "saved", DenoiserFeatures(tiny_denoiser, steps=[60], blocks=[1, 3]))


def test_a_folder_without_an_interpreter_is_refused(interpreter, tmp_path):
    with pytest.raises(InterpreterError, match="holds no interpreter; fit one first"):
        Interpreter.from_pretrained(tmp_path / "nowhere", interpreter.features)


def test_images_of_another_size_are_refused(interpreter):
    with pytest.raises(ValueError, match=r"images are \(8, 8\)"):
        interpreter.predict(np.zeros((1, 8, 8, 3), dtype=np.uint8))


def test_an_interpreter_finds_the_denoiser_that_it_was_fitted_on(project, annotations):
    features = DenoiserFeatures(Denoiser.from_pretrained(project / "model"), steps=[50], blocks=[1, 3])
    images, masks = annotations.images, annotations.masks
    fitted = Interpreter.fit(features, images, masks, classes=annotations.scheme, settings=SETTINGS)
    fitted.save_pretrained(project / "interpreter")
    again = Interpreter.from_pretrained(project / "interpreter")
    assert np.array_equal(again.predict(images).masks, fitted.predict(images).masks)


def test_an_interpreter_of_a_denoiser_from_nowhere_asks_for_it(interpreter, tmp_path):
    interpreter.save_pretrained(tmp_path / "interpreter")
    with pytest.raises(InterpreterError, match="does not say where its denoiser is"):
        Interpreter.from_pretrained(tmp_path / "interpreter")
