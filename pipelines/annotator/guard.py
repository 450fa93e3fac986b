"""Who may speak with the server: whoever knows its address with the token, from a page of its own, on this machine."""

import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_HEADERS = {
    # nothing of another origin is loaded, run or framed
    "content-security-policy": "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
}


def refusal(scope: Scope, token: str, port: int) -> str | None:
    """Why a request is not answered, as a sentence; None for one that is.

    A wrong Host is a name that somebody has pointed at this machine; a wrong Origin is the page of another site.
    """
    headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}
    hosts = [f"{name}:{port}" for name in ("127.0.0.1", "localhost")]
    if headers.get("host") not in hosts:
        return f"this server is called {hosts[0]}; another Host is refused"
    origin = headers.get("origin")
    if origin is not None and origin not in [f"http://{host}" for host in hosts]:
        return "requests from pages of other sites are refused"
    given = scope["path"].lstrip("/").partition("/")[0]
    if not secrets.compare_digest(given.encode(), token.encode()):
        return "the token is missing or wrong; take the whole address that `datasetddpm annotate` printed last"
    return None


def guarded(app: App, token: str, port: int) -> App:
    """The app below /TOKEN/ alone; everything else is refused, WebSockets as well."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await app(scope, receive, send)
        elif why := refusal(scope, token, port):
            await _refuse(scope, receive, send, why)
        else:
            await app(scope, receive, _with_headers(send))

    return answer


async def _refuse(scope: Scope, receive: Receive, send: Send, why: str) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": why[:120]})
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    headers += [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": why.encode()})


def _with_headers(send: Send) -> Send:
    async def sending(message: Any) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *((k.encode(), v.encode()) for k, v in _HEADERS.items())]
        await send(message)

    return sending
