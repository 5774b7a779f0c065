# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The own authority and its certificates, judged by OpenSSL over a real handshake."""

from __future__ import annotations

import datetime
import socket
import ssl
import threading
from pathlib import Path

import pytest
from ansible.errors import AnsibleError

from ansible_collections.pantheon.ai.plugins.plugin_utils import _pki

NAMES = ["lab.internal", "*.lab.internal"]


def handshake(server: _pki.Pair, authority: str, name: str, tmp_path: Path) -> str:
    """Serve one TLS connection with the pair; return the version that a client which trusts the authority agrees on."""
    key, certificate = tmp_path / "key.pem", tmp_path / "chain.pem"
    key.write_text(server.key)
    certificate.write_text(server.certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection = listener.accept()[0]
            try:
                with context.wrap_socket(connection, server_side=True) as tls:
                    tls.recv(1)
            except (ssl.SSLError, OSError):
                pass  # the client refused: that is its test, not ours

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.verify_flags |= ssl.VERIFY_X509_STRICT
        client.load_verify_locations(cadata=authority)
        try:
            with (
                socket.create_connection(listener.getsockname(), 5) as plain,
                client.wrap_socket(plain, server_hostname=name) as tls,
            ):
                return tls.version() or ""
        finally:
            thread.join(5)


@pytest.mark.parametrize("name", ["lab.internal", "chat.lab.internal"])
def test_a_client_that_trusts_the_authority_accepts_the_certificate(name: str, tmp_path: Path) -> None:
    ca = _pki.create_ca("Test CA")
    assert handshake(_pki.issue(ca, NAMES), ca.certificate, name, tmp_path) == "TLSv1.3"


@pytest.mark.parametrize("name", ["other.internal", "a.b.lab.internal"])
def test_another_name_is_refused(name: str, tmp_path: Path) -> None:
    ca = _pki.create_ca("Test CA")
    with pytest.raises(ssl.SSLCertVerificationError, match="[Hh]ostname mismatch"):
        handshake(_pki.issue(ca, NAMES), ca.certificate, name, tmp_path)


def test_another_authority_of_the_same_name_is_refused(tmp_path: Path) -> None:
    ca, other = _pki.create_ca("Test CA"), _pki.create_ca("Test CA")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(_pki.issue(ca, NAMES), other.certificate, "lab.internal", tmp_path)


def test_the_certificate_holds_the_chain_and_lasts_397_days() -> None:
    ca = _pki.create_ca("Test CA")
    pair = _pki.issue(ca, NAMES)
    assert pair.certificate.count("BEGIN CERTIFICATE") == 2
    assert pair.certificate.endswith(ca.certificate)
    assert _pki.days_left(pair.certificate, _pki.now()) in (396, 397)
    assert _pki.days_left(ca.certificate) in (3649, 3650)
    assert _pki.certificate_names(pair.certificate) == sorted(NAMES)


def test_no_certificate_outlives_its_authority() -> None:
    start = _pki.now() - datetime.timedelta(days=3600)
    ca = _pki.create_ca("Old CA", start)
    assert 48 <= _pki.days_left(_pki.issue(ca, NAMES).certificate) <= 50


def test_renewal_has_a_reason() -> None:
    ca, other = _pki.create_ca("Test CA"), _pki.create_ca("Test CA")
    pair = _pki.issue(ca, NAMES)
    moment = _pki.now()
    assert _pki.renewal_reason(pair, ca, NAMES) is None
    assert _pki.renewal_reason(pair, ca, NAMES[::-1]) is None  # the order of the names is no difference
    assert _pki.renewal_reason(pair, ca, ["new.internal"]) == "the names changed"
    assert _pki.renewal_reason(pair, other, NAMES) == "it was signed by another authority"
    assert _pki.renewal_reason(_pki.Pair(other.key, pair.certificate), ca, NAMES) == "its key does not belong to it"
    assert _pki.renewal_reason(_pki.Pair("x", "y"), ca, NAMES) == "the certificate is not readable PEM text"
    later = moment + datetime.timedelta(days=366)
    assert _pki.renewal_reason(pair, ca, NAMES, moment=later) is None
    later += datetime.timedelta(days=2)
    assert _pki.renewal_reason(pair, ca, NAMES, moment=later) in ("it ends in 28 days", "it ends in 29 days")


def test_a_key_of_another_authority_cannot_sign() -> None:
    ca, other = _pki.create_ca("Test CA"), _pki.create_ca("Test CA")
    with pytest.raises(_pki.PkiError, match="does not belong"):
        _pki.issue(_pki.Pair(other.key, ca.certificate), NAMES)


def test_a_missing_library_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    ca = _pki.create_ca("Test CA")
    monkeypatch.setattr(_pki, "CRYPTOGRAPHY_MISSING", ImportError("No module named 'cryptography'"))
    for call in (
        lambda: _pki.create_ca("Test CA"),
        lambda: _pki.issue(ca, ["lab.internal"]),
        lambda: _pki.renewal_reason(ca, ca, ["lab.internal"]),
        lambda: _pki.days_left(ca.certificate),
    ):
        with pytest.raises(AnsibleError, match="python3 -m pip install cryptography"):
            call()


def test_a_certificate_for_addresses_serves_both_ends(tmp_path: Path) -> None:
    authority = _pki.create_ca("Test")
    names = ["erebus", "10.1.0.11", "fd00::11"]
    pair = _pki.issue(authority, names)
    assert handshake(pair, authority.certificate, "10.1.0.11", tmp_path).startswith("TLS")
    assert _pki.certificate_names(pair.certificate) == sorted(names)
    assert _pki.renewal_reason(pair, authority, names) is None
    assert _pki.renewal_reason(pair, authority, [*names, "10.1.0.12"]) == "the names changed"
    usage = (
        _pki._load_certificate(pair.certificate).extensions.get_extension_for_class(_pki.x509.ExtendedKeyUsage).value
    )
    assert {usage_._name for usage_ in usage} == {"serverAuth", "clientAuth"}
