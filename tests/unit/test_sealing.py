"""Sealed secrets and their key file."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from hub.core.sealing import KEY_BYTES, AesGcmSealer, BadSealKey, load_or_make_key
from hub.model.errors import Damaged

SEALER = AesGcmSealer(bytes(range(32)))


@pytest.mark.parametrize("plain", [b"", b"x", b"\x00" * 1000])
def test_what_is_sealed_opens_again(plain: bytes) -> None:
    assert SEALER.unseal(SEALER.seal(plain, b"key/1"), b"key/1") == plain


def test_a_sealed_secret_does_not_show_its_text_and_differs_each_time() -> None:
    first, second = SEALER.seal(b"open sesame", b"c"), SEALER.seal(b"open sesame", b"c")
    assert first != second
    assert b"sesame" not in first


def test_a_secret_of_one_record_does_not_open_for_another() -> None:
    with pytest.raises(Damaged):
        SEALER.unseal(SEALER.seal(b"secret", b"webhook/1"), b"webhook/2")


def test_another_key_opens_nothing_and_names_no_context() -> None:
    with pytest.raises(Damaged) as caught:
        AesGcmSealer(b"k" * 32).unseal(SEALER.seal(b"secret", b"webhook/1"), b"webhook/1")
    assert "webhook" not in str(caught.value)


def test_every_changed_byte_and_every_cut_is_noticed() -> None:
    sealed = SEALER.seal(b"secret", b"c")
    for place in range(len(sealed)):
        with pytest.raises(Damaged):
            SEALER.unseal(sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :], b"c")
        with pytest.raises(Damaged):
            SEALER.unseal(sealed[:place], b"c")


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_a_key_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(BadSealKey):
        AesGcmSealer(b"x" * size)


def test_a_key_is_made_once_and_only_for_the_owner(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "seal-key"
    key = load_or_make_key(path)
    assert len(key) == KEY_BYTES
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_or_make_key(path) == key
    assert [entry.name for entry in path.parent.iterdir()] == ["seal-key"]
    assert load_or_make_key(tmp_path / "other") != key


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_a_key_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "seal-key"
    load_or_make_key(path)
    path.chmod(mode)
    with pytest.raises(BadSealKey, match="read by others"):
        load_or_make_key(path)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_file_that_is_not_a_key_is_refused_and_kept(tmp_path: Path, size: int) -> None:
    path = tmp_path / "seal-key"
    path.write_bytes(b"x" * size)
    path.chmod(0o600)
    with pytest.raises(BadSealKey, match="exactly 32"):
        load_or_make_key(path)
    assert path.read_bytes() == b"x" * size


def test_a_path_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadSealKey, match="cannot be"):
        load_or_make_key(tmp_path / "file" / "seal-key")
    with pytest.raises(BadSealKey, match="cannot be read"):
        load_or_make_key(tmp_path)
