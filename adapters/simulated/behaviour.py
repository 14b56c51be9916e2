"""How a simulated device, or one of its points, answers a call.

A behaviour is a value from the settings; `device.py` acts on it. Every length of time is counted on
the hub's clock, so that a test moves through a late answer or a long job by hand.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import timedelta


class Manner(enum.Enum):
    """What becomes of the answer. The call is executed in every manner.

    ANSWER: it comes after `delay`. TWICE: it comes, and comes again. NEVER: it does not come. LATE: it
    comes `late` after the deadline of the attempt. DISCONNECT: instead of it the device is gone, and back `away` later.
    JOB: the device takes the call as a job that ends `hold` later, however often the hub restarts meanwhile.
    """

    ANSWER = "answer"
    TWICE = "twice"
    NEVER = "never"
    LATE = "late"
    DISCONNECT = "disconnect"
    JOB = "job"


@dataclass(frozen=True, slots=True)
class Behaviour:
    """A manner with its lengths of time; `status` makes the device refuse with that status instead."""

    manner: Manner = Manner.ANSWER
    delay: timedelta = timedelta(0)
    late: timedelta = timedelta(seconds=1)
    hold: timedelta = timedelta(seconds=10)
    away: timedelta = timedelta(seconds=1)
    status: int | None = None


@dataclass(frozen=True, slots=True)
class Sleep:
    """A device that sleeps: awake for `awake` after each contact, then asleep for `asleep`, and so on."""

    awake: timedelta
    asleep: timedelta


AT_ONCE = Behaviour()
