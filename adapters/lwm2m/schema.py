"""Which type a resource has, for the formats that do not say it (TLV, text): the objects of the core specification and
the reusable resources of the registry. What is not listed here is guessed from its bytes by translate.py."""

from __future__ import annotations

import enum
from collections.abc import Mapping


class Type(enum.Enum):
    """What the bytes of a value mean."""

    STRING = "string"
    INTEGER = "integer"
    FLOAT = "float"
    BOOLEAN = "boolean"
    OPAQUE = "opaque"
    TIME = "time"
    LINK = "link"


_S, _I, _F, _B, _O, _T, _L = Type.STRING, Type.INTEGER, Type.FLOAT, Type.BOOLEAN, Type.OPAQUE, Type.TIME, Type.LINK


def _of(types: Mapping[Type, tuple[int, ...]]) -> dict[int, Type]:
    return {id: kind for kind, ids in types.items() for id in ids}


_OBJECTS: Mapping[int, Mapping[int, Type]] = {
    0: _of({_S: (0,), _B: (1,), _I: (2, 6, 10, 11, 12), _O: (3, 4, 5)}),
    1: _of({_I: (0, 1, 2, 3, 5), _B: (6,), _S: (7,)}),
    2: _of({_I: (0, 1, 2, 3)}),
    3: _of({_S: (0, 1, 2, 3, 14, 15, 16, 17, 18, 19), _I: (6, 7, 8, 9, 10, 11, 20, 21), _T: (13,)}),
    4: _of({_I: (0, 1, 2, 3, 6, 8, 9, 10, 11, 12), _S: (4, 5, 7)}),
    5: _of({_O: (0,), _S: (1, 6, 7), _I: (3, 5, 8, 9)}),
    6: _of({_F: (0, 1, 2, 4, 6), _O: (3,), _T: (5,)}),
    7: _of({_I: (0, 2, 3, 4, 5), _B: (1,)}),
    9: _of({_S: (0, 1), _O: (2,), _I: (7, 9, 12), _B: (8, 10)}),
    10241: _of({_S: (0, 1, 2, 3, 4)}),
}

# A reusable resource means the same in every object that has it.
_REUSABLE: Mapping[int, Type] = _of(
    {
        _F: (
            5507, 5519, 5520, 5521, 5524, 5525, 5531, 5536, 5537, 5538, 5601, 5602, 5603, 5604, 5700, 5702, 5703, 5704,
            5705, 5800, 5801, 5802, 5803, 5804, 5805, 5806, 5810, 5815, 5820, 5821, 5824, 5825, 5900,
        ),
        _I: (5501, 5503, 5504, 5526, 5534, 5851, 5852, 5903, 5904),
        _B: (5500, 5502, 5532, 5533, 5850),
        _S: (5514, 5515, 5516, 5527, 5701, 5706, 5750, 5751, 5823, 5853),
        _O: (5517, 5522),
        _T: (5506, 5518),
    }
)  # fmt: skip


def type_of(object_id: int | None, resource_id: int) -> Type | None:
    """The type of a resource, None when this table does not know it."""
    known = _OBJECTS.get(object_id) if object_id is not None else None
    if known is not None and resource_id in known:
        return known[resource_id]
    return _REUSABLE.get(resource_id)
