"""The hub's counters in the form that Prometheus reads, collected when asked for and at no other time.

Labels come from closed sets only (endings, refusal codes, adapters); never a device, a key or a channel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from hub.core.hub import Hub, HubState

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_MOST_LABELS = 100

_COUNTERS = {
    "accepted": "Calls that the hub took responsibility for",
    "replayed": "Requests answered from their idempotency key",
    "attempts": "Attempts at calls that were handed to an adapter",
    "retries": "Attempts that used up one of a call's retries",
    "late_responses": "Answers that came after their call had ended",
    "events": "Events committed to channels",
    "events_shed": "Device events that were dropped because too many waited or could not be stored",
    "device_events": "Events that adapters reported",
    "deliveries": "Messages written to listeners",
    "gaps": "Gaps that listeners were told of",
    "slow_closed": "Listeners closed because they took nothing",
    "polls": "Long polls answered",
    "callbacks_taken": "Deliveries that a receiver took",
    "callbacks_failed": "Attempts at a delivery that failed",
    "callbacks_dead": "Deliveries that became dead letters",
    "storage_failures": "Commits that did not happen",
    "admissions": "Dialling devices that were admitted",
    "admissions_refused": "Dialling devices that were refused",
}


class HubCollector(Collector):
    """Reads a hub's Stats and state. `listeners` tells how many sockets and streams are open."""

    def __init__(self, hub: Hub, listeners: Callable[[], int]) -> None:
        self._hub = hub
        self._listeners = listeners

    def collect(self) -> Iterator[Metric]:
        """All families, from one moment: nothing here waits."""
        hub, stats = self._hub, self._hub.stats
        for name, told in _COUNTERS.items():
            yield CounterMetricFamily(f"hub_{name}", told, value=getattr(stats, name))
        yield _labelled("hub_calls_ended", "Calls that ended, by ending", "ending", dict(stats.ended))
        yield _labelled("hub_refused", "Requests refused at once, by code", "code", dict(stats.refused))
        yield _labelled(
            "hub_pelion_polls", "Long polls of /v2 that were answered, by status", "status", dict(stats.pelion_polls)
        )
        yield GaugeMetricFamily("hub_pelion_polls_open", "Long polls of /v2 now", value=stats.pelion_polls_open)
        yield GaugeMetricFamily("hub_open_calls", "Calls that have not ended", value=len(hub.dispatch.tickets))
        yield GaugeMetricFamily("hub_attempts_under_way", "Attempts that run now", value=hub.dispatch.under_way)
        yield GaugeMetricFamily("hub_listeners", "Sockets and streams that are open", value=self._listeners())
        yield GaugeMetricFamily("hub_lagging", "Subscriptions that are catching up", value=stats.lagging)
        yield GaugeMetricFamily("hub_ready", "1 while the hub takes calls", value=int(hub.state is HubState.READY))
        engine = hub.engine.health()
        yield GaugeMetricFamily("hub_engine_up", "1 while the engine can commit", value=int(engine["state"] == "up"))
        up = GaugeMetricFamily("hub_adapter_up", "1 while the adapter says that it is up", labels=["adapter"])
        for name, adapter in hub.adapters.items():
            up.add_metric([name], int(adapter.health().get("state") == "up"))
        for name in hub.broken:
            up.add_metric([name], 0)
        yield up


def _labelled(name: str, told: str, label: str, counts: dict[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, told, labels=[label])
    for word in sorted(counts)[:_MOST_LABELS]:
        family.add_metric([word], counts[word])
    return family


class Metrics:
    """A registry of its own, so that two hubs in one process do not mix."""

    def __init__(self, hub: Hub, listeners: Callable[[], int]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(HubCollector(hub, listeners))
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def text(self) -> bytes:
        """Everything, in the text format."""
        return generate_latest(self._registry)
