# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The JSON-RPC API of TrueNAS: login, calls one after the other, jobs, errors in words (private to the collection)."""

from __future__ import annotations

import json
import re
import socket
import time
import typing as t

from ansible_collections.pantheon.ai.plugins.module_utils import _truenas_scram as scram
from ansible_collections.pantheon.ai.plugins.module_utils._truenas_errors import (
    ConnectionLost,
    NasError,
    Problems,
    Refused,
    Unreachable,
)
from ansible_collections.pantheon.ai.plugins.module_utils._truenas_transport import Endpoint, WebSocket, http_get

Version = t.Tuple[int, int, int]

OLDEST: Version = (25, 4, 0)
REPLIES_WITH_RESULT: Version = (25, 10, 0)
KNOWS_SCRAM: Version = (26, 0, 0)
LIMIT_ANONYMOUS, LIMIT = 8192, 65536
JOB_FACTOR = 10
"""A job may take so many times the time-out of a call."""

EPERM, EACCES, EBUSY, EOPNOTSUPP, ENOTAUTHENTICATED = 1, 13, 16, 95, 207
INVALID_PARAMS = -32602

ROLES = (
    ("pool.dataset.delete", "DATASET_DELETE"),
    ("pool.dataset.", "DATASET_WRITE"),
    ("pool.snapshottask.", "SNAPSHOT_TASK_WRITE"),
    ("pool.query", "POOL_READ"),
    ("sharing.nfs.", "SHARING_NFS_WRITE"),
    ("nfs.", "SHARING_NFS_WRITE"),
    ("service.query", "SERVICE_READ"),
    ("service.", "SHARING_NFS_WRITE"),
    ("filesystem.", "FILESYSTEM_ATTRS_WRITE"),
    ("replication.", "REPLICATION_TASK_WRITE"),
    ("keychaincredential.", "KEYCHAIN_CREDENTIAL_READ"),
)
"""Role that the user of the key needs, by the start of the method."""

Clock = t.Callable[[], float]
Sleep = t.Callable[[float], None]


class Client(t.Protocol):
    """What the desired-state classes need of a NAS; tests pass a fake."""

    calls: t.List[str]
    version: Version

    def call(self, method: str, *params: t.Any) -> t.Any:
        """Call a method and return its result."""

    def job(self, method: str, *params: t.Any) -> t.Any:
        """Call a method that is a job, wait for its end and return its result."""

    def reconnect(self) -> None:
        """Log in again after the connection was lost."""


class Credentials(t.NamedTuple):
    """Who logs in and how."""

    username: str
    api_key: str
    mechanism: str = "auto"

    def problems(self) -> t.List[str]:
        """Say what is missing, without showing the key."""
        found = []
        if not self.username:
            found.append("username: give the name of the user whose API key this is")
        if not self.api_key:
            found.append("api_key: give the API key, or put it into the environment variable TRUENAS_API_KEY")
        elif not re.match(r"^[0-9]+-\S+$", self.api_key):
            found.append("api_key: it does not look like an API key of TrueNAS (a number, a dash and 64 characters)")
        return found


