"""Who registers too often: one device that does nothing else, and a flood of many."""

from __future__ import annotations

from collections import OrderedDict, deque

MOST_NAMES = 4096


class Throttle:
    """At most `times` registrations of one name in `within` seconds, else none for `pause`; and of all names together
    `rate` a second, with `burst` at once. Bounded whatever names come."""

    def __init__(
        self, rate: float, burst: float, times: int = 10, within: float = 10.0, pause: float = 60.0
    ) -> None:
        self._rate = rate
        self._burst = burst
        self._times = times
        self._within = within
        self._pause = pause
        self._left = burst
        self._at = 0.0
        self._names: OrderedDict[str, deque[float]] = OrderedDict()
        self._refused: OrderedDict[str, float] = OrderedDict()

    def wait(self, name: str, now: float) -> float:
        """Seconds that a registration of `name` has to wait: 0 lets it in and counts it."""
        until = self._refused.get(name)
        if until is not None:
            if now < until:
                return until - now
            del self._refused[name]
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            return max(1.0, (1 - self._left) / self._rate)
        recent = self._names.get(name)
        if recent is None:
            recent = self._names[name] = deque(maxlen=self._times)
        self._names.move_to_end(name)
        if len(recent) == self._times and now - recent[0] < self._within:
            del self._names[name]
            self._refused[name] = now + self._pause
            self._bound()
            return self._pause
        self._left -= 1
        recent.append(now)
        self._bound()
        return 0.0

    def blames(self, name: str) -> bool:
        """Whether it is this name that came too often, not all together."""
        return name in self._refused

    def _bound(self) -> None:
        while len(self._names) > MOST_NAMES:
            self._names.popitem(last=False)
        while len(self._refused) > MOST_NAMES:
            self._refused.popitem(last=False)
