"""A job: how a changing call on an array is told by the array's collection of jobs. Pure.

Everything that the collection can be asked for follows from the call and its outcome by these functions, so that
an engine which searches and a dialect which shows cannot disagree.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hub.model.call import CallSpec, Stage
from hub.model.errors import BadRequest
from hub.model.outcome import Ending, Outcome
from hub.model.target import parse_target

USER = "user"
"""The member of a call's echo that says who asked, where that is not the application."""

_READS = frozenset({"GET", "HEAD"})
_ACTIONS = {"POST": "create", "PATCH": "modify", "PUT": "modify", "DELETE": "delete"}


class JobState(enum.Enum):
    """Where a job stands; no other states are told by a hub."""

    QUEUED = "QUEUED"
    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    UNRECOVERABLE_FAILED = "UNRECOVERABLE_FAILED"

    @property
    def phase(self) -> str:
        """The same word, its parts capitalised."""
        return "_".join(part.capitalize() for part in self.value.split("_"))

    @property
    def final(self) -> bool:
        """Whether it never changes again."""
        return self not in (JobState.QUEUED, JobState.IN_PROGRESS)


@dataclass(frozen=True, slots=True)
class JobFacets:
    """What a job works on: a type, what is done, which instance (None while there is none yet), its name if known."""

    kind: str
    action: str
    instance: str | None
    name: str | None
    user: str


STATUSES = frozenset({200, 201, 202, 204, 206, 207, 400, 401, 403, 404, 405, 406, 415, 416, 422, 500, 503})
"""The statuses that an array knows."""

_TOLD_AS = {408: 503, 409: 422, 410: 404, 413: 400, 414: 400, 429: 503, 502: 503, 504: 503, 507: 503}

_ENDED = {
    Ending.ANSWERED: JobState.COMPLETED,
    Ending.UNKNOWN: JobState.UNRECOVERABLE_FAILED,
}


def facets_of(spec: CallSpec) -> JobFacets | None:
    """What the job of a call works on; None for a call that changes nothing, or names nothing, and so is no job."""
    if spec.method in _READS or spec.method == "INVOKE":
        return None
    try:
        segments = parse_target(spec.target).segments
    except BadRequest:
        return None
    if not segments:
        return None
    kind, rest = segments[0], segments[1:]
    action = _ACTIONS.get(spec.method, spec.method.lower())
    instance: str | None = None
    if spec.method == "POST" and rest:
        action, instance = rest[-1], rest[0] if len(rest) > 1 else None
    elif rest:
        instance = rest[0]
    name = None
    if instance is not None and instance.startswith("name:"):
        name, instance = instance[5:], None
    elif spec.method == "POST" and not rest:
        name = _member(spec.payload, "name")
    user = spec.echo.get(USER)
    return JobFacets(kind, action, instance, name, user if isinstance(user, str) else spec.application)


def created(spec: CallSpec, outcome: Outcome) -> str | None:
    """The instance that a create has made, as its answer names it; None for what made none, or did not say."""
    if spec.method != "POST" or outcome.ending is not Ending.ANSWERED or not outcome.payload.startswith(b"{"):
        return None
    facets = facets_of(spec)
    if facets is None or facets.action != _ACTIONS["POST"] or facets.instance is not None:
        return None
    return _member(outcome.payload, "id") or None


def state_of(stage: Stage, outcome: Outcome | None) -> JobState:
    """Where the job of a call stands."""
    if outcome is not None:
        return JobState.UNRECOVERABLE_FAILED if unrecovered(outcome) else _ENDED.get(outcome.ending, JobState.FAILED)
    return JobState.IN_PROGRESS if stage in (Stage.SENT, Stage.WAITING) else JobState.QUEUED


def unrecovered(outcome: Outcome) -> bool:
    """Whether the array itself said that it could not recover from a failure: things may be left half done."""
    return outcome.ending is Ending.DEVICE_ERROR and outcome.error == JobState.UNRECOVERABLE_FAILED.value


def status_of(outcome: Outcome) -> int:
    """The status that a request which waited would have got, one of `STATUSES`."""
    match outcome.ending:
        case Ending.ANSWERED:
            said = outcome.native.get("status", outcome.status)
            good = said if isinstance(said, int) and said in STATUSES and 200 <= said < 300 else 200
            return 204 if not outcome.payload and good in (200, 204) else 200 if good == 204 else good
        case Ending.DEVICE_ERROR | Ending.REFUSED:
            # A device that refuses the hub does not mean who asked.
            return 503 if outcome.status in (401, 403) else status_within(outcome.status)
        case Ending.UNKNOWN:
            return 500
        case Ending.CANCELLED:
            return 422
        case _:
            return 503


def status_within(status: int) -> int:
    """The status nearest to one that an array does not know."""
    if status in STATUSES and status >= 400:
        return status
    return _TOLD_AS.get(status, 422 if 400 <= status < 500 else 500)


def described(kind: str, action: str) -> str:
    """One sentence for people."""
    return f"{action.replace('_', ' ').capitalize()} a {kind.replace('_', ' ')}."


def _member(payload: bytes, name: str) -> str | None:
    """A text among the members of a JSON object; None for anything else."""
    try:
        value: Any = json.loads(payload)
        member = value.get(name) if isinstance(value, Mapping) else None
        if not isinstance(member, str):
            return None
        member.encode()  # the half of a pair of surrogates can be written in JSON, and is no text
    except (ValueError, RecursionError):
        return None
    return member
