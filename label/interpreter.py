"""The interpreter: pixel classifiers with all that they need to label an image again."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from label.errors import InterpreterError
from label.feature_records import stored_arrays
from label.features import FeatureSource, write_stored
from label.fitting import FitStep, fit_members, labelled_pixels
from label.hub import local_folder
from label.identity import (
    INTERPRETER,
    INTERPRETER_TENSORS,
    check_features,
    interpreter_digest,
    interpreter_record,
    scheme_of,
)
from label.pixel_classifiers import PixelClassifiers
from label.pixel_source import PixelSource
from label.reference import load_reference
from label.schemes import Scheme
from label.settings import Fitting, Upsampling
from label.tiles import FoldedClassifiers
from label.uncertainty import image_uncertainty


@dataclass(frozen=True)
class Labels:
    """What an interpreter says of a batch of images."""

    masks: UInt8[np.ndarray, "b h w"]  # class ids, the majority of the members' votes
    uncertainty: Float[np.ndarray, " b"]  # of the image, nats: mean of its highest tenth
    pixel_uncertainty: Float[np.ndarray, "b h w"]  # nats, 0 to ln(classes)


class Interpreter:
    """An ensemble that labels every pixel of an image from its features (arXiv 2112.03126, section 4)."""

    def __init__(
        self,
        features: FeatureSource,
        classifiers: PixelClassifiers,
        scheme: Scheme,
        *,
        upsampling: Upsampling = "bilinear",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """`dtype` is what the classifiers compute in when they label; votes and divergence are float32 in any case."""
        self.features, self.classifiers, self.scheme = features, classifiers.eval(), scheme
        self.upsampling: Upsampling = upsampling
        self.dtype = dtype

    @classmethod
    def fit(
        cls,
        features: FeatureSource,
        images: UInt8[np.ndarray, "n h w 3"],
        masks: UInt8[np.ndarray, "n h w"],
        *,
        classes: Scheme,
        settings: Fitting | None = None,
        upsampling: Upsampling = "bilinear",
        device: str | torch.device | None = None,
    ) -> "Interpreter":
        """Train on annotated images; masks hold class ids, 255 where there is none.

        The settings are the published ones unless given, the device that of the features' maps. Raises ValueError
        where no annotated pixel is left, OSError where the maps need a file (see Fitting.memory_budget) and there is
        no room for it.
        """
        interpreter, steps = cls.fitting(
            features, images, masks, classes=classes, settings=settings, upsampling=upsampling, device=device
        )
        for _ in steps:
            pass
        return interpreter

    @classmethod
    def fitting(
        cls,
        features: FeatureSource,
        images: UInt8[np.ndarray, "n h w 3"],
        masks: UInt8[np.ndarray, "n h w"],
        *,
        classes: Scheme,
        settings: Fitting | None = None,
        upsampling: Upsampling = "bilinear",
        device: str | torch.device | None = None,
    ) -> tuple["Interpreter", Iterator[FitStep]]:
        """As fit, for a caller who watches: the interpreter is trained once all steps are taken."""
        settings = settings or Fitting()
        pixels = labelled_pixels(masks, settings.min_class_pixels)
        device = device or features.maps(images[:1])[0].device
        source = PixelSource.of(
            features, images, upsampling=upsampling, memory_budget=settings.memory_budget, device=device
        )
        classifiers = PixelClassifiers(settings.members, source.channels, len(classes)).to(device)
        interpreter = cls(features, classifiers, classes, upsampling=upsampling)
        return interpreter, fit_members(classifiers, source, pixels, settings)

    @property
    def digest(self) -> str:
        """Names all that labels depend on: two interpreters with the same digest label alike."""
        tensors = {name: t.contiguous().cpu().numpy() for name, t in self.classifiers.state_dict().items()}
        return interpreter_digest(self.features.digest, self.scheme, self.upsampling, str(self.dtype), tensors)

    @torch.no_grad()
    def logits(self, images: UInt8[np.ndarray, "b h w 3"]) -> Iterator[Float[Tensor, "members h w classes"]]:
        """Yield every member's class scores, an image at a time. Raises ValueError for images of another size."""
        self._check_size(images)
        maps = self.features.maps(images)
        folded = self._folded(maps[0].device)
        for i in range(len(images)):
            yield folded.scores([m[i] for m in maps], self.features.image_size, self.upsampling)

    @torch.no_grad()
    def predict(self, images: UInt8[np.ndarray, "b h w 3"]) -> Labels:
        """Label images of the feature source's size. Raises ValueError for images of another size."""
        self._check_size(images)
        return self.label(self.features.maps(images))

    @torch.no_grad()
    def label(self, maps: Sequence[Float[Tensor, "b _ _ _"]]) -> Labels:
        """Label images whose maps are in hand, a tile at a time: all scores of an image never exist at once."""
        device = maps[0].device
        folded = self._folded(device)
        shape = (len(maps[0]), *self.features.image_size)
        masks = torch.empty(shape, dtype=torch.uint8, device=device)
        pixel_uncertainty = torch.empty(shape, device=device)

        for i, (mask, doubt) in enumerate(zip(masks, pixel_uncertainty, strict=True)):
            for tile in folded.tiles([m[i] for m in maps], self.features.image_size, self.upsampling):
                mask[tile.place], doubt[tile.place] = tile.mask, tile.uncertainty
        return Labels(
            masks.cpu().numpy(), image_uncertainty(pixel_uncertainty).cpu().numpy(), pixel_uncertainty.cpu().numpy()
        )

    def _folded(self, device: torch.device) -> FoldedClassifiers:
        """The classifiers, which follow the features' maps."""
        if self.classifiers.linear_1.weight.device != device:
            self.classifiers.to(device)
        return FoldedClassifiers.of(self.classifiers, self.dtype)

    def _check_size(self, images: np.ndarray) -> None:
        if images.shape[1:3] != self.features.image_size:
            raise ValueError(f"images are {images.shape[1:3]}; the interpreter labels {self.features.image_size}")

    def save_pretrained(self, folder: str | Path) -> None:
        """Write interpreter.json and .safetensors beside the feature source's own files."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.features.save_pretrained(folder)
        record = {
            **asdict(self.scheme),
            "members": self.classifiers.members,
            "channels": self.classifiers.channels,
            "upsampling": self.upsampling,
            "features": self.features.digest,
        }
        weights = {name: tensor.contiguous().cpu() for name, tensor in self.classifiers.state_dict().items()}
        write_stored(folder, "interpreter", record, weights)

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        features: FeatureSource | None = None,
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> "Interpreter":
        """Open what save_pretrained wrote, a folder or a Hub id; without features, those that it was fitted on.

        Raises InterpreterError for a folder without an interpreter, damaged files, and other features than it was
        fitted on; CheckpointError where its denoiser cannot be opened.
        """
        folder = local_folder(folder)
        record = interpreter_record(folder)
        if features is None:
            from label.saved_sources import open_features  # here, since most sources need no backbone's packages

            features = open_features(folder, device)
        check_features(folder, record, features.digest)
        scheme = scheme_of(record)
        with torch.device("meta"):
            classifiers = PixelClassifiers(record["members"], record["channels"], len(scheme))
        tensors = stored_arrays(folder / INTERPRETER_TENSORS)
        state = {name: torch.from_numpy(tensor).float() for name, tensor in tensors.items()}
        try:
            classifiers.load_state_dict(state, assign=True)
        except RuntimeError as error:
            raise InterpreterError(
                f"{folder / INTERPRETER_TENSORS} is of other members, channels or classes than {INTERPRETER} says; "
                "fit the interpreter again"
            ) from error
        upsampling = cast(Upsampling, record["upsampling"])
        return cls(features, classifiers.to(device), scheme, upsampling=upsampling, dtype=dtype)

    @classmethod
    def from_reference(
        cls,
        folder: str | Path,
        features: FeatureSource,
        *,
        scheme: Scheme,
        upsampling: Upsampling = "bilinear",
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> "Interpreter":
        """Open published classifiers, model_0.pth and so on, that were trained on these features and classes.

        Their folder holds neither the noise nor the settings of the features; those must be known. Raises
        InterpreterError for a member that is missing, of another shape, or more than tensors.
        """
        classifiers = load_reference(Path(folder), features.channels, len(scheme))
        return cls(features, classifiers.to(device), scheme, upsampling=upsampling, dtype=dtype)
