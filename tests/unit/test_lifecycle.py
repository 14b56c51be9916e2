"""The life of a call: every stage with every step, and what each ending is told as."""

from __future__ import annotations

import itertools

import pytest

from hub.model.call import Stage
from hub.model.errors import IllegalStep
from hub.model.lifecycle import ENDINGS, LIFECYCLE, Step, after, sources
from hub.model.outcome import Ending

# Written down a second time, on purpose: a change of the table shall be one in two places.
ACCEPTED, PARKED, SENT, WAITING, DONE = Stage.ACCEPTED, Stage.PARKED, Stage.SENT, Stage.WAITING, Stage.DONE
EXPECTED = {
    #           park    claim release   checkpoint  end
    ACCEPTED: (PARKED, SENT, None, None, DONE),
    PARKED: (None, SENT, None, None, DONE),
    SENT: (PARKED, None, ACCEPTED, WAITING, DONE),
    WAITING: (None, None, None, WAITING, DONE),
    DONE: (None, None, None, None, None),
}
STEPS = (Step.PARK, Step.CLAIM, Step.RELEASE, Step.CHECKPOINT, Step.END)


@pytest.mark.parametrize(("stage", "step"), list(itertools.product(Stage, Step)))
def test_each_step_leads_from_each_stage_where_the_table_says(stage: Stage, step: Step) -> None:
    expected = EXPECTED[stage][STEPS.index(step)]

    if expected is None:
        with pytest.raises(IllegalStep):
            after(stage, step)
        assert stage not in sources(step)
    else:
        assert after(stage, step) is expected
        assert stage in sources(step)


def test_every_open_call_can_end_and_an_ended_one_can_do_nothing() -> None:
    assert set(sources(Step.END)) == set(Stage) - {Stage.DONE}
    assert LIFECYCLE[Stage.DONE] == {}


def test_every_stage_can_be_reached() -> None:
    reached = {Stage.ACCEPTED}
    while more := {after for stage in reached for after in LIFECYCLE[stage].values()} - reached:
        reached |= more

    assert reached == set(Stage)


def test_every_ending_has_its_status_and_word() -> None:
    told = {ending: (words.status, words.word) for ending, words in ENDINGS.items()}

    assert told == {
        Ending.ANSWERED: (200, None),
        Ending.DEVICE_ERROR: (500, "DEVICE_ERROR"),
        Ending.REFUSED: (400, "BAD_REQUEST"),
        Ending.UNREACHABLE: (502, "UNREACHABLE"),
        Ending.TIMED_OUT: (504, "TIMEOUT"),
        Ending.UNKNOWN: (504, "OUTCOME_UNKNOWN"),
        Ending.EXPIRED: (429, "REQUEST_EXPIRED"),
        Ending.REMOVED: (429, "DEVICE_REMOVED_REGISTRATION"),
        Ending.CANCELLED: (409, "CANCELLED"),
    }
