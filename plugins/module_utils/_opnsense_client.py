# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The API of an OPNsense router over one kept connection (private to the collection)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import ipaddress
import json
import os
import re
import selectors
import socket
import ssl
import time
import typing as t
import urllib.parse

Json = t.Any
Fields = t.Dict[str, str]

REQUESTS_PER_CONNECTION = 15
"""The web server of the router closes a connection after so many."""

IDLE_SECONDS = 25.0
"""The web server closes a connection that was idle for 30 s; a little less, because the way takes time too."""

LONGEST_WAIT = 20.0
"""How many seconds more a request that was too slow may take before what it did is looked at."""

PRIVILEGES = (
    ("unbound/", "Services: Unbound"),
    ("diagnostics/system/", "Lobby: Dashboard"),
    ("dnsmasq/", "Services: Dnsmasq DNS/DHCP: Settings"),
    ("kea/", "Services: DHCP: Kea(v4)"),
    ("firewall/alias/", "Firewall: Alias: Edit"),
    ("firewall/filter/", "Firewall: Rules [new] (Firewall: Automation: Filter up to 25.7)"),
    ("hostdiscovery/", "Interfaces: Neighbors: Automatic discovery"),
    ("diagnostics/interface/", "Diagnostics: ARP Table"),
)

CONNECTION_ARGUMENTS: t.Dict[str, t.Dict[str, t.Any]] = {
    "host": {"type": "str", "required": True, "env": "OPNSENSE_HOST"},
    "port": {"type": "int", "default": 443, "env": "OPNSENSE_PORT"},
    "scheme": {"type": "str", "choices": ["https", "http"], "default": "https", "env": "OPNSENSE_SCHEME"},
    "api_key": {"type": "str", "no_log": True, "env": "OPNSENSE_API_KEY"},
    "api_secret": {"type": "str", "no_log": True, "env": "OPNSENSE_API_SECRET"},
    "credentials_file": {"type": "path", "env": "OPNSENSE_CREDENTIALS_FILE"},
    "validate_certs": {"type": "bool", "default": True, "env": "OPNSENSE_VALIDATE_CERTS"},
    "ca_path": {"type": "path", "env": "OPNSENSE_CA_PATH"},
    "tls_server_name": {"type": "str", "env": "OPNSENSE_TLS_SERVER_NAME"},
    "tls_fingerprint": {"type": "str", "env": "OPNSENSE_TLS_FINGERPRINT"},
    "timeout": {"type": "float", "default": 20, "env": "OPNSENSE_TIMEOUT"},
    "apply_timeout": {"type": "float", "default": 60, "env": "OPNSENSE_APPLY_TIMEOUT"},
}
"""The options of the connection, with the variable of the environment that stands in for each."""


class OpnsenseError(Exception):
    """The router or what was asked of it cannot be used; remedy says what to do, result what is known so far."""

    code = "failed"

    def __init__(self, message: str, remedy: str = "", result: t.Optional[t.Dict[str, t.Any]] = None) -> None:
        super().__init__(message)
        self.remedy = remedy
        self.result: t.Dict[str, t.Any] = dict(result or {})

    def sentence(self) -> str:
        """Return message and remedy as one text."""
        text = str(self)
        text += "" if text.endswith((".", "!", "?")) else "."
        return f"{text} {self.remedy}".strip()


class Unreachable(OpnsenseError):
    """Nothing answers, or the connection broke."""

    code = "unreachable"


class TooSlow(Unreachable):
    """The answer did not come in time. What was asked for may still be carried out within the seconds of wait."""

    wait = 0.0


class Untrusted(OpnsenseError):
    """The certificate is not the expected one. Nothing was sent."""

    code = "untrusted"


class WrongKey(OpnsenseError):
    """The key or the secret is wrong."""

    code = "unauthorized"


class Forbidden(OpnsenseError):
    """The key lacks a privilege."""

    code = "forbidden"


class Missing(OpnsenseError):
    """This release does not have the action."""

    code = "missing"


class Refused(OpnsenseError):
    """The router refused. Only when it is meant for people (reasoned), what it says is the reason."""

    code = "refused"

    def __init__(self, message: str, remedy: str = "", title: str = "", text: str = "", reasoned: bool = True) -> None:
        super().__init__(message, remedy)
        self.title, self.text, self.reasoned = title, text, reasoned


