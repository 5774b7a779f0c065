# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The platform's own certificate authority and the certificates it issues (private to the collection).

Pure functions over PEM text: nothing here reads or writes a file, and the time is an argument, so that tests can move it.
"""

from __future__ import annotations

import datetime
import ipaddress
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from ansible.errors import AnsibleError

try:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
except ImportError as error:
    CRYPTOGRAPHY_MISSING: ImportError | None = error
else:
    CRYPTOGRAPHY_MISSING = None

CA_DAYS = 3650
LEAF_DAYS = 397
"""Browsers refuse server certificates that are valid for more than 398 days."""
RENEW_DAYS = 30

# Machines whose clocks run a little behind must accept a certificate that was made a moment ago.
CLOCK_TOLERANCE = datetime.timedelta(hours=1)


class PkiError(Exception):
    """A key or certificate that cannot be used."""


@dataclass(frozen=True)
class Pair:
    """A private key and its certificate (with the chain behind it), both as PEM text."""

    key: str
    certificate: str


def now() -> datetime.datetime:
    """Return the present time in UTC, to the second (certificates hold no fractions)."""
    return datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)


def create_ca(name: str, moment: datetime.datetime | None = None) -> Pair:
    """Make a certificate authority: P-256 key, ten years, allowed to sign server certificates but no further authority."""
    _require_cryptography()
    moment = moment or now()
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - CLOCK_TOLERANCE)
        .not_valid_after(moment + datetime.timedelta(days=CA_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Pair(_key_pem(key), _certificate_pem(certificate))


def issue(ca: Pair, names: Sequence[str], moment: datetime.datetime | None = None) -> Pair:
    """Issue a certificate for DNS names and addresses (the first is the common name); the authority follows it as the chain.

    It serves both ends of a connection: databases that talk to each other are client and server with the same one.

    Raises PkiError when the authority's PEM text cannot be read, or its key and certificate do not belong together.
    """
    if not names:
        raise PkiError("a server certificate needs at least one name")
    moment = moment or now()
    authority = _load_certificate(ca.certificate)
    authority_key = _load_key(ca.key)
    if authority.public_key() != authority_key.public_key():
        raise PkiError("the key of the certificate authority does not belong to its certificate")
    key = ec.generate_private_key(ec.SECP256R1())
    # A certificate that outlives its authority breaks on the authority's last day, so it ends with it at the latest.
    end = min(moment + datetime.timedelta(days=LEAF_DAYS), authority.not_valid_after_utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(max(moment - CLOCK_TOLERANCE, authority.not_valid_before_utc))
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()),
            critical=False,
        )
        .sign(authority_key, hashes.SHA256())
    )
    return Pair(_key_pem(key), _certificate_pem(certificate) + ca.certificate.strip() + "\n")


def renewal_reason(
    pair: Pair,
    ca: Pair,
    names: Sequence[str],
    renew_days: int = RENEW_DAYS,
    moment: datetime.datetime | None = None,
) -> str | None:
    """Say why the server certificate has to be issued again, or return None when it is still good.

    Reasons: unreadable, for other names, not signed by this authority, ends in fewer than renew_days days.
    """
    moment = moment or now()
    try:
        certificate = _load_certificate(pair.certificate)
        key = _load_key(pair.key)
        authority = _load_certificate(ca.certificate)
    except PkiError as error:
        return str(error)
    if certificate.public_key() != key.public_key():
        return "its key does not belong to it"
    if certificate_names(pair.certificate) != sorted(names):
        return "the names changed"
    try:
        certificate.verify_directly_issued_by(authority)
    except (InvalidSignature, ValueError, TypeError):
        return "it was signed by another authority"
    left = certificate.not_valid_after_utc - moment
    if left < datetime.timedelta(days=renew_days):
        return f"it ends in {max(left.days, 0)} days"
    return None


def days_left(pem: str, moment: datetime.datetime | None = None) -> int:
    """Return for how many whole days the first certificate in the PEM text is still valid (negative once it ended)."""
    return (_load_certificate(pem).not_valid_after_utc - (moment or now())).days


def certificate_names(pem: str) -> list[str]:
    """Return the DNS names and addresses of the first certificate in the PEM text, sorted."""
    try:
        extension = _load_certificate(pem).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    addresses = [str(address) for address in extension.value.get_values_for_type(x509.IPAddress)]
    return sorted([*extension.value.get_values_for_type(x509.DNSName), *addresses])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _key_usage(signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode("ascii")


def _certificate_pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")


def _require_cryptography() -> None:
    if CRYPTOGRAPHY_MISSING is not None:
        raise AnsibleError(
            f"The Python package cryptography cannot be used by {sys.executable}, which runs Ansible "
            f"({CRYPTOGRAPHY_MISSING}). Install it there, for example with: python3 -m pip install cryptography."
        )


def _load_certificate(pem: str) -> x509.Certificate:
    _require_cryptography()
    try:
        return x509.load_pem_x509_certificate(pem.encode())
    except ValueError as error:
        raise PkiError("the certificate is not readable PEM text") from error


def _load_key(pem: str) -> ec.EllipticCurvePrivateKey:
    _require_cryptography()
    try:
        key = serialization.load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError) as error:
        raise PkiError("the private key is not readable PEM text") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise PkiError("the private key is not an elliptic curve key, which is the only kind that is made here")
    return key
