"""Who is asking: an application of an account, with the scopes of the key that was shown."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Scope(enum.Enum):
    """What a key may do."""

    CALL = "call"
    LISTEN = "listen"
    DEVICE = "device"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Principal:
    """The tenant of a request: by the key alone, never by anything else that the client says."""

    account: str
    application: str
    key_id: str
    scopes: frozenset[Scope]

    def may(self, scope: Scope) -> bool:
        """Whether the key has the scope; `admin` includes the others."""
        return scope in self.scopes or Scope.ADMIN in self.scopes