class Nas:
    """A NAS: one connection, one login, serial calls."""

    def __init__(
        self,
        endpoint: Endpoint,
        credentials: Credentials,
        retries: int = 4,
        warn: t.Callable[[str], None] = lambda text: None,
        sleep: Sleep = time.sleep,
        clock: Clock = time.monotonic,
    ) -> None:
        problems = endpoint.problems() + credentials.problems()
        if retries < 0:
            problems.append(f"retries: {retries} is less than zero")
        if problems:
            raise Problems(problems)
        self.endpoint, self.credentials, self.retries = endpoint, credentials, retries
        self.warn, self.sleep, self.clock = warn, sleep, clock
        self.calls: t.List[str] = []
        self.versions: t.List[str] = []
        self.version: Version = (0, 0, 0)
        self.socket: t.Optional[WebSocket] = None
        self.logged_in = False
        self.number = 0
        self.job_mode = ""

    @property
    def version_text(self) -> str:
        """The version of the API, as text; empty before the first contact."""
        return version_text(self.version) if self.versions else ""

    # Connection

    def connect(self) -> None:
        """Find out the version, connect and log in; wait for a NAS that is starting."""
        self._retrying(self._connect)

    def _connect(self) -> None:
        if self.logged_in:
            return
        self.close()
        if not self.versions:
            self._find_version()
        self.socket = WebSocket(self.endpoint, "/api/current")
        try:
            self._login()
        except BaseException:
            self.close()
            raise
        self.logged_in = True

    def _find_version(self) -> None:
        body = http_get(self.endpoint, "/api/versions")
        try:
            names = [str(name) for name in json.loads(body.decode("utf-8"))]
            versions = sorted(filter(None, (parse_version(name) for name in names)))
        except (ValueError, TypeError) as error:
            raise NasError(
                f"{self.endpoint.authority} does not tell the versions of its API", "Check host and port.", "protocol"
            ) from error
        if not versions or versions[-1] < OLDEST:
            newest = version_text(versions[-1]) if versions else "an unknown version"
            raise NasError(
                f"the NAS {self.endpoint.authority} has the API of {newest}; these modules need TrueNAS 25.04 or newer",
                "Upgrade the NAS.",
                "too_old",
            )
        self.versions, self.version = names, versions[-1]

    def _retrying(self, work: t.Callable[[], t.Any]) -> t.Any:
        """Do something that has no effect when it fails; wait and try again where that can help."""
        attempt = 0
        while True:
            try:
                return work()
            except (Unreachable, ConnectionLost) as error:
                if attempt >= self.retries:
                    raise
                self.close()
                self.warn(f"{error}: trying again")
                wait = min(30.0, 1.0 * 2**attempt)
            except Refused as error:
                if not error.is_busy or attempt >= self.retries:
                    raise
                # The limit is counted over a minute, so a short pause would only add to the count.
                wait = min(30.0, 4.0 * 2**attempt)
            attempt += 1
            self.sleep(wait)

    def reconnect(self) -> None:
        """Log in again after the connection was lost."""
        self.close()
        self.connect()

    def close(self) -> None:
        """End the connection."""
        if self.socket:
            self.socket.close()
        self.socket, self.logged_in, self.job_mode = None, False, ""

    # Login

    def _login(self) -> None:
        mechanism = self.credentials.mechanism
        if mechanism == "scram" and self.version < KNOWS_SCRAM:
            raise NasError(
                f"mechanism: the NAS has the API of {self.version_text}, and SCRAM came with 26",
                "Use mechanism auto or plain.",
                "auth",
            )
        if mechanism == "scram":
            self._login_scram()
            return
        data = {
            "mechanism": "API_KEY_PLAIN",
            "username": self.credentials.username,
            "api_key": self.credentials.api_key,
            "login_options": {"user_info": False},
        }
        try:
            answer = self._exchange("auth.login_ex", [data])
        except Refused as error:
            if error.is_busy:
                raise
            if not refuses_mechanism(error):
                raise
            if mechanism == "auto" and self.version >= KNOWS_SCRAM:
                self._login_scram()
                return
            raise NasError(
                f"the NAS refuses logins with an API key ({error.reason})",
                "Its security settings (STIG mode) allow only passwords with a second factor: allow API keys there.",
                "auth",
            ) from error
        self._check_login(answer, "SUCCESS")

    def _login_scram(self) -> None:
        socket_ = t.cast(WebSocket, self.socket)
        # Where the certificate is not checked, the binding makes sure that nobody stands in between.
        unchecked = not (self.endpoint.validate_certs or self.endpoint.tls_fingerprint)
        binding = scram.end_point(socket_.certificate) if unchecked else b""
        try:
            exchange = scram.Scram(self.credentials.username, self.credentials.api_key, binding)
            answer = self._scram_step("CLIENT_FIRST_MESSAGE", exchange.first())
            answer = self._scram_step("CLIENT_FINAL_MESSAGE", exchange.final(answer))
            exchange.verify(answer)
        except scram.ScramError as error:
            raise NasError(f"login failed: {error}", "Check host, username and api_key.", "auth") from error

    def _scram_step(self, kind: str, message: str) -> str:
        data = {"mechanism": "SCRAM", "scram_type": kind, "rfc_str": message}
        try:
            answer = self._exchange("auth.login_ex", [data])
        except Refused as error:
            if error.is_busy or not refuses_mechanism(error):
                raise
            raise NasError(
                f"the NAS refuses a login with SCRAM ({error.reason})", "Use mechanism plain.", "auth"
            ) from error
        self._check_login(answer, "SCRAM_RESPONSE")
        return str(answer.get("rfc_str"))

    def _check_login(self, answer: t.Any, wanted: str) -> None:
        kind = answer.get("response_type") if isinstance(answer, dict) else None
        user = self.credentials.username
        if kind == wanted:
            return
        if kind == "AUTH_ERR":
            message = f"the NAS does not accept the API key of user {user} (AUTH_ERR)"
            remedy = "Check username and api_key: the key must belong to this user and must not have been revoked."
        elif kind == "EXPIRED":
            message = f"the API key of user {user} is revoked or expired (EXPIRED)"
            remedy = (
                "Create a new key on the NAS. TrueNAS revokes a key that it receives over ws:// from another machine: "
                "was this one ever used without TLS?"
            )
        elif kind == "OTP_REQUIRED":
            message = f"the NAS asks user {user} for a one-time password (OTP_REQUIRED)"
            remedy = "Use an API key of a user of its own without two-factor authentication."
        elif kind == "REDIRECT":
            urls = ", ".join(str(url) for url in answer.get("urls") or [])
            message = (
                f"this is the standby controller of a pair (REDIRECT), the active one is at {urls or '(not told)'}"
            )
            remedy = "Set host to the active controller, or better to the virtual address of the pair."
        elif kind == "DENIED":
            message = f"user {user} may not use the API from here (DENIED)"
            remedy = "Give the user a privilege with API access on the NAS, and check its list of allowed addresses."
        else:
            message = f"the NAS gives an answer to the login that these modules do not know ({kind})"
            remedy = "Check that the release of the NAS is supported."
        raise NasError(message, remedy, f"auth_{str(kind).lower()}")

    # Calls

    def call(self, method: str, *params: t.Any) -> t.Any:
        """Call a method and return its result."""
        return self._call(method, list(params), self.endpoint.timeout)

    def _call(self, method: str, params: t.List[t.Any], timeout: float) -> t.Any:
        self._ensure()
        # Refused as too busy means that it was not run, so even a change can be sent again.
        attempt = 0
        while True:
            try:
                return self._exchange(method, params, timeout)
            except Refused as error:
                if not error.is_busy or attempt >= self.retries:
                    raise
                self.sleep(min(30.0, 4.0 * 2**attempt))
                attempt += 1

    def _ensure(self) -> None:
        if not self.logged_in:
            self.connect()

    def job(self, method: str, *params: t.Any) -> t.Any:
        """Call a method that is a job, wait for its end and return its result."""
        self._ensure()
        limit = self.endpoint.timeout * JOB_FACTOR
        if self._replies_with_result():
            return self._call(method, list(params), limit)
        number = self._call(method, list(params), self.endpoint.timeout)
        if isinstance(number, bool) or not isinstance(number, int):  # a method that is no job on this release
            return number
        return self._wait(method, number, limit)

    def _replies_with_result(self) -> bool:
        """Whether the answer to a job is its result; asks the NAS for that once per connection."""
        if not self.job_mode:
            self.job_mode = "poll"
            if self.version >= REPLIES_WITH_RESULT:
                try:
                    self._call("core.set_options", [{"legacy_jobs": False}], self.endpoint.timeout)
                    self.job_mode = "result"
                except Refused:
                    pass
        return self.job_mode == "result"

    def _wait(self, method: str, number: int, limit: float) -> t.Any:
        deadline = self.clock() + limit
        pause = 0.1
        while True:
            rows = self._call("core.get_jobs", [[["id", "=", number]]], self.endpoint.timeout)
            if not rows:
                raise NasError(f"{method}: the NAS forgot its job {number}", "Look at Jobs on the NAS.", "job")
            job = rows[0]
            state = job.get("state")
            if state == "SUCCESS":
                return job.get("result")
            if state in ("FAILED", "ABORTED"):
                info = job.get("exc_info") or {}
                errno = info.get("errno") if isinstance(info.get("errno"), int) else None
                extra = info.get("extra")
                reason = clean(str(job.get("error") or info.get("repr") or f"the job ended as {state}"))
                raise self._refused(method, -32001, errno, "", reason, extra)
            if self.clock() >= deadline:
                raise self._too_slow(method, limit, f"job {number} is still {state}")
            self.sleep(pause)
            pause = min(1.0, pause * 2)

    def _too_slow(self, method: str, limit: float, state: str) -> NasError:
        error = NasError(
            f"{method}: the NAS did not finish within {limit:g} s ({state})",
            "Look at Jobs and the load of the NAS, then run again; raise timeout if it is only slow.",
            "timeout",
        )
        error.done = True
        return error

    def _exchange(self, method: str, params: t.List[t.Any], timeout: t.Optional[float] = None) -> t.Any:
        limit = timeout or self.endpoint.timeout
        self.number += 1
        text = json.dumps({"jsonrpc": "2.0", "id": self.number, "method": method, "params": params})
        largest = LIMIT if self.logged_in else LIMIT_ANONYMOUS
        # The NAS counts characters and answers a longer message by closing the connection.
        if len(text) > largest:
            raise NasError(
                f"{method}: the request has {len(text)} characters, and the NAS closes the connection after {largest}",
                "Make it shorter: networks instead of many hosts, fewer entries for one object.",
                "too_big",
            )
        connection = t.cast(WebSocket, self.socket)
        self.calls.append(method)
        try:
            connection.send_text(text)
            answer = self._answer(connection, self.number, time.monotonic() + limit)
        except socket.timeout as error:
            self.close()  # an answer that comes later would be taken for that of another call
            raise self._too_slow(method, limit, "no answer") from error
        except ConnectionLost as error:
            self.close()
            raise ConnectionLost(f"{method}: {error}", error.remedy, error.code) from error
        if "error" in answer:
            raise self._error(method, answer["error"])
        return revive(answer.get("result"))

    def _answer(self, connection: WebSocket, number: int, deadline: float) -> t.Dict[str, t.Any]:
        while True:
            text = connection.receive_text(deadline)
            try:
                message = json.loads(text)
            except ValueError as error:
                raise NasError("the NAS sent something that is not JSON", "Check host and port.", "protocol") from error
            if isinstance(message, dict) and ("result" in message or "error" in message):
                if message.get("id") == number:
                    return message
                if message.get("id") is None and "error" in message:
                    return message
            # All others are notifications, which nobody asked for.

    def _error(self, method: str, error: t.Any) -> NasError:
        error = error if isinstance(error, dict) else {}
        data = error.get("data") if isinstance(error.get("data"), dict) else {}
        code = error.get("code") if isinstance(error.get("code"), int) else 0
        errno = data.get("error") if isinstance(data.get("error"), int) else None
        extra = data.get("extra")
        reason = clean(str(data.get("reason") or error.get("message") or "no reason given"))
        return self._refused(method, code, errno, str(data.get("errname") or ""), reason, extra)

    def _refused(
        self, method: str, code: int, errno: t.Optional[int], errname: str, reason: str, details: t.Any
    ) -> Refused:
        remedy = ""
        entries = details if isinstance(details, list) else []
        extra = [entry for entry in entries if isinstance(entry, (list, tuple)) and len(entry) >= 2]
        if errno == ENOTAUTHENTICATED or errname == "ENOTAUTHENTICATED":
            remedy = "The login is no longer valid: was the API key revoked meanwhile? Check it on the NAS."
        elif errno in (EPERM, EACCES) and "not authorized" in reason.lower():
            role = next((role for start, role in ROLES if method.startswith(start)), "")
            remedy = f"The user {self.credentials.username} needs the role {role} on the NAS." if role else ""
        elif code == -32601 or errname == "ENOMETHOD":
            remedy = f"The release of the NAS ({self.version_text}) does not have this method."
        elif code == -32000:
            remedy = "Too many calls at once from other programs: run again later."
        elif errno == EBUSY:
            remedy = "The NAS limits logins to 20 a minute from one address: use one task for many objects, or wait."
        return Refused(method, code, errno, errname, reason, extra, remedy)


