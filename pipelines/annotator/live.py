"""The socket over which every open page hears what the interpreter finds, and says which image it shows."""

import asyncio
from contextlib import suppress
from typing import Any

from fastapi import APIRouter, WebSocket, WebSocketDisconnect

from pipelines.annotator.messages import Watching


class Tabs:
    """All pages that are open: what is told reaches each of them."""

    def __init__(self) -> None:
        self._queues: set[asyncio.Queue[dict[str, Any]]] = set()
        self._last: dict[str, dict[str, Any]] = {}
        self.loop: asyncio.AbstractEventLoop | None = None

    def tell(self, message: dict[str, Any]) -> None:
        """From any thread."""
        if self.loop is not None:
            with suppress(RuntimeError):  # the server has just ended
                self.loop.call_soon_threadsafe(self._tell, message)

    def _tell(self, message: dict[str, Any]) -> None:
        self._last[message["kind"]] = message
        for queue in self._queues:
            queue.put_nowait(message)

    def join(self) -> "asyncio.Queue[dict[str, Any]]":
        """A queue, with what a new page has missed."""
        self.loop = asyncio.get_running_loop()
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        for kind in ("waiting", "fitted", "ahead", "validation"):
            if kind in self._last:
                queue.put_nowait(self._last[kind])
        self._queues.add(queue)
        return queue

    def leave(self, queue: "asyncio.Queue[dict[str, Any]]") -> None:
        self._queues.discard(queue)


def live(watcher: Watching, tabs: Tabs) -> APIRouter:
    router = APIRouter()

    @router.websocket("/live")
    async def talk(socket: WebSocket) -> None:
        await socket.accept()
        queue = tabs.join()
        sending = asyncio.create_task(_send(socket, queue))
        try:
            while True:
                watcher.opened(str((await socket.receive_json())["open"]))
        except WebSocketDisconnect:
            pass
        finally:
            sending.cancel()
            tabs.leave(queue)

    return router


async def _send(socket: WebSocket, queue: "asyncio.Queue[dict[str, Any]]") -> None:
    while True:
        await socket.send_json(await queue.get())