class Invalid(OpnsenseError):
    """The router found values invalid and saved nothing; validations as it returned them."""

    code = "invalid"

    def __init__(self, message: str, remedy: str, validations: t.Dict[str, t.List[str]]) -> None:
        super().__init__(message, remedy)
        self.validations = validations


class Api(t.Protocol):
    """What the modules need of a router; tests pass a fake."""

    requests: int
    apply_timeout: float

    def get(self, path: str, query: t.Optional[t.Dict[str, str]] = None) -> Json:
        """Read something."""

    def post(self, path: str, data: t.Optional[Json] = None, *, repeatable: bool = False, slow: bool = False) -> Json:
        """Write something. A repeatable request may be sent again when its connection broke."""

    def another(self) -> Api:
        """Return a second client with a connection of its own."""

    def renew(self) -> None:
        """Start the next request on a new connection."""

    def endpoints(self) -> t.Tuple[str, str, int]:
        """Return our own address, that of the router, and its port."""


class Settings:
    """How the router is reached. Problems are collected and reported at once."""

    def __init__(self, params: t.Mapping[str, t.Any]) -> None:
        problems: t.List[str] = []
        self.host = str(params["host"] or "").strip()
        self.port = int(params.get("port") or 443)
        self.scheme = str(params.get("scheme") or "https")
        self.timeout = float(params.get("timeout") or 20)
        self.apply_timeout = float(params.get("apply_timeout") or 60)
        self.validate_certs = params.get("validate_certs") is not False
        self.ca_path: t.Optional[str] = params.get("ca_path") or None
        self.server_name: t.Optional[str] = params.get("tls_server_name") or None
        self.fingerprint = ""
        if self.host.startswith("[") and self.host.endswith("]"):
            self.host = self.host[1:-1]
        if not self.host or "/" in self.host or " " in self.host:
            problems.append(f"host {self.host!r} is not a name or an address: give it without scheme, port and path")
        if not 0 < self.port < 65536:
            problems.append(f"port {self.port} is not between 1 and 65535")
        for name in ("timeout", "apply_timeout"):
            if getattr(self, name) <= 0:
                problems.append(f"{name} has to be more than 0 seconds")
        if params.get("tls_fingerprint"):
            try:
                self.fingerprint = normalise_fingerprint(str(params["tls_fingerprint"]))
            except ValueError as error:
                problems.append(str(error))
        self.key, self.secret = "", ""
        try:
            self.key, self.secret = credentials(params)
        except ValueError as error:
            problems.append(str(error))
        if problems:
            raise OpnsenseError(
                "The connection to the router cannot be made: " + "; ".join(problems),
                "Correct these options, or the variables OPNSENSE_* of the environment.",
            )

    @property
    def plain_off_loopback(self) -> bool:
        """Tell whether the credentials would travel over a network without encryption."""
        if self.scheme == "https":
            return False
        try:
            return not ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host != "localhost"


def credentials(params: t.Mapping[str, t.Any]) -> t.Tuple[str, str]:
    """Return key and secret from the options or from the file that OPNsense offers for download."""
    key, secret = str(params.get("api_key") or ""), str(params.get("api_secret") or "")
    path = params.get("credentials_file")
    if path and not (key and secret):
        values: t.Dict[str, str] = {}
        try:
            with open(path, encoding="utf-8-sig") as file:
                for line in file:
                    name, separator, value = line.strip().partition("=")
                    if separator:
                        values[name.strip()] = value.strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not a text file"
            raise ValueError(f"credentials_file {path} cannot be read ({reason})") from None
        key, secret = key or values.get("key", ""), secret or values.get("secret", "")
        if not key or not secret:
            raise ValueError(f"credentials_file {path} lacks the line key= or secret= of the file that OPNsense offers")
    missing = [name for name, value in (("api_key", key), ("api_secret", secret)) if not value]
    if missing:
        raise ValueError(f"{' and '.join(missing)} not given: set api_key and api_secret, or credentials_file")
    if any(ord(character) < 32 for character in key + secret):
        raise ValueError("api_key or api_secret contains a line break or another control character")
    return key, secret


