"""Control channels: channels that an application made by name for the outcomes of its calls.

The record says that there is one; the channel itself is `<application>/enos.<id>` and is made when it is first used.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace

import anyio

from hub.core.channels import Channel, Channels
from hub.core.directory import Directory
from hub.model.call import Call
from hub.model.errors import Conflict, NotFound
from hub.model.record import Kind, Record

CONTROL, SET = "DATASVC.CONTROL.", "DATASVC.SET."
MOST_ID = 64
CHANNEL_ID = re.compile(rf"(?=.{{1,{MOST_ID}}}$)DATASVC\.(?:CONTROL|SET)\.[A-Za-z0-9_.-]+", re.ASCII)
MEMBER = "control"
"""The member of a call's echo that names its control channel."""
CONTROL_ID = "control_id"
"""The member of a call's echo that is the hub's own id of that channel: another one of the same name is not it."""
_PREFIX = "enos."


@dataclass(frozen=True, slots=True)
class ControlChannel:
    """A control channel. `internal` is the hub's own id of it, another each time that it is made."""

    id: str
    application: str
    account: str
    internal: str = ""
    desc: str | None = None
    declared: bool = False
    disabled: bool = False

    @property
    def channel(self) -> str:
        """The full name of the channel that carries its messages."""
        return full_name(self.application, self.id)


class ControlChannels:
    """The control channels of all applications. Reads never wait; makers and removers stand in line."""

    def __init__(self, directory: Directory, channels: Channels) -> None:
        self._directory = directory
        self._channels = channels
        self._line: anyio.Lock | None = None

    def find(self, application: str, id: str) -> ControlChannel | None:
        """The channel by its id, or by the hub's own id of it; None if the application has none such."""
        record = self._directory.record(Kind.CONTROL, full_name(application, id))
        found = None if record is None else control_of(record)
        if found is None and id.isalnum():
            found = next((channel for channel in self.of(application) if channel.internal == id), None)
        return None if found is None or found.disabled else found

    def of(self, application: str) -> list[ControlChannel]:
        """The application's channels, by id."""
        owner = self._directory.application(application)
        records = [] if owner is None else self._directory.records(Kind.CONTROL, owner.account)
        found = (control_of(record) for record in records)
        return [channel for channel in found if channel.application == application and not channel.disabled]

    async def make(self, wanted: ControlChannel) -> ControlChannel:
        """Make a channel. Raises Conflict (there is one), TooMany, StorageFailed."""
        async with self._one_at_a_time():
            if self.find(wanted.application, wanted.id) is not None:
                raise Conflict("the channel exists", code="channel-exists")
            # What a call that ended during its deletion may have left is not for the new one's readers.
            await self._channels.delete(wanted.channel)
            await self._channels.open(wanted.channel, wanted.account)
            made = replace(wanted, internal=new_internal())
            await self._directory.put(control_record(made))
            return made

    async def describe(self, found: ControlChannel, desc: str | None) -> ControlChannel:
        """Say something else of a channel. Raises NotFound, StorageFailed."""
        async with self._one_at_a_time():
            if self.find(found.application, found.id) is None:
                raise NotFound("no such channel", code="channel-not-found")
            changed = replace(found, desc=desc)
            await self._directory.put(control_record(changed))
            return changed

    async def remove(self, found: ControlChannel) -> None:
        """Remove a channel and what it holds; its listeners are told. Raises StorageFailed."""
        async with self._one_at_a_time():
            await self._directory.delete(Kind.CONTROL, found.channel)
            await self._channels.delete(found.channel)

    async def open(self, found: ControlChannel) -> Channel:
        """The channel that carries the messages."""
        return await self._channels.open(found.channel, found.account)

    def told_of(self, call: Call) -> tuple[str, ...]:
        """The channel on which the end of a call is told, if it names one that still is there (decisions J2)."""
        echo = call.spec.echo
        named = echo.get(MEMBER)
        found = self.find(call.spec.application, named) if isinstance(named, str) else None
        # Calls of older data files know their channel by its name only.
        return () if found is None or echo.get(CONTROL_ID, found.internal) != found.internal else (found.channel,)

    def _one_at_a_time(self) -> anyio.Lock:
        if self._line is None:
            self._line = anyio.Lock()
        return self._line


def new_internal() -> str:
    """A hub's own id for a channel that is made now."""
    return secrets.token_hex(8)


def full_name(application: str, id: str) -> str:
    """The full name of the channel of a control channel."""
    return f"{application}/{_PREFIX}{id}"


def carries_control(channel: str) -> bool:
    """Whether a channel, by its full name, is that of a control channel."""
    return channel.partition("/")[2].startswith(_PREFIX)


def control_of(record: Record) -> ControlChannel:
    """The control channel that a record tells of."""
    body: Mapping[str, object] = record.body
    application, _, name = record.id.partition("/")
    desc = body.get("desc")
    return ControlChannel(
        name.removeprefix(_PREFIX), application, record.account, str(body.get("internal") or ""),
        desc if isinstance(desc, str) else None, bool(body.get("declared")), bool(body.get("disabled")),
    )  # fmt: skip


def control_record(found: ControlChannel) -> Record:
    """The record of a control channel."""
    body = {
        "internal": found.internal,
        "desc": found.desc,
        "declared": found.declared,
        "disabled": found.disabled,
    }
    return Record(Kind.CONTROL, found.channel, found.account, body)
