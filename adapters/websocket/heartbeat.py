"""The heartbeat of one connection: a device that was silent for a beat is asked for a sign of life, and after two it is
taken for gone. One that sleeps is asked for nothing."""

from __future__ import annotations

from collections.abc import Callable

from hub.ports.clock import Clock, Timer


class Heartbeat:
    """Watches the silence of a device, looked at every `beat` seconds. `ping` is called with how long it lasts in whole
    seconds, `lost` when it lasted too long."""

    def __init__(
        self, clock: Clock, beat: float, *, asleep: Callable[[], bool], ping: Callable[[int], None],
        lost: Callable[[], None],
    ) -> None:  # fmt: skip
        self.beat = beat
        self._clock = clock
        self._asleep = asleep
        self._ping = ping
        self._lost = lost
        self._heard = clock.monotonic()
        self._timer: Timer | None = None
        self._stopped = False

    def heard(self) -> None:
        """The device said something."""
        self._heard = self._clock.monotonic()

    def start(self) -> None:
        """Watch from now on, unless it was stopped."""
        if not self._stopped:
            self._timer = self._clock.call_at(self._clock.monotonic() + self.beat, self._look)

    def stop(self) -> None:
        """Watch no more; harmless a second time."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        silent = self._clock.monotonic() - self._heard
        if silent >= 2 * self.beat:
            self._lost()
            return
        if silent >= self.beat and not self._asleep():
            self._ping(int(silent))
        self.start()