def normalise_fingerprint(text: str) -> str:
    """Return a SHA-256 fingerprint as 64 lower-case hexadecimal digits."""
    value = re.sub(r"(?i)^\s*sha-?256(\s*fingerprint)?\s*[:=]\s*", "", text).strip()
    value = re.sub(r"[:\s-]", "", value).lower()
    if not re.fullmatch(r"[0-9a-f]{64}", value):
        raise ValueError("tls_fingerprint is not a SHA-256 fingerprint of 64 hexadecimal digits")
    return value


def camel(path: str) -> str:
    """Return the other spelling of an action: searchHostOverride for search_host_override."""
    parts = path.split("/")
    if len(parts) > 2:
        parts[2] = re.sub(r"_([a-z0-9])", lambda match: match.group(1).upper(), parts[2])
    return "/".join(parts)


def privilege(path: str) -> str:
    """Return the name of the privilege that covers a path."""
    return next((name for prefix, name in PRIVILEGES if path.startswith(prefix)), "All pages")


class Client:
    """The API of a router."""

    def __init__(self, settings: Settings, clock: t.Callable[[], float] = time.monotonic) -> None:
        self.settings, self.clock = settings, clock
        self.apply_timeout = settings.apply_timeout
        self.requests = 0
        self._camel = False
        self._connection: t.Optional[http.client.HTTPConnection] = None
        self._used = 0
        self._last = 0.0
        token = base64.b64encode(f"{settings.key}:{settings.secret}".encode()).decode()
        self._headers = {"Authorization": f"Basic {token}", "Accept": "application/json", "User-Agent": "pantheon.ai"}

    def get(self, path: str, query: t.Optional[t.Dict[str, str]] = None) -> Json:
        """Read something."""
        return self._call("GET", path, query, None, True, self.settings.timeout)

    def post(self, path: str, data: t.Optional[Json] = None, *, repeatable: bool = False, slow: bool = False) -> Json:
        """Write something. A repeatable request may be sent again when its connection broke."""
        seconds = max(self.settings.timeout, self.settings.apply_timeout) if slow else self.settings.timeout
        return self._call("POST", path, None, {} if data is None else data, repeatable, seconds)

    def another(self) -> Client:
        """Return a second client with a connection of its own."""
        client = Client(self.settings, self.clock)
        client._camel = self._camel
        return client

    def renew(self) -> None:
        """Start the next request on a new connection."""
        self.close()

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
        self._connection, self._used = None, 0

    def endpoints(self) -> t.Tuple[str, str, int]:
        """Return our own address, that of the router, and its port, as the connection has them."""
        connection = self._open(self.settings.timeout)
        if connection.sock is None:
            return "", "", self.settings.port
        own, router = connection.sock.getsockname()[0], connection.sock.getpeername()[0]
        return str(own).partition("%")[0], str(router).partition("%")[0], self.settings.port

    # -- one request ---------------------------------------------------------------------------------------------------

    def _call(
        self,
        method: str,
        path: str,
        query: t.Optional[t.Dict[str, str]],
        data: t.Optional[Json],
        repeatable: bool,
        seconds: float,
    ) -> Json:
        other = camel(path)
        spellings = [other, path] if self._camel else [path, other]
        if other == path:
            spellings = [path]
        status, body = 0, b""
        for spelling in spellings:
            status, body = self._send(method, spelling, query, data, repeatable, seconds)
            if status != 403:
                # The access list knows one spelling only, and which one depends on the release.
                if len(spellings) > 1 and spelling != spellings[0]:
                    self._camel = spelling == other
                break
        return self._answer(path, status, body)

    def _answer(self, path: str, status: int, body: bytes) -> Json:
        where = f"{self.settings.host}: {path.split('?')[0][:120]}"
        if status == 401:
            raise WrongKey(
                f"The router {self.settings.host} does not know this API key, or its secret is wrong (401)",
                "Create a key under System: Access: Users and give it as api_key and api_secret or as credentials_file.",
            )
        if status == 403:
            raise Forbidden(
                f"The API key may not use {path.split(',')[0][:120]} on the router {self.settings.host} (403)",
                f"Give its user the privilege '{privilege(path)}' under System: Access: Users.",
            )
        try:
            value = json.loads(body) if body.strip() else None
        except ValueError:
            value = self
        if status == 404 or (status == 200 and value is None):
            raise Missing(
                f"This release of OPNsense does not have {where}",
                "Update the router, or leave out what needs this action.",
            )
        if status in (301, 302, 307, 308):
            raise OpnsenseError(
                f"{where} answered with a redirection ({status})",
                "Set scheme and port to those of the web interface, usually https and 443.",
            )
        if status == 414 or status == 431:
            raise OpnsenseError(f"{where}: the request is too long for the router ({status})", "Ask for less at once.")
        if status == 500 and isinstance(value, dict):
            text = " ".join(str(value.get("errorMessage") or "no reason given").split())
            title = str(value.get("errorTitle") or "")
            raise Refused(
                f"The router refused {path.split(',')[0][:120]}: {title + ': ' if title else ''}{text}",
                "Take the reason away, or look at System: Log Files: Backend on the router.",
                title,
                text,
                # A fault of its own it tells without a title, a refusal at least with an empty one.
                "errorTitle" in value,
            )
        if status != 200 or value is self:
            raise OpnsenseError(
                f"{where} answered {status} with something that is not OPNsense's API",
                "Check that host and port name the web interface of the router itself.",
            )
        return value

    def _send(
        self,
        method: str,
        path: str,
        query: t.Optional[t.Dict[str, str]],
        data: t.Optional[Json],
        repeatable: bool,
        seconds: float,
    ) -> t.Tuple[int, bytes]:
        url = "/api/" + urllib.parse.quote(path, safe="/,:@()")
        if query:
            url += "?" + urllib.parse.urlencode(query)
        headers = dict(self._headers)
        body: t.Optional[bytes] = None
        if data is not None:
            body = json.dumps(data, separators=(",", ":")).encode()
            headers["Content-Type"] = "application/json"
        for again in (False, True):
            connection = self._open(seconds)
            try:
                self.requests += 1
                self._used += 1
                connection.request(method, url, body=body, headers=headers)
                response = connection.getresponse()
                content = response.read()
                self._last = self.clock()
                if response.will_close or self._used >= REQUESTS_PER_CONNECTION:
                    self.close()
                return response.status, content
            except socket.timeout:
                self.close()
                slow = TooSlow(
                    f"The router {self.settings.host} did not answer {method} {path[:120]} within {seconds:g} s",
                    "Look at its load, or raise timeout (apply_timeout where a service is restarted). Then run again.",
                )
                slow.wait = min(seconds, LONGEST_WAIT) if method == "POST" else 0.0
                raise slow from None
            except (OSError, http.client.HTTPException) as error:
                self.close()
                if repeatable and not again:
                    continue
                kind = "" if repeatable else " It was not sent again, because it may have been carried out."
                raise Unreachable(
                    f"The connection to {self.settings.host} broke during {method} {path[:120]} ({describe(error)}).{kind}",
                    "Run again: what is there already stays as it is.",
                ) from None
        raise AssertionError("not reached")

    # -- the connection ------------------------------------------------------------------------------------------------

    def _open(self, seconds: float) -> http.client.HTTPConnection:
        connection = self._connection
        if connection is not None and (
            connection.sock is None or self.clock() - self._last > IDLE_SECONDS or readable(connection.sock)
        ):
            # Found closed before anything is sent: so a write that must not be repeated is not lost either.
            self.close()
            connection = None
        if connection is None:
            connection = self._connect()
            self._connection, self._used, self._last = connection, 0, self.clock()
        if connection.sock is not None:
            connection.sock.settimeout(seconds)
        return connection

    def _connect(self) -> http.client.HTTPConnection:
        settings = self.settings
        connection = http.client.HTTPConnection(settings.host, settings.port, timeout=settings.timeout)
        # Only _open makes connections: it is there that the certificate is looked at.
        connection.auto_open = 0
        try:
            sock = socket.create_connection((settings.host, settings.port), settings.timeout)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            raise Unreachable(
                f"No router answers at {settings.host} port {settings.port} ({describe(error)})",
                "Check host and port, and that the web interface listens on this network.",
            ) from None
        if settings.scheme == "http":
            connection.sock = sock
            return connection
        try:
            secure = self._context().wrap_socket(sock, server_hostname=settings.server_name or settings.host)
            self._check_pin(secure)
        except Untrusted:
            sock.close()
            raise
        except ssl.SSLCertVerificationError as error:
            sock.close()
            raise Untrusted(
                f"The certificate of {settings.host} is not accepted: {error.verify_message or error.reason}",
                "Give the certificate of the router as ca_path and the name in it (like OPNsense.internal) as "
                "tls_server_name, or give its SHA-256 fingerprint as tls_fingerprint. Nothing was sent.",
            ) from None
        except (OSError, ValueError) as error:
            sock.close()
            raise Unreachable(
                f"No TLS connection to {settings.host} port {settings.port} ({describe(error)})",
                "Check scheme and port: the web interface may not use TLS, or use another port.",
            ) from None
        connection.sock = secure
        return connection

    def _context(self) -> ssl.SSLContext:
        settings = self.settings
        if not settings.ca_path and (settings.fingerprint or not settings.validate_certs):
            # A pinned certificate is known already; the usual self-signed one could not be verified any other way.
            # The authorities of the system take longer to load than a request, and here nobody would ask them.
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            return context
        try:
            context = ssl.create_default_context(
                cafile=settings.ca_path if settings.ca_path and not os.path.isdir(settings.ca_path) else None,
                capath=settings.ca_path if settings.ca_path and os.path.isdir(settings.ca_path) else None,
            )
        except (OSError, ssl.SSLError) as error:
            raise OpnsenseError(
                f"ca_path {settings.ca_path} cannot be used ({describe(error)})",
                "Give the certificate of the router, or of who signed it, as a PEM file.",
            ) from None
        if not settings.validate_certs:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    def _check_pin(self, secure: ssl.SSLSocket) -> None:
        if not self.settings.fingerprint:
            return
        found = hashlib.sha256(secure.getpeercert(True) or b"").hexdigest()
        if not hmac.compare_digest(found, self.settings.fingerprint):
            secure.close()
            raise Untrusted(
                f"The certificate of {self.settings.host} has the fingerprint {found}, not the one of tls_fingerprint",
                "If the certificate was renewed on purpose, correct tls_fingerprint; otherwise somebody else answers. "
                "Nothing was sent.",
            )


