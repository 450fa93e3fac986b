"""Image to mask and doubt: a few annotated images make an ensemble that labels every pixel from its features."""

from label.annotations import AnnotationError, Annotations, load_annotations
from label.any_size import FITS, Fit
from label.features import DenoiserFeatures, FeatureSource, InterpreterError, Upsampling
from label.fitting import FITTINGS, Fitting, Setting
from label.images import ImageError, read_image, to_rgb
from label.interpreter import Interpreter, Labels
from label.schemes import IGNORE, Scheme, SchemeError
from label.uncertainty import (
    FILTERS,
    PUBLISHED_FILTER_SKIPS,
    Filter,
    image_uncertainty,
    jensen_shannon,
    keep_most_certain,
    keep_published,
)

__all__ = [
    "FILTERS",
    "FITS",
    "FITTINGS",
    "IGNORE",
    "PUBLISHED_FILTER_SKIPS",
    "AnnotationError",
    "Annotations",
    "DenoiserFeatures",
    "FeatureSource",
    "Filter",
    "Fit",
    "Fitting",
    "ImageError",
    "Interpreter",
    "InterpreterError",
    "Labels",
    "Scheme",
    "SchemeError",
    "Setting",
    "Upsampling",
    "image_uncertainty",
    "jensen_shannon",
    "keep_most_certain",
    "keep_published",
    "load_annotations",
    "read_image",
    "to_rgb",
]
