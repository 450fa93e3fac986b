"""What is wrong in a dataset's folder, and taking it away so that it is made again."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from generate.photographs import Photograph
from generate.stored import StoredError
from pipelines.dataset.inventory import INDEX, Inventory, report_path, shard_path, take_inventory, unit_of
from pipelines.dataset.manifest import Dataset, open_dataset
from pipelines.dataset.members import unlike
from pipelines.dataset.photographs import listed, lists, otherwise_listed
from pipelines.dataset.reports import Report, contents, is_strange, parse_report
from pipelines.errors import DatasetError
from pipelines.files import storage
from pipelines.files.storage import Location


@dataclass(frozen=True)
class Damage:
    """One file that is not as it should be, and the unit that it spoils, if any."""

    file: str
    fault: str  # a clause whose subject is the file: "is no report of a shard"
    unit: int | None = None
    is_made_again: bool = True  # once it is removed; a list of photographs is not

    def __str__(self) -> str:
        return f"{self.file} {self.fault}"


def missing_units(folder: Location) -> list[int]:
    """Units of the plan that are not committed yet. Raises DatasetError where no dataset is."""
    return take_inventory(folder).missing(open_dataset(folder).units)


def must_be_whole(inventory: Inventory, dataset: Dataset) -> None:
    """Raises DatasetError where units of the plan are not made yet."""
    if missing := inventory.missing(dataset.units):
        made = len(dataset.units) - len(missing)
        raise DatasetError(
            f"{inventory.folder} has {made} of {len(dataset.units)} units; `datasetddpm generate` makes the others, or "
            "name --partial to go on with these"
        )


def unindexed(inventory: Inventory, dataset: Dataset) -> str:
    """A clause on the index that is written when all else is, with the command that does; "" where it is there."""
    command = "generate" if dataset.interpreter else "import"
    return "" if inventory.is_indexed else f"{INDEX} is missing; `datasetddpm {command}` writes it"


def damages(inventory: Inventory) -> list[Damage]:
    """Read every byte and compare it with the reports; units that are not made yet are no damage.

    The index is compared where nothing else is damaged: it is written anew with any unit.
    """
    photographs, of_lists = _listed_photographs(inventory)
    checks = checked_reports(inventory, photographs=photographs)
    found = [
        *(Damage(name, "is a temporary file of a run that was killed") for name in inventory.temporaries),
        *(Damage(name, "has no report, so it was not committed", unit_of(name)) for name in inventory.uncommitted),
        *(check for check in checks if isinstance(check, Damage)),
        *of_lists,
    ]
    if not found and inventory.is_indexed:
        from pipelines.dataset.index import says_otherwise  # here, since a look at a folder waits for no pyarrow

        if says_otherwise(inventory):
            found.append(Damage(INDEX, "does not say what the reports say"))
    return found


def plain_damage(inventory: Inventory) -> Damage | None:
    """The first that is seen without a look into the shards: of their sizes, the reports, and lists of photographs."""
    seen = checked_reports(inventory, are_shards_read=False)
    return next((check for check in seen if isinstance(check, Damage)), damage_of_lists(inventory))


def damage_of_lists(inventory: Inventory) -> Damage | None:
    """What is wrong with the lists of a dataset of photographs themselves."""
    return next(iter(_listed_photographs(inventory)[1]), None)


def _listed_photographs(inventory: Inventory) -> tuple[list[Photograph] | None, list[Damage]]:
    """Of a dataset of photographs all that its lists hold, and what is wrong with them; None where some are lost."""
    dataset, found = open_dataset(inventory.folder), list[Photograph]()
    if dataset.recipe.get("images") != "photographs":
        return None, []
    for path in lists(inventory.folder):
        try:
            found += listed(storage.read(path))
        except StoredError as error:
            return None, [Damage(path.name, f"does not list photographs ({error})", is_made_again=False)]
    if len(found) < dataset.samples:
        fault = f"list {len(found)} of the {dataset.samples} photographs: one is lost"
        return None, [Damage("photographs-*.json", fault, is_made_again=False)]
    return found, []


def checked_reports(
    inventory: Inventory, *, photographs: list[Photograph] | None = None, are_shards_read: bool = True
) -> Iterator[Report | Damage]:
    """Yield every report, by number of unit, or its damage where its shard or itself is not as it should be.

    Every byte of the shards is read or, without `are_shards_read`, their sizes are looked at. Samples are compared with
    the list of all photographs, where one is given. Raises DatasetError where no dataset is.
    """
    dataset = open_dataset(inventory.folder)
    for path, content in contents(inventory):
        try:
            report = parse_report(content, path)
        except DatasetError:
            yield Damage(path.name, "is no report of a shard", unit_of(path.name))
        else:
            damage = damage_beside(inventory, path.name, report, dataset)
            if damage is None and are_shards_read:
                damage = _damage(inventory.folder, path.name, report, dataset, photographs)
            yield damage or report


def damage_beside(inventory: Inventory, name: str, report: Report, dataset: Dataset) -> Damage | None:
    """What is seen of a unit without a look into its shard."""
    if is_strange(report, name, dataset):
        return Damage(name, "is the report of another unit or dataset", unit_of(name))
    if dataset.units and [c.seed for c in report.candidates] != list(dataset.seeds(report.unit)):
        return Damage(name, "is of a plan with another number of samples, or of other seeds", report.unit)
    path = shard_path(inventory.folder, report.unit)
    size = inventory.size(report.unit)
    if size is None:
        return Damage(path.name, "is missing, its report is there", report.unit)
    if size != report.bytes:
        return Damage(path.name, f"has {size} bytes, its report says {report.bytes}", report.unit)
    return None


def _damage(
    folder: Location, name: str, report: Report, dataset: Dataset, photographs: list[Photograph] | None
) -> Damage | None:
    path = shard_path(folder, report.unit)
    tar = storage.read(path)
    if hashlib.sha256(tar).hexdigest() != report.sha256:
        return Damage(path.name, "is not what was written: its sha256 differs from the report's", report.unit)
    if difference := unlike(tar, report, dataset):
        return Damage(name, f"does not say what its shard holds: {difference}", report.unit)
    if photographs is not None and (clause := otherwise_listed(tar, photographs)):
        return Damage("photographs-*.json", f"do not list what {path.name} holds: {clause}", is_made_again=False)
    return None


def remove_damages(folder: Location) -> list[Damage]:
    """Take away all that is damaged, the report of a unit before its shard; the folder must be leased.

    Raises DatasetError, and removes nothing, where something is damaged that cannot be made again.
    """
    removed = damages(take_inventory(folder))
    if lasting := next((damage for damage in removed if not damage.is_made_again), None):
        raise DatasetError(f"{folder}: {lasting}; restore it, or name another folder in paths.photographed")
    for damage in removed:
        if damage.unit is None:
            storage.remove(folder / damage.file)
        else:
            remove_unit(folder, damage.unit)
    return removed


def remove_unit(folder: Location, unit: int) -> None:
    """Take a unit away: its report first, so that no report speaks of a shard that is gone."""
    storage.remove(report_path(folder, unit))
    storage.remove(shard_path(folder, unit))


def remove_temporaries(inventory: Inventory) -> list[str]:
    """Remove what killed processes left half-written; the folder must be leased and none of its actors at work."""
    for name in inventory.temporaries:
        storage.remove(inventory.folder / name)
    return inventory.temporaries
