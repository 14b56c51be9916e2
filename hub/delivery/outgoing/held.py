"""The deliveries that are in memory: a queue for each receiver, and bounds for those who own many receivers.

Rows wait on disk; what is here is the next of each. Nobody fills the memory, or the places of deliveries under way, for
the others: an application and an account hold so many rows and no more, and free places go round by accounts, within
an account by applications, within an application by receivers. When all memory is taken, everybody still gets a few.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from hub.core.limits import Limits
from hub.delivery.outgoing.places import KEPT
from hub.model.delivery import Delivery

MOST_HELD = 4096
"""Waiting in memory, of all."""
MOST_OF_ACCOUNT, MOST_OF_APPLICATION, MOST_OF_ENDPOINT = 1024, 512, 128
"""Waiting in memory, beside those under way."""
FEW = 16
"""Of an account that are held even when all memory is taken."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Who is not asked for when due rows are read: they have enough in memory."""

    endpoints: tuple[str, ...]
    applications: tuple[str, ...]
    accounts: tuple[str, ...]


class Queue:
    """The rows of one endpoint that are in memory: waiting, and under way. `passed_over`: it may have more on disk,
    which were not asked for when the others' were."""

    __slots__ = ("application", "endpoint", "passed_over", "under_way", "waiting")

    def __init__(self, endpoint: str, application: Application) -> None:
        self.endpoint = endpoint
        self.application = application
        self.waiting: deque[Delivery] = deque()
        self.under_way = 0
        self.passed_over = False


class _Tenant:
    """What is counted of an application or account. `short`: it has more on disk, left there for want of room."""

    __slots__ = ("held", "most_held", "most_under_way", "name", "short", "under_way")

    def __init__(self, name: str, most_under_way: int, most_waiting: int) -> None:
        self.name = name
        self.most_under_way = most_under_way
        self.most_held = most_under_way + most_waiting
        self.held = 0
        self.under_way = 0
        self.short = False

    @property
    def room(self) -> bool:
        """Whether one more may be under way."""
        return self.under_way < self.most_under_way


class Account(_Tenant):
    """An account with those of its applications that hold something."""

    __slots__ = ("applications",)

    def __init__(self, name: str, limits: Limits) -> None:
        super().__init__(name, limits.callbacks_per_account, MOST_OF_ACCOUNT)
        self.applications: dict[str, Application] = {}


class Application(_Tenant):
    """An application. `ready` are its queues from which one may start, in their order."""

    __slots__ = ("account", "ready")

    def __init__(self, name: str, account: Account, limits: Limits) -> None:
        super().__init__(name, limits.callbacks_per_tenant, MOST_OF_APPLICATION)
        self.account = account
        self.ready: dict[str, Queue] = {}


