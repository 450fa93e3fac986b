"""What the page may ask for: state, images, masks, classes, uploads; and the socket over which suggestions come."""

import io
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from jaxtyping import UInt8
from PIL import Image
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from generate import ImageError, read_image
from label import AnnotationError, Scheme, SchemeError
from pipelines.annotator.folder import AnnotatedFolder, ConflictError, UnknownImageError
from pipelines.annotator.live import Tabs, live
from pipelines.annotator.memory import cut_to
from pipelines.annotator.messages import Watching
from pipelines.annotator.strokes import ACCEPTED, Annotation
from pipelines.errors import InputError, StorageError

PAGE = Path(__file__).parent / "page"
LARGEST = 50_000_000  # bytes of a file that is added
_WHITE = (255, 255, 255)
_STATUS = {
    UnknownImageError: 404, ConflictError: 409, StorageError: 507, InputError: 422, AnnotationError: 422,
    SchemeError: 422, ImageError: 422,
}  # fmt: skip


class ClassRow(BaseModel):
    """A class as the page sends it."""

    name: str = Field(min_length=1, max_length=80)
    color: tuple[int, int, int]


@dataclass(frozen=True)
class Room:
    """What all pages share."""

    folder: AnnotatedFolder
    watcher: Watching
    tabs: Tabs
    image_size: tuple[int, int]  # of images that are added
    fixed_classes: bool = False  # they are not the folder's own, and no page changes them


def make_app(room: Room, token: str) -> FastAPI:
    """The server without its guard."""
    folder, watcher, tabs = room.folder, room.watcher, room.tabs
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    for router in (_images(room), _saving(folder, watcher, tabs), _adding(room)):
        app.include_router(router, prefix=f"/{token}/api")
    app.include_router(_classes(folder, watcher, tabs, room.fixed_classes), prefix=f"/{token}/api")
    app.include_router(live(watcher, tabs), prefix=f"/{token}")
    app.mount(f"/{token}/page", StaticFiles(directory=PAGE))

    @app.get(f"/{token}/")
    def page() -> FileResponse:
        return FileResponse(PAGE / "index.html")

    async def refuse(_: Request, error: Exception) -> JSONResponse:
        status = next(code for kind, code in _STATUS.items() if isinstance(error, kind))
        return JSONResponse({"detail": str(error)}, status)

    for kind in _STATUS:
        app.add_exception_handler(kind, refuse)
    return app


def _images(room: Room) -> APIRouter:
    router, folder = APIRouter(), room.folder

    @router.get("/state")
    def state() -> dict[str, Any]:
        images = [asdict(listed) for listed in folder.listed()]
        height, width = room.image_size
        order = room.watcher.ranking()
        return {
            "folder": folder.path.name, "images": images, "mistakes": folder.mistakes, "order": order,
            "height": height, "width": width,
        }  # fmt: skip

    @router.get("/images/{name}")
    def image(name: str) -> Response:
        content = io.BytesIO()
        Image.fromarray(folder.image(name)).save(content, "png", compress_level=1)
        return Response(content.getvalue(), media_type="image/png")

    @router.get("/masks/{name}")
    def mask(name: str) -> Response:
        annotation = folder.read(name)
        height, width = annotation.mask.shape
        headers = {"x-revision": annotation.revision, "x-size": f"{width}x{height}", "x-state": folder.state(name)}
        content = annotation.mask.tobytes() + annotation.origin.tobytes()
        return Response(content, media_type="application/octet-stream", headers=headers)

    return router


def _saving(folder: AnnotatedFolder, watcher: Watching, tabs: Tabs) -> APIRouter:
    router = APIRouter()

    @router.put("/masks/{name}")
    async def save(name: str, request: Request) -> dict[str, str]:
        content = await _body(request, LARGEST)
        tab, based_on = request.headers.get("x-tab", ""), request.headers.get("if-match", "")
        return await run_in_threadpool(write, name, content, based_on, tab)

    def write(name: str, content: bytes, based_on: str, tab: str) -> dict[str, str]:
        before = folder.read(name)
        annotation = replace(_decoded(content, before.mask.shape), done=before.done)
        folder.save(name, annotation, based_on=based_on)
        watcher.changed(name)
        saved = {"kind": "saved", "name": name, "revision": annotation.revision, "state": folder.state(name)}
        tabs.tell({**saved, "tab": tab})
        return saved

    @router.put("/done/{name}")
    def done(name: str, done: bool) -> dict[str, str]:
        folder.set_done(name, done)
        watcher.changed(name)
        tabs.tell({"kind": "state", "name": name, "state": folder.state(name)})
        return {"state": folder.state(name)}

    return router


def _adding(room: Room) -> APIRouter:
    router = APIRouter()

    @router.post("/images/{name}")
    async def add(name: str, request: Request) -> dict[str, str]:
        content = await _body(request, LARGEST)
        return await run_in_threadpool(added, name, content)

    def added(name: str, content: bytes) -> dict[str, str]:
        new = room.folder.add(name, cut_to(_image(content), room.image_size))
        room.watcher.renewed()
        room.tabs.tell({"kind": "images"})
        return {"name": new}

    return router


def _classes(folder: AnnotatedFolder, watcher: Watching, tabs: Tabs, fixed: bool) -> APIRouter:
    router = APIRouter()

    @router.get("/classes")
    def classes() -> dict[str, Any]:
        rows = zip(folder.scheme.names, folder.scheme.colors, strict=True)
        return {"fixed": fixed, "classes": [{"name": name, "color": color} for name, color in rows]}

    @router.put("/classes")
    def change(rows: list[ClassRow]) -> dict[str, Any]:
        if fixed:
            raise InputError("the classes are those of the recipe or of the dataset; here they stay as they are")
        colors = tuple(row.color for row in rows)
        if len(set(colors)) < len(colors) or _WHITE in colors or any(not 0 <= c <= 255 for rgb in colors for c in rgb):
            raise InputError("each class needs a colour of its own; white is that of pixels without a class")
        folder.change_classes(Scheme(tuple(row.name.strip() for row in rows), colors))
        watcher.renewed()
        tabs.tell({"kind": "classes"})
        return classes()

    return router


async def _body(request: Request, most: int) -> bytes:
    """The body, of which no more is ever read than is allowed."""
    content = bytearray()
    if int(request.headers.get("content-length", "0")) > most:
        raise InputError(f"the file has more than {most // 1_000_000} MB, which is the most")
    async for part in request.stream():
        content += part
        if len(content) > most:
            raise InputError(f"the file has more than {most // 1_000_000} MB, which is the most")
    return bytes(content)


def _image(content: bytes) -> UInt8[np.ndarray, "h w 3"]:
    with tempfile.NamedTemporaryFile(prefix="datasetddpm-image-") as file:
        file.write(content)
        file.flush()
        try:
            return read_image(file.name)
        except ImageError as error:
            raise InputError(f"no image can be read from these {len(content)} bytes; PNG or JPEG is needed") from error


def _decoded(content: bytes, shape: tuple[int, ...]) -> Annotation:
    pixels = int(np.prod(shape))
    if len(content) != 2 * pixels:
        raise InputError(f"{len(content)} bytes came; mask and origins of {shape[1]}x{shape[0]} are {2 * pixels}")
    both = np.frombuffer(content, np.uint8).reshape(2, *shape)
    if both[1].max(initial=0) > ACCEPTED:
        raise InputError(f"an origin is {both[1].max()}; it is 0, 1 or 2")
    return Annotation(both[0].copy(), both[1].copy())
