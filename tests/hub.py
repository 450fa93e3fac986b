"""A Hub of a few lines on loopback: what `huggingface_hub` asks of one to make a repository, fill it and read it."""

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import unquote, urlsplit

from serving import Quiet, web_server


class Hub:
    """Files of repositories, as "datasets/me/faces", and what was sent in each commit."""

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.commits: list[list[str]] = []
        self.refused_after: int | None = None  # commits

    @property
    def head(self) -> str:
        """The newest commit."""
        return f"{len(self.commits):040d}"

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, object]:
        """Status, and what is said as JSON, or bytes."""
        match path.strip("/").split("/"):
            case ["api", "repos", "create"]:
                asked = json.loads(body)
                name = f"{asked.get('organization') or 'me'}/{asked['name'].rpartition('/')[2]}"
                key = f"datasets/{name}" if asked.get("type") == "dataset" else name
                self.repositories.setdefault(key, {})
                return 200, {"url": f"/{key}", "name": name}
            case ["api", "validate-yaml"]:
                return 200, {"errors": [], "warnings": []}
            case ["api", kind, owner, name, "preupload", _]:
                files = json.loads(body)["files"]
                return 200, {
                    "files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]
                }
            case ["api", kind, owner, name, "commit", _]:
                if self.refused_after is not None and len(self.commits) >= self.refused_after:
                    return 403, {"error": "the storage is full"}
                return 200, self._commit(self._key(kind, owner, name), body)
            case ["api", kind, owner, name, "tree", *_]:
                return 200, [_entry(*item) for item in self.repositories[self._key(kind, owner, name)].items()]
            case ["api", kind, owner, name, *_]:
                files = self.repositories.get(self._key(kind, owner, name))
                if files is None:
                    return 404, {"error": "Repository not found"}
                return 200, {
                    "id": f"{owner}/{name}",
                    "sha": self.head,
                    "siblings": [{"rfilename": path} for path in files],
                }
            case [*repository, "resolve", _, file]:
                return 200, self.repositories["/".join(repository)][file]
            case [owner, name, "resolve", _, *file]:
                return 200, self.repositories[f"{owner}/{name}"]["/".join(file)]
        return 404, {"error": f"{method} {path} is not known here"}

    def _key(self, kind: str, owner: str, name: str) -> str:
        return f"{owner}/{name}" if kind == "models" else f"{kind}/{owner}/{name}"

    def _commit(self, key: str, body: bytes) -> object:
        lines = [json.loads(line) for line in body.splitlines()]
        files = {line["value"]["path"]: line["value"]["content"] for line in lines if line["key"] == "file"}
        self.repositories[key] |= {path: base64.b64decode(content) for path, content in files.items()}
        self.commits.append(list(files))
        return {"commitUrl": f"/{key}/commit/{self.head}", "commitOid": self.head, "pullRequestUrl": None}


def _entry(path: str, content: bytes) -> dict[str, object]:
    """As the Hub lists a file: tars and weights by their sha256, what is small by git's name."""
    oid = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
    entry: dict[str, object] = {"type": "file", "path": path, "size": len(content), "oid": oid}
    if path.endswith((".tar", ".safetensors", ".parquet", ".png")):
        entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
    return entry


@contextmanager
def serving(hub: Hub) -> Iterator[str]:
    """The URL under which it is heard."""

    class Handler(Quiet):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, said = hub.answer(self.command, unquote(urlsplit(self.path).path), body)
            if isinstance(said, dict) and str(said.get("url", "")).startswith("/"):
                said["url"] = f"http://{self.headers['Host']}{said['url']}"
            content = said if isinstance(said, bytes) else json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Content-Type", "application/json")
            self.send_header("X-Repo-Commit", hub.head)
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_HEAD = do_POST = _answer

    with web_server(Handler) as server:
        yield f"http://127.0.0.1:{server.server_port}"
