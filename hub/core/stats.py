"""What the hub counts, as plain integers that only grow (or, where named so, stand for now).

The core increments; `hub/ops.py` reads. No labels but closed sets (codes, endings): never a device.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Stats:
    """Counters since the process started; touched on the event loop only, so no locks."""

    accepted: int = 0
    replayed: int = 0
    attempts: int = 0
    retries: int = 0
    late_responses: int = 0
    events: int = 0
    events_shed: int = 0
    device_events: int = 0
    deliveries: int = 0
    gaps: int = 0
    slow_closed: int = 0
    polls: int = 0
    callbacks_taken: int = 0
    callbacks_failed: int = 0
    callbacks_dead: int = 0
    storage_failures: int = 0
    admissions: int = 0
    admissions_refused: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)
    pelion_polls: Counter[str] = field(default_factory=Counter)

    # Stand for now, not since the start.
    lagging: int = 0
    pelion_polls_open: int = 0