def readable(sock: socket.socket) -> bool:
    """Tell whether an idle connection has something to say, which only happens when it was closed."""
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(sock, selectors.EVENT_READ)
            return bool(selector.select(0))
    except (OSError, ValueError):
        return True


def describe(error: BaseException) -> str:
    """Return the reason of an error of the network, without the data that was sent."""
    if isinstance(error, http.client.RemoteDisconnected):
        return "it was closed without an answer"
    if isinstance(error, OSError) and error.strerror:
        return str(error.strerror)
    if isinstance(error, OSError) and error.args:
        return str(error.args[-1])
    return type(error).__name__


# -- encoding ----------------------------------------------------------------------------------------------------------


def text(value: Json) -> str:
    """Return a value of the API as the text that is written back: the selected keys of a list, comma separated."""
    if isinstance(value, dict):
        chosen = [
            str(key)
            for key, option in value.items()
            if key != "" and isinstance(option, dict) and str(option.get("selected", 0)) in ("1", "True")
        ]
        return ",".join(chosen)
    if isinstance(value, list):
        return ",".join(
            str(item.get("value", "")) if isinstance(item, dict) else str(item) for item in value if item is not None
        )
    if value is None or value is False:
        return ""
    return "1" if value is True else str(value)


def boolean(value: bool) -> str:
    """Return a boolean as it has to be sent: false as a JSON value would become empty."""
    return "1" if value else "0"


def entries(value: Json) -> t.Dict[str, t.Dict[str, Json]]:
    """Return the entries of a container by uuid. An empty container is a list."""
    return (
        {str(key): entry for key, entry in value.items() if isinstance(entry, dict)} if isinstance(value, dict) else {}
    )


def part(value: Json, *path: str) -> Json:
    """Return what lies at a path, or an empty dictionary."""
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return {} if value is None else value


def rows(value: Json) -> t.List[t.Dict[str, Json]]:
    """Return the rows of a search."""
    found = value.get("rows") if isinstance(value, dict) else None
    return [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []


def validations(answer: Json) -> t.Dict[str, t.List[str]]:
    """Return the validations of an answer, each as a list of texts."""
    found = answer.get("validations") if isinstance(answer, dict) else None
    if not isinstance(found, dict):
        return {}
    return {
        str(path): [str(item) for item in (message if isinstance(message, list) else [message])]
        for path, message in found.items()
    }
