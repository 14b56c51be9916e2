"""Users: who signs in by name and password. A password is known by its scrypt alone; a key may stand in for it.

Scrypt is slow on purpose, so it runs on threads, few at a time, and what was found right is remembered for a while
under a key of this process.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.to_thread

from hub.core.access import KEY_FORM, Access
from hub.core.directory import Directory
from hub.model.errors import NotAuthenticated, Unavailable
from hub.model.principal import Principal, Scope
from hub.model.record import Kind, Record
from hub.model.tenant import User

AT_ONCE = 2
MOST_WAITING = 64
REMEMBERED = 1024
MOST_CANDIDATES = 8
_SCOPES = frozenset({Scope.CALL, Scope.LISTEN})
_PREFIX = "user:"
_NOBODY = User("", "", "", "", salt=b"0" * 16, digest=b"\0" * 32)


@dataclass(frozen=True, slots=True)
class Holder:
    """Who signed in: as whom they act, the name they gave, the array that is meant unless they name another.

    `proof` changes when the password does; it is empty where a key was shown.
    """

    principal: Principal
    name: str
    array: str | None = None
    proof: str = ""


class Users:
    """The users, as the directory knows them."""

    def __init__(self, directory: Directory, access: Access) -> None:
        self._directory = directory
        self._access = access
        self._users: dict[str, User] = {}
        self._known: OrderedDict[bytes, tuple[str, bytes]] = OrderedDict()
        self._salt = secrets.token_bytes(32)
        self._limiter: anyio.CapacityLimiter | None = None
        self._waiting = 0
        directory.follow(Kind.USER, self._changed)
        access.serves_else = self.serves

    def serves(self, key_id: str) -> bool:
        """Whether the `key_id` of a user's principal opens the door now."""
        user = self._users.get(key_id.removeprefix(_PREFIX)) if key_id.startswith(_PREFIX) else None
        return user is not None and self._serves(user)

    async def sign_in(self, name: str, password: str) -> Holder:
        """Who this is. Raises NotAuthenticated, the same for every reason; Unavailable when too many ask at once."""
        named = [user for user in self._users.values() if user.name == name and self._serves(user)]
        if KEY_FORM.fullmatch(password):
            try:
                principal = self._access.authenticate(password)
            except NotAuthenticated:
                pass
            else:
                mine = (user.array for user in named if user.application == principal.application and user.array)
                return Holder(principal, name, next(mine, None))
        mark = hmac.digest(self._salt, f"{name}\0{password}".encode("utf-8", "surrogatepass"), "sha256")
        known = self._known.get(mark)
        for user in named:
            if known == (user.id, user.digest):
                self._known.move_to_end(mark)
                return _holder(user)
        for user in [user for user in named if user.digest][:MOST_CANDIDATES] or [_NOBODY]:
            if await self._fits(user, password):
                self._known[mark] = (user.id, user.digest)
                if len(self._known) > REMEMBERED:
                    self._known.popitem(last=False)
                return _holder(user)
        raise NotAuthenticated("the name or the password is not known")

    def holder(self, key_id: str, name: str, proof: str) -> Holder | None:
        """Who signed in earlier, if they still may; `proof` as it was then."""
        if key_id.startswith(_PREFIX):
            user = self._users.get(key_id.removeprefix(_PREFIX))
            fits = user is not None and self._serves(user) and hmac.compare_digest(_proof(user), proof)
            return _holder(user) if user is not None and fits else None
        key = self._access.key(key_id)
        if key is None or not self._access.serves(key_id):
            return None
        return Holder(Principal(key.account, key.application, key.id, key.scopes), name)

    async def _fits(self, user: User, password: str) -> bool:
        if self._waiting >= MOST_WAITING:
            raise Unavailable("too many sign in at once", code="busy", retry_after=1)
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(AT_ONCE)
        self._waiting += 1
        try:
            found = await anyio.to_thread.run_sync(digest_of, password, user.salt, limiter=self._limiter)
        finally:
            self._waiting -= 1
        return bool(user.id) and hmac.compare_digest(found, user.digest)

    def _serves(self, user: User) -> bool:
        application = self._directory.application(user.application)
        account = self._directory.account(user.account)
        gone = application is None or application.disabled or account is None or account.disabled
        return not (user.disabled or gone)

    def _changed(self, id: str, record: Record | None) -> None:
        if record is None:
            self._users.pop(id, None)
        else:
            self._users[id] = user_of(record)


def digest_of(password: str, salt: bytes) -> bytes:
    """The scrypt of a password; some 50 ms of one processor."""
    return hashlib.scrypt(password.encode("utf-8", "surrogatepass"), salt=salt, n=1 << 14, r=8, p=1, dklen=32)


def user_of(record: Record) -> User:
    """The user that a record tells of."""
    body: Mapping[str, Any] = record.body
    return User(
        id=record.id,
        name=body["name"],
        application=body["application"],
        account=record.account,
        array=body.get("array"),
        salt=body.get("salt", b""),
        digest=body.get("digest", b""),
        disabled=bool(body.get("disabled")),
        declared=bool(body.get("declared")),
    )


def user_record(user: User) -> Record:
    """The record of a user; the password is not in it, because the hub does not have it."""
    body = {
        "name": user.name,
        "application": user.application,
        "array": user.array,
        "salt": user.salt,
        "digest": user.digest,
        "disabled": user.disabled,
        "declared": user.declared,
    }
    return Record(Kind.USER, user.id, user.account, body)


def _holder(user: User) -> Holder:
    principal = Principal(user.account, user.application, _PREFIX + user.id, _SCOPES)
    return Holder(principal, user.name, user.array, _proof(user))


def _proof(user: User) -> str:
    return hashlib.sha256(user.salt + user.digest).hexdigest()[:16]
