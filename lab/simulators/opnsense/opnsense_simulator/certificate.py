# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The certificate of the web server: self-signed, for the name of the box and no address."""

from __future__ import annotations

import hashlib
import shutil
import ssl
import subprocess
from pathlib import Path


class CertificateError(RuntimeError):
    """No certificate could be made."""


def ensure(folder: Path, name: str) -> tuple[Path, Path]:
    """Certificate and key in a folder; made anew when they are missing or for another name."""
    certificate, key, owner = folder / "cert.pem", folder / "key.pem", folder / "cert.name"
    if certificate.is_file() and key.is_file() and owner.is_file() and owner.read_text(encoding="utf-8") == name:
        return certificate, key
    if shutil.which("openssl") is None:
        raise CertificateError("openssl not found: install the package openssl")
    settings = folder / "openssl.cnf"
    settings.write_text(
        "[req]\nprompt = no\ndistinguished_name = name\nx509_extensions = web\n"
        f"[name]\nC = NL\nO = OPNsense self-signed web certificate\nCN = {name}\n"
        f"[web]\nsubjectAltName = DNS:{name}\nbasicConstraints = CA:FALSE\nsubjectKeyIdentifier = hash\n"
        "authorityKeyIdentifier = keyid:always\nkeyUsage = digitalSignature, keyEncipherment\n"
        "extendedKeyUsage = serverAuth\n",
        encoding="utf-8",
    )
    key.touch(mode=0o600)
    command = [
        "openssl", "req", "-x509", "-newkey", "rsa:2048", "-sha256", "-nodes", "-days", "397",
        "-config", str(settings), "-keyout", str(key), "-out", str(certificate),
    ]  # fmt: skip
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode != 0:
        raise CertificateError(f"openssl could not make a certificate: {made.stderr.strip()}")
    owner.write_text(name, encoding="utf-8")
    return certificate, key


def fingerprint(certificate: Path) -> str:
    """SHA-256 over the certificate, in hexadecimal digits."""
    der = ssl.PEM_cert_to_DER_cert(certificate.read_text(encoding="ascii"))
    return hashlib.sha256(der).hexdigest()


def context(certificate: Path, key: Path) -> ssl.SSLContext:
    """What the listener needs."""
    result = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    result.load_cert_chain(certificate, key)
    return result
