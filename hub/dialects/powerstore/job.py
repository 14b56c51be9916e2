"""A call as a job: one row of the collection, all attributes in place. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hub.dialects.powerstore import wire
from hub.model.call import CallState
from hub.model.job import JobFacets, created, described, facets_of, state_of, status_of
from hub.model.job_shape import JOB, SHAPES
from hub.model.outcome import Ending, Outcome
from hub.model.query import Attribute, Chosen, Row, project

ERROR = "job_error_response"


def shown(state: CallState, select: Iterable[Chosen]) -> dict[str, Any]:
    """The selected attributes of a job."""
    return project(row(state), select, SHAPES, JOB, _follow)


def row(state: CallState) -> dict[str, Any]:
    """All plain attributes of a job. A call that is none has no row: ValueError."""
    facets = facets_of(state.call.spec)
    if facets is None:
        raise ValueError("the call is no job")
    outcome = state.outcome
    stands = state_of(state.stage, outcome)
    status = None if outcome is None else str(status_of(outcome))
    return {
        "id": state.call.id,
        "resource_action": facets.action,
        "resource_type": facets.kind,
        "resource_id": facets.instance or (None if outcome is None else created(state.call.spec, outcome)),
        "resource_name": facets.name,
        "description_l10n": described(facets.kind, facets.action),
        "state": stands.value,
        "phase": stands.phase,
        "start_time": wire.moment(state.call.accepted_at),
        "end_time": wire.moment(state.ended_at),
        "estimated_completion_time": None,
        "progress_percentage": 100 if stands.final else 0,
        "parent_id": None,
        "root_id": state.call.id,
        "step_order": int(state.call.accepted_at.timestamp()),
        "user": facets.user,
        "response_body": None if outcome is None else response_body(facets, outcome),
        "response_status": status,
        "resource_action_l10n": facets.action,
        "resource_type_l10n": facets.kind,
        "state_l10n": stands.phase,
        "phase_l10n": stands.phase,
        "response_status_l10n": status,
    }


def response_body(facets: JobFacets, outcome: Outcome) -> dict[str, Any] | None:
    """The body that a request which waited would have got, with its kind; None where it would have had none."""
    if outcome.ending is not Ending.ANSWERED:
        return {"response_type": ERROR, **wire.failure(outcome)}
    value = wire.loaded(outcome.payload)
    if value is None:
        return None
    if not isinstance(value, dict):
        value = {"value": value}
    create = facets.action == "create" and facets.instance is None
    kind = "job_create_response" if create else f"job_{facets.kind}_{facets.action}_response"
    return {"response_type": kind, **value}


def _follow(job: Row, attribute: Attribute) -> Row | list[Row] | None:
    # A job has no steps: it is the root of its own tree.
    return {"root": job, "parent": None}.get(attribute.name, [])
