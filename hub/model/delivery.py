"""Webhook deliveries: a row with a due time for a listener that is not connected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class DeliveryDraft:
    """A delivery that is written in the commit of its event (`event` = index among the commit's drafts).

    `endpoint` names the queue (a webhook's id, or application and origin of a per-call callback);
    `url` is set for a per-call callback only; `view` names the form of the body.
    """

    endpoint: str
    account: str
    event: int
    due_at: datetime
    url: str | None = None
    view: str = "native"
    attrs: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery row: the event it carries, how often it was tried, when it is due next."""

    id: int
    endpoint: str
    account: str
    channel: str
    epoch: str
    offset: int
    due_at: datetime
    attempts: int
    url: str | None
    view: str
    attrs: Mapping[str, Any] | None
    last_error: str | None = None
    dead: bool = False
    dead_at: datetime | None = None


def callback_endpoint(application: str, url: str) -> str:
    """The queue of a per-call callback: `callback/<application>/<scheme>://<host>:<port>` (decisions F8)."""
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    host = f"[{host}]" if ":" in host else host
    return f"callback/{application}/{parts.scheme}://{host}:{parts.port or _PORTS.get(parts.scheme, 0)}"
