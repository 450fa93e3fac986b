"""Files of the driver's machine for processes on machines that do not have them, through Ray's object store."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import ray


@dataclass(frozen=True)
class Carried:
    """A file, or a folder with all below it, as it was on the driver's machine. It pickles to a few bytes.

    Ray brings the content to each node once, when a process there first asks for it.
    """

    path: Path
    digest: str  # sha256 of names and content
    files: dict[str, ray.ObjectRef]  # by name below the path; "" is the path itself

    @classmethod
    def of(cls, path: Path) -> "Carried":
        """Put the content into the object store. Call it inside `with connect():`, whose end is the content's."""
        inside = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        whole, files = hashlib.sha256(), {}
        for file in inside:
            name = "" if file == path else file.relative_to(path).as_posix()
            content = np.asarray(np.memmap(file, mode="r")) if file.stat().st_size else np.empty(0, dtype=np.uint8)
            whole.update(hashlib.sha256(name.encode()).digest() + hashlib.sha256(content.data).digest())
            files[name] = ray.put(content)
        return cls(path, whole.hexdigest(), files)

    def write(self, to: Path) -> None:
        """Write the file or folder anew under another name."""
        for name, content in self.files.items():
            target = to / name if name else to
            target.parent.mkdir(parents=True, exist_ok=True)
            np.asarray(ray.get(content)).tofile(target)
