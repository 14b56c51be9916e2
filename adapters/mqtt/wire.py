"""EnOS words: sign-in by signature, request and answer bodies, and how a call becomes a command. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from adapters.mqtt import topics
from hub.ports.adapter import BadRequest, Delivery, DeviceRequest, DeviceResponse, NoSuchResource, Unsupported

JSON = "application/json"
PAYLOAD, TYPE = "$payload", "$type"
MOST_CODE = 999_999_999
MOST_LEVELS = 32
"""Levels of lists and objects within each other, of everything that is read here: what is read can be written again."""
METHODS = frozenset({"GET", "PUT", "POST", "INVOKE"})

OK = 200
NOT_JSON, EMPTY, NOT_ALLOWED, PARAMETER = 1220, 1251, 1009, 460
NO_DEVICE, NOT_OF_GATEWAY, BAD_SIGN, OWN_LOGIN, TOO_MANY, TOO_LARGE = 705, 740, 742, 771, 429, 1008

_MODES = frozenset({"2", "3"})
_SIGN_IN = re.compile(r"(.{1,64})\|(.{1,256})\|", re.DOTALL)
# What devices of the SDK say where they have no better word; everything else of theirs is told as it is.
_STATUS = {PARAMETER: 400, 1101: 404}


# -- signing in ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SignIn:
    """How a device introduces itself: its name, what it signed (in each form that is accepted), the signature."""

    device: topics.Name
    mode: str
    algorithm: str
    texts: tuple[str, ...]
    sign: str

    @property
    def kind(self) -> str:
        """The kind of admission: by the device's own secret, or by its product's."""
        return "product-device" if self.mode == "2" else "product"

    @property
    def identity(self) -> str:
        """The device as the hub's alias names it."""
        return "/".join(self.device)

    @property
    def proof(self) -> bytes:
        """The signature and what it is of, for the hub to judge: it has the secret."""
        return orjson.dumps({"algorithm": self.algorithm, "sign": self.sign, "texts": list(self.texts)})


def sign_in(client_id: str, username: str, password: str) -> SignIn | None:
    """The sign-in of a CONNECT; None where it is none."""
    found = _SIGN_IN.fullmatch(client_id)
    device, mark, product = username.partition("&")
    if found is None or not mark or not topics.is_key(product) or not topics.is_key(device):
        return None
    said: dict[str, str] = {}
    for pair in found[2].split(","):
        key, _, value = pair.strip().partition("=")
        said[key] = value
    text = _signed(found[1], device, product, said.get("timestamp", ""))
    return _judged((product, device), said.get("securemode", ""), said.get("signmethod", ""), (text,), password)


def sub_sign_in(params: Mapping[str, Any]) -> SignIn | None:
    """The sign-in of a sub-device, in the words of `combine.login` and `topo.add`; None where it is none."""
    names = ("productKey", "deviceKey", "clientId", "timestamp", "signMethod", "sign")
    said = {name: str(params.get(name, "")) for name in names}
    product, device = said["productKey"], said["deviceKey"]
    if not topics.is_key(product) or not topics.is_key(device):
        return None
    text = _signed(said["clientId"], device, product, said["timestamp"])
    # The documents sign cleanSession too, the vendor's SDK does not.
    texts = (text, *(f"cleanSession{said}{text}" for said in _written(params.get("cleanSession"))))
    mode = str(params.get("secureMode", "2"))
    return _judged((product, device), mode, said["signMethod"], texts, said["sign"])


def _written(clean: Any) -> tuple[str, ...]:
    # Who sends a truth of JSON signs it as JSON writes it, or as Python does.
    if clean is None:
        return ()
    return (str(clean), str(clean).lower()) if isinstance(clean, bool) else (str(clean),)


def _signed(client_id: str, device: str, product: str, timestamp: str) -> str:
    return f"clientId{client_id}deviceKey{device}productKey{product}timestamp{timestamp}"


def _judged(device: topics.Name, mode: str, method: str, texts: tuple[str, ...], sign: str) -> SignIn | None:
    algorithm = method.lower().removeprefix("hmac")
    if algorithm not in ("sha256", "sha1", "md5") or mode not in _MODES or not sign.isascii():
        return None
    return SignIn(device, mode, algorithm, texts, sign.lower())


# -- ids ----------------------------------------------------------------------------------------


