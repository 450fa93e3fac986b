"""Commands by which a dataset or a model is looked at, described and given away."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.options import DatasetFolder, Overrides, from_here, load, say
from pipelines.errors import RecipeError
from pipelines.files.storage import Location, location
from pipelines.folders import dataset_folder
from pipelines.places import is_recipe
from pipelines.sections.card import CardSection

if TYPE_CHECKING:
    from pipelines.sharing.parcels import Kind, Parcel

app = typer.Typer()

License = Annotated[
    str | None, typer.Option("--license", metavar="NAME", help="As cc-by-4.0; stands over card.license.")
]
LicenseLink = Annotated[
    str | None, typer.Option(metavar="URL", help="Where its text is; stands over card.license_link.")
]


@app.command("card")
def card(
    place: Annotated[
        str, typer.Argument(metavar="RECIPE|FOLDER", help="A recipe, or its dataset's folder or URL alone.")
    ],
    license_name: License = None,
    license_link: LicenseLink = None,
    title: Annotated[str | None, typer.Option(metavar="TITLE", help="Stands over the recipe's name.")] = None,
    overrides: Overrides = None,
) -> None:
    """Write the page that a dataset is given away with.

    Reads a dataset's folder, and the interpreter and the scores of its run; with a recipe, the keys of the section card
    as well. Writes README.md, as the Hub reads it, strip.png and croissant.json into the dataset's folder.

    Example: datasetddpm card runs/demo/dataset --license cc-by-4.0
    """
    from pipelines.sharing.licences import licence_of

    recipe = load(Path(place), overrides) if is_recipe(place) else None
    if overrides and not recipe:
        raise RecipeError(f"--set goes with a recipe; {place} is a folder")
    said = recipe.card if recipe else CardSection()
    licence = licence_of(license_name or said.license, license_link or said.license_link)
    folder = dataset_folder(recipe) if recipe else location(place)
    from pipelines.sharing.card import Words, write_card
    from pipelines.sharing.facts import facts_of

    facts = facts_of(folder, recipe)
    name = title or (recipe.name if recipe else "Synthetic images with masks")
    write_card(folder, Words(name, licence, said.authors, said.origin), facts)
    say(f"card: README.md, strip.png and croissant.json of {facts.kept} samples in {from_here(folder)}")


@app.command("preview")
def preview(
    folder: DatasetFolder,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The PNG to write.")] = Path("preview.png"),
    count: Annotated[int, typer.Option("-n", min=1, max=400, metavar="NUMBER", help="How many samples.")] = 24,
    where: Annotated[
        str | None, typer.Option(metavar="CONDITION", help='Only such samples, as "uncertainty < 0.2".')
    ] = None,
    seeds: Annotated[str | None, typer.Option(metavar="SEEDS", help="These samples, as 3,17,40-43.")] = None,
) -> None:
    """Draw a sheet of a dataset's samples.

    Reads a dataset's folder. Writes one PNG of images, masks in the classes' colours, and uncertainty.

    Example: datasetddpm preview runs/demo/dataset --where "uncertainty < 0.2"
    """
    from pipelines.sharing.preview import Choice, parse_seeds, write_preview

    choice = Choice(count, where, parse_seeds(seeds) if seeds is not None else ())
    shown = write_preview(location(folder), out, choice)
    say(f"preview: {shown} samples of {folder} in {out}")


@app.command("push")
def push(
    folder: Annotated[
        str, typer.Argument(metavar="FOLDER", help="Of a dataset, an interpreter, a denoiser or a network.")
    ],
    url: Annotated[
        str, typer.Argument(metavar="HUB", help="hf://datasets/OWNER/NAME of a dataset, hf://OWNER/NAME of a model.")
    ],
    license_name: Annotated[str | None, typer.Option("--license", metavar="NAME", help="Of a model, as mit.")] = None,
    license_link: Annotated[str | None, typer.Option(metavar="URL", help="Where its text is.")] = None,
    origin: Annotated[
        str | None, typer.Option(metavar="SENTENCE", help="What a model was trained on, and under which licences.")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Where a repository is made, make it private.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, without a network.")] = False,
) -> None:
    """Give a dataset or a model away on the Hub.

    Reads a dataset's folder with its card, or a model's, which gets a card on the Hub unless a README.md lies there.
    Writes to the Hub. What is there already is not sent again, so that the same command goes on after a stop.

    Example: datasetddpm push runs/demo/dataset hf://datasets/me/faces --dry-run
    """
    from pipelines.sharing.parcels import kind_of
    from pipelines.sharing.push import follow_push, target_of

    place = location(folder)
    kind = kind_of(place)
    target = target_of(url, kind)
    parcel = _parcel(kind, place, target.name, (license_name, license_link, origin))
    if not dry_run:
        follow_push(parcel, target, private=private)
        say(f"push: {len(parcel.pieces)} files, {parcel.size:,} bytes, are in {target}")
        return
    for name, piece in parcel.pieces.items():
        say(f"{piece.size:>15,}  {name}")
    say(f"push: {len(parcel.pieces)} files, {parcel.size:,} bytes, would go to {target}")


def _parcel(kind: "Kind", folder: Location, name: str, said: tuple[str | None, str | None, str | None]) -> "Parcel":
    """What goes: a dataset with its card, or a model with what is said of it, licence, its link, and origin."""
    from pipelines.sharing.model_card import carded_parcel
    from pipelines.sharing.parcels import dataset_parcel

    if kind != "dataset":
        return carded_parcel(kind, folder, name, *said)
    if any(said):
        raise RecipeError("--license, --license-link and --origin go with a model; `card` says them of a dataset")
    return dataset_parcel(folder)
