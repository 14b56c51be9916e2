"""Sealing of secrets that must be computed with: AES-GCM, one key per hub, each box bound to its record.

A sealed secret is a version byte, a random nonce of 12 bytes and the ciphertext with its tag. The key lies
in a file of its own, never in the data folder, so that a copy of the data alone opens nothing.
"""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hub.model.errors import Damaged

KEY_BYTES = 32

_VERSION = b"\x01"
_NONCE_BYTES = 12
_TAG_BYTES = 16


class BadSealKey(Damaged):
    """The key file cannot be used as it is; the text says what to do about it."""


class AesGcmSealer:
    """Seals with AES-256-GCM; `context` is authenticated, so a box moved to another record does not open."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise BadSealKey(f"a seal key has {KEY_BYTES} bytes, this one {len(key)}")
        self._box = AESGCM(key)

    def seal(self, plain: bytes, context: bytes) -> bytes:
        """The sealed form of `plain`; another one each time."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return _VERSION + nonce + self._box.encrypt(nonce, plain, _VERSION + context)

    def unseal(self, sealed: bytes, context: bytes) -> bytes:
        """What was sealed; raises Damaged when the key or the context is another, or a byte changed."""
        if len(sealed) < 1 + _NONCE_BYTES + _TAG_BYTES or sealed[:1] != _VERSION:
            raise Damaged("a sealed secret has an unknown form")
        nonce, box = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        try:
            return self._box.decrypt(nonce, box, _VERSION + context)
        except InvalidTag:
            # No context in the text: it may name what the log should not.
            raise Damaged("a sealed secret does not open: the seal key is another, or the data was changed") from None


def load_or_make_key(path: Path) -> bytes:
    """The key in the file, made (0600, random) if there is none.

    Raises BadSealKey for a file of another size, one that others may read, or one that cannot be read: a new
    key in its place would make every stored secret unreadable.
    """
    try:
        return _load(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise BadSealKey(f"the seal key file {path} cannot be read: {error.strerror}") from None
    try:
        return _make(path)
    except FileExistsError:
        # Another process made it between the two looks: its key is the key.
        return _load(path)
    except OSError as error:
        raise BadSealKey(f"the seal key file {path} cannot be made: {error.strerror}") from None


def _load(path: Path) -> bytes:
    with path.open("rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        key = file.read(KEY_BYTES + 1)
    if mode & 0o077:
        raise BadSealKey(f"the seal key file {path} can be read by others (mode {mode:04o}); use chmod 600")
    if len(key) != KEY_BYTES:
        raise BadSealKey(f"the seal key file {path} is not a key: it must have exactly {KEY_BYTES} bytes")
    return key


def _make(path: Path) -> bytes:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = secrets.token_bytes(KEY_BYTES)
    # Written whole under another name and linked: nobody ever sees half a key, and an existing one stays.
    unfinished = path.with_name(f"{path.name}.{secrets.token_hex(8)}.new")
    try:
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
        os.link(unfinished, path)
    finally:
        with suppress(FileNotFoundError):
            unfinished.unlink()
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return key