def message_id(call_id: str, address: str, purpose: str, hub: str = "") -> str:
    """The id that a command carries: the call's own, tied to the device and the topic that it is for, and to the name
    of the hub where several hear the same answers.

    It can be checked without any memory, so that an answer is still understood after a restart of the hub, and
    an answer that comes from another device, or on another topic, is not.
    """
    tied = f"{call_id} {address} {purpose} {hub}" if hub else f"{call_id} {address} {purpose}"
    return f"{call_id}.{hashlib.sha256(tied.encode()).hexdigest()[:12]}"


def call_of(id: str, address: str, purpose: str, hub: str = "") -> str | None:
    """The call that a message id stands for; None when it is no such id."""
    call_id, dot, _ = id.rpartition(".")
    return call_id if dot and message_id(call_id, address, purpose, hub) == id else None


# -- bodies -------------------------------------------------------------------------------------


def request(id: str, purpose: str, params: Any) -> bytes:
    """A command of the hub. Raises TypeError where the parameters cannot be written as JSON."""
    method = purpose.replace("/", ".")
    return orjson.dumps({"id": id, "version": "1.0", "method": method, "params": params})


def answer(id: Any, code: int, message: str = "", data: Any = None) -> bytes:
    """The hub's answer to a request of a device; the id goes back as it came."""
    return orjson.dumps({"id": id, "code": code, "data": {} if data is None else data, "message": message})


def object_of(payload: bytes) -> dict[str, Any] | None:
    """The JSON object that a device sent; None for anything else, and for one of more than 32 levels."""
    try:
        body = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return None
    return body if isinstance(body, dict) and not _deep(payload, body) else None


def id_of(payload: bytes) -> str | int | None:
    """The id in a message that `object_of` takes for none; None where it cannot be read."""
    body = _nearly_json(payload)
    id = body.get("id") if isinstance(body, dict) else None
    if not isinstance(id, str | int) or isinstance(id, bool):
        return None
    try:
        orjson.dumps(id)
    except TypeError:
        return None  # it could not be told again
    return id


def _nearly_json(payload: bytes) -> Any:
    """What Python's own JSON writes is read, too: NaN, infinities, lone surrogates."""
    try:
        return orjson.loads(payload)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(payload)
    except (ValueError, RecursionError):
        return None


