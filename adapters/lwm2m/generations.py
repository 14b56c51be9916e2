"""A table that forgets by generations: bounded in entries and in age, without a timer or a walk.

An entry is found for at least `age` seconds, unless so many came that both generations were full, and for at most
twice that.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Generations(Generic[K, V]):
    """Two dictionaries; when the young one is full or old it becomes the old one, and that is forgotten."""

    def __init__(self, age: float, most: int) -> None:
        self._age = age
        self._most = most
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}
        self._since = 0.0

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def put(self, key: K, value: V, now: float) -> None:
        """Remember `value` under `key` from `now` on."""
        if now - self._since >= self._age or len(self._young) >= self._most:
            self._old = self._young if now - self._since < 2 * self._age else {}
            self._young = {}
            self._since = now
        self._young[key] = value

    def change(self, key: K, value: V) -> None:
        """Another value for an entry that is still there; one that is gone stays so."""
        if key in self._young:
            self._young[key] = value
        elif key in self._old:
            self._old[key] = value

    def get(self, key: K) -> V | None:
        """What is remembered."""
        found = self._young.get(key)
        return self._old.get(key) if found is None else found

    def pop(self, key: K) -> V | None:
        """What is remembered, for the last time."""
        found, older = self._young.pop(key, None), self._old.pop(key, None)
        return older if found is None else found
