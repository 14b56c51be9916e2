"""The page at `/`: static files under a policy that lets nothing in but the hub's own scripts and API."""

from __future__ import annotations

from pathlib import Path

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

FOLDER = Path(__file__).with_name("dashboard")

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    )
)

HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-cache",
}


def page(folder: Path = FOLDER) -> ASGIApp:
    """An ASGI application that serves the folder, `index.html` for `/`, each answer with the headers above."""
    files = StaticFiles(directory=folder, html=True, check_dir=False)

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        try:
            await files(scope, receive, send_guarded)
        except HTTPException as refused:
            answer = PlainTextResponse(f"{refused.detail}\n", refused.status_code, refused.headers)
            await answer(scope, receive, send_guarded)

    return guarded
