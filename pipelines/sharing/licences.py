"""The licence of what is given away: as its owner names it, never guessed."""

from collections.abc import Mapping
from dataclasses import dataclass

from pipelines.errors import InputError

# Of https://huggingface.co/docs/hub/repositories-licenses, without those of single models.
_NAMES = (
    "afl-3.0 agpl-3.0 apache-2.0 artistic-2.0 bigscience-openrail-m bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear "
    "bsl-1.0 c-uda cc cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 "
    "cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 "
    "cdla-permissive-1.0 cdla-permissive-2.0 cdla-sharing-1.0 creativeml-openrail-m ecl-2.0 epl-1.0 epl-2.0 "
    "etalab-2.0 eupl-1.1 eupl-1.2 gfdl gpl gpl-2.0 gpl-3.0 isc lgpl lgpl-2.1 lgpl-3.0 lppl-1.3c mit mpl-2.0 ms-pl "
    "ncsa odbl odc-by ofl-1.1 openrail openrail++ osl-3.0 pddl postgresql unlicense wtfpl zlib "
)
HUB_LICENCES = frozenset(_NAMES.split())


@dataclass(frozen=True)
class Licence:
    """Under which something is given away."""

    name: str  # as the Hub knows it, or its own
    link: str | None = None  # to its text

    @property
    def fields(self) -> Mapping[str, str | None]:
        """What the head of a card says of it."""
        if self.name in HUB_LICENCES:
            return {"license": self.name} | ({"license_link": self.link} if self.link else {})
        return {"license": "other", "license_name": self.name, "license_link": self.link}

    @property
    def sentence(self) -> str:
        """For people, as Markdown."""
        return f"[{self.name}]({self.link})" if self.link else self.name


def licence_of(name: str | None, link: str | None) -> Licence:
    """Raises InputError where no licence is named, or one that nobody could look up."""
    if not (name and name.strip()):
        raise InputError(
            "no licence is named, and none is guessed; say under which one it is given away: --license cc-by-4.0, or "
            "card.license in the recipe"
        )
    name = name.strip()
    if name.lower() in HUB_LICENCES:
        return Licence(name.lower(), link)
    if not link:
        raise InputError(
            f"the Hub has no licence called {name!r}; name one that it has, as cc-by-4.0, or say where its text is: "
            "--license-link, or card.license_link in the recipe"
        )
    return Licence(name, link)
