"""Products: kinds of device of an account, by product key, with the services that their devices offer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

PRODUCT_DEVICE = "product-device"
"""The kind of alias that says which product a device is of: `<product key>/<device key>`."""
ASSET = "asset"
"""The kind of alias that is a device's asset id, unique per account."""

TYPES = ("any", "string", "number", "integer", "boolean", "object", "array")
"""What a declared parameter may be."""

_KINDS: Mapping[str, tuple[type, ...]] = {
    "string": (str,), "number": (int, float), "integer": (int,), "boolean": (bool,), "object": (dict,),
    "array": (list, tuple),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Service:
    """What devices of a product can be asked to do. `input` and `output` are the types of parameters by name.

    `idempotent`: asking twice does no harm, so a call that may have happened is told as timed out and may be repeated.
    """

    id: str
    name: str | None = None
    input: Mapping[str, str] = field(default_factory=dict)
    output: Mapping[str, str] = field(default_factory=dict)
    idempotent: bool = False

    def fault(self, given: Mapping[str, object]) -> str | None:
        """What is wrong with the parameters of a call, None when nothing is; those that are not declared pass."""
        for name, kind in self.input.items():
            if name in given and not _is_a(given[name], kind):
                return f"inputData.{name} is of type {kind}"
        return None


@dataclass(frozen=True, slots=True)
class Product:
    """A kind of device. Its key is unique in the hub; `secret` lets devices sign in that have none of their own yet,
    where `activation` allows that; with `reactivation` also those that have used their own before."""

    key: str
    account: str
    name: str = ""
    activation: bool = False
    services: Mapping[str, Service] = field(default_factory=dict)
    secret: bytes | None = field(default=None, repr=False)
    disabled: bool = False
    declared: bool = False
    reactivation: bool = False


def _is_a(value: object, kind: str) -> bool:
    if kind not in _KINDS:
        return True
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, _KINDS[kind])
