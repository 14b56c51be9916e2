"""The tables within the settings of the MQTT adapter's broker mode: presence, template, telemetry, sessions.

`settings.py` names every key of them. A value that is wrong is a ValueError that names it.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field, fields
from typing import Any

from adapters.mqtt.broker.pattern import DEVICE, Pattern, is_address

PLACES = frozenset({"id", "method", "target", "payload", "type", "deadline"})


@dataclass(frozen=True, slots=True)
class Presence:
    """Where devices say whether they are there."""

    topic: Pattern | None = None
    online: str = "online"
    offline: str = "offline"
    required: bool = False


@dataclass(frozen=True, slots=True)
class Template:
    """How devices are called that know nothing of request and response."""

    request: Pattern = field(default_factory=lambda: Pattern("devices/{device}/requests/{id}"))
    reply: Pattern = field(default_factory=lambda: Pattern("devices/{device}/replies/{id}"))
    id: str = ""
    status: str = ""
    result: str = ""
    body: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Telemetry:
    """What a message on some topic tells."""

    topic: Pattern
    device: str = "{device}"
    path: str = "/{path}"
    type: str = ""


def presence(table: Any, levels: int) -> Presence:
    values = _table("presence", table, {"topic", "online", "offline", "required"})
    words = ("online", "offline")
    made: dict[str, Any] = {key: text(f"presence.{key}", values[key]) for key in words if key in values}
    if values.get("topic"):
        made["topic"] = pattern("presence.topic", values["topic"], levels, {DEVICE}, {DEVICE})
    if "required" in values:
        if not isinstance(values["required"], bool):
            raise ValueError("presence.required: is true or false")
        made["required"] = values["required"]
    if made.get("required") and "topic" not in made:
        raise ValueError("presence.required: needs a topic")
    presence = Presence(**made)
    if presence.online == presence.offline:
        raise ValueError("presence.online: says something else than offline")
    return presence


def template(table: Any, levels: int) -> Template:
    values = _table("template", table, {entry.name for entry in fields(Template)})
    made: dict[str, Any] = {key: text(f"template.{key}", values[key]) for key in ("id", "status", "result")
                            if key in values}  # fmt: skip
    if "request" in values:
        places = {DEVICE, "id", "method", "target", "deadline"}
        made["request"] = pattern("template.request", values["request"], levels, places, {DEVICE}, rest={"target"})
    if "reply" in values:
        made["reply"] = pattern("template.reply", values["reply"], levels, {DEVICE, "id"}, {DEVICE})
    if "body" in values:
        made["body"] = _table("template.body", values["body"], None)
        for place in _texts(made["body"]):
            _judge_place(place)
    template = Template(**made)
    asked = "id" in template.request.names or "{id}" in _texts(template.body)
    if not asked or not (template.id or "id" in template.reply.names):
        raise ValueError("template.id: the request and the answer need an {id}, in the topic or as a member")
    if (template.status or template.result) and not template.body:
        raise ValueError("template.body: an answer with members belongs to a request with members")
    return template


def _judge_place(text: str) -> None:
    if text.startswith("{") and text.endswith("}") and text[1:-1] not in PLACES:
        raise ValueError(f"template.body: {text} is none of {', '.join(sorted(PLACES))}")


def _texts(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [text for part in value.values() for text in _texts(part)]
    if isinstance(value, list):
        return [text for part in value for text in _texts(part)]
    return [value] if isinstance(value, str) else []


def telemetry(rules: Any, levels: int) -> tuple[Telemetry, ...]:
    if not isinstance(rules, list):
        raise ValueError("telemetry: is a list of tables")
    made = []
    for number, rule in enumerate(rules):
        at = f"telemetry.{number}"
        values = _table(at, rule, {"topic", "device", "path", "type"})
        if "topic" not in values:
            raise ValueError(f"{at}.topic: must be there")
        topic = pattern(f"{at}.topic", values.pop("topic"), levels, {DEVICE, "path"}, set(), rest={"path"})
        one = Telemetry(topic, **{key: text(f"{at}.{key}", value) for key, value in values.items()})
        for key, place in (("device", DEVICE), ("path", "path")):
            if f"{{{place}}}" in getattr(one, key) and place not in topic.names:
                raise ValueError(f"{at}.{key}: the topic has no {{{place}}}")
        if one.device != "{device}" and not is_address(one.device, levels):
            raise ValueError(f"{at}.device: is no address")
        if not one.path.startswith("/"):
            raise ValueError(f"{at}.path: begins with a slash")
        made.append(one)
    return tuple(made)


def sessions(table: Any) -> Mapping[str, str]:
    values = _table("sessions", table, None)
    for address, client in values.items():
        if not is_address(address, 2) or not isinstance(client, str) or not client:
            raise ValueError("sessions: are client ids by <product key>/<device key>")
    return values


def _table(key: str, table: Any, known: set[str] | None) -> dict[str, Any]:
    if not isinstance(table, Mapping):
        raise ValueError(f"{key}: is a table")
    for name in table:
        if known is not None and name not in known:
            raise ValueError(f"{key}.{name}: no such setting; there are {', '.join(sorted(known))}")
    return dict(table)


def pattern(
    key: str, value: Any, levels: int, places: Set[str], needed: Set[str], rest: Set[str] = frozenset()
) -> Pattern:
    """A pattern with places of these names, all of the needed ones; only those of `rest` may be a whole end."""
    topic = text(key, value)
    try:
        made = Pattern(topic, levels)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None
    if set(made.names) - places or needed - set(made.names):
        all_, must = ", ".join(sorted(places)), ", ".join(sorted(needed)) or "nothing"
        raise ValueError(f"{key}: may have {all_} in curly brackets, and must have {must}")
    if topic.endswith("...}") and made.names[-1] not in rest:
        raise ValueError(f"{key}: only {', '.join(sorted(rest)) or 'nothing'} may be a whole end")
    return made


def text(key: str, value: Any) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError(f"{key}: is a text")
    return value