def time_of(params: Any) -> datetime | None:
    """The time that a device gave what it tells, in milliseconds; None where it gave none."""
    said = params.get("time") if isinstance(params, dict) else None
    if not isinstance(said, int | float) or isinstance(said, bool):
        return None
    try:
        return datetime.fromtimestamp(said / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _deep(payload: bytes, value: Any) -> bool:
    """Whether a value has more levels than are taken. Most have fewer brackets, and cost nothing more."""
    if payload.count(b"[") + payload.count(b"{") <= MOST_LEVELS:
        return False
    level = [value]
    for _ in range(MOST_LEVELS):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


# -- calls --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Command:
    """A call in EnOS words. `point` is the point that a read is about."""

    purpose: str
    params: Any
    point: str | None = None


def command(req: DeviceRequest) -> Command:
    """The command of a call. Raises CallError (NOT_SENT) for what the protocol has no words for."""
    if req.method not in METHODS:
        raise Unsupported(f"no method {req.method}", delivery=Delivery.NOT_SENT)
    if not req.target or not req.target.isprintable():
        raise BadRequest("a target is printable text", delivery=Delivery.NOT_SENT)
    if req.query:
        raise BadRequest("a target has no query here", delivery=Delivery.NOT_SENT)
    if req.method == "INVOKE":
        return _service(req.target, req)
    kind, _, name = req.target.strip("/").partition("/")
    if kind == "service":
        if req.method != "POST":
            raise Unsupported("a service takes POST", delivery=Delivery.NOT_SENT)
        return _service(name, req)
    if kind == "measurepoint":
        if not topics.is_service(name):
            raise BadRequest("a point has a name without slashes", delivery=Delivery.NOT_SENT)
        if req.method == "GET":
            return Command(topics.GET, [name], name)
        if req.method == "PUT":
            return Command(topics.SET, {name: _value(req)})
        raise Unsupported("a point takes GET and PUT", delivery=Delivery.NOT_SENT)
    raise NoSuchResource("there are /measurepoint/<point> and /service/<id>", delivery=Delivery.NOT_SENT)


def _service(id: str, req: DeviceRequest) -> Command:
    if not topics.is_service(id):
        raise BadRequest("a service has an id without slashes", delivery=Delivery.NOT_SENT)
    if req.args is not None:
        return Command(topics.service(id), dict(req.args))
    if not req.payload and (req.content_type is None or _says_json(req.content_type)):
        return Command(topics.service(id), {})  # devices fail on a command without params
    params = object_of(req.payload)
    if params is None and _says_json(req.content_type):
        raise BadRequest("the input of a service is a JSON object", delivery=Delivery.NOT_SENT)
    if params is None:
        params = {PAYLOAD: base64.b64encode(req.payload).decode(), TYPE: req.content_type}
    return Command(topics.service(id), params)


def _value(req: DeviceRequest) -> Any:
    if req.args is not None:
        return dict(req.args)
    if req.content_type is not None and req.content_type.partition(";")[0].strip() == "text/plain":
        try:
            text = req.payload.decode()
        except UnicodeDecodeError:
            raise BadRequest("the value is no text", delivery=Delivery.NOT_SENT) from None
        return _number(text)
    try:
        value = orjson.loads(req.payload)
    except orjson.JSONDecodeError:
        raise BadRequest("the value of a point is JSON", delivery=Delivery.NOT_SENT) from None
    if isinstance(value, dict | list) and _deep(req.payload, value):
        raise BadRequest(f"the value of a point has at most {MOST_LEVELS} levels", delivery=Delivery.NOT_SENT)
    return value


def _number(text: str) -> Any:
    """A text that is written like a number or a truth is one: fronts without types send `5` as text."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    return value if isinstance(value, int | float) else text


def _says_json(content_type: str | None) -> bool:
    plain = (content_type or "").partition(";")[0].strip().lower()
    return plain == JSON or plain.endswith("+json")


def asked(purpose: str, body: Mapping[str, Any] | None) -> Command:
    """What was asked, from the answer alone: a read is about the one point that it brings."""
    data = None if body is None else body.get("data")
    point = next(iter(data)) if purpose == topics.GET and isinstance(data, dict) and len(data) == 1 else None
    return Command(purpose, None, point)


def response(said: Command, body: Mapping[str, Any] | None, id: str | None = None) -> DeviceResponse:
    """What a device answered to a command. Code 0 is as good as 200; digits may come as text. `id`: the command's, for
    an answer that cannot be read."""
    if body is None:
        unread = {"error": "BAD_ANSWER"} if id is None else {"error": "BAD_ANSWER", "message_id": id}
        return DeviceResponse(502, b"the answer is no JSON object", "text/plain", native=unread)
    code = code_of(body.get("code"))
    message = body.get("message")
    native: dict[str, Any] = {"message_id": body.get("id"), "message": message if isinstance(message, str) else ""}
    if code is None:
        return DeviceResponse(502, b"the code is no number", "text/plain", native={**native, "error": "BAD_ANSWER"})
    native["code"] = code
    if code not in (0, OK):
        status = _STATUS.get(code, code if 400 <= code <= 599 else 500)
        return DeviceResponse(status, native["message"].encode(), "text/plain", native=native)
    data = body.get("data")
    if said.point is not None:
        if not isinstance(data, dict) or said.point not in data:
            return DeviceResponse(404, b"the device has no such point", "text/plain", native=native)
        return DeviceResponse(OK, orjson.dumps(data[said.point]), JSON, native=native)
    if isinstance(data, dict) and PAYLOAD in data and set(data) <= {PAYLOAD, TYPE}:
        return _opaque(data, native)
    return DeviceResponse(OK, orjson.dumps({} if data is None else data), JSON, native=native)


def _opaque(data: Mapping[str, Any], native: dict[str, Any]) -> DeviceResponse:
    kind = data.get(TYPE)
    try:
        payload = base64.b64decode(str(data[PAYLOAD]).encode(), validate=True)
    except (binascii.Error, ValueError):
        return DeviceResponse(502, b"no base64", "text/plain", native={**native, "error": "BAD_ANSWER"})
    return DeviceResponse(OK, payload, kind if isinstance(kind, str) else None, native=native)


def code_of(code: Any) -> int | None:
    """A code as a number, also where a device writes it as text or as 200.0; None for what is none."""
    if isinstance(code, bool):
        return None
    if isinstance(code, int | float):
        return int(code) if abs(code) <= MOST_CODE and code == int(code) else None
    if isinstance(code, str) and code.isascii() and code.isdigit() and len(code) <= 9:
        return int(code)
    return None
