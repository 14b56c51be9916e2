"""The settings of the MQTT adapter's broker mode, read strictly: a wrong key or type is named, never ignored.

    url = "mqtt://127.0.0.1:1883"    # or mqtts://; one table for each broker, and for each way of speaking at a broker
    version = 5                  # of MQTT, for the hub's own connection, whatever devices speak; 4 is 3.1.1: commands
                                 # do not expire, and brokers that keep QoS 0 have them run late
    username = ""
    password = ""                # env:NAME or file:PATH
    ca = ""                      # PEM; authorities in place of the system's (mqtts)
    certificate = ""             # PEM files, where the broker wants to know the hub by them
    key = ""
    client_id = ""               # a name that stays; "": another one at each start, see docs/mqtt-brokers.md
    speak = "mqtt5"              # mqtt5, template or enos: how its devices are called
    request = "devices/{device}/request"     # where mqtt5 devices listen
    replies = "hubs/{client}/replies"        # the hub's own topic, for answers of mqtt5 devices
    status = ""                  # where the hub says online and offline, retained, with a last will; "": nowhere
    window = 4                   # calls that a device takes at a time; 16 with speak = "enos"
    keeps_qos0 = true            # false: the broker keeps no QoS 0 for devices that are away, so that what changes
                                 # something may go out with less than two seconds left
    total = 10000                # calls under way at all devices
    keep_alive = 60              # seconds
    connect_time = 10            # seconds for a connection to be ready
    reconnect_most = 10          # seconds to which the pause between attempts grows
    max_payload = 65536          # bytes of a request
    max_message = 262144         # bytes of a message of a device
    pending = 1000               # messages of devices that wait for the disk; then reading pauses
    group = ""                   # hubs of one group share the telemetry
    group_session = 60           # seconds for which the broker keeps this hub's share of it while the hub is away (only
                                 # with a client_id and version 5)
    session = 3600               # seconds for which the broker keeps messages for a hub with a client_id that is away
    max_age = 0                  # seconds for which told values are fresh; 0: they are not kept for reads

    [adapters.<name>.presence]
    topic = ""                   # devices/{device}/status; "": whoever is heard is there
    online = "online"            # what stands there, retained
    offline = "offline"          # what stands there, set by the device's last will
    required = false             # true: a device without a status is not there

    [adapters.<name>.template]   # speak = "template": devices of MQTT 3.1.1, whose answers carry an id of the request
    request = "devices/{device}/requests/{id}"      # {device} {id} {method} {deadline} {target}; {target...} at the end
    reply = "devices/{device}/replies/{id}"         # {device}, {id}
    id = ""                      # member of the answer with the id, if the topic has none
    status = ""                  # member of the answer with a status like HTTP's; "": every answer is a success
    result = ""                  # member of the answer with the result; "": the whole answer
    body = {}                    # the request as a JSON object with {id} {method} {target} {payload} {type} and, in
                                 # milliseconds since 1970, {deadline} as values; {}: the payload as it is

    [[adapters.<name>.telemetry]]
    topic = "plant/{device}/{path...}"   # {device}, {path}
    device = "{device}"          # the address
    path = "/{path}"             # the path of the notification
    type = ""                    # content type, where the message does not say

    [adapters.<name>.sessions]   # speak = "enos": sessions to prepare, client ids by device
    "<product key>/<device key>" = "<client id of the device>"
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from adapters.mqtt.broker import tables
from adapters.mqtt.broker.pattern import DEVICE, Pattern, covers, is_level, overlap, widest
from adapters.mqtt.broker.tables import Presence, Telemetry, Template

SPEAK = ("mqtt5", "template", "enos")
ENOS_WINDOW = 16
"""Calls that an EnOS device takes at a time where nothing is said (decisions J3)."""


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """Everything that can be set. `password` is a reference, or the secret itself where somebody put it there."""

    url: str = "mqtt://127.0.0.1:1883"
    version: int = 5
    username: str = ""
    password: str = field(default="", repr=False)
    ca: str = ""
    certificate: str = ""
    key: str = ""
    client_id: str = ""
    speak: str = "mqtt5"
    request: Pattern = field(default_factory=lambda: Pattern("devices/{device}/request"))
    replies: str = "hubs/{client}/replies"
    status: str = ""
    window: int = 4
    keeps_qos0: bool = True
    total: int = 10_000
    keep_alive: int = 60
    connect_time: timedelta = timedelta(seconds=10)
    reconnect_most: timedelta = timedelta(seconds=10)
    max_payload: int = 65_536
    max_message: int = 262_144
    pending: int = 1000
    group: str = ""
    group_session: int = 60
    session: int = 3600
    max_age: int = 0
    presence: Presence = field(default_factory=Presence)
    template: Template | None = None
    telemetry: tuple[Telemetry, ...] = ()
    sessions: Mapping[str, str] = field(default_factory=dict)

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.url.startswith("mqtts:")

    @property
    def place(self) -> tuple[str, int]:
        """Host and port of the broker."""
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or (8883 if self.tls else 1883)

    @property
    def levels(self) -> int:
        """How many levels of a topic an address has."""
        return 2 if self.speak == "enos" else 1


_NUMBERS: Mapping[str, tuple[int, int]] = {
    "window": (1, 1000), "total": (1, 60_000), "keep_alive": (5, 65_535), "connect_time": (1, 300),
    "reconnect_most": (1, 3600), "max_payload": (0, 64 << 20), "max_message": (1024, 64 << 20), "pending": (1, 100_000),
    "session": (0, 30 * 86_400), "group_session": (0, 30 * 86_400), "max_age": (0, 1 << 30),
}  # fmt: skip
_LEVELS = ("client_id", "group")
_TABLES = ("presence", "template", "telemetry", "sessions")


def read(settings: Mapping[str, Any]) -> BrokerSettings:
    """The settings as values. Raises ValueError that names the key and what is wrong with it."""
    known = [entry.name for entry in fields(BrokerSettings)]
    speak = settings.get("speak", "mqtt5")
    if speak not in SPEAK:
        raise ValueError(f"speak: is one of {', '.join(SPEAK)}")
    levels = 2 if speak == "enos" else 1
    values: dict[str, Any] = {"window": ENOS_WINDOW} if speak == "enos" else {}
    for key, value in settings.items():
        if key not in known:
            raise ValueError(f"{key}: no such setting; there are {', '.join(sorted(known))}")
        if key in _NUMBERS:
            values[key] = _number(key, value)
        elif key == "version":
            if value not in (4, 5) or isinstance(value, bool):
                raise ValueError("version: is 4 (MQTT 3.1.1) or 5")
            values[key] = value
        elif key == "keeps_qos0":
            if not isinstance(value, bool):
                raise ValueError("keeps_qos0: is true or false")
            values[key] = value
        elif key == "request":
            values[key] = tables.pattern(key, value, levels, {DEVICE}, {DEVICE})
        elif key not in _TABLES:
            values[key] = tables.text(key, value)
    values["presence"] = tables.presence(settings.get("presence", {}), levels)
    values["telemetry"] = tables.telemetry(settings.get("telemetry", []), levels)
    values["sessions"] = tables.sessions(settings.get("sessions", {}))
    if "template" in settings or speak == "template":
        values["template"] = tables.template(settings.get("template", {}), levels)
    made = BrokerSettings(**values)
    _judge(made)
    return made


def _judge(made: BrokerSettings) -> None:
    """Raises ValueError for what cannot be together."""
    _url(made.url)
    for key in _LEVELS:
        text = getattr(made, key)
        if text and not (is_level(text) and len(text) <= 128):
            raise ValueError(f"{key}: is at most 128 letters without slash, plus and number sign")
    if made.password and not made.username:
        raise ValueError("password: needs a username")
    if (made.ca or made.certificate or made.key) and not made.tls:
        raise ValueError("ca: the url is not mqtts")
    if bool(made.certificate) != bool(made.key):
        raise ValueError("certificate: certificate and key go together")
    if made.speak == "mqtt5" and made.version != 5:
        raise ValueError("speak: mqtt5 needs version 5")
    for key, needed in (("replies", {"client"}), ("status", set())):
        if key == "replies" or made.status:
            tables.pattern(key, getattr(made, key), 1, {"client"}, needed)
    _reserved(made)
    if (made.template is None) != (made.speak != "template"):
        raise ValueError('template: is for speak = "template"')
    if made.sessions and made.speak != "enos":
        raise ValueError('sessions: are for speak = "enos"')
    _hears_itself(made)
    _answers(made)
    told = widest([rule.topic.filter for rule in made.telemetry])
    for number, one in enumerate(told):
        for other in told[number + 1 :]:
            if overlap(one, other):
                raise ValueError(f"telemetry: {one} and {other} overlap in part: some messages would be told twice")


def _reserved(made: BrokerSettings) -> None:
    """Topics that a broker has for itself can be neither told anything nor, where they are shared, listened to."""
    said = {"request": made.request.text, "replies": made.replies, "status": made.status}
    heard = {f"telemetry.{number}.topic": rule.topic.text for number, rule in enumerate(made.telemetry)}
    if made.presence.topic is not None:
        heard["presence.topic"] = made.presence.topic.text
    if made.template is not None:
        said["template.request"] = made.template.request.text
        heard["template.reply"] = made.template.reply.text
    for names, begins in ((said, ("$share/", "$queue/", "$SYS/")), (heard, ("$share/", "$queue/"))):
        for key, text in names.items():
            if text.startswith(begins):
                raise ValueError(f"{key}: {text.partition('/')[0]} is the broker's own")


def _answers(made: BrokerSettings) -> None:
    """What comes at the topic of a status is taken for one: answers need another."""
    status = made.presence.topic
    if status is None:
        return
    if made.template is not None and covers(status.filter, made.template.reply.filter):
        raise ValueError("template.reply: the answers would be taken for statuses of presence.topic")
    if overlap(status.filter, Pattern(made.replies).filter):
        raise ValueError("presence.topic: the hub's own replies would be taken for statuses")


def _hears_itself(made: BrokerSettings) -> None:
    """Nothing that the hub listens to may bring what it says itself."""
    told = {"replies": f"{Pattern(made.replies).filter}/+"}
    if made.speak == "mqtt5":
        told["request"] = made.request.filter
    if made.template is not None:
        told["template.request"] = made.template.request.filter
    if made.speak == "enos":
        told["request"] = "/sys/+/+/thing/service/#"
    if made.status:
        told["status"] = Pattern(made.status).filter
    heard = {f"telemetry {rule.topic.text}": rule.topic.filter for rule in made.telemetry}
    if made.presence.topic is not None:
        heard["presence.topic"] = made.presence.topic.filter
    if made.template is not None:
        heard["template.reply"] = made.template.reply.filter
    heard["replies"] = Pattern(made.replies).filter
    for name, filter in heard.items():
        for mine, topic in told.items():
            if overlap(filter, topic):
                raise ValueError(f"{name}: the hub would hear what it says itself at {mine}")


def _url(text: str) -> None:
    try:
        parts = urlsplit(text)
        right = parts.scheme in ("mqtt", "mqtts") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        right = False
    if not right or parts.username is not None or parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError("url: is mqtt:// or mqtts:// with host and port, without user and path")


def _number(key: str, value: Any) -> Any:
    least, most = _NUMBERS[key]
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"{key}: is a whole number from {least} to {most}")
    return timedelta(seconds=value) if key in ("connect_time", "reconnect_most") else value
