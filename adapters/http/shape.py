"""How an upstream speaks of its jobs: how a change becomes one, where jobs are asked after, what their words mean.

All of it is settings; the shapes that have a name are no more than settings that somebody wrote down already.

    [adapters.<name>]
    jobs = "powerstore"        # powerstore, hub, location; "none": plain devices

    [adapters.<name>.job]      # what differs from the named shape
    query = "is_async=true"    # added to the query of every change
    key = ""                   # header that carries the id of the call, where the upstream answers a repetition from it
    id = "id"                  # member of the 202's body that names the job; "": the header Location is its address
    one = "job/{id}?select=id,state"             # where one job is asked after; needs {id}
    many = "job?select=id,state&id=in.({ids})"   # where many are; needs {ids}; "": one by one
    find = ""                  # where a job is looked for whose 202 was lost: {type} {action} {instance} {name} {user}
                               # {since}; a condition for which there is no value is left out
    state = "state"            # member that tells how the job stands; "": its answer is the result
    state_else = "phase"       # another, where the first is missing
    done = ["COMPLETED"]       # its words for success
    failed = ["FAILED"]        # its words for failure
    unknown = []               # its words for an end of which it does not know itself what became of the change; every
                               # word that stands nowhere here: still at work
    status = "response_status" # member with the HTTP status of the result
    body = "response_body"     # member with the result itself; "": the whole answer
    follow = "job_job_response" # `response_type` of a result that is a further job
    ends_at = "estimated_completion_time"   # member with the moment at which it should be over
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

_ASKED = "id,state,phase,response_status,response_body,end_time,estimated_completion_time,progress_percentage"

_LEFT = "unrecoverable_failed"


@dataclass(frozen=True, slots=True)
class JobShape:
    """One way to speak of jobs; the members are those of the settings."""

    query: str = ""
    key: str = ""
    id: str = ""
    one: str = ""
    many: str = ""
    find: str = ""
    state: str = ""
    state_else: str = ""
    done: frozenset[str] = frozenset()
    failed: frozenset[str] = frozenset()
    unknown: frozenset[str] = frozenset()
    status: str = ""
    body: str = ""
    follow: str = ""
    ends_at: str = ""


POWERSTORE = JobShape(
    query="is_async=true",
    id="id",
    one=f"job/{{id}}?select={_ASKED}",
    many=f"job?select={_ASKED}&id=in.({{ids}})&limit=2000",
    find="job?select=id&resource_type=eq.{type}&resource_action=eq.{action}&resource_id=eq.{instance}"
    "&resource_name=eq.{name}&user=eq.{user}&start_time=gte.{since}&limit=100",
    state="state",
    state_else="phase",
    done=frozenset({"completed"}),
    failed=frozenset({"failed", _LEFT, "skipped"}),
    status="response_status",
    body="response_body",
    follow="job_job_response",
    ends_at="estimated_completion_time",
)


def without(template: str, member: str) -> str:
    """The same question without one member among those that it lists; "" where it lists none such."""
    path, _, query = template.partition("?")
    parts = [part.partition("=") for part in query.split("&")] if member else []
    shorter = [(name, ",".join(word for word in value.split(",") if word != member)) for name, _, value in parts]
    if all(value == before for (_, value), (_, _, before) in zip(shorter, parts, strict=True)):
        return ""
    return path + "?" + "&".join(f"{name}={value}" for name, value in shorter)


SHAPES: Mapping[str, JobShape] = {
    "powerstore": POWERSTORE,
    # A hub answers a repeated submit with the job of the first: nothing has to be looked for. Where an array that
    # cannot clean up after a failure says so, a hub says that nobody knows.
    "hub": replace(
        POWERSTORE,
        key="Idempotency-Key",
        failed=POWERSTORE.failed - {_LEFT},
        unknown=frozenset({_LEFT}),
    ),
    "location": JobShape(
        state="status",
        done=frozenset({"succeeded", "success", "completed", "done"}),
        failed=frozenset({"failed", "error", "canceled", "cancelled"}),
    ),
}


def read_shape(name: str, table: Any) -> JobShape | None:
    """The named shape with what the table changes of it; None for `none`. Raises ValueError that names the key."""
    if name == "none":
        if table:
            raise ValueError('job: says how jobs are asked after, and jobs = "none"')
        return None
    known = SHAPES.get(name)
    if known is None:
        raise ValueError(f"jobs: is none or one of {', '.join(SHAPES)}")
    if not isinstance(table, Mapping):
        raise ValueError("job: is a table")
    names = {field.name for field in fields(JobShape)}
    changed: dict[str, Any] = {}
    for key, value in table.items():
        if key not in names:
            raise ValueError(f"job.{key}: no such setting; there are {', '.join(sorted(names))}")
        changed[key] = _words(key, value) if key in ("done", "failed", "unknown") else _text(key, value)
    shape = replace(known, **changed)
    if shape.id and "{id}" not in shape.one:
        raise ValueError("job.one: must hold {id}, since the body of the 202 names the job")
    if shape.many and ("{ids}" not in shape.many or not shape.id):
        raise ValueError("job.many: must hold {ids}, and the body of the 202 must name the job (job.id)")
    if shape.state and not shape.done:
        raise ValueError("job.done: needs a word, or nothing would ever end")
    for key, places in (("one", {"id"}), ("many", {"ids"}), ("find", _FOUND_BY)):
        try:
            getattr(shape, key).format(**dict.fromkeys(places, ""))
        except (KeyError, ValueError, IndexError):
            may = ", ".join("{" + place + "}" for place in sorted(places))
            raise ValueError(f"job.{key}: may hold {may}") from None
    return shape


_FOUND_BY = {"type", "action", "instance", "name", "user", "since"}


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str) or not value.isprintable() or "#" in value:
        raise ValueError(f"job.{key}: is a text")
    return value


def _words(key: str, value: Any) -> frozenset[str]:
    if not isinstance(value, list | tuple) or not all(isinstance(word, str) and word for word in value):
        raise ValueError(f"job.{key}: is a list of words")
    return frozenset(word.casefold() for word in value)
