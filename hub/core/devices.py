"""The devices in memory, found by id, alias, name and adapter address, each in constant time.

No store and no waiting here; `directory.py` keeps this index and the store in step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from hub.model.device import Device
from hub.model.errors import Conflict

Owner = tuple[str, str]
K = TypeVar("K")

# Aliases of these kinds name a device in the whole hub (decisions A2), all others within the account.
HUB_WIDE_ALIASES = frozenset({"product-device", "psk-identity", "endpoint"})


class Devices:
    """An index of model values; a device is owned by (account, id). Disabled devices are held but not found."""

    def __init__(self) -> None:
        self._accounts: dict[str, dict[str, Device]] = {}
        self._by_id: dict[str, set[str]] = {}
        self._names: dict[tuple[str, str], set[str]] = {}
        self._aliases: dict[tuple[str, str, str], Owner] = {}
        self._addresses: dict[tuple[str, str], Owner] = {}
        self._sorted: dict[str, list[str]] = {}

    def __iter__(self) -> Iterator[Device]:
        for mine in self._accounts.values():
            yield from mine.values()

    def count(self, account: str) -> int:
        """How many devices the account has, disabled ones too."""
        return len(self._accounts.get(account, ()))

    def get(self, account: str, id: str) -> Device | None:
        """The device by id, disabled or not."""
        return self._accounts.get(account, {}).get(id)

    def named(self, account: str, named: str, alias_kinds: Sequence[str]) -> Device | None:
        """The enabled device by id, else by an alias of these kinds in their order."""
        found = self.get(account, named)
        if found is None:
            for kind in alias_kinds:
                owner = self._aliases.get(_alias(account, kind, named))
                if owner is not None and owner[0] == account:
                    found = self.get(*owner)
                    break
        return _enabled(found)

    def by_alias(self, kind: str, value: str) -> Device | None:
        """The enabled device that has this alias in the whole hub; the kind is one of `HUB_WIDE_ALIASES`."""
        return _enabled(self.held_by_alias(kind, value))

    def held_by_alias(self, kind: str, value: str) -> Device | None:
        """As `by_alias`, but a disabled one is found too."""
        owner = self._aliases.get(("", kind, value))
        return None if owner is None else self.get(*owner)

    def by_name(self, account: str, name: str) -> Device | None:
        """The enabled device with this endpoint name, when it is the only one."""
        found = [_enabled(self.get(account, id)) for id in self._names.get((account, name), ())]
        enabled = [device for device in found if device is not None]
        return enabled[0] if len(enabled) == 1 else None

    def at(self, adapter: str, address: str) -> Device | None:
        """The enabled device at this address of this adapter."""
        return _enabled(self.held_at(adapter, address))

    def held_at(self, adapter: str, address: str) -> Device | None:
        """As `at`, but a disabled one is found too."""
        owner = self._addresses.get((adapter, address))
        return None if owner is None else self.get(*owner)

    def everywhere(self, id: str) -> list[Device]:
        """The enabled devices with this id, one per account at most."""
        found = (_enabled(self.get(account, id)) for account in sorted(self._by_id.get(id, ())))
        return [device for device in found if device is not None]

    def of(self, account: str) -> list[Device]:
        """The enabled devices of the account, by id."""
        mine = self._accounts.get(account, {})
        order = self._sorted.get(account)
        if order is None:
            order = self._sorted[account] = sorted(mine)
        return [device for id in order if not (device := mine[id]).disabled]

    def hold(self, device: Device) -> list[tuple[str, ...]]:
        """Keep the device's address and aliases from others while it is being written; returns what to `let_go`.

        Raises Conflict (`address-taken`, `alias-taken`), holding nothing, where another device has one.
        """
        owner = (device.account, device.id)
        place = (device.adapter, device.address)
        if self._taken(self._addresses.get(place, owner), owner):
            raise Conflict("the address is in use", code="address-taken")
        names = [_alias(device.account, kind, value) for kind, value in device.aliases.items()]
        if any(self._taken(self._aliases.get(name, owner), owner) for name in names):
            raise Conflict("an alias is in use", code="alias-taken")
        held: list[tuple[str, ...]] = []
        if self._addresses.get(place) != owner:
            self._addresses[place] = owner
            held.append(place)
        for name in names:
            if self._aliases.get(name) != owner:
                self._aliases[name] = owner
                held.append(name)
        return held

    def _taken(self, by: Owner, owner: Owner) -> bool:
        """Whether another has the place; a disabled device keeps its place only until somebody wants it."""
        holder = self.get(*by)
        return by != owner and not (holder is not None and holder.disabled)

    def let_go(self, held: Sequence[tuple[str, ...]]) -> None:
        """Give back what `hold` took, because the write failed."""
        for place in held:
            if len(place) == 2:
                self._addresses.pop((place[0], place[1]), None)
            else:
                self._aliases.pop((place[0], place[1], place[2]), None)

    def place(self, device: Device) -> None:
        """Put a device in, over an older state of it. A disabled one has its places only where no other has them."""
        mine = self._accounts.setdefault(device.account, {})
        before = mine.get(device.id)
        if before is None:
            self._sorted.pop(device.account, None)
            self._by_id.setdefault(device.id, set()).add(device.account)
        elif _places(before) == _places(device) and before.disabled == device.disabled:
            mine[device.id] = device
            return
        else:
            self._unindex(before)
        mine[device.id] = device
        owner = (device.account, device.id)
        place = (device.adapter, device.address)
        if not device.disabled or _enabled(self.get(*self._addresses.get(place, owner))) is None:
            self._addresses[place] = owner
        for kind, value in device.aliases.items():
            name = _alias(device.account, kind, value)
            if not device.disabled or _enabled(self.get(*self._aliases.get(name, owner))) is None:
                self._aliases[name] = owner
        if device.name is not None:
            self._names.setdefault((device.account, device.name), set()).add(device.id)

    def remove(self, account: str, id: str) -> None:
        """Take a device out; one that is not there is no error."""
        device = self._accounts.get(account, {}).pop(id, None)
        if device is None:
            return
        self._unindex(device)
        self._sorted.pop(account, None)
        _discard(self._by_id, id, account)

    def _unindex(self, device: Device) -> None:
        owner = (device.account, device.id)
        place = (device.adapter, device.address)
        if self._addresses.get(place) == owner:
            del self._addresses[place]
        for kind, value in device.aliases.items():
            name = _alias(device.account, kind, value)
            if self._aliases.get(name) == owner:
                del self._aliases[name]
        if device.name is not None:
            _discard(self._names, (device.account, device.name), device.id)


def known_by(device: Device) -> tuple[str, str, str | None]:
    """What its adapter knows a device by: where it is found, and the identity that it proves."""
    return device.adapter, device.address, device.aliases.get("psk-identity")


def _enabled(device: Device | None) -> Device | None:
    return None if device is None or device.disabled else device


def _alias(account: str, kind: str, value: str) -> tuple[str, str, str]:
    return ("" if kind in HUB_WIDE_ALIASES else account, kind, value)


def _places(device: Device) -> tuple[object, ...]:
    return (device.adapter, device.address, device.name, device.aliases)


def _discard(index: dict[K, set[str]], key: K, value: str) -> None:
    values = index.get(key)
    if values is not None:
        values.discard(value)
        if not values:
            del index[key]
