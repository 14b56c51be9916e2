"""What a device says that it offers: the link format of RFC 6690, read tolerantly.

Devices in the field leave out `</>`, give it no `rt`, add `;ver=1.1`, list objects that are no numbers and forget the
content format; none of that makes a registration wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote

from hub.model.device import Resource

MOST_LINKS = 4096
_ROOT_TYPE = "oma.lwm2m"


@dataclass(frozen=True, slots=True)
class Link:
    """One link: its path and its attributes; an attribute without a value has the value ""."""

    path: str
    attributes: tuple[tuple[str, str], ...] = ()

    def get(self, name: str) -> str | None:
        """An attribute, None when it is absent."""
        for found, value in self.attributes:
            if found == name:
                return value
        return None


@dataclass(frozen=True, slots=True)
class Offer:
    """What a registration offers: its resources, and the path in front of them (`</lwm2m>;rt="oma.lwm2m"`)."""

    root: tuple[str, ...]
    resources: tuple[Resource, ...]


def parse(text: str) -> list[Link]:
    """The links of a document, in order. Raises ValueError for text that is no link format or has too many links."""
    links: list[Link] = []
    at, end = 0, len(text)
    while at < end:
        if text[at] in " \t\r\n,":
            at += 1
            continue
        if text[at] != "<":
            raise ValueError("a link begins with <")
        close = text.find(">", at)
        if close < 0:
            raise ValueError("a link without >")
        path = text[at + 1 : close]
        attributes, at = _attributes(text, close + 1)
        if len(links) >= MOST_LINKS:
            raise ValueError(f"more than {MOST_LINKS} links")
        links.append(Link(path, attributes))
    return links


def _attributes(text: str, at: int) -> tuple[tuple[tuple[str, str], ...], int]:
    """The attributes from `at` on, and where the next link begins."""
    found: list[tuple[str, str]] = []
    end = len(text)
    while at < end and text[at] != ",":
        if text[at] in "; \t\r\n":
            at += 1
            continue
        start = at
        while at < end and text[at] not in "=;,":
            at += 1
        name = text[start:at].strip()
        value = ""
        if at < end and text[at] == "=":
            value, at = _value(text, at + 1)
        if name:
            found.append((name, value))
    return tuple(found), at + 1


def _value(text: str, at: int) -> tuple[str, int]:
    if at < len(text) and text[at] == '"':
        piece: list[str] = []
        at += 1
        while at < len(text) and text[at] != '"':
            if text[at] == "\\" and at + 1 < len(text):
                at += 1
            piece.append(text[at])
            at += 1
        if at >= len(text):
            raise ValueError("a quoted value without its end")
        return "".join(piece), at + 1
    start = at
    while at < len(text) and text[at] not in ";,":
        at += 1
    return text[start:at].strip(), at


def offer(text: str) -> Offer:
    """The resources that a registration's links name, with the root path taken off. Raises ValueError."""
    links = parse(text)
    root: tuple[str, ...] = ()
    for link in links:
        if _ROOT_TYPE in (link.get("rt") or "").split():
            root = tuple(unquote(piece) for piece in link.path.split("/") if piece)
            break
    prefix = "/" + "/".join(root) if root else ""
    resources = []
    for link in links:
        path = link.path if link.path.startswith("/") else "/" + link.path
        if prefix and (path == prefix or path.startswith(prefix + "/")):
            path = path[len(prefix) :]
        if path.strip("/") == "":
            continue  # the root itself is no resource
        resources.append(
            Resource(
                path=path,
                resource_type=link.get("rt") or None,
                interface=link.get("if") or None,
                content_type=link.get("ct") or None,
                observable=link.get("obs") is not None,
            )
        )
    return Offer(root, tuple(resources))
