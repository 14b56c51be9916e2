"""The TLS port's certificate: the configured one, or one that the hub makes for itself and keeps in the data folder."""

from __future__ import annotations

import ipaddress
import os
import secrets
import ssl
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from hub.settings.schema import Settings, SettingsError

LASTS = timedelta(days=825)
RENEWED_BEFORE = timedelta(days=30)
ALWAYS = ("localhost", "127.0.0.1", "::1")


def context_of(settings: Settings, host: str, now: datetime) -> ssl.SSLContext | None:
    """What the TLS port speaks, None when there is no such port. Raises SettingsError for what cannot be used."""
    table = settings.tls
    if table.self_signed:
        certificate, key = self_signed(settings.data_dir / "tls", host, now)
    elif table.certificate:
        certificate, key = settings.folder / table.certificate, settings.folder / table.key
    else:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"tls: {certificate} and {key} cannot be used: {error}") from None
    return context


def self_signed(folder: Path, host: str, now: datetime) -> tuple[Path, Path]:
    """Certificate and key in the folder: those from before while they name the host and last, else new ones."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    names = [*ALWAYS] if host in ("", "0.0.0.0", "::", *ALWAYS) else [*ALWAYS, host]
    if not (key.is_file() and _serves(certificate, names, now)):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        made, private = _made(names, now)
        # The key first: a certificate without its key would be taken for whole.
        _replace(key, private)
        _replace(certificate, made)
    return certificate, key


def _serves(file: Path, names: Sequence[str], now: datetime) -> bool:
    try:
        certificate = x509.load_pem_x509_certificate(file.read_bytes())
        named = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, x509.ExtensionNotFound):
        return False
    lasting = certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc - RENEWED_BEFORE
    return lasting and {_alternative(name) for name in names} <= set(named)


def _made(names: Sequence[str], now: datetime) -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "asyncid-hub (self-signed)")])
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=True, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, crl_sign=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + LASTS)
        .add_extension(x509.SubjectAlternativeName([_alternative(each) for each in names]), critical=False)
        # Its own authority, so that a client can be given this one file to trust.
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM), private


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _replace(file: Path, content: bytes) -> None:
    fresh = file.with_name(f"{file.name}.{secrets.token_hex(4)}")
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    fresh.replace(file)
