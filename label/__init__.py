"""Image to mask and doubt: a few annotated images make an ensemble that labels every pixel from its features.

A name's file is imported when the name is first used: what needs no torch does not wait for it.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from label.annotations import Annotations as Annotations
    from label.annotations import load_annotations as load_annotations
    from label.any_size import FITS as FITS
    from label.errors import AnnotationError as AnnotationError
    from label.errors import InterpreterError as InterpreterError
    from label.errors import SchemeError as SchemeError
    from label.features import DenoiserFeatures as DenoiserFeatures
    from label.features import FeatureSource as FeatureSource
    from label.interpreter import Interpreter as Interpreter
    from label.interpreter import Labels as Labels
    from label.schemes import IGNORE as IGNORE
    from label.schemes import Scheme as Scheme
    from label.settings import FITTINGS as FITTINGS
    from label.settings import PUBLISHED_FILTER_SKIPS as PUBLISHED_FILTER_SKIPS
    from label.settings import Filter as Filter
    from label.settings import Fit as Fit
    from label.settings import Fitting as Fitting
    from label.settings import Setting as Setting
    from label.settings import Upsampling as Upsampling
    from label.uncertainty import FILTERS as FILTERS
    from label.uncertainty import image_uncertainty as image_uncertainty
    from label.uncertainty import jensen_shannon as jensen_shannon
    from label.uncertainty import keep_most_certain as keep_most_certain
    from label.uncertainty import keep_published as keep_published
else:
    _FILES = {
        "annotations": ["Annotations", "load_annotations"],
        "any_size": ["FITS"],
        "errors": ["AnnotationError", "InterpreterError", "SchemeError"],
        "features": ["DenoiserFeatures", "FeatureSource"],
        "interpreter": ["Interpreter", "Labels"],
        "schemes": ["IGNORE", "Scheme"],
        "settings": ["FITTINGS", "PUBLISHED_FILTER_SKIPS", "Filter", "Fit", "Fitting", "Setting", "Upsampling"],
        "uncertainty": ["FILTERS", "image_uncertainty", "jensen_shannon", "keep_most_certain", "keep_published"],
    }
    _FILE_OF = {name: file for file, names in _FILES.items() for name in names}
    __all__ = sorted(_FILE_OF)

    def __getattr__(name: str) -> object:
        if name not in _FILE_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_FILE_OF[name]}"), name)
