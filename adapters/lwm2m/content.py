"""Content formats: the numbers of CoAP and the media types of everybody else."""

from __future__ import annotations

from collections.abc import Mapping

TEXT = 0
LINK = 40
OPAQUE = 42
CBOR = 60
SENML_JSON = 110
SENML_CBOR = 112
TLV = 11542
JSON = 11543

TEXT_TYPE = "text/plain"
SENML_JSON_TYPE = "application/senml+json"

_TYPES: Mapping[int, str] = {
    TEXT: TEXT_TYPE,
    LINK: "application/link-format",
    41: "application/xml",
    OPAQUE: "application/octet-stream",
    47: "application/exi",
    50: "application/json",
    CBOR: "application/cbor",
    SENML_JSON: SENML_JSON_TYPE,
    SENML_CBOR: "application/senml+cbor",
    TLV: "application/vnd.oma.lwm2m+tlv",
    JSON: "application/vnd.oma.lwm2m+json",
}
# As they were numbered before they were registered; some devices still answer so.
_OLD: Mapping[int, int] = {1541: TEXT, 1542: TLV, 1543: JSON}
_NAMES = {**_TYPES, **{old: _TYPES[number] for old, number in _OLD.items()}}
_NUMBERS = {name: number for number, name in _TYPES.items()}
_OTHER = "application/vnd.coap-format-"


def media_type(number: int | None) -> str | None:
    """The media type of a content format; a number that nobody knows keeps its number. None for no format."""
    if number is None:
        return None
    return _NAMES.get(number) or f"{_OTHER}{number}"


def format_number(media: str | None) -> int | None:
    """The content format of a media type; parameters do not count. None for no type and for `*/*`. Raises ValueError
    for one that CoAP has no number for."""
    if media is None:
        return None
    name = media.partition(";")[0].strip().lower()
    if name in ("", "*/*"):
        return None
    if name.startswith(_OTHER) and name[len(_OTHER) :].isdecimal() and int(name[len(_OTHER) :]) <= 0xFFFF:
        return int(name[len(_OTHER) :])
    number = _NUMBERS.get(name)
    if number is None:
        raise ValueError(f"CoAP has no number for {name}")
    return number


def plain_number(number: int | None) -> int | None:
    """The registered number for an old one."""
    return None if number is None else _OLD.get(number, number)
