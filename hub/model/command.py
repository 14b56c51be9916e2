"""A command: a call on a device that may wait for it in line, as the collection of such commands tells of it. Pure.

Everything that the collection can be asked for follows from the call and its ending by what stands here, so that an
engine which searches and a dialect which shows cannot disagree.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from hub.model.call import Stage
from hub.model.outcome import Ending
from hub.model.query import Attribute, Form, Shape


class CommandKind(enum.IntEnum):
    """What a command does."""

    SET_POINT = 1
    SERVICE = 2


class CommandState(enum.IntEnum):
    """Where a command stands. CREATED waits unsent; CANCELLED and EXPIRED never were sent; ISSUED is at the device."""

    CREATED = 1
    CANCELLED = 2
    EXPIRED = 3
    ISSUED = 4
    SUCCEEDED = 5
    FAILED = 6
    TIMED_OUT = 7


@dataclass(frozen=True, slots=True)
class CommandFacets:
    """What a command is found by. `organisation` is who asked; `target` is what it is about and `name` how people call
    that; `timeout` and `pending` are seconds."""

    organisation: str
    kind: CommandKind
    target: str
    name: str
    timeout: int
    pending: int


_ENDED = {
    Ending.ANSWERED: CommandState.SUCCEEDED,
    Ending.CANCELLED: CommandState.CANCELLED,
    # It waited for a device that left for good: called off, though not by its caller.
    Ending.REMOVED: CommandState.CANCELLED,
    Ending.EXPIRED: CommandState.EXPIRED,
    Ending.TIMED_OUT: CommandState.TIMED_OUT,
    Ending.UNKNOWN: CommandState.TIMED_OUT,
}


def state_of(stage: Stage, ending: Ending | None) -> CommandState:
    """Where the command of a call stands."""
    if ending is not None:
        return _ENDED.get(ending, CommandState.FAILED)
    return CommandState.ISSUED if stage in (Stage.SENT, Stage.WAITING) else CommandState.CREATED


SHAPE: Shape = {
    name: Attribute(name, form)
    for name, form in (
        ("id", Form.TEXT),
        ("kind", Form.NUMBER),
        ("target", Form.TEXT),
        ("name", Form.TEXT),
        ("timeout", Form.NUMBER),
        ("pending", Form.NUMBER),
        ("state", Form.NUMBER),
        ("accepted_at", Form.MOMENT),
    )
}
"""The attributes of a command, as a query sees them."""
