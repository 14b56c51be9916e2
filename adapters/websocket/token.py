"""The id that a CALL carries on the wire: the call's own, tied to the device that it is for."""

from __future__ import annotations

import hashlib


def call_token(call_id: str, address: str) -> str:
    """The token of a call to the device at `address`.

    It can be checked without any memory, so that an answer is still understood after a restart of the hub, and
    an answer that comes from another device is not.
    """
    return f"{call_id}.{hashlib.sha256(f'{call_id} {address}'.encode()).hexdigest()[:12]}"


def call_of_token(token: str, address: str) -> str | None:
    """The call that a token of `address` stands for; None when it is no such token."""
    call_id, dot, _ = token.rpartition(".")
    return call_id if dot and call_token(call_id, address) == token else None
