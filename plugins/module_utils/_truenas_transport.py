# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""TLS, plain HTTP GET and WebSocket (RFC 6455) for the API of TrueNAS (private to the collection).

Only the standard library, because the modules run wherever the playbook runs and nothing can be installed there.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import http.client
import ipaddress
import os
import re
import socket
import ssl
import struct
import time
import typing as t

from ansible_collections.pantheon.ai.plugins.module_utils._truenas_errors import ConnectionLost, NasError, Unreachable

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
LARGEST_ANSWER = 64 * 1024 * 1024
LARGEST_HEAD = 64 * 1024

CLOSE_CODES = {
    1000: "it ended the connection normally",
    1001: "it is going away (shutting down or restarting)",
    1002: "it saw a violation of the protocol",
    1003: "it does not accept this kind of data",
    1006: "the connection broke without a goodbye",
    1007: "it did not accept the data",
    1008: "a policy forbids it",
    1009: "the message was too big",
    1011: "it failed inside",
    1012: "it restarts",
    1013: "it is overloaded, try again later",
    1015: "TLS failed",
}


class Endpoint(t.NamedTuple):
    """Where the NAS is and how its identity is checked."""

    host: str
    port: int = 443
    scheme: str = "wss"
    validate_certs: bool = True
    ca_path: t.Optional[str] = None
    tls_fingerprint: t.Optional[str] = None
    allow_insecure_transport: bool = False
    timeout: float = 30

    @property
    def authority(self) -> str:
        """Return host and port as they stand in an address."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def problems(self) -> t.List[str]:
        """Say what is wrong with these settings, without connecting."""
        found = []
        if not self.host or any(character in self.host for character in "/ \t\r\n@"):
            found.append(f"host: {self.host!r} is not a name or an address; write only the name, like nas.example.lan")
        if not 0 < self.port < 65536:
            found.append(f"port: {self.port} is not a port; use 1 to 65535")
        if self.timeout <= 0:
            found.append(f"timeout: {self.timeout} is not more than zero seconds")
        if self.scheme == "ws" and not (self.allow_insecure_transport or is_loopback(self.host)):
            found.append(
                f"scheme: ws would send the API key to {self.host} without encryption, and TrueNAS revokes a key it "
                "receives that way; use scheme wss (nothing was sent)"
            )
        if self.tls_fingerprint:
            try:
                fingerprint(self.tls_fingerprint)
            except ValueError:
                found.append(
                    f"tls_fingerprint: {self.tls_fingerprint!r} is not the SHA-256 of a certificate; it has 64 hex "
                    "digits, as `openssl x509 -noout -fingerprint -sha256` prints them"
                )
        if self.ca_path and not os.path.exists(self.ca_path):
            found.append(f"ca_path: there is no file {self.ca_path} on the machine that runs the module")
        return found


def is_loopback(host: str) -> bool:
    """Whether the name or address can only mean this machine."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def fingerprint(text: str) -> str:
    """Return a SHA-256 fingerprint in lower case without colons; ValueError if it is none."""
    plain = text.strip().lower()
    plain = re.sub(r"^sha256( fingerprint)?[:=]", "", plain).replace(":", "").replace(" ", "")
    if len(bytes.fromhex(plain)) != 32:
        raise ValueError(text)
    return plain


