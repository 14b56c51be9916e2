"""The vendor's REST client at its prompt, with a control channel of its own that is read beside it."""

from __future__ import annotations

import itertools
from typing import Any

from tests.hub_process import HubProcess
from tests.interop.peer import SCRIPTS, Peer, environment_of

NAME = "enos-poseidon"
CONTROLS = "/dataService/controlChannels"
INVOKE = "/dataService/devices/multiInvoke"
_numbers = itertools.count(1)


def command(hub: HubProcess) -> list[str]:
    """How the client's prompt is started."""
    python = environment_of(NAME) / "bin" / "python"
    return [str(python), str(SCRIPTS / NAME / "prompt.py"), hub.url.rstrip("/")]


class Client:
    """The client as somebody uses it; `headers` are those that the caller adds, `channel` is not made yet."""

    def __init__(self, hub: HubProcess, peer: Peer, org: str, headers: dict[str, str] | None = None) -> None:
        self.hub = hub
        self.peer = peer
        self.org = org
        self.headers = headers
        self.number = next(_numbers)
        self.channel = f"DATASVC.CONTROL.pumps-{self.number}"
        self._position = "from=first"

    def __call__(self, method: str, path: str, data: Any = None, *, org: str | None = None) -> Any:
        path += ("&" if "?" in path else "?") + f"orgId={self.org if org is None else org}"
        return self.peer(f"ask({method!r}, {path!r}, {data!r}, headers={self.headers!r})")

    def make_channel(self) -> None:
        """Make its control channel."""
        made = self("POST", CONTROLS, {"controlChannelId": self.channel, "desc": "pumps"})
        assert made["status"] == 0, made

    def id(self, name: str) -> str:
        """A request id that nobody else has."""
        return f"{name}-{self.number}"

    def call(self, name: str, device: str, service: str, **members: Any) -> dict[str, Any]:
        """A call as it is written; its outcome comes on the channel."""
        return {
            "requestId": self.id(name), "orgId": None, "callType": "ASYNC", "controlChannelId": self.channel,
            "productKey": "pkPump", "deviceKey": device, "serviceId": service, "inputData": {"rpm": 900},
            "timeout": 5000, **members,
        }  # fmt: skip

    def invoke(self, *calls: Any) -> list[Any]:
        """A multiInvoke; its replies."""
        answer = self("PUT", INVOKE, {"data": list(calls)})
        assert (answer["status"], answer["msg"]) == (0, "Success"), answer
        replies: list[Any] = answer["data"]
        return replies

    def outcomes(self, count: int) -> list[Any]:
        """The next replies on the control channel."""
        found: list[Any] = []
        while len(found) < count:
            page = self._page(15)
            assert page is not None, found
            found += [reply for message in page["messages"] for reply in message["data"]]
        return found

    def no_more(self) -> bool:
        """Whether nothing else is on the control channel now."""
        page = self._page(0)
        return page is None or not page["messages"]

    def told(self, name: str) -> list[Any]:
        """What the default channel tells of a call, from its beginning to now."""
        found: list[Any] = []
        position = "from=first"
        while (page := self.hub.ask("GET", f"v1/channels/default/messages?{position}&wait=0")) and page["messages"]:
            items = [item for message in page["messages"] for item in message.get("async-responses", [])]
            found += [item for item in items if item["id"] == self.id(name)]
            position = f"epoch={page['epoch']}&offset={page['offset']}"
        return found

    def _page(self, wait: int) -> Any:
        page = self.hub.ask("GET", f"v1/channels/enos.{self.channel}/messages?{self._position}&wait={wait}")
        if page is not None:
            self._position = f"epoch={page['epoch']}&offset={page['offset']}"
        return page
