"""[paths] of a recipe: where things come from and go to."""

# ruff: noqa: RUF012 - pydantic copies what is mutable of a model's defaults

from pathlib import Path

from pipelines.sections.interpreter import Kind
from pipelines.sections.keys import Section


class PathsSection(Section):
    """Where things come from and go to.

    Relative paths start at the folder of the recipe, those of `--set` as well; in a shipped recipe, at the working
    directory. A path that begins with `package:` is inside the installed package.
    """

    out: Path
    """The folder of all that the run makes."""
    dataset: Path | str | None = None
    """Where the shards go, also as a URL, such as s3://bucket/folder; unset: the folder dataset in paths.out."""
    denoiser: Path | str
    """The diffusion model: a .pt, a diffusers folder, a URL of either, or a Hub id; `train-ddpm` writes it there,
    and with paths.unlabelled it is a folder even if it looks like a Hub id."""
    weights: dict[Kind, Path | str] = {}
    """Files of the weights of other feature sources, or their URLs, as `weights.mae = "mae.pth"`; of timm's, unset: its
    published ones, "random": none."""
    painter: Path | str | None = None
    """A model that paints where paths.denoiser only reads, as [painter] says; unset: paths.denoiser paints as well."""
    annotated: Path | None = None
    """The folder of the few annotated images, which the interpreter is fitted on; `annotate` makes it."""
    held_out: Path | None = None
    """A folder of annotated images that nothing is trained on, to evaluate by."""
    validation: Path | None = None
    """A folder of annotated images by which the best step of a DeepLab training is chosen; unset: the last is kept."""
    unlabelled: Path | str | None = None
    """The images that `train-ddpm` trains on: a folder, a .tar or .zip, a folder of these, or a URL of any."""
    photographs: Path | None = None
    """The folder of images that `generate` labels where generate.images says so; unset: that of paths.unlabelled."""
    photographed: Path | str | None = None
    """Where the shards of labelled photographs go, also as a URL; unset: the folder photographed in paths.out."""
