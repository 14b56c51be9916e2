"""Which answers of one device the hub holds already, and which it is being given right now.

A device with QoS 1 tells an answer again until that is acknowledged, over whichever connection. Only what is on disk
is acknowledged: another copy waits for the one that is under way, and takes its place where that was not taken.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable

REMEMBERED = 64
UNDER_WAY = 256
COPIES = 1024
"""Of one answer, waiting for it to be on disk: beyond what any client has under way unacknowledged."""

Copy = Callable[[bool], None]
"""Told whether the answer was taken."""


class Answers:
    """The answers of one device by the ids of its commands; the newest of each kind are remembered."""

    __slots__ = ("_taken", "_under_way")

    def __init__(self) -> None:
        self._taken: OrderedDict[str, None] | None = None
        self._under_way: OrderedDict[str, deque[Copy]] | None = None

    def asked(self, id: str) -> None:
        """A command goes out (again): its next answer is a new one."""
        if self._taken is not None:
            self._taken.pop(id, None)
        self.failed(id)

    def taken(self, id: str) -> bool:
        """Whether the hub holds the answer."""
        return self._taken is not None and id in self._taken

    def under_way(self, id: str, copy: Copy) -> bool:
        """Whether the hub is being given the answer; this copy of it is then told what became of that."""
        copies = None if self._under_way is None else self._under_way.get(id)
        if copies is None:
            return False
        copies.append(copy)
        return True

    def begin(self, id: str) -> None:
        """The hub is given the answer; `held` or `failed` follows."""
        if self._under_way is None:
            self._under_way = OrderedDict()
        self._under_way[id] = deque(maxlen=COPIES)
        if len(self._under_way) > UNDER_WAY:
            self.failed(next(iter(self._under_way)))

    def held(self, id: str) -> None:
        """It is on disk."""
        if self._taken is None:
            self._taken = OrderedDict()
        self._taken[id] = None
        if len(self._taken) > REMEMBERED:
            self._taken.popitem(last=False)
        self._over(id, True)

    def failed(self, id: str) -> None:
        """It was not taken: any copy of it counts."""
        self._over(id, False)

    def _over(self, id: str, taken: bool) -> None:
        copies = None if self._under_way is None else self._under_way.pop(id, None)
        if not self._under_way:
            self._under_way = None  # 20,000 idle devices
        for copy in copies or ():
            copy(taken)