class Held:
    """What is in memory. `failing(endpoint)`: it is tried by one at a time."""

    def __init__(self, limits: Limits, failing: Callable[[str], bool]) -> None:
        self._limits = limits
        self._failing = failing
        self._accounts: dict[str, Account] = {}
        self._queues: dict[str, Queue] = {}
        self._ids: set[int] = set()
        self.under_way = 0

    def __contains__(self, id: int) -> bool:
        return id in self._ids

    def __len__(self) -> int:
        return len(self._ids)

    # What comes in.

    def left_out(self) -> LeftOut:
        """Who has enough; remembered, so that they are asked for later."""
        for tenant in self._tenants():
            tenant.short = tenant.held >= self._most(tenant)
        endpoints = []
        for queue in self._queues.values():
            queue.passed_over = bool(queue.waiting) or self._room(queue) <= 0
            if queue.passed_over and not _short(queue):
                endpoints.append(queue.endpoint)
        return LeftOut(
            tuple(endpoints),
            tuple(tenant.name for tenant in self._tenants() if tenant.short and isinstance(tenant, Application)),
            tuple(tenant.name for tenant in self._tenants() if tenant.short and isinstance(tenant, Account)),
        )

    def take(self, row: Delivery) -> bool:
        """Keep a row if there is room; whether the next look may find more: it was kept, or somebody is left out
        from now on."""
        account = self._accounts.get(row.account) or Account(row.account, self._limits)
        name = row.channel.partition("/")[0]
        application = account.applications.get(name) or Application(name, account, self._limits)
        full = [tenant for tenant in (account, application) if tenant.held >= self._most(tenant)]
        for tenant in full:
            tenant.short = True
        if full:
            return True
        queue = self._queues.get(row.endpoint) or Queue(row.endpoint, application)
        if len(queue.waiting) >= MOST_OF_ENDPOINT:
            queue.passed_over = True
            return False
        # An endpoint is one application's; whoever holds something is known.
        account = queue.application.account
        self._accounts[account.name] = account
        account.applications[queue.application.name] = queue.application
        self._queues[row.endpoint] = queue
        for tenant in (account, queue.application):
            tenant.held += 1
        queue.waiting.append(row)
        self._ids.add(row.id)
        queue.application.ready[queue.endpoint] = queue
        return True

    # What goes out.

    def next_round(self) -> Iterator[tuple[Queue, Delivery]]:
        """One row of each account that may have one more under way, those with the fewest first; it counts as under
        way from then on. Empty when nothing may start."""
        most = self._limits.callbacks_at_once
        for account in sorted(self._accounts.values(), key=_load):
            # Beyond the limit only those who have nothing under way, so that a few others together stop nobody.
            if self.under_way >= (most if account.under_way else most + most // KEPT):
                return
            queue = self._first(account)
            if queue is not None:
                yield queue, self._begin(queue)

    def over(self, queue: Queue, id: int) -> bool:
        """A row is under way no more; whether rows may be asked for that were left out."""
        application = queue.application
        queue.under_way -= 1
        self.under_way -= 1
        self._ids.discard(id)
        again = False
        for tenant in (application, application.account):
            tenant.under_way -= 1
            tenant.held -= 1
            if tenant.short and tenant.held <= self._most(tenant) // 2:
                tenant.short, again = False, True
        again = again or self.has_more(queue)
        if queue.waiting:
            application.ready[queue.endpoint] = queue
        elif not queue.under_way and self._queues.get(queue.endpoint) is queue:
            del self._queues[queue.endpoint]
        if not application.held:
            application.account.applications.pop(application.name, None)
        if not application.account.held:
            self._accounts.pop(application.account.name, None)
        return again

    def has_more(self, queue: Queue) -> bool:
        """Whether an emptied queue was left out, and its owners have room."""
        return queue.passed_over and not queue.waiting and not _short(queue)

    def _first(self, account: Account) -> Queue | None:
        if not account.room:
            return None
        for application in sorted(account.applications.values(), key=_load):
            while application.room and application.ready:
                queue = application.ready.pop(next(iter(application.ready)))
                # One that has no room comes back when one of its own is over.
                if queue.waiting and self._room(queue) > 0:
                    return queue
        return None

    def _begin(self, queue: Queue) -> Delivery:
        row = queue.waiting.popleft()
        queue.under_way += 1
        self.under_way += 1
        for tenant in (queue.application, queue.application.account):
            tenant.under_way += 1
        if queue.waiting:
            queue.application.ready[queue.endpoint] = queue  # behind all the others
        return row

    # Bounds.

    def _room(self, queue: Queue) -> int:
        """How many more may be under way to this endpoint, for its own sake."""
        return (1 if self._failing(queue.endpoint) else self._limits.callbacks_per_endpoint) - queue.under_way

    def _most(self, tenant: _Tenant) -> int:
        full = len(self._ids) >= MOST_HELD + self._limits.callbacks_at_once
        return FEW if full else tenant.most_held

    def _tenants(self) -> Iterator[_Tenant]:
        for account in self._accounts.values():
            yield account
            yield from account.applications.values()


def _load(tenant: _Tenant) -> int:
    return tenant.under_way


def _short(queue: Queue) -> bool:
    return queue.application.short or queue.application.account.short
