"""A change whose 202 was lost: what became of it is found out, and it is never blindly sent again.

An upstream that knows repetitions by a key is asked once more under the same key. Any other is looked through for the
one job that this change must have become; where there is none, or more than one, nobody can tell.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from adapters.http.shape import JobShape
from adapters.http.told import id_of, no_answer, rows
from adapters.http.upstream import Upstream
from adapters.http.wire import Answer, filled
from hub.model.call import CallSpec
from hub.model.job import JobFacets, facets_of
from hub.ports.adapter import BadRequest, Delivery, DeviceRequest, DeviceTimeout, NotConnected, Unreachable
from hub.ports.clock import Clock

LOOKS = 4
FIRST_PAUSE, MOST_PAUSE = 0.5, 8.0
SEARCH_FOR = timedelta(minutes=10)
REPEAT_FOR = timedelta(hours=12)
MARGIN = timedelta(seconds=2)
MOST_KNOWN = 10_000

Send = Callable[[float], Awaitable[Answer]]


class Lost:
    """Finds the jobs of one upstream that belong to nobody."""

    def __init__(self, upstream: Upstream, shape: JobShape, clock: Clock, answer: timedelta) -> None:
        self._upstream = upstream
        self._shape = shape
        self._clock = clock
        self._answer = answer.total_seconds()
        self._known: OrderedDict[str, None] = OrderedDict()
        self._searched: Counter[JobFacets] = Counter()
        self._doubtful: Counter[JobFacets] = Counter()

    def know(self, job: str) -> None:
        """A job that belongs to a call already."""
        self._known[job] = None
        self._known.move_to_end(job)
        while len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)

    async def again(self, sent_at: datetime, deadline: float, send: Send) -> Answer:
        """The answer to the change, asked for under the same key. Raises DeviceTimeout (MAYBE) when there is none."""
        until = min(deadline, self._clock.monotonic() + self._left(sent_at, REPEAT_FOR))
        pause = FIRST_PAUSE
        while self._clock.monotonic() + pause < until:
            await self._upstream.rest(self._clock.monotonic() + pause)
            pause = min(MOST_PAUSE, pause * 2)
            try:
                answer = await send(min(until, self._clock.monotonic() + self._answer))
            except (Unreachable, NotConnected, DeviceTimeout):
                continue  # `rest` ends this when the hub stops
            # A server that starts, or has too much to do, has not looked at the key yet.
            if answer.status not in (429, 503) and not no_answer(self._shape, answer):
                return answer
        raise DeviceTimeout("it is not known whether the change was taken", delivery=Delivery.MAYBE)

    async def find(self, req: DeviceRequest, sent_at: datetime) -> str:
        """The job that a change became. Raises DeviceTimeout (MAYBE) when that cannot be told."""
        facets = _facets(req, self._upstream.settings.user)
        if facets is None or not self._shape.find:
            raise DeviceTimeout("it is not known whether the change was taken", delivery=Delivery.MAYBE)
        self._searched[facets] += 1
        if self._searched[facets] > 1:
            # Two that look the same: whichever job there is may be either's.
            self._doubtful[facets] = self._searched[facets]
        try:
            return await self._search(req, facets, sent_at)
        finally:
            self._searched[facets] -= 1
            if not self._searched[facets]:
                del self._searched[facets]
                del self._doubtful[facets]

    async def _search(self, req: DeviceRequest, facets: JobFacets, sent_at: datetime) -> str:
        until = min(req.deadline, self._clock.monotonic() + self._left(sent_at, SEARCH_FOR))
        looks, pause = 0, FIRST_PAUSE
        while looks < LOOKS and self._clock.monotonic() + pause < until:
            await self._upstream.rest(self._clock.monotonic() + pause)
            pause = min(MOST_PAUSE, pause * 2)
            found = await self._look(facets, sent_at, until)
            if found is None:
                continue
            looks += 1
            fresh = [job for job in found if job not in self._known]
            if len(fresh) > 1 or self._doubtful[facets] or "" in fresh:
                break
            if fresh:
                self.know(fresh[0])
                return fresh[0]
        raise DeviceTimeout("it is not known whether the change was taken", delivery=Delivery.MAYBE)

    async def _look(self, facets: JobFacets, sent_at: datetime, until: float) -> list[str] | None:
        """Jobs that may be it; None when the upstream did not say."""
        bound = min(until, self._clock.monotonic() + self._answer)
        if self._upstream.skew is None:
            # Nobody has answered yet, as after a restart: the moment is one of the upstream's clock.
            try:
                await self._upstream.look(bound)
            except (Unreachable, NotConnected, DeviceTimeout):
                return None
        since = sent_at + timedelta(seconds=self._upstream.skew or 0.0) - MARGIN
        path = filled(
            _without_unknown(self._shape.find, facets),
            type=facets.kind,
            action=facets.action,
            instance=facets.instance or "",
            user=facets.user,
            since=since.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        )
        try:
            answer = await self._upstream.ask("GET", path, bound)
        except (Unreachable, NotConnected, DeviceTimeout):
            return None
        found = rows(answer.body) if answer.status in (200, 206) else None
        return None if found is None else [id_of(self._shape, row) or "" for row in found]

    def _left(self, sent_at: datetime, most: timedelta) -> float:
        # After a restart the time is over that passed meanwhile, but one look is always due.
        return max((sent_at + most - self._clock.now()).total_seconds(), FIRST_PAUSE + 2.0)


def _facets(req: DeviceRequest, user: str) -> JobFacets | None:
    try:
        spec = CallSpec(
            account="", application=user, ref="", device=req.device, method=req.method, target=req.target, channel="",
            dialect="", payload=req.payload,
        )  # fmt: skip
        return facets_of(spec)
    except BadRequest:
        return None


def _without_unknown(template: str, facets: JobFacets) -> str:
    """The question without the conditions for which there is nothing to put in."""
    path, mark, query = template.partition("?")
    gone = [place for place, value in (("{instance}", facets.instance), ("{user}", facets.user)) if not value]
    kept = (part for part in query.split("&") if not any(place in part for place in gone))
    return path + mark + "&".join(kept)
