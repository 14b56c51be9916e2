"""The built-in models: what kinds of device the settings can name.

A model is shared by all its devices and never changes; a device adds an address and what it holds now.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType

from adapters.simulated.behaviour import AT_ONCE, Behaviour, Manner, Sleep
from adapters.simulated.point import Drift, Point


@dataclass(frozen=True, slots=True)
class Model:
    """A kind of device. An `echo` model answers any method on any target with what it was given; the others have only
    their points."""

    name: str
    echo: bool = True
    points: Mapping[str, Point] = field(default_factory=lambda: MappingProxyType({}))
    behaviour: Behaviour = AT_ONCE
    sleep: Sleep | None = None
    array: bool = False
    enos: bool = False


def _points(*points: Point) -> Mapping[str, Point]:
    return MappingProxyType({point.path: point for point in points})


LWM2M = Model(
    "lwm2m",
    echo=False,
    points=_points(
        # The value, type and age that the first seed prints as the answer to its own example.
        Point("/5/0/1", value=b"value1\n", max_age=600, resource_type="oma.lwm2m.firmware"),
        Point(
            "/3303/0/5700",
            value=b"21.5",
            resource_type="oma.lwm2m.temperature",
            observable=True,
            drift=Drift(timedelta(seconds=5), 1.5),
        ),
        Point("/3303/0/5605", frozenset({"POST"}), content_type=None),
        Point("/3/0/4", frozenset({"POST"}), content_type=None),
        Point("/3/0/0", frozenset({"GET"}), value=b"Asyncid Simulations"),
    ),
)

MODELS: Mapping[str, Model] = MappingProxyType(
    {
        model.name: model
        for model in (
            LWM2M,
            Model("echo"),
            Model("points", echo=False),
            Model("slow", behaviour=Behaviour(delay=timedelta(milliseconds=500))),
            Model("never", behaviour=Behaviour(Manner.NEVER)),
            Model("late", behaviour=Behaviour(Manner.LATE)),
            Model("twice", behaviour=Behaviour(Manner.TWICE)),
            Model("disconnect", behaviour=Behaviour(Manner.DISCONNECT)),
            Model("job", behaviour=Behaviour(Manner.JOB)),
            Model("error", behaviour=Behaviour(status=500)),
            Model("array", echo=False, array=True),
            Model("enos", echo=False, enos=True),
            Model("sleepy", sleep=Sleep(awake=timedelta(seconds=10), asleep=timedelta(seconds=30))),
        )
    }
)
"""Every model by the name that the settings use."""
