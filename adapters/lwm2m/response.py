"""A device's answer in the hub's terms: status, payload, media type, how long it holds, and CoAP's own words."""

from __future__ import annotations

from typing import Any

from adapters.lwm2m import codec, content
from adapters.lwm2m.block import block_of
from adapters.lwm2m.codec import Message, code_text
from adapters.lwm2m.decoded import decoded
from adapters.lwm2m.operation import Operation
from adapters.lwm2m.option import BLOCK2, CONTENT_FORMAT, LOCATION_PATH, MAX_AGE
from adapters.lwm2m.translate import Path, to_senml_json
from hub.ports.adapter import DeviceResponse

DEFAULT_MAX_AGE = 60


def response_of(message: Message, operation: Operation | None = None, path: Path = ()) -> DeviceResponse:
    """The response that a message is, to an operation, or to a question about a path. The format of an answer that
    does not say it is not guessed.

    With an operation that asks for SenML JSON, an answer in another format is told in it where that can be done.
    """
    code = message.code
    good = code >> 5 == 2
    status = 200 if good else (code >> 5) * 100 + (code & 0x1F)
    native: dict[str, Any] = {"coap": code_text(code), "status": status}
    form: int | None = None
    age: int | None = None
    location = ""
    for option, value in message.options:
        if option == CONTENT_FORMAT:
            form = int.from_bytes(value, "big")
        elif option == MAX_AGE:
            age = int.from_bytes(value, "big")
        elif option == LOCATION_PATH:
            location += "/" + value.decode("utf-8", "replace")
        elif option == BLOCK2 and _is_part(message):
            native["partial"] = True
    if location:
        native["location"] = location
    if not good and age is not None and code in (codec.TOO_MANY_REQUESTS, codec.SERVICE_UNAVAILABLE):
        native["retry_after"] = age
    if code != codec.CONTENT:
        return DeviceResponse(status, message.payload, content.media_type(form), native=native)
    max_age = DEFAULT_MAX_AGE if age is None else age
    payload = message.payload
    if operation is not None and operation.readable and form != content.SENML_JSON:
        try:
            payload = to_senml_json(operation.path, form, payload)
            native["format"] = content.media_type(form)
            form = content.SENML_JSON
        except ValueError as error:
            native["translation"] = str(error)
    if "partial" not in native:
        native.update(decoded(path if operation is None else operation.path, form, payload))
    return DeviceResponse(status, payload, content.media_type(form), max_age, native)


def _is_part(message: Message) -> bool:
    """Whether more blocks follow that nobody asked for: a late answer is told as it came."""
    try:
        block = block_of(message.first(BLOCK2))
    except ValueError:
        return False
    return block is not None and block.more and len(message.payload) == block.size
