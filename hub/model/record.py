"""Directory records: typed, revisioned facts about accounts, devices and keys.

A record is what an engine stores; `core/directory.py` gives it meaning. `secret` is what must be
computed with (a PSK, a webhook secret): an engine stores it sealed, never as it is.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class Kind(enum.Enum):
    """The kinds of record. Values are stored."""

    ACCOUNT = "account"
    APPLICATION = "application"
    KEY = "key"
    USER = "user"
    ORGANISATION = "organisation"
    DEVICE = "device"
    ALIAS = "alias"
    PRODUCT = "product"
    CREDENTIAL = "credential"
    WEBHOOK = "webhook"
    RULE = "rule"
    WANT = "want"
    OWED = "owed"
    CHANNEL = "channel"
    WITHDRAWN = "withdrawn"
    CONTROL = "control"
    MEMORY = "memory"
    ENDPOINT = "endpoint"
    SESSION = "session"


@dataclass(frozen=True, slots=True)
class Record:
    """One record; `revision` is 0 before its first write and grows by one with each.

    `body` holds str, int, float, bool, None, bytes, list, dict only (it is stored as MessagePack).
    """

    kind: Kind
    id: str
    account: str
    body: Mapping[str, Any]
    secret: bytes | None = None
    revision: int = 0
