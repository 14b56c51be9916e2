"""A simulated EnOS device: services as its product declares them, and points that are set and read.

It answers in the codes of the vendor's device SDK. A service gives back the parameters that it was given, those that it
declares as output if it declares any; `add` gives the sum of the numbers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from adapters.simulated.device import Held, SimulatedDevice
from hub.ports.adapter import Delivery, DeviceRequest, DeviceResponse, NoSuchResource, Unsupported

POINT, SERVICE = "/measurepoint/", "/service/"
OK, NO_HANDLER, NO_POINT, BAD_PARAMETER = 200, 1101, 2404, 460

Services = Callable[[str], Mapping[str, Mapping[str, Any]] | None]


def _of_no_product(address: str) -> None:
    return None


@dataclass(slots=True, eq=False)
class SimulatedEnos(SimulatedDevice):
    """A device with services and points. `services` tells what is declared for an address."""

    services: Services = _of_no_product

    def check(self, request: DeviceRequest) -> None:
        """Refuse what the protocol has no words for. Raises CallError (NOT_SENT)."""
        if request.method == "INVOKE":
            return
        if request.target.startswith(POINT) and len(request.target) > len(POINT):
            if request.method not in ("GET", "PUT"):
                raise Unsupported("a point takes GET and PUT", delivery=Delivery.NOT_SENT)
        elif request.target.startswith(SERVICE) and len(request.target) > len(SERVICE):
            if request.method != "POST":
                raise Unsupported("a service takes POST", delivery=Delivery.NOT_SENT)
        else:
            raise NoSuchResource("there are /measurepoint/<point> and /service/<id>", delivery=Delivery.NOT_SENT)

    def execute(self, request: DeviceRequest, now: float) -> DeviceResponse:
        """Do what is asked at monotonic time `now`, and say what came of it."""
        response = self._carried_out(request)
        return replace(response, native={**response.native, "message_id": request.call_id})

    def _carried_out(self, request: DeviceRequest) -> DeviceResponse:
        status = self.behaviour(request.target).status
        if status is not None:
            return _refusal(2000, "simulated refusal", status)
        if request.method == "INVOKE":
            return self._serve(request.target, request.args)
        if request.target.startswith(SERVICE):
            return self._posted(request)
        point = request.target.removeprefix(POINT)
        if request.method == "PUT":
            self.held[point] = Held(request.payload, request.content_type, 0)
            return _answer({})
        held = self.held.get(point)
        if held is None:
            return _refusal(NO_POINT, f"there is no point {point}", 404)
        return DeviceResponse(200, held.value, held.content_type, native={"code": OK})

    def _posted(self, request: DeviceRequest) -> DeviceResponse:
        given: Any = request.args
        if given is None:
            try:
                given = json.loads(request.payload or b"{}")
            except ValueError:
                given = None
        if not isinstance(given, Mapping):
            return _refusal(BAD_PARAMETER, "the input of a service is a JSON object", 400)
        return self._serve(request.target.removeprefix(SERVICE), given)

    def _serve(self, service: str, given: Mapping[str, Any] | None) -> DeviceResponse:
        given = given or {}
        declared = self.services(self.address)
        if declared is not None and service not in declared:
            return _refusal(NO_HANDLER, f"there is no service {service}", 404)
        if service == "add":
            numbers = [value for value in given.values() if isinstance(value, int | float)]
            return _answer({"sum": sum(numbers)})
        output = (declared or {}).get(service, {}).get("output") or {}
        return _answer({name: value for name, value in given.items() if not output or name in output})


def _answer(data: Mapping[str, Any]) -> DeviceResponse:
    body = json.dumps(data, separators=(",", ":"), ensure_ascii=False).encode()
    return DeviceResponse(200, body, "application/json", native={"code": OK})


def _refusal(code: int, text: str, status: int) -> DeviceResponse:
    return DeviceResponse(status, text.encode(), "text/plain", native={"code": code, "message": text})