def parse_version(name: str) -> t.Optional[Version]:
    """Return a version of the API as numbers."""
    match = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?", name)
    return (int(match.group(1)), int(match.group(2)), int(match.group(3) or 0)) if match else None


def version_text(version: Version) -> str:
    """Return a version as TrueNAS writes it: 25.04.2."""
    return f"{version[0]}.{version[1]:02d}.{version[2]}" if version[0] < 26 else ".".join(map(str, version))


def clean(reason: str) -> str:
    """Return a reason without the error name in front and on one line."""
    return " ".join(re.sub(r"^\[E[A-Z]+\]\s*", "", line).strip() for line in reason.strip().splitlines()).rstrip(". ")


def refuses_mechanism(error: Refused) -> bool:
    """Whether the NAS does not offer this way to log in."""
    return (
        error.errno == EOPNOTSUPP
        or error.errname == "EOPNOTSUPP"
        or (error.rpc_code == INVALID_PARAMS and "mechanism" in f"{error.reason} {error.extra}".lower())
    )


def revive(value: t.Any) -> t.Any:
    """Return a value without the extensions to JSON that the API uses."""
    if isinstance(value, list):
        return [revive(item) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        key, inner = next(iter(value.items()))
        if key in ("$set", "$ipv4_interface", "$ipv6_interface", "$time"):
            return revive(inner)
    return {key: revive(inner) for key, inner in value.items()}
