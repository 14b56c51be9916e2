"""A call of the hub in the words of CoAP: method, path, query and formats as options. Pure.

A target is split at `/` before its pieces are decoded, each into an option of its own, and paths that are no numbers
go out as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote

from adapters.lwm2m import codec, content
from adapters.lwm2m.codec import Options, Packed
from adapters.lwm2m.option import ACCEPT, CONTENT_FORMAT, path_options, query_options, uint
from adapters.lwm2m.writing import is_senml
from hub.ports.adapter import BadRequest, Delivery, DeviceRequest, TooLarge, Unsupported

MAX_TARGET = 2048

METHODS: Mapping[str, int] = {
    "GET": codec.GET,
    "PUT": codec.PUT,
    "POST": codec.POST,
    "DELETE": codec.DELETE,
    "FETCH": codec.FETCH,
    "IPATCH": codec.IPATCH,
    "INVOKE": codec.POST,
}
# Their answers may be asked for again without harm, so in another format too.
READING = frozenset({codec.GET, codec.FETCH})


@dataclass(slots=True)
class Operation:
    """One request: its code, its options in order, its payload. `readable` asks for SenML JSON whatever comes;
    `senml` is the format of a payload that may be written in another one, where the device does not know it."""

    code: int
    options: tuple[tuple[int, bytes], ...]
    payload: bytes
    path: tuple[str, ...]
    readable: bool = False
    senml: int | None = None

    def in_format(self, number: int) -> Options:
        """The options for a payload of another format."""
        return [(CONTENT_FORMAT, uint(number)) if option[0] == CONTENT_FORMAT else option for option in self.options]

    def without_accept(self) -> Options:
        """The options for a device that does not take the format that was asked for."""
        return [option for option in self.options if option[0] != ACCEPT]


def operation(req: DeviceRequest, root: tuple[str, ...] = (), max_payload: int = 65_536) -> Operation:
    """The request that a call means. Raises Unsupported, BadRequest, TooLarge, all NOT_SENT."""
    code = METHODS.get(req.method)
    if code is None:
        raise Unsupported(f"no method {req.method}", delivery=Delivery.NOT_SENT)
    if len(req.payload) > max_payload:
        raise TooLarge(f"at most {max_payload} bytes", delivery=Delivery.NOT_SENT)
    payload = req.payload
    try:
        if req.method == "INVOKE" and not payload:
            payload = _arguments(req.args)
        options, path, readable, senml = _said(
            req.method, req.target, req.query, bool(payload), req.content_type, req.accept, root
        )
    except ValueError as error:
        raise BadRequest(str(error), delivery=Delivery.NOT_SENT) from None
    return Operation(code, options, payload, path, readable, senml)


@lru_cache(maxsize=4096)
def segments(target: str) -> tuple[str, ...]:
    """The decoded pieces of a target. Raises ValueError for what is no path."""
    if not target.startswith("/") or len(target) > MAX_TARGET or not target.isprintable() or "?" in target:
        raise ValueError("a target is a path of printable text")
    pieces = target.split("/")[1:]
    return tuple(unquote(piece) for piece in pieces) if pieces != [""] else ()


# The same few requests go to all devices of a kind, so what depends on no device is made once.
@lru_cache(maxsize=4096)
def _said(
    method: str, target: str, query: tuple[tuple[str, str], ...], payload: bool, content_type: str | None,
    accept: str | None, root: tuple[str, ...],
) -> tuple[Packed, tuple[str, ...], bool, int | None]:
    """The options of a request, its path, whether it is to be readable, and its format if that may be another."""
    path = segments(target)
    depth, code = len(path), METHODS[method]
    if method == "INVOKE" and depth != 3:
        raise Unsupported("only a resource, at three levels, can be invoked", delivery=Delivery.NOT_SENT)
    options: Options = path_options(target, root)
    senml = None
    if payload:
        number = content.format_number(content_type)
        if number is None and depth >= 3:
            # A bare value of one resource is text unless the caller says otherwise; devices answer 4.06 to none.
            number = content.TEXT
        if number is not None:
            options.append((CONTENT_FORMAT, uint(number)))
        if is_senml(number) and (method == "PUT" or (method == "POST" and depth < 3)):
            senml = number
    options += query_options(query)
    wanted = content.format_number(accept)
    if wanted is not None:
        options.append((ACCEPT, uint(wanted)))
    return Packed(options), path, code in READING and wanted == content.SENML_JSON, senml


def _arguments(args: Mapping[str, object] | None) -> bytes:
    """Arguments of an Execute as LwM2M writes them: `0='on',1`. Raises ValueError for other names than digits."""
    parts = []
    for name, value in sorted((args or {}).items()):
        text = "" if value is None else str(value)
        if len(name) != 1 or not name.isdecimal() or "'" in text:
            raise ValueError("the arguments of a resource are called 0 to 9")
        parts.append(f"{name}='{text}'" if text else name)
    return ",".join(parts).encode()
