"""The settings of the HTTP adapter, read strictly: an unknown key or a wrong type is named, never ignored.

    jobs = "none"                # what its upstreams are: plain devices, or see `shape.py`
    inflight = 1                 # requests under way to one device; a job counts until its upstream took it
    total = 1024                 # requests under way to all
    attempt_timeout = 30         # seconds that a call waits for its answer (86400 where there are jobs)
    answer = 60                  # seconds that one request to a job upstream may take
    max_payload = 65536          # bytes of a request
    max_answer = 1048576         # bytes of an answer; a longer one is not read
    failures = 5                 # connections that fail, or say nothing, in a row before an upstream counts as away
    interval = 1                 # seconds to the first poll of a job, and between polls of one upstream
    interval_most = 10           # seconds to which the pause grows while a job stays at work
    requests_per_second = 20     # polls of one upstream
    idempotent = ["GET", "PUT", "DELETE"]    # methods that may be sent again (only GET where there are jobs)
    call_id = ""                 # header that carries the id of the call, for upstreams that keep track of it

    [adapters.<name>.upstreams.<upstream>]
    url = "https://10.0.0.5/api/rest"        # where its addresses begin
    user = ""                    # who signs in
    password = ""                # env:NAME or file:PATH
    token = ""                   # env:NAME or file:PATH; sent as Authorization: Bearer
    sign_in = ""                 # path that gives a session for user and password; "": both go with every request
    tls = "verify"               # verify, a file with authorities (PEM), or sha256:<fingerprint of the certificate>
    paths = false                # devices behind it have addresses <upstream>/<path>; else <upstream> is the device
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import Any

from yarl import URL

from adapters.http.shape import JobShape, read_shape

METHODS = frozenset({"GET", "PUT", "POST", "DELETE", "PATCH"})


@dataclass(frozen=True, slots=True)
class UpstreamSettings:
    """One upstream. `password` and `token` are references, or the secrets themselves where somebody put them there."""

    name: str
    url: URL
    user: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    sign_in: str = ""
    tls: str = "verify"
    paths: bool = False


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """Everything that can be set."""

    upstreams: tuple[UpstreamSettings, ...] = ()
    shape: JobShape | None = None
    inflight: int = 1
    total: int = 1024
    attempt_timeout: timedelta = timedelta(seconds=30)
    answer: timedelta = timedelta(seconds=60)
    max_payload: int = 65_536
    max_answer: int = 1024 * 1024
    failures: int = 5
    interval: timedelta = timedelta(seconds=1)
    interval_most: timedelta = timedelta(seconds=10)
    requests_per_second: int = 20
    idempotent: frozenset[str] = frozenset({"GET", "PUT", "DELETE"})
    call_id: str = ""


# The least and the most of each number; durations in seconds.
_BOUNDS: Mapping[str, tuple[float, float]] = {
    "inflight": (1, 1000),
    "total": (1, 60_000),
    "attempt_timeout": (1, 30 * 86_400),
    "answer": (1, 3600),
    "max_payload": (0, 64 * 1024 * 1024),
    "max_answer": (1024, 64 * 1024 * 1024),
    "failures": (1, 1000),
    "interval": (0.2, 300),
    "interval_most": (0.2, 3600),
    "requests_per_second": (1, 1000),
}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)
_FINGERPRINT = re.compile(r"sha256:(?:[0-9A-Fa-f]{2}:?){31}[0-9A-Fa-f]{2}", re.ASCII)
_HEADER = re.compile(r"[A-Za-z0-9-]{0,64}", re.ASCII)
_NOT_NUMBERS = ("upstreams", "shape", "idempotent", "call_id")


def read(settings: Mapping[str, Any]) -> HttpSettings:
    """The settings as values. Raises ValueError that names the key and what is wrong with it."""
    given = dict(settings)
    jobs = given.pop("jobs", "none")
    shape = read_shape(jobs if isinstance(jobs, str) else "", given.pop("job", {}))
    values: dict[str, Any] = {"shape": shape}
    if shape is not None:
        # A change that may have become a job is never sent again by itself, whatever its method.
        values |= {"attempt_timeout": timedelta(hours=24), "idempotent": frozenset({"GET"})}
    defaults = HttpSettings()
    numbers = [entry.name for entry in fields(HttpSettings) if entry.name not in _NOT_NUMBERS]
    for key, value in given.items():
        if key == "upstreams":
            values[key] = _upstreams(value)
        elif key == "idempotent":
            values[key] = _methods(key, value, shape)
        elif key == "call_id":
            if not isinstance(value, str) or _HEADER.fullmatch(value) is None:
                raise ValueError("call_id: is the name of a header")
            values[key] = value
        elif key in numbers:
            values[key] = _number(key, value, getattr(defaults, key))
        else:
            known = sorted([*numbers, "call_id", "idempotent", "job", "jobs", "upstreams"])
            raise ValueError(f"{key}: no such setting; there are {', '.join(known)}")
    made = HttpSettings(**values)
    if not made.upstreams:
        raise ValueError("upstreams: needs a table for each of them")
    if made.interval_most < made.interval:
        raise ValueError("interval_most: is no less than interval")
    return made


def _upstreams(value: Any) -> tuple[UpstreamSettings, ...]:
    if not isinstance(value, Mapping):
        raise ValueError("upstreams: is a table of tables")
    return tuple(_upstream(name, table) for name, table in value.items())


def _upstream(name: str, table: Any) -> UpstreamSettings:
    at = f"upstreams.{name}"
    if _NAME.fullmatch(name) is None:
        raise ValueError(f"{at}: a name has 1 to 64 letters, digits, dots, hyphens or underscores")
    if not isinstance(table, Mapping):
        raise ValueError(f"{at}: is a table")
    defaults = UpstreamSettings(name, URL("http://localhost"))
    known = {entry.name: getattr(defaults, entry.name) for entry in fields(UpstreamSettings) if entry.name != "name"}
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in known:
            raise ValueError(f"{at}.{key}: no such setting; there are {', '.join(sorted(known))}")
        if key == "paths":
            if not isinstance(value, bool):
                raise ValueError(f"{at}.paths: is true or false")
        elif not isinstance(value, str) or not value.isprintable():
            raise ValueError(f"{at}.{key}: is a text")
        values[key] = _url(at, value) if key == "url" else value
    if "url" not in values:
        raise ValueError(f"{at}.url: must be there")
    made = UpstreamSettings(name, **values)
    if bool(made.user) != bool(made.password):
        raise ValueError(f"{at}.password: user and password go together")
    if made.user and made.token:
        raise ValueError(f"{at}.token: there is a user with a password already")
    if ":" in made.user:
        raise ValueError(f"{at}.user: has no colon")
    if made.sign_in and not made.user:
        raise ValueError(f"{at}.sign_in: needs user and password")
    if made.tls.startswith("sha256:") and _FINGERPRINT.fullmatch(made.tls) is None:
        raise ValueError(f"{at}.tls: a fingerprint is sha256: and 64 hexadecimal digits")
    if made.tls != "verify" and made.url.scheme != "https":
        raise ValueError(f"{at}.tls: the url is not https")
    return made


def _url(at: str, text: str) -> URL:
    try:
        url = URL(text)
        right = url.scheme in ("http", "https") and bool(url.host) and url.port is not None
    except ValueError:
        right = False
    if not right or url.user is not None or url.password is not None or url.query_string or url.fragment:
        raise ValueError(f"{at}.url: is http:// or https://, a host and a path, without user, query and fragment")
    return url


def _methods(key: str, value: Any, shape: JobShape | None) -> frozenset[str]:
    if not isinstance(value, list | tuple) or not set(value) <= METHODS:
        raise ValueError(f"{key}: is a list of {', '.join(sorted(METHODS))}")
    if shape is not None and set(value) - {"GET"}:
        raise ValueError(f"{key}: a change that may have become a job is never sent again")
    return frozenset(value)


def _number(key: str, value: Any, default: Any) -> Any:
    least, most = _BOUNDS[key]
    whole = isinstance(default, int)
    right = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    if not right or not least <= value <= most:
        kind = "a whole number" if whole else "a number of seconds"
        raise ValueError(f"{key}: is {kind} from {least:g} to {most:g}")
    return value if whole else timedelta(seconds=value)
