"""The types that the hub answers itself: jobs, sessions, and the version that it speaks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.responses import Response

from hub.delivery.request import header
from hub.dialects.powerstore import job, wire
from hub.dialects.powerstore.exchange import Exchange
from hub.model.errors import MethodNotAllowed, NotFound
from hub.model.job_shape import JOB, SHAPES, UNFILTERED
from hub.model.principal import Scope
from hub.model.query import Attribute, Form, Shapes, apply, project
from hub.model.query_text import parse_instance, parse_query

RELEASE = "4.1.0.0"
"""The version of the API whose jobs these are; clients choose by it what they ask for."""

_SHAPES: Shapes = {
    "login_session": {
        "id": Attribute("id"),
        "user": Attribute("user"),
        "role_ids": Attribute("role_ids", Form.LIST),
        "idle_timeout": Attribute("idle_timeout", Form.NUMBER),
        "is_password_change_required": Attribute("is_password_change_required", Form.FLAG),
        "is_built_in_user": Attribute("is_built_in_user", Form.FLAG),
    },
    "software_installed": {
        "id": Attribute("id"),
        "release_version": Attribute("release_version"),
        "build_version": Attribute("build_version"),
        "build_id": Attribute("build_id"),
        "build_flavor": Attribute("build_flavor"),
        "release_timestamp": Attribute("release_timestamp", Form.MOMENT),
        "build_timestamp": Attribute("build_timestamp", Form.MOMENT),
        "installed_date": Attribute("installed_date", Form.MOMENT),
        "is_cluster": Attribute("is_cluster", Form.FLAG),
        "languages": Attribute("languages", Form.LIST),
        "appliance_id": Attribute("appliance_id"),
    },
}

_SOFTWARE: Mapping[str, Any] = {
    "id": "asyncid-hub",
    "release_version": RELEASE,
    "build_version": RELEASE,
    "is_cluster": True,
    "languages": ["English"],
}


async def jobs(exchange: Exchange) -> Response:
    """`GET job` and `GET job/{id}`."""
    _only(exchange, "GET", most=2)
    exchange.need(Scope.CALL, Scope.LISTEN)
    calls, array = exchange.front.hub.calls, exchange.array
    if len(exchange.segments) == 2:
        query = parse_instance(exchange.parameters, SHAPES, JOB)
        state = await calls.job(array.account, array.id, exchange.segments[1])
        return exchange.answer(200, job.shown(state, query.select))
    parameters = wire.read_parameters(exchange.parameters, header(exchange.request.scope, b"range"))
    query = parse_query(parameters, SHAPES, JOB, unfiltered=UNFILTERED)
    page = await calls.jobs(array.account, array.id, query)
    told = [job.shown(state, query.select) for state in page.states]
    if page.place.whole:
        return exchange.answer(200, told)
    return exchange.answer(206, told, {"content-range": str(page.place)})


async def login_session(exchange: Exchange) -> Response:
    """The session of this request, as a list of one, whole unless something is selected."""
    _only(exchange, "GET", most=1)
    session, sessions = exchange.session, exchange.front.sessions
    row = {
        "id": session.nonce,
        "user": exchange.holder.name,
        "role_ids": ["1"],
        "idle_timeout": sessions.left(session),
        "is_password_change_required": False,
        "is_built_in_user": True,
    }
    selected = [pair for pair in exchange.parameters if pair[0] == "select"] or [("select", "*")]
    query = parse_instance(selected, _SHAPES, "login_session")
    return exchange.answer(200, [project(row, query.select, _SHAPES, "login_session", _nowhere)])


async def logout(exchange: Exchange) -> Response:
    """End the session; the cookie is worth nothing from now on."""
    _only(exchange, "POST", most=1)
    await exchange.front.sessions.end(exchange.session)
    response = exchange.answer(204)
    response.headers["set-cookie"] = f"{wire.COOKIE}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict"
    return response


async def software_installed(exchange: Exchange) -> Response:
    """What speaks here, as a list of one."""
    _only(exchange, "GET", most=2)
    kind = "software_installed"
    if len(exchange.segments) == 2:
        if exchange.segments[1] != _SOFTWARE["id"]:
            raise NotFound(f"Instance with id {exchange.segments[1]} was not found.", code="unknown-instance")
        query = parse_instance(exchange.parameters, _SHAPES, kind)
        return exchange.answer(200, project(_SOFTWARE, query.select, _SHAPES, kind, _nowhere))
    parameters = wire.read_parameters(exchange.parameters, header(exchange.request.scope, b"range"))
    query = parse_query(parameters, _SHAPES, kind)
    rows, place = apply(query, [_SOFTWARE])
    told = [project(row, query.select, _SHAPES, kind, _nowhere) for row in rows]
    return exchange.answer(200 if place.whole else 206, told, {} if place.whole else {"content-range": str(place)})


TYPES: Mapping[str, Callable[[Exchange], Awaitable[Response]]] = {
    JOB: jobs,
    "login_session": login_session,
    "logout": logout,
    "software_installed": software_installed,
}
"""The hub's own types by name."""


def _only(exchange: Exchange, method: str, *, most: int) -> None:
    kind = "/".join(exchange.segments)
    if len(exchange.segments) > most:
        raise NotFound(f"The resource {kind} is not known.", code="unknown-type")
    if exchange.request.method != method and not (method == "GET" and exchange.request.method == "HEAD"):
        raise MethodNotAllowed(f"{exchange.request.method} is not offered on {kind}.")


def _nowhere(row: Any, attribute: Attribute) -> None:
    """These types lead to no other."""
