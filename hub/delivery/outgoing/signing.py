"""Standard Webhooks signatures: `v1,<base64 of HMAC-SHA256 over id.timestamp.body>`. Pure (delivery-guarantees F1)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime

PREFIX = "whsec_"


def new_secret() -> str:
    """A fresh secret: `whsec_` and 32 random bytes in base64."""
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode("ascii")


def key_of(secret: str) -> bytes:
    """The key of a secret: what `whsec_` holds in base64, or the text itself where it has another form."""
    if secret.startswith(PREFIX):
        try:
            return base64.b64decode(secret.removeprefix(PREFIX), validate=True)
        except binascii.Error:
            pass
    return secret.encode()


def message_id(epoch: str, offset: int) -> str:
    """The id of an event's message, the same on every retry and replay; the epoch names the channel."""
    return f"msg_{epoch}_{offset}"


def signature_headers(secrets_: Sequence[str], id: str, at: datetime, body: bytes) -> Mapping[str, str]:
    """The three headers of one attempt at `at`, signed with each of the secrets."""
    stamp = str(int(at.timestamp()))
    signed = b".".join((id.encode(), stamp.encode(), body))
    marks = (base64.b64encode(hmac.digest(key_of(secret), signed, hashlib.sha256)).decode() for secret in secrets_)
    return {
        "webhook-id": id,
        "webhook-timestamp": stamp,
        "webhook-signature": " ".join(f"v1,{mark}" for mark in marks),
    }
