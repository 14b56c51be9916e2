"""What can go wrong between a client and a hub.

ClientError
  Unreachable    nobody answers there, or the connection broke
  Refused        the hub refused: status, code word and detail of its problem document
    KeyRefused   no key, or one that the hub does not know or that may not do this
  WatchEnded     the hub ended a subscription for good (close code below 4000 or from 4500 on: do not come back)
"""

from __future__ import annotations

from typing import Any


class ClientError(Exception):
    """The root of what this client raises."""


class Unreachable(ClientError):
    """Nobody answers there, or the connection broke."""


class Refused(ClientError):
    """The hub refused the request; `problem` is what it said."""

    def __init__(self, status: int, problem: dict[str, Any], retry_after: float | None = None) -> None:
        self.status = status
        self.problem = problem
        self.code = str(problem.get("type", "")).rpartition(":")[2]
        self.retry_after = retry_after
        detail = problem.get("detail") or problem.get("title") or "no reason given"
        super().__init__(f"{status} {self.code}: {detail}" if self.code else f"{status}: {detail}")


class KeyRefused(Refused):
    """The key is missing, unknown, revoked, or may not do this."""


class WatchEnded(ClientError):
    """The hub ended the subscription and does not want it back."""

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason
        super().__init__(f"closed with {code}" + (f": {reason}" if reason else ""))
