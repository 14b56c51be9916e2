"""What can be refused or go wrong, as one tree; each dialect renders it once, at its edge.

HubError
  IllegalStep                      a bug: a call was moved against the lifecycle table
  StorageFailed                    the commit did not happen; nothing was promised
    StorageFull                    no room on the disk (507)
    NotTaken                       an event was refused for what it says; the same one would be again
  Damaged                          stored data cannot be trusted; the hub refuses to start
  Locked                           another process holds the data folder
  CannotListen                     a port cannot be had; the hub does not run without it
  RevisionConflict                 a record changed since it was read
  UnknownDevice                    an event came of a device that the hub does not know; nothing was kept
  Refusal                          the caller's request is refused; carries status and code word
    BadRequest NotAuthenticated NotAllowed NotFound Conflict IdempotencyConflict
    TooLarge UnsupportedMedia NotAcceptable MethodNotAllowed Unprocessable TooMany Unavailable OutOfRange
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class HubError(Exception):
    """The root of everything that the hub raises on purpose."""


class IllegalStep(HubError):
    """A call was asked to move in a way that the lifecycle table does not have."""


class StorageFailed(HubError):
    """The commit did not happen, so nothing may be promised. Told as 503, never as 500."""


class StorageFull(StorageFailed):
    """The commit did not happen for want of room. Told as 507."""


class NotTaken(StorageFailed):
    """What a device reports was refused for what it says, not for want of a disk: nothing was kept, and the same report
    would be refused again as things stand."""


class Damaged(HubError):
    """A data file is damaged; starting on it could lose or invent answers."""


class Locked(HubError):
    """Another process holds the data folder."""


class CannotListen(HubError):
    """A socket cannot be had; the text is for the operator."""


class RevisionConflict(HubError):
    """A record is no longer at the revision that the writer expected; nothing was written."""


class UnknownDevice(HubError):
    """An event came of a device that the hub does not know, or does not know any more. Nothing of it was kept, so it
    may not be acknowledged; coming again would not help, unless the device registers first."""


class Refusal(HubError):
    """A request that is refused at once; no call came of it.

    `code` is a stable word in lower-case-with-hyphens; `fields` are (JSON pointer, what is wrong) pairs.
    """

    status: ClassVar[int] = 400
    code: str = "bad-request"

    def __init__(
        self,
        detail: str = "",
        *,
        code: str | None = None,
        fields: Sequence[tuple[str, str]] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(detail or code or self.code)
        self.detail = detail
        if code is not None:
            self.code = code
        self.fields = tuple(fields)
        self.retry_after = retry_after


class BadRequest(Refusal):
    """The request is malformed or breaks a rule that can be checked at once."""

    status = 400
    code = "bad-request"


class NotAuthenticated(Refusal):
    """No key, or one that the hub does not know."""

    status = 401
    code = "not-authenticated"


class NotAllowed(Refusal):
    """The key is known but has not the scope."""

    status = 403
    code = "not-allowed"


class NotFound(Refusal):
    """There is no such thing, or it belongs to somebody else: the two look exactly alike."""

    status = 404
    code = "not-found"


class MethodNotAllowed(Refusal):
    """The path exists, the method does not."""

    status = 405
    code = "method-not-allowed"


class NotAcceptable(Refusal):
    """None of the forms that the client accepts is offered."""

    status = 406
    code = "not-acceptable"


class Conflict(Refusal):
    """The request contradicts the present state."""

    status = 409
    code = "conflict"


class IdempotencyConflict(Conflict):
    """The same idempotency key came with another request; the first call is untouched."""

    code = "idempotency-conflict"


class TooLarge(Refusal):
    """The body or a part of it is over a limit."""

    status = 413
    code = "too-large"


class UnsupportedMedia(Refusal):
    """The body has a content type or coding that is not taken."""

    status = 415
    code = "unsupported-media-type"


class OutOfRange(Refusal):
    """A page was asked for that there is not."""

    status = 416
    code = "bad-range"


class Unprocessable(Refusal):
    """The request is well-formed, but what it names cannot be used: an address that the hub does not call."""

    status = 422
    code = "unprocessable"


class TooMany(Refusal):
    """A queue or a rate is full; try again later."""

    status = 429
    code = "too-many"


class Unavailable(Refusal):
    """The hub cannot take work now: storage failed, or it is draining."""

    status = 503
    code = "unavailable"
