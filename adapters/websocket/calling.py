"""A call of the hub as the CALL frame that a dial-in device gets. Pure."""

from __future__ import annotations

import secrets

from adapters.websocket.frame import Call
from adapters.websocket.token import call_token
from hub.ports.adapter import DeviceRequest


def call_frame(req: DeviceRequest, address: str, now: float) -> Call:
    """The frame of a call that is answered; its token can be checked without any memory."""
    options = _options(req, now)
    if req.idempotent:
        options["idem"] = True
    if req.attempt > 1:
        options["try"] = req.attempt
    return Call(call_token(req.call_id, address), req.method, req.target, req.payload, options)


def unanswered_frame(req: DeviceRequest, now: float) -> Call:
    """The frame of a call that need not be answered; its token stands for no call, so an answer is nobody's."""
    options = {**_options(req, now), "noresp": True}
    return Call(f"noresp-{secrets.token_hex(8)}", req.method, req.target, req.payload, options)


def _options(req: DeviceRequest, now: float) -> dict[str, object]:
    options: dict[str, object] = {"ttl": max(1, int((req.deadline - now) * 1000))}
    if req.content_type is not None:
        options["ct"] = req.content_type
    if req.accept is not None:
        options["accept"] = req.accept
    if req.args is not None:
        options["args"] = dict(req.args)
    if req.query:
        options["query"] = [list(pair) for pair in req.query]
    return options
