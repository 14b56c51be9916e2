"""For whose account something is done that is bounded for each account, far below where the account is known."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

ACCOUNT: ContextVar[str] = ContextVar("account", default="")


@contextmanager
def on_behalf(account: str) -> Iterator[None]:
    """What is done within the block, and in tasks that it starts, is done for this account."""
    before = ACCOUNT.set(account)
    try:
        yield
    finally:
        ACCOUNT.reset(before)