class Stream:
    """A connection to the NAS, with TLS and the checks of its certificate done before anything is sent."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.certificate: t.Optional[bytes] = None
        self.buffer = b""
        try:
            plain = socket.create_connection((endpoint.host, endpoint.port), timeout=endpoint.timeout)
        except socket.gaierror as error:
            raise NasError(
                f"host {endpoint.host} has no address ({error.strerror or error})",
                "Check the name and the DNS of the machine that runs the module.",
                "dns",
            ) from error
        except (socket.timeout, OSError) as error:
            raise Unreachable(
                f"nothing answers at {endpoint.authority} ({error_text(error)})",
                "Check host and port, that the NAS is running, and that no firewall is in between.",
                "unreachable",
            ) from error
        self.socket: socket.socket = plain
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if endpoint.scheme == "wss":
            try:
                self.socket = self._secure(plain)
            except BaseException:
                plain.close()
                raise

    def _secure(self, plain: socket.socket) -> socket.socket:
        endpoint = self.endpoint
        # A pinned certificate needs no authority: the self-signed one of a NAS is the normal case.
        pinned_only = bool(endpoint.tls_fingerprint) and not endpoint.ca_path
        unchecked = not endpoint.ca_path and (pinned_only or not endpoint.validate_certs)
        try:
            # The authorities of the system take longer to load than the login, and here nobody would ask them.
            context = (
                ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                if unchecked
                else ssl.create_default_context(cafile=self._authority_file())
            )
        except (ssl.SSLError, OSError) as error:
            raise NasError(
                f"ca_path {endpoint.ca_path} cannot be read as certificates ({error_text(error)})",
                "Give a file with certificates in PEM form.",
                "tls",
            ) from error
        if endpoint.ca_path:
            # Python 3.13 refuses certificates that lack fields which the self-signed one of a NAS need not have.
            context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
            if os.path.isdir(endpoint.ca_path):
                context.load_verify_locations(capath=endpoint.ca_path)
        if pinned_only or not endpoint.validate_certs:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        try:
            secured = context.wrap_socket(plain, server_hostname=endpoint.host)
        except ssl.SSLCertVerificationError as error:
            raise NasError(
                f"the certificate of {endpoint.authority} is not trusted ({error.verify_message}); nothing was sent",
                "Give tls_fingerprint (best for the self-signed certificate of a NAS) or ca_path.",
                "tls",
            ) from error
        except ssl.SSLError as error:
            raise NasError(
                f"{endpoint.authority} does not speak TLS ({error.reason or error})",
                "Check that port is the HTTPS port of the NAS.",
                "tls",
            ) from error
        except (socket.timeout, OSError) as error:
            raise Unreachable(
                f"{endpoint.authority} broke off the TLS handshake ({error_text(error)})",
                "Check that port is the HTTPS port of the NAS and that the NAS is not just starting.",
                "unreachable",
            ) from error
        self.certificate = secured.getpeercert(binary_form=True)
        if endpoint.tls_fingerprint:
            seen = hashlib.sha256(self.certificate or b"").hexdigest()
            if not hmac.compare_digest(seen, fingerprint(endpoint.tls_fingerprint)):
                secured.close()
                raise NasError(
                    f"tls_fingerprint: {endpoint.authority} shows a certificate with SHA-256 {seen}, not the pinned "
                    "one; nothing was sent",
                    "If the certificate was renewed on purpose, pin the new one; otherwise somebody is in between.",
                    "tls",
                )
        return secured

    def _authority_file(self) -> t.Optional[str]:
        path = self.endpoint.ca_path
        return path if path and not os.path.isdir(path) else None

    def send(self, data: bytes) -> None:
        """Send everything."""
        try:
            self.socket.sendall(data)
        except OSError as error:
            raise ConnectionLost(
                f"the connection to {self.endpoint.authority} broke while sending ({error_text(error)})",
                "Run again: the module reads what is there before it changes anything.",
                "lost",
            ) from error

    def receive(self, count: int, deadline: float) -> bytes:
        """Return exactly so many bytes."""
        while len(self.buffer) < count:
            self._fill(deadline)
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    def receive_until(self, end: bytes, deadline: float) -> bytes:
        """Return everything up to and with an end mark."""
        while end not in self.buffer:
            if len(self.buffer) > LARGEST_HEAD:
                raise NasError(f"{self.endpoint.authority} sends an endless header", "Check host and port.", "protocol")
            self._fill(deadline)
        head, _separator, self.buffer = self.buffer.partition(end)
        return head + end

    def _fill(self, deadline: float) -> None:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise socket.timeout("timed out")
        self.socket.settimeout(remaining)
        try:
            chunk = self.socket.recv(65536)
        except socket.timeout:
            raise
        except OSError as error:
            raise self.lost(1006, error_text(error)) from error
        if not chunk:
            raise self.lost(1006)
        self.buffer += chunk

    def lost(self, code: int, reason: str = "") -> ConnectionLost:
        """Return the error for a connection that the NAS ended."""
        meaning = CLOSE_CODES.get(code, "it gave no known reason")
        said = f", saying {reason!r}" if reason else ""
        return ConnectionLost(
            f"the NAS {self.endpoint.authority} closed the connection: {meaning} (code {code}{said})",
            "Run again: the module reads what is there before it changes anything.",
            "lost",
        )

    def close(self) -> None:
        """Close it; an error does not matter any more."""
        with contextlib.suppress(OSError):
            self.socket.close()


def error_text(error: BaseException) -> str:
    """Return what went wrong in words, also where the exception has none."""
    if isinstance(error, socket.timeout):
        return "timed out"
    return str(getattr(error, "strerror", None) or error or type(error).__name__)


def read_head(stream: Stream, deadline: float) -> t.Tuple[int, t.Dict[str, str]]:
    """Return status and header fields of an HTTP answer."""
    text = stream.receive_until(b"\r\n\r\n", deadline).decode("latin-1")
    lines = text.split("\r\n")
    parts = lines[0].split(None, 2)
    if len(parts) < 2 or not parts[0].startswith("HTTP/") or not parts[1].isdigit():
        raise NasError(
            f"{stream.endpoint.authority} does not answer in HTTP",
            "Check that port is the port of the web interface of the NAS.",
            "protocol",
        )
    fields = {}
    for line in lines[1:]:
        name, _separator, value = line.partition(":")
        fields[name.strip().lower()] = value.strip()
    return int(parts[1]), fields


def check_status(endpoint: Endpoint, path: str, status: int, expected: int, fields: t.Dict[str, str]) -> None:
    """Raise a sentence for an HTTP status that is not the expected one."""
    if status == expected:
        return
    if status in (301, 302, 303, 307, 308):
        raise NasError(
            f"{endpoint.authority} redirects {path} to {fields.get('location', 'another address')}",
            "Use scheme wss and the HTTPS port: the NAS sends HTTP there.",
            "redirected",
        )
    if status == 404:
        raise NasError(
            f"{endpoint.authority} does not know {path}",
            "Either this is no TrueNAS, or it is older than 25.04, which these modules need: upgrade it.",
            "too_old",
        )
    if status in (502, 503, 504):
        raise Unreachable(
            f"{endpoint.authority} answers {path} with HTTP {status}: its middleware is starting or down",
            "Wait until the NAS has started, then run again.",
            "starting",
        )
    raise NasError(
        f"{endpoint.authority} answers {path} with HTTP {status} {http.client.responses.get(status, '')}".rstrip(),
        "Check that host and port are those of the web interface of the NAS.",
        "protocol",
    )


def http_get(endpoint: Endpoint, path: str) -> bytes:
    """Fetch one page; no authentication is sent."""
    stream = Stream(endpoint)
    deadline = time.monotonic() + endpoint.timeout
    try:
        stream.send(
            f"GET {path} HTTP/1.1\r\nHost: {endpoint.authority}\r\nAccept: application/json\r\n"
            "User-Agent: pantheon.ai\r\nConnection: close\r\n\r\n".encode("ascii")
        )
        status, fields = read_head(stream, deadline)
        check_status(endpoint, path, status, 200, fields)
        if fields.get("transfer-encoding", "").lower() == "chunked":
            body = b""
            while True:
                size = int(stream.receive_until(b"\r\n", deadline).split(b";")[0].strip() or b"0", 16)
                if not size or len(body) > LARGEST_HEAD:
                    return body
                body += stream.receive(size, deadline)
                stream.receive(2, deadline)
        if "content-length" in fields:
            return stream.receive(min(int(fields["content-length"]), LARGEST_HEAD), deadline)
        body = b""
        while len(body) < LARGEST_HEAD:
            try:
                body += stream.receive(1, deadline)
            except ConnectionLost:
                break
        return body
    except (socket.timeout, ConnectionLost) as error:
        raise Unreachable(
            f"{endpoint.authority} does not answer {path} ({error_text(error)})",
            "Check that the NAS is not just starting or overloaded.",
            "unreachable",
        ) from error
    except ValueError as error:
        raise NasError(
            f"{endpoint.authority} answers {path} in a broken way ({error})", "Check host and port.", "protocol"
        ) from error
    finally:
        stream.close()


class WebSocket:
    """A client of RFC 6455: one text message out, one text message in."""

    def __init__(self, endpoint: Endpoint, path: str, random: t.Callable[[int], bytes] = os.urandom) -> None:
        self.endpoint, self.random, self.closed = endpoint, random, False
        self.stream = Stream(endpoint)
        try:
            self._upgrade(path)
        except BaseException:
            self.stream.close()
            raise

    @property
    def certificate(self) -> t.Optional[bytes]:
        """The certificate of the NAS in DER form; None without TLS."""
        return self.stream.certificate

    def _upgrade(self, path: str) -> None:
        key = base64.b64encode(self.random(16)).decode("ascii")
        deadline = time.monotonic() + self.endpoint.timeout
        self.stream.send(
            f"GET {path} HTTP/1.1\r\nHost: {self.endpoint.authority}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nUser-Agent: pantheon.ai\r\n\r\n".encode("ascii")
        )
        try:
            status, fields = read_head(self.stream, deadline)
        except (socket.timeout, ConnectionLost) as error:
            raise Unreachable(
                f"{self.endpoint.authority} does not open a WebSocket at {path} ({error_text(error)})",
                "Check that the NAS is not just starting or overloaded.",
                "unreachable",
            ) from error
        check_status(self.endpoint, path, status, 101, fields)
        expected = base64.b64encode(hashlib.sha1((key + GUID).encode("ascii")).digest()).decode("ascii")
        if fields.get("sec-websocket-accept") != expected or fields.get("upgrade", "").lower() != "websocket":
            raise NasError(
                f"{self.endpoint.authority} does not open a WebSocket at {path}",
                "Check that no proxy between here and the NAS drops WebSocket upgrades.",
                "protocol",
            )

    def send_text(self, text: str) -> None:
        """Send one message."""
        self._send(TEXT, text.encode("utf-8"))

    def receive_text(self, deadline: float) -> str:
        """Return the next message, put together from its frames. Raises socket.timeout."""
        parts: t.List[bytes] = []
        size = 0
        while True:
            final, opcode, payload = self._frame(deadline)
            if opcode == PING:
                self._send(PONG, payload)
            elif opcode == PONG:
                pass
            elif opcode == CLOSE:
                code, reason = close_reason(payload)
                self._say_goodbye(payload[:2])
                raise self.stream.lost(code, reason)
            elif opcode == BINARY or opcode not in (TEXT, CONTINUATION) or (opcode == TEXT) != (not parts):
                self._say_goodbye(struct.pack("!H", 1002))
                raise self._broken(f"a frame of kind {opcode} where none is allowed")
            else:
                parts.append(payload)
                size += len(payload)
                if size > LARGEST_ANSWER:
                    self._say_goodbye(struct.pack("!H", 1009))
                    raise self._broken(f"an answer of more than {LARGEST_ANSWER // 1048576} MiB")
                if final:
                    try:
                        return b"".join(parts).decode("utf-8")
                    except UnicodeDecodeError as error:
                        self._say_goodbye(struct.pack("!H", 1007))
                        raise self._broken("text that is not UTF-8") from error

    def _frame(self, deadline: float) -> t.Tuple[bool, int, bytes]:
        first, second = self.stream.receive(2, deadline)
        final, opcode, masked, size = bool(first & 0x80), first & 0x0F, second & 0x80, second & 0x7F
        if first & 0x70 or masked or (opcode >= CLOSE and (size > 125 or not final)):
            self._say_goodbye(struct.pack("!H", 1002))
            raise self._broken("a frame that breaks the protocol")
        if size == 126:
            size = struct.unpack("!H", self.stream.receive(2, deadline))[0]
        elif size == 127:
            size = struct.unpack("!Q", self.stream.receive(8, deadline))[0]
        if size > LARGEST_ANSWER:
            self._say_goodbye(struct.pack("!H", 1009))
            raise self._broken(f"an answer of more than {LARGEST_ANSWER // 1048576} MiB")
        return final, opcode, self.stream.receive(size, deadline) if size else b""

    def _send(self, opcode: int, payload: bytes) -> None:
        if self.closed:
            raise self.stream.lost(1006)
        self.stream.socket.settimeout(self.endpoint.timeout)
        self.stream.send(frame(opcode, payload, self.random(4)))

    def _say_goodbye(self, payload: bytes) -> None:
        if not self.closed:
            with contextlib.suppress(NasError):
                self._send(CLOSE, payload)
            self.closed = True
        self.stream.close()

    def _broken(self, what: str) -> NasError:
        return NasError(
            f"{self.endpoint.authority} sent {what}", "Check that no proxy changes what the NAS sends.", "protocol"
        )

    def close(self) -> None:
        """Say goodbye and close."""
        self._say_goodbye(struct.pack("!H", 1000))


def frame(opcode: int, payload: bytes, mask: bytes) -> bytes:
    """Return one final frame as a client has to send it: masked."""
    size = len(payload)
    head = bytes([0x80 | opcode])
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 65536:
        head += bytes([0x80 | 126]) + struct.pack("!H", size)
    else:
        head += bytes([0x80 | 127]) + struct.pack("!Q", size)
    # One operation on big numbers instead of a loop over bytes.
    pad = (mask * (size // 4 + 1))[:size]
    masked = (int.from_bytes(payload, "big") ^ int.from_bytes(pad, "big")).to_bytes(size, "big")
    return head + mask + masked


def close_reason(payload: bytes) -> t.Tuple[int, str]:
    """Return code and text of a close frame."""
    if len(payload) < 2:
        return 1006, ""
    return struct.unpack("!H", payload[:2])[0], payload[2:].decode("utf-8", "replace")
