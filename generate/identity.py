"""The files of a denoiser and what they tell unopened: the digest that names it, and how many timesteps it has.

Nothing here needs torch: a run is planned before any network is built.
"""

import hashlib
import json
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from generate.errors import CheckpointError
from generate.guided_flags import PRESETS, FlagError, Flags, GuidedFlags, parse_flags
from generate.stored import TOLERANT, StoredError, stored, stored_tree

WEIGHTS = "diffusion_pytorch_model.safetensors"
OLD_WEIGHTS = "diffusion_pytorch_model.bin"
CONSISTENCY = "CMStochasticIterativeScheduler"
"""The scheduler by which a diffusers folder says that it is a consistency model."""
STATE_DICTS = (".pt", ".pth")
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class _Scheduler:
    """What of scheduler_config.json says the steps."""

    __pydantic_config__ = TOLERANT

    num_train_timesteps: Annotated[int, Field(ge=1, le=10**6)] = 1000
    trained_betas: list[float] | None = None


@dataclass(frozen=True)
class StateDict:
    """A guided-diffusion state_dict, and the flags that it was trained with."""

    path: Path
    flags: GuidedFlags

    def digest(self) -> str:
        return _digest(self.path, settings=asdict(self.flags))

    def timesteps(self) -> int:
        return self.flags.diffusion_steps


@dataclass(frozen=True)
class DiffusersFiles:
    """The files of a folder as DDPMPipeline.save_pretrained writes it, or of one that holds them itself."""

    folder: Path
    config: Path
    scheduler: Path
    weights: Path

    @classmethod
    def of(cls, folder: Path) -> "DiffusersFiles":
        config = _first_of(folder, "unet/config.json", "config.json")
        scheduler = _first_of(folder, "scheduler/scheduler_config.json", "scheduler_config.json")
        beside = config.parent
        weights = beside / OLD_WEIGHTS if (beside / OLD_WEIGHTS).is_file() else beside / WEIGHTS
        if (beside / WEIGHTS).is_file() or not weights.is_file():
            weights = _first_of(folder, f"{beside.name}/{WEIGHTS}", WEIGHTS)
        return cls(folder, config, scheduler, weights)

    def digest(self) -> str:
        return _digest(self.config, self.scheduler, self.weights)

    def timesteps(self) -> int:
        try:
            config = stored(self.scheduler.read_bytes(), _Scheduler)
        except (StoredError, OSError) as error:
            raise CheckpointError(f"{self.scheduler} is no configuration: {error}") from error
        return len(config.trained_betas or ()) or config.num_train_timesteps


def locate(source: str | Path, flags: Flags | None) -> StateDict | DiffusersFiles:
    """The files of a state_dict with flags, of a diffusers folder, or of a Hub id, which is fetched if need be.

    Without flags, a state_dict that is called like a preset (lsun_horse.pt) has that preset's. Raises CheckpointError.
    """
    path = Path(source)
    if path.suffix in STATE_DICTS:
        return located_state_dict(path, flags, PRESETS, parse_flags)
    if flags is not None:
        raise CheckpointError(
            f"flags belong to a guided-diffusion state_dict (.pt); {source} is opened by its own config"
        )
    if not path.exists() and HUB_ID.fullmatch(str(source)):
        path = _denoiser_from_hub(str(source))
    return DiffusersFiles.of(path)


def located_state_dict(
    path: Path, flags: Flags | None, presets: Collection[str], parse: Callable[[Flags], GuidedFlags]
) -> StateDict:
    """A state_dict with flags, or of the name of a preset. Raises CheckpointError without, and where no file is."""
    if flags is None and path.stem not in presets:
        raise CheckpointError(
            f"{path} needs its flags: the published command line, a mapping, or a preset ({', '.join(presets)})"
        )
    try:
        parsed = parse(path.stem if flags is None else flags)
    except FlagError as error:
        raise CheckpointError(f"{path}: {error}") from error
    if not path.is_file():
        raise CheckpointError(f"{path} is not there; a state_dict (.pt) is needed")
    return StateDict(path, parsed)


def read_json(path: Path) -> dict[str, Any]:
    """A configuration. Raises CheckpointError for a file that is none."""
    try:
        return stored_tree(path.read_bytes())
    except (StoredError, OSError) as error:
        raise CheckpointError(f"{path} is no configuration: {error}") from error


def _denoiser_from_hub(name: str) -> Path:
    """The folder of a denoiser's snapshot, with its weights in one form or the other."""
    folder = from_hub(name, ("*.json", f"*{WEIGHTS}"))
    return folder if any(folder.rglob(WEIGHTS)) else from_hub(name, ("*.json", f"*{OLD_WEIGHTS}"))


def from_hub(name: str, patterns: Sequence[str]) -> Path:
    """The folder of a Hub repository's snapshot; without a network, the one in the local cache."""
    from huggingface_hub import snapshot_download  # here, since most models are files of this machine
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=list(patterns)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:  # the last: no Hub id after all
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{name} is no folder here, and as a Hub id it is neither cached nor reachable ({reason})"
        ) from error


def _first_of(folder: Path, *names: str) -> Path:
    for name in names:
        if (folder / name).is_file():
            return folder / name
    if not folder.is_dir():
        raise CheckpointError(
            f"{folder} is not a folder; a diffusers folder with unet/ and scheduler/, a Hub id, or a .pt is needed"
        )
    raise CheckpointError(f"{folder} holds no {names[0]}; a diffusers folder with unet/ and scheduler/ is needed")


def _digest(*paths: Path, settings: dict[str, Any] | None = None) -> str:
    """sha256 over the files' contents and the settings; where the files lie does not matter."""
    whole = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    if settings is not None:
        whole.update(json.dumps(settings, sort_keys=True).encode())
    return whole.hexdigest()
