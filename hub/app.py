"""The composition root: settings in, a hub with its routes out. Nothing below knows which parts it is made of."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from starlette.applications import Starlette
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute

from hub.core.control_channels import ControlChannels
from hub.core.hub import Hub
from hub.core.organisations import Organisations
from hub.core.tasks import Tasks
from hub.core.users import Users
from hub.declared import Declared
from hub.delivery.control_reply import DIALECT as ENOS
from hub.delivery.listening import Listening
from hub.delivery.outgoing.guard import Guard
from hub.delivery.outgoing.outgoing import Outgoing
from hub.dialects.enos.exchange import Front as EnosFront
from hub.dialects.enos.routes import routes as enos_routes
from hub.dialects.enos.sign_in import Tokens
from hub.dialects.enos.stream import message as control_message
from hub.dialects.enos.waiting import EnosWaiting
from hub.dialects.native.problem import refused_unread
from hub.dialects.native.routes import PREFIX as NATIVE
from hub.dialects.native.routes import routes as native_routes
from hub.dialects.pelion.channel_service import ChannelService
from hub.dialects.pelion.routes import routes as pelion_routes
from hub.dialects.powerstore.exchange import Front, Place
from hub.dialects.powerstore.routes import routes as powerstore_routes
from hub.dialects.powerstore.routes import worded as powerstore_worded
from hub.dialects.powerstore.sessions import Sessions
from hub.dialects.powerstore.waiting import PowerStoreWaiting
from hub.ops import Ops
from hub.page import page
from hub.plugins import make
from hub.ports.abilities import ServesAsgi
from hub.ports.clock import Clock, SystemClock
from hub.settings.contradictions import metrics_token, schema_of
from hub.settings.schema import Settings, limits_of
from hub.storage import engine_of

SERVICE_PAUSE = 1.0
DRAIN_DELIVERIES = 2.0

log = logging.getLogger("hub")


class App:
    """One hub, composed: the core, those who listen, and the ASGI application in front of both."""

    def __init__(self, settings: Settings, environ: Mapping[str, str], clock: Clock | None = None) -> None:
        self.settings = settings
        self.limits = limits_of(settings)
        self._environ = environ
        clock = clock or SystemClock()
        plugins = make(settings.adapters, settings.devices)
        engine = engine_of(settings, clock, self.limits)
        self.hub = Hub(engine, plugins.adapters, clock, self.limits)
        self.hub.broken.update(plugins.broken)
        self.hub.intake.schemas = {name: schema_of(settings, name) for name in settings.schemas}
        self.users = Users(self.hub.directory, self.hub.access)
        self.hub.access.open_to_names = frozenset(settings.admission.open_to_names)
        self.listening = Listening(
            self.hub.channels, engine.log, self.limits, clock, self.hub.access.watch, self.hub.stats
        )
        # Whoever listens on further ports adds them: a hub must not be made to call itself.
        self.guard = Guard(clock, settings.callbacks.allow)
        self.outgoing = Outgoing(self.hub, self.guard)
        # What runs beside requests for as long as the hub lives, by name.
        self.pelion = ChannelService(self.hub, self.listening, self.guard)
        self.services: dict[str, Callable[[], Awaitable[None]]] = {
            "outgoing": self.outgoing.run,
            "names": self.listening.names.run,
            "pelion": self.pelion.run,
        }
        # What is done once the hub runs and before anybody is answered.
        self.prepare: list[Callable[[Hub], Awaitable[None]]] = []
        self.asgi = Starlette(routes=[*self._routes(dict(plugins.adapters))])

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Hub]:
        """The hub is live from here to the end of the block, with what the configuration declares in its directory.

        Raises Locked, Damaged, StorageFailed, SettingsError when it cannot be.
        """
        async with self.hub.running(self._declare):
            for prepare in self.prepare:
                await prepare(self.hub)
            tasks = Tasks()
            for name, service in self.services.items():
                tasks.create_task(self._kept(name, service), name)
            try:
                yield self.hub
            finally:
                await tasks.close()

    async def _kept(self, name: str, service: Callable[[], Awaitable[None]]) -> None:
        """Run a service; one that fails is said so and started again."""
        while True:
            try:
                await service()
                return
            except Exception:
                log.exception("service %s failed", name)
            await self.hub.clock.sleep_until(self.hub.clock.monotonic() + SERVICE_PAUSE)

    async def drain(self) -> None:
        """Take nothing more and let what runs end, for `limits.drain` at most; then sockets and polls are told."""
        until = self.hub.clock.monotonic() + self.limits.drain.total_seconds()
        self.outgoing.courier.halt()
        await self.hub.drain(self.limits.drain)
        self.listening.openings.drain()
        # A receiver that hangs must not hold up the end: what it has not taken is sent again by the next start.
        await self.outgoing.drain(min(until, self.hub.clock.monotonic() + DRAIN_DELIVERIES))
        await self.pelion.drain(min(until, self.hub.clock.monotonic() + DRAIN_DELIVERIES))
        await self.listening.openings.drained(until + 1.0)

    def ports(self) -> dict[str, int]:
        """The ports on which adapters listen by themselves, by scheme."""
        told: dict[str, int] = {}
        for adapter in self.hub.adapters.values():
            told.update(adapter.health().get("ports") or {})
        return told

    def worded(self, path: str, status: int) -> tuple[str, bytes] | None:
        """How the server's own refusals are told on a path: a problem where the native API is, a message where arrays
        are, else in words."""
        return refused_unread(status) if (path + "/").startswith(NATIVE + "/") else powerstore_worded(path, status)

    def said_ready(self, places: str) -> None:
        """Log that the hub answers now, and where."""
        log.info("ready on %s", places)

    async def _declare(self, hub: Hub) -> None:
        await Declared(self.settings, hub.directory, hub.access, self._environ).bring()

    def _routes(self, adapters: Mapping[str, tuple[Any, Any]]) -> list[BaseRoute]:
        ops = self.settings.ops
        token = metrics_token(self.settings, self._environ)
        operators = Ops(
            self.hub, lambda: len(self.listening.openings),
            metrics=ops.metrics, metrics_open=ops.metrics_open, metrics_token=token,
        )
        routes = operators.routes()
        for adapter, _ in adapters.values():
            if isinstance(adapter, ServesAsgi):
                # A mount alone begins after a slash; devices dial the address as it is written, without one.
                routes.append(Route(adapter.mount, adapter.asgi))
                routes.append(WebSocketRoute(adapter.mount, adapter.asgi))
                routes.append(Mount(adapter.mount, app=adapter.asgi))
        origins = frozenset(self.settings.server.origins)
        routes += native_routes(self.hub, self.listening, origins, self.outgoing)
        routes += pelion_routes(
            self.hub, self.listening, origins, self.pelion,
            asynchronous_subscriptions=self.settings.pelion.asynchronous_subscriptions,
        )
        self.powerstore = self._powerstore()
        routes += powerstore_routes(self.powerstore)
        routes += enos_routes(self._enos(), self.listening, origins)
        if ops.dashboard:
            routes.append(Mount("/", app=page()))
        return routes

    def _enos(self) -> EnosFront:
        table, hub = self.settings.enos, self.hub
        organisations = Organisations(hub.directory, hub.access)
        controls = ControlChannels(hub.directory, hub.channels)
        hub.dispatch.ends.also_told[ENOS] = controls.told_of
        self.outgoing.bodies.register(ENOS, control_message)
        tokens = Tokens(organisations, hub.clock, timedelta(seconds=table.token))
        waiting = EnosWaiting(hub, table.waiting)
        host = self.settings.server.host
        hosts = frozenset() if host in ("0.0.0.0", "::", "") else frozenset({host.lower()})
        return EnosFront(hub, organisations, controls, tokens, waiting, hosts, hub.clock.monotonic())

    def _powerstore(self) -> Front:
        table, hub, devices = self.settings.powerstore, self.hub, self.settings.devices
        sessions = Sessions(hub.directory, self.users, hub.clock, timedelta(seconds=table.session))
        waiting = PowerStoreWaiting(hub, timedelta(seconds=table.wait), table.waiting)
        places = {key: Place(device.account, device.id or key) for key, device in devices.items()}
        hosts = {host.lower(): places[key] for host, key in table.hosts.items()}
        return Front(hub, self.users, sessions, waiting, hosts)


def build(settings: Settings, environ: Mapping[str, str] | None = None, clock: Clock | None = None) -> App:
    """Compose a hub; nothing is opened or started yet. Raises SettingsError where the parts refuse their settings."""
    return App(settings, environ or {}, clock)
