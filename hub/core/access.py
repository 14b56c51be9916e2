"""Who may do what: keys and their scopes, and the rate of each key. Which devices may dial in is doorkeeper.py.

Keys are found by the SHA-256 of the whole secret and never stored otherwise. A foreign thing is a
missing thing; nothing here says which of the two it was.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import secrets
import string
from collections.abc import Callable, Collection
from dataclasses import replace

from hub.core.directory import Directory
from hub.core.doorkeeper import Doorkeeper
from hub.core.limits import Limits, TokenBucket
from hub.core.records import key_of, key_record
from hub.core.stats import Stats
from hub.model.errors import BadRequest, Conflict, NotAuthenticated, NotFound, TooMany
from hub.model.principal import Principal, Scope
from hub.model.record import Kind, Record
from hub.model.tenant import Key
from hub.ports.clock import Clock

OPERATOR = "operator"
"""Who did it, in the audit, where no key did: the command line or the configuration."""

KEY_FORM = re.compile(r"ak_[A-Za-z0-9_]{8,253}", re.ASCII)

_audit = logging.getLogger("hub.audit")
_BASE62 = string.digits + string.ascii_letters
_SECRET_LENGTH = 43  # 43 digits of base 62 carry the 256 bits of 32 random bytes


class Access(Doorkeeper):
    """The keys, as the directory knows them, and the judgement that follows from them."""

    def __init__(
        self,
        directory: Directory,
        clock: Clock,
        limits: Limits | None = None,
        stats: Stats | None = None,
        open_to_names: Collection[str] = (),
    ) -> None:
        super().__init__(directory, stats or Stats(), open_to_names)
        self._clock = clock
        self._limits = limits or Limits()
        self._keys: dict[str, Key] = {}
        self._making: dict[str, Key] = {}
        self._by_digest: dict[str, str] = {}
        self._principals: dict[str, Principal] = {}
        self._buckets: dict[str, TokenBucket] = {}
        self._watchers: dict[str, dict[int, Callable[[], None]]] = {}
        self._next_watcher = 0
        self.serves_else: Callable[[str], bool] = _no_other
        """Whether something that is no key, but acts as one, opens the door now: users, by `user:<id>`."""
        directory.follow(Kind.KEY, self._key_changed)
        directory.follow(Kind.APPLICATION, self._tenant_changed)
        directory.follow(Kind.ACCOUNT, self._tenant_changed)

    # Keys.

    def authenticate(self, secret: str) -> Principal:
        """Whose secret this is; one hash and one look-up. Raises NotAuthenticated, the same for every reason."""
        digest = hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
        key = self._keys.get(self._by_digest.get(digest, ""))
        if key is None or not hmac.compare_digest(key.sha256, digest) or not self._serves(key):
            raise NotAuthenticated("the key is not known")
        return self._principals[key.id]

    async def create_key(
        self,
        application: str,
        scopes: frozenset[Scope],
        label: str = "",
        secret: str | None = None,
        *,
        id: str | None = None,
        declared: bool = False,
        by: str = OPERATOR,
    ) -> tuple[Key, str]:
        """Make a key, durable on return; the secret is returned this once and never again.

        `secret` may be given (form `ak_[A-Za-z0-9_]{8,}`), otherwise it is `ak_<id>_<256 random bits>`; `by` is who
        asked, for the audit. Raises
        NotFound for no such application, BadRequest for a secret of another form or no scopes, Conflict
        (`key-exists`) for an id or a secret in use, TooMany (`too-many-keys`), StorageFailed.
        """
        owner = self._directory.application(application)
        if owner is None or owner.disabled:
            raise NotFound("no such application", code="application-not-found")
        if not scopes:
            raise BadRequest("a key needs a scope", code="bad-scopes")
        if secret is not None and KEY_FORM.fullmatch(secret) is None:
            raise BadRequest("a key is ak_ and at least 8 letters, digits or underscores", code="bad-key")
        # Those on their way to the disk count, so that no two are made where there is room for one.
        making = sum(key.application == application for key in self._making.values())
        if len(self.keys(application)) + making >= self._limits.keys_per_application:
            raise TooMany("the application has too many keys", code="too-many-keys")
        if id is None:
            id = _random(8)
        if secret is None:
            secret = f"ak_{id}_{_random(_SECRET_LENGTH)}"
        digest = hashlib.sha256(secret.encode()).hexdigest()
        holder = self._keys.get(self._by_digest.get(digest, ""))
        taken = id in self._making or any(key.sha256 == digest for key in self._making.values())
        if taken or id in self._keys or (holder is not None and (holder.revoked or not holder.disabled)):
            raise Conflict("the key exists", code="key-exists")
        key = Key(id, application, owner.account, scopes, label, digest, self._clock.now(), declared=declared)
        self._making[id] = key
        try:
            await self._directory.put(key_record(key))
        finally:
            del self._making[id]
        told = {"key": by, "subject": id, "application": application, "scopes": _words(scopes)}
        _audit.info("key created", extra=told)
        return key, secret

    async def change_key(self, key: Key) -> None:
        """Write a key in another state (label, scopes, disabled), durable on return; sockets of one that no longer
        serves are told. Raises NotFound, StorageFailed."""
        if key.id not in self._keys:
            raise NotFound("no such key", code="key-not-found")
        await self._directory.put(key_record(key))

    async def revoke_key(self, key_id: str, *, by: str = OPERATOR) -> bool:
        """Take a key back: refused and its sockets told before this waits for anything. False if there is none.

        A declared key leaves a mark, so that it does not come back with the next start. Raises StorageFailed: the
        key then stays refused until the process ends, and revoking it again is right.
        """
        key = self._keys.get(key_id)
        if key is None or (key.revoked and self._stored_as_revoked(key_id)):
            return False
        self._know(replace(key, revoked=True))
        _audit.info("key revoked", extra={"key": by, "subject": key_id, "application": key.application})
        if key.declared:
            await self._directory.put(key_record(replace(key, revoked=True)))
        else:
            await self._directory.delete(Kind.KEY, key_id)
        return True

    def keys(self, application: str) -> list[Key]:
        """The keys of an application that are not revoked, by id."""
        mine = [key for key in self._keys.values() if key.application == application and not key.revoked]
        return sorted(mine, key=lambda key: key.id)

    def all_keys(self) -> list[Key]:
        """The keys of every application, revoked and disabled ones too, by id."""
        return [self._keys[id] for id in sorted(self._keys)]

    def key(self, key_id: str) -> Key | None:
        """The key, revoked and disabled ones too."""
        return self._keys.get(key_id)

    def serves(self, key_id: str) -> bool:
        """Whether the key is known and opens the door now: neither revoked nor disabled, nor its tenants."""
        key = self._keys.get(key_id)
        return self._serves(key) if key is not None else self.serves_else(key_id)

    def watch(self, key_id: str, revoked: Callable[[], None]) -> Callable[[], None]:
        """Call `revoked` once, when the key is revoked or disabled; at once if it is. Returns the unwatch."""
        key = self._keys.get(key_id)
        if key is None and self.serves_else(key_id):
            return _nothing  # it lives as long as the configuration says so
        if key is None or not self._serves(key):
            revoked()
            return _nothing
        number = self._next_watcher = self._next_watcher + 1
        self._watchers.setdefault(key_id, {})[number] = revoked

        def unwatch() -> None:
            watchers = self._watchers.get(key_id)
            if watchers is not None and watchers.pop(number, None) is not None and not watchers:
                del self._watchers[key_id]

        return unwatch

    def take_call(self, principal: Principal, n: int = 1) -> None:
        """Count `n` calls against the rate of the key. Raises TooMany (`too-many-calls`) with `retry_after`."""
        bucket = self._buckets.get(principal.key_id)
        if bucket is None:
            bucket = TokenBucket(self._limits.calls_per_second, self._limits.burst, self._clock)
            if principal.key_id in self._keys or self.serves_else(principal.key_id):
                self._buckets[principal.key_id] = bucket
        wait = bucket.take(n)
        if wait:
            raise TooMany("too many calls with this key", code="too-many-calls", retry_after=wait)

    # What the directory tells of keys.

    def _key_changed(self, id: str, record: Record | None) -> None:
        if record is not None:
            self._know(key_of(record))
            return
        key = self._keys.pop(id, None)
        if key is not None:
            if self._by_digest.get(key.sha256) == id:
                del self._by_digest[key.sha256]
            self._principals.pop(id, None)
            self._buckets.pop(id, None)
            self._tell(id)

    def _tenant_changed(self, id: str, record: Record | None) -> None:
        for key in list(self._keys.values()):
            if id in (key.application, key.account) and not self._serves(key):
                self._tell(key.id)

    def _know(self, key: Key) -> None:
        before = self._keys.get(key.id)
        if before is not None and before.sha256 != key.sha256 and self._by_digest.get(before.sha256) == key.id:
            del self._by_digest[before.sha256]
        self._keys[key.id] = key
        # A declared secret may move to another id; the disabled key of the old id must not stand in its way.
        if not key.disabled or key.sha256 not in self._by_digest:
            self._by_digest[key.sha256] = key.id
        self._principals[key.id] = Principal(key.account, key.application, key.id, key.scopes)
        if not self._serves(key) or (before is not None and before.scopes - key.scopes):
            self._tell(key.id)

    def _tell(self, key_id: str) -> None:
        for revoked in self._watchers.pop(key_id, {}).values():
            revoked()

    def _stored_as_revoked(self, key_id: str) -> bool:
        record = self._directory.record(Kind.KEY, key_id)
        return record is not None and key_of(record).revoked

    def _serves(self, key: Key) -> bool:
        if key.disabled or key.revoked:
            return False
        application = self._directory.application(key.application)
        account = self._directory.account(key.account)
        return not (application is None or application.disabled or account is None or account.disabled)


def _no_other(key_id: str) -> bool:
    return False


def _words(scopes: Collection[Scope]) -> list[str]:
    return sorted(scope.value for scope in scopes)


def _random(length: int) -> str:
    return "".join(secrets.choice(_BASE62) for _ in range(length))


def _nothing() -> None:
    """The unwatch of a watch that has ended already."""
