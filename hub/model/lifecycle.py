"""The life of a call as one table, and the endings with their words as another.

Every change of stage in every engine is a guarded update that this table allows; a test walks each
stage with each step. DONE is final: the first ending wins, later ones change nothing.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from hub.model.call import Stage
from hub.model.errors import IllegalStep
from hub.model.outcome import Ending


class Step(enum.Enum):
    """What can happen to a call.

    CLAIM: the written intent to send. RELEASE: nothing left the hub, wait again. PARK: wait for a
    device that sleeps or is gone. CHECKPOINT: the far side holds the job. END: an outcome exists.
    """

    PARK = "park"
    CLAIM = "claim"
    RELEASE = "release"
    CHECKPOINT = "checkpoint"
    END = "end"


LIFECYCLE: dict[Stage, dict[Step, Stage]] = {
    Stage.ACCEPTED: {
        Step.PARK: Stage.PARKED,
        Step.CLAIM: Stage.SENT,
        Step.END: Stage.DONE,
    },
    Stage.PARKED: {
        Step.CLAIM: Stage.SENT,
        Step.END: Stage.DONE,
    },
    Stage.SENT: {
        Step.PARK: Stage.PARKED,
        Step.RELEASE: Stage.ACCEPTED,
        Step.CHECKPOINT: Stage.WAITING,
        Step.END: Stage.DONE,
    },
    Stage.WAITING: {
        Step.CHECKPOINT: Stage.WAITING,
        Step.END: Stage.DONE,
    },
    Stage.DONE: {},
}


def after(stage: Stage, step: Step) -> Stage:
    """The stage that `step` leads to from `stage`; raises IllegalStep where the table has none."""
    try:
        return LIFECYCLE[stage][step]
    except KeyError:
        raise IllegalStep(f"{step.value} is not possible for a call that is {stage.value}") from None


def sources(step: Step) -> tuple[Stage, ...]:
    """The stages from which `step` is possible: the guard of an engine's update."""
    return tuple(stage for stage, steps in LIFECYCLE.items() if step in steps)


@dataclass(frozen=True, slots=True)
class EndingWords:
    """How an ending is told where the device itself said nothing: HTTP-like status and code word."""

    status: int
    word: str | None


# Decisions C. ANSWERED and DEVICE_ERROR carry the device's own status; the figure here is the
# fall-back. EXPIRED is told as NOT_CONNECTED where the caller set no expiry of his own.
ENDINGS: dict[Ending, EndingWords] = {
    Ending.ANSWERED: EndingWords(200, None),
    Ending.DEVICE_ERROR: EndingWords(500, "DEVICE_ERROR"),
    Ending.REFUSED: EndingWords(400, "BAD_REQUEST"),
    Ending.UNREACHABLE: EndingWords(502, "UNREACHABLE"),
    Ending.TIMED_OUT: EndingWords(504, "TIMEOUT"),
    Ending.UNKNOWN: EndingWords(504, "OUTCOME_UNKNOWN"),
    Ending.EXPIRED: EndingWords(429, "REQUEST_EXPIRED"),
    Ending.REMOVED: EndingWords(429, "DEVICE_REMOVED_REGISTRATION"),
    Ending.CANCELLED: EndingWords(409, "CANCELLED"),
}
