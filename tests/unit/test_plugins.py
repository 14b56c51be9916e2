"""Adapters are found by entry point; one that is broken does not bring the others down."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from hub import plugins
from hub.ports.adapter import API_VERSION
from hub.settings import SettingsError
from hub.settings.schema import DeviceTable


class Good:
    """The least that is looked at when an adapter is made."""

    api_version = API_VERSION

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings = settings


class FromTheFuture(Good):
    api_version = API_VERSION + 1


class Judge(Good):
    """Its devices have one address only."""

    def judge_address(self, address: str) -> None:
        if address != "right":
            raise ValueError("is not right")


def picky(settings: Mapping[str, Any]) -> Good:
    if "colour" in settings:
        raise ValueError("colour: no such setting")
    return Good(settings)


@pytest.fixture(autouse=True)
def points(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def entry_points(*, group: str) -> list[EntryPoint]:
        assert group == "hub.adapters"
        here = __name__
        return [
            EntryPoint("good", f"{here}:picky", group),
            EntryPoint("judge", f"{here}:Judge", group),
            EntryPoint("future", f"{here}:FromTheFuture", group),
            EntryPoint("missing", "no.such.library:create", group),
        ]

    monkeypatch.setattr(plugins, "entry_points", entry_points)
    yield


def test_an_adapter_gets_its_own_settings_and_not_the_hubs() -> None:
    table = {"kind": "good", "account": "acme", "window": 3}

    made = plugins.make({"one": table})

    adapter, given = made.adapters["one"]
    assert isinstance(adapter, Good) and adapter.settings == {"window": 3}
    assert given is table


def test_one_that_cannot_be_imported_or_is_too_new_is_told_and_the_others_work() -> None:
    made = plugins.make({"a": {"kind": "missing"}, "b": {"kind": "future"}, "c": {"kind": "good"}})

    assert set(made.adapters) == {"c"}
    assert made.broken == {
        "a": "cannot be imported (ModuleNotFoundError)",
        "b": "speaks version 2 of the adapter contract, not 1",
    }


def test_an_address_that_no_device_of_an_adapter_can_have_is_told() -> None:
    devices = {
        "a": DeviceTable("acme", "one", address="right"), "b": DeviceTable("acme", "one", id="x"),
        "c": DeviceTable("acme", "elsewhere"),
    }  # fmt: skip
    with pytest.raises(SettingsError) as told:
        plugins.make({"one": {"kind": "judge"}}, devices)

    assert told.value.lines == ("devices.b.address: 'acme/x' is not right",)


def test_every_wrong_table_is_told_with_its_place() -> None:
    with pytest.raises(SettingsError) as told:
        plugins.make({"a": {"kind": "good", "colour": 1}, "b": {"kind": "papyrus"}})

    assert told.value.lines == (
        "adapters.a.colour: no such setting",
        "adapters.b.kind: there is no 'papyrus', only future, good, judge, missing",
    )
