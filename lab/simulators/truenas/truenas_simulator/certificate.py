# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The self-signed certificate of the appliance."""

from __future__ import annotations

import datetime as dt
import hashlib
import ipaddress
import os
import shutil
import socket
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

DAYS = 397


class CertificateError(Exception):
    """No certificate can be made; the text says what is missing."""


@dataclass(frozen=True)
class Certificate:
    """The certificate and its key as files."""

    file: Path
    key: Path

    @property
    def der(self) -> bytes:
        """The certificate as it is sent."""
        return ssl.PEM_cert_to_DER_cert(self.file.read_text(encoding="ascii"))

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the certificate, in hex."""
        return hashlib.sha256(self.der).hexdigest()

    @property
    def binding(self) -> bytes:
        """What a login binds to: the hash of the certificate. It is signed with SHA-256, so that is the hash."""
        return hashlib.sha256(self.der).digest()

    def context(self) -> ssl.SSLContext:
        """Return the settings of the TLS listener."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.file, self.key)
        return context


def _names() -> tuple[list[str], list[str]]:
    host = socket.gethostname()
    addresses = ["127.0.0.1", "::1"]
    try:
        found = {str(entry[4][0]).split("%")[0] for entry in socket.getaddrinfo(host, None)}
    except OSError:
        found = set()
    return ["localhost", "truenas", *({host} - {"localhost", "truenas"})], [*addresses, *sorted(found - {*addresses})]


def load(folder: Path) -> Certificate:
    """Return the certificate in a folder; make it when there is none."""
    certificate = Certificate(folder / "cert.pem", folder / "key.pem")
    if certificate.file.exists() and certificate.key.exists():
        return certificate
    folder.mkdir(parents=True, exist_ok=True)
    try:
        _with_library(certificate)
    except ImportError:
        _with_openssl(certificate)
    certificate.key.chmod(0o600)
    return certificate


def _with_library(certificate: Certificate) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "truenas")])
    names, addresses = _names()
    now = dt.datetime.now(tz=dt.timezone.utc)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=DAYS))
        .add_extension(
            x509.SubjectAlternativeName(
                [
                    *(x509.DNSName(entry) for entry in names),
                    *(x509.IPAddress(ipaddress.ip_address(entry)) for entry in addresses),
                ]
            ),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    descriptor = os.open(certificate.key, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
    certificate.file.write_bytes(built.public_bytes(serialization.Encoding.PEM))


def _with_openssl(certificate: Certificate) -> None:
    program = shutil.which("openssl")
    if program is None:
        raise CertificateError("neither the Python package cryptography nor the program openssl is installed")
    names, addresses = _names()
    alternatives = ",".join([*(f"DNS:{name}" for name in names), *(f"IP:{address}" for address in addresses)])
    command = [
        *(program, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-sha256", "-nodes"),
        *("-days", str(DAYS), "-subj", "/CN=truenas", "-addext", f"subjectAltName={alternatives}"),
        *("-keyout", str(certificate.key), "-out", str(certificate.file)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CertificateError(f"openssl could not make a certificate: {done.stderr.strip()}")
