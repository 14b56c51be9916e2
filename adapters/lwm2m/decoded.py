"""What an answer or a value says, beside its bytes: TLV and SenML as SenML records, for readers that have neither."""

from __future__ import annotations

import json
from typing import Any

from adapters.lwm2m import content
from adapters.lwm2m.translate import Path, to_senml_json

VALUES = "values"
MOST_BYTES = 4096
"""What is longer is passed on as it came; a few milliseconds of work otherwise."""

MOST_TOLD = 16 * 1024
"""About as many bytes of records come out of it: each of many short values is told with its full name."""

_DECODED = frozenset({content.TLV, content.SENML_JSON, content.SENML_CBOR})


def decoded(path: Path, form: int | None, payload: bytes) -> dict[str, Any]:
    """`values`, with full names, of an answer to a read of `path`; nothing for another format, for what is too long,
    or would become so, and for bytes that are not of their format."""
    if not payload or content.plain_number(form) not in _DECODED or len(payload) > MOST_BYTES:
        return {}
    try:
        return {VALUES: json.loads(to_senml_json(path, form, payload, MOST_TOLD))}
    except (ValueError, OverflowError):
        return {}
