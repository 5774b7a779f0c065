# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Logging in, sessions, and the limit on calls before login."""

from __future__ import annotations

import asyncio
import datetime as dt
import errno
import hashlib
import hmac
import random
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from . import models, scram
from .errors import CallError, InstanceNotFound
from .filters import filter_list
from .registry import Call, method
from .roles import expand
from .schema import Field, Int, Nullable, Str

if TYPE_CHECKING:
    from .rpc import Connection
    from .store import Store

Row = dict[str, Any]

MAX_CALLS, PERIOD, MAX_ENTRIES = 20, 60.0, 100
OTP_ATTEMPTS = 3
BROKEN_CHOICES = "'NoneType' object has no attribute 'may_create_auth_token'"


class Limiter:
    """Counts the calls that come before login, per method and address."""

    def __init__(self, delay: float | None) -> None:
        self.delay = delay
        self.counts: dict[tuple[str, str], tuple[int, float]] = {}

    async def check(self, name: str, remote: str) -> None:
        """Count a call; above the limit wait and refuse."""
        key = (name, remote)
        now = time.monotonic()
        count, start = self.counts.get(key, (0, now))
        if now - start >= PERIOD:
            count, start = 0, now
        self.counts[key] = (count + 1, start)
        if len(self.counts) >= MAX_ENTRIES or count + 1 > MAX_CALLS:
            await asyncio.sleep(random.uniform(1, 10) if self.delay is None else self.delay)
            raise CallError("Rate Limit Exceeded", errno.EBUSY)


@dataclass
class Session:
    """Who is logged in on a connection, and by what."""

    kind: str
    user: Row
    key: Row | None = None
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    at: dt.datetime = field(default_factory=lambda: dt.datetime.now(tz=dt.timezone.utc))

    @property
    def username(self) -> str:
        """The name of the user."""
        return str(self.user["username"])

    @property
    def roles(self) -> frozenset[str]:
        """The roles of the user, with what they include."""
        return expand(self.user["roles"])

    @property
    def full_admin(self) -> bool:
        """Whether the user may do everything."""
        return "FULL_ADMIN" in self.user["roles"]

    def has_any(self, wanted: tuple[str, ...]) -> bool:
        """Return whether the user has one of the roles."""
        return self.full_admin or bool(self.roles & set(wanted))

    def document(self) -> Row:
        """Return the credentials as they stand in a job."""
        data: Row = {"username": self.username, "login_at": self.at, "login_id": self.id}
        if self.key:
            data["api_key"] = {"id": self.key["id"], "name": self.key["name"]}
        return {"type": self.kind, "data": data}


@dataclass
class LoginState:
    """A login of several steps that is under way."""

    mechanism: str
    user: Row
    attempts: int = 0
    exchange: scram.Exchange | None = None
    key: Row | None = None


def find_user(store: Store, name: str) -> Row | None:
    """Return the user with this name."""
    return next((user for user in store.rows("users") if user["username"] == name), None)


def _same(left: str, right: str) -> bool:
    digests = (hashlib.sha256(text.encode()).digest() for text in (left, right))
    return hmac.compare_digest(*digests)


def _expired(key: Row) -> bool:
    moment = key.get("expires_at")
    if moment is None:
        return False
    when = dt.datetime.fromtimestamp(moment, tz=dt.timezone.utc) if isinstance(moment, (int, float)) else None
    when = when or dt.datetime.fromisoformat(moment)
    if when.tzinfo is None:
        when = when.replace(tzinfo=dt.timezone.utc)
    return when <= dt.datetime.now(tz=dt.timezone.utc)


def revoke(key: Row, reason: str) -> None:
    """Make a key useless for good."""
    key["revoked"], key["revoked_reason"] = True, reason


async def _fail(call: Call, kind: str = "AUTH_ERR") -> Row:
    await asyncio.sleep(call.nas.options.auth_delay)
    return {"response_type": kind}


def _success(call: Call, session: Session, options: Row) -> Row:
    connection = call.connection
    connection.session, connection.login = session, None
    answer = {
        "response_type": "SUCCESS",
        "user_info": _me(session) if options["user_info"] else None,
        "authenticator": call.nas.state["system"]["assurance_level"],
    }
    if call.nas.release >= "26":
        answer["reconnect_token"] = str(uuid.uuid4()) if options["reconnect_token"] else None
    return answer


def _me(session: Session) -> Row:
    user = session.user
    return {
        "pw_name": user["username"],
        "pw_gecos": user.get("full_name", ""),
        "pw_dir": user.get("home", "/var/empty"),
        "pw_shell": user.get("shell", "/usr/sbin/nologin"),
        "pw_uid": user["uid"],
        "pw_gid": user["gid"],
        "grouplist": None,
        "sid": None,
        "source": "LOCAL",
        "local": True,
        "attributes": {},
        "two_factor_config": {
            "provisioning_uri": None,
            "secret_configured": "otp" in user,
            "interval": 30,
            "otp_digits": 6,
        },
        "privilege": {
            "allowlist": [{"method": "*", "resource": "*"}] if session.full_admin else [],
            "roles": set(session.roles),
            "web_shell": session.full_admin,
            "webui_access": bool(user["roles"]),
        },
        "account_attributes": ["LOCAL", "API_KEY"] if session.kind == "API_KEY" else ["LOCAL"],
    }


def _key_of(store: Store, text: str) -> Row | None:
    """Return the entry of a key that was sent, if it is this key."""
    number, dash, secret = text.partition("-")
    if not dash or not number.isdigit():
        return None
    entry = store.find("api_keys", int(number))
    return entry if entry and _same(secret, entry["key"]) else None


async def _login_key(call: Call, username: str, text: str, options: Row) -> Row:
    nas = call.nas
    key = _key_of(nas.store, text)
    user = find_user(nas.store, username)
    if key is None or user is None or key["username"] != username:
        return await _fail(call)
    if key["revoked"]:
        return await _fail(call, "AUTH_ERR" if nas.release >= "26" else "EXPIRED")
    if _expired(key):
        return await _fail(call, "EXPIRED")
    if not user["roles"]:
        return await _fail(call, "DENIED")
    fault = nas.faults.take("revoke_key", "auth.login_ex")
    if fault or not call.connection.secure:
        revoke(key, fault.message if fault else "Attempt to use over an insecure transport")
        nas.store.save()
        return {"response_type": "EXPIRED"}
    return _success(call, Session("API_KEY", user, key), options)


async def _login_password(call: Call, username: str, password: str, options: Row) -> Row:
    user = find_user(call.nas.store, username)
    if user is None or not user.get("password") or not _same(password, user["password"]):
        return await _fail(call)
    if not user["roles"]:
        return await _fail(call, "DENIED")
    if user.get("otp"):
        call.connection.login = LoginState("OTP_TOKEN", user)
        return {"response_type": "OTP_REQUIRED", "username": user["username"]}
    if call.nas.state["system"]["assurance_level"] != "LEVEL_1":
        return await _fail(call)
    return _success(call, Session("LOGIN_PASSWORD", user), options)


async def _login_otp(call: Call, state: LoginState, token: str, options: Row) -> Row:
    if _same(token, state.user["otp"]):
        return _success(call, Session("LOGIN_TWOFACTOR", state.user), options)
    answer = await _fail(call)
    if state.attempts < OTP_ATTEMPTS:
        state.attempts += 1
        call.connection.login = state
        return {"response_type": "OTP_REQUIRED", "username": state.user["username"]}
    return answer


async def _scram_first(call: Call, text: str) -> Row:
    nas = call.nas
    try:
        first = scram.parse_first(text)
    except scram.ScramError:
        return await _fail(call)
    key = nas.store.find("api_keys", first.key_id)
    user = find_user(nas.store, first.username)
    if key is None or user is None or key["username"] != first.username or key["revoked"]:
        return await _fail(call)
    if _expired(key):
        return await _fail(call, "EXPIRED")
    binding = nas.certificate.binding if call.connection.tls else None
    exchange = scram.Exchange(first, await nas.verifier(key), binding)
    call.connection.login = LoginState("SCRAM", user, exchange=exchange, key=key)
    return {
        "response_type": "SCRAM_RESPONSE",
        "scram_type": "SERVER_FIRST_RESPONSE",
        "rfc_str": exchange.server_first,
        "user_info": None,
    }


async def _scram_final(call: Call, state: LoginState, text: str) -> Row:
    assert state.exchange is not None and state.key is not None
    try:
        proof = state.exchange.finish(text)
    except scram.ScramError:
        return await _fail(call)
    fault = call.nas.faults.take("revoke_key", "auth.login_ex")
    if fault:
        revoke(state.key, fault.message)
        call.nas.store.save()
        return await _fail(call)
    session = Session("API_KEY", state.user, state.key)
    call.connection.session = session
    return {
        "response_type": "SCRAM_RESPONSE",
        "scram_type": "SERVER_FINAL_RESPONSE",
        "rfc_str": proof,
        "user_info": _me(session),
    }


@method("auth.login_ex", models.login_ex, access="public")
async def login_ex(call: Call, data: Row) -> Row:
    """Log in; wrong credentials are an answer, not an error."""
    system = call.nas.state["system"]
    if system["failover_urls"]:
        return {"response_type": "REDIRECT", "urls": system["failover_urls"]}
    mechanism = data["mechanism"]
    state, call.connection.login = call.connection.login, None
    if state is not None and state.mechanism != mechanism:
        state = None
    if state is None and mechanism == "OTP_TOKEN":
        raise CallError(f"{mechanism}: no authentication in progress", errno.EINVAL)
    level_2 = system["assurance_level"] != "LEVEL_1"
    if level_2 and mechanism not in ("PASSWORD_PLAIN", "OTP_TOKEN"):
        raise CallError(f"{mechanism}: mechanism is not supported at current authenticator level.", errno.EOPNOTSUPP)
    match mechanism:
        case "API_KEY_PLAIN":
            return await _login_key(call, data["username"], data["api_key"], data["login_options"])
        case "PASSWORD_PLAIN":
            return await _login_password(call, data["username"], data["password"], data["login_options"])
        case "OTP_TOKEN":
            assert state is not None
            return await _login_otp(call, state, data["otp_token"], data["login_options"])
        case "SCRAM" if data["scram_type"] == "CLIENT_FIRST_MESSAGE":
            return await _scram_first(call, data["rfc_str"])
        case "SCRAM":
            if state is None:
                raise CallError("SCRAM authentication is not in progress")
            return await _scram_final(call, state, data["rfc_str"])
    return await _fail(call)  # tokens are not given out, so none is right


@method(
    "auth.login_ex_continue",
    # The kind of this field is a union by mechanism, which the type of a field does not say.
    lambda release: {"login_data": Field(models.login_ex(release)["login_data"].kind.models["OTP_TOKEN"])},  # type: ignore[attr-defined]
    access="public",
)
async def login_ex_continue(call: Call, data: Row) -> Row:
    """Go on with a login that asked for a second factor."""
    answer: Row = await login_ex(call, data)
    return answer


@method("auth.login_with_api_key", {"api_key": Field(Str())}, access="public")
async def login_with_api_key(call: Call, text: str) -> bool:
    """Log in with a key alone; the user is the key's."""
    number = text.partition("-")[0]
    entry = call.nas.store.find("api_keys", int(number)) if number.isdigit() else None
    if entry is None:
        await asyncio.sleep(call.nas.options.auth_delay)
        return False
    options = {"user_info": False, "reconnect_token": False}
    data = {
        "mechanism": "API_KEY_PLAIN",
        "username": entry["username"],
        "api_key": text,
        "login_options": options,
    }
    return bool((await login_ex(call, data))["response_type"] == "SUCCESS")


@method(
    "auth.login",
    {"username": Field(Str()), "password": Field(Str()), "otp_token": Field(Nullable(Str()), None)},
    access="public",
)
async def login(call: Call, username: str, password: str, otp_token: str | None) -> bool:
    """Log in with a password."""
    options = {"user_info": False, "reconnect_token": False}
    answer = await login_ex(
        call,
        {"mechanism": "PASSWORD_PLAIN", "username": username, "password": password, "login_options": options},
    )
    if answer["response_type"] == "OTP_REQUIRED" and otp_token is not None:
        answer = await login_ex(call, {"mechanism": "OTP_TOKEN", "otp_token": otp_token, "login_options": options})
    return bool(answer["response_type"] == "SUCCESS")


@method("auth.mechanism_choices", access="public")
async def mechanism_choices(call: Call) -> list[str]:
    """Return the ways to log in. Before 26 the appliance fails here when nobody is logged in yet."""
    if call.connection.session is None and call.nas.release < "26":
        raise AttributeError(BROKEN_CHOICES)
    if call.nas.state["system"]["assurance_level"] != "LEVEL_1":
        return ["PASSWORD_PLAIN"]
    choices = ["API_KEY_PLAIN", "TOKEN_PLAIN", "PASSWORD_PLAIN"]
    return [*choices, "SCRAM"] if call.nas.release >= "26" else choices


@method("auth.me", access="session")
async def me(call: Call) -> Row:
    """Return who is logged in."""
    assert call.connection.session is not None
    return _me(call.connection.session)


@method("auth.logout", access="session")
async def logout(call: Call) -> bool:
    """End the session; the connection stays."""
    call.connection.session = None
    return True


@method("core.ping", access="public")
async def ping(call: Call) -> str:
    """Answer."""
    return "pong"


@method(
    "core.set_options", lambda release: {"options": Field(models.core_options(release))}, access="public", limited=False
)
async def set_options(call: Call, options: Row) -> Row | None:
    """Set how this connection behaves."""
    connection: Connection = call.connection
    for name, value in options.items():
        setattr(connection, name, value)
    if call.nas.release < "25.10":
        return None
    return {name: getattr(connection, name) for name in ("legacy_jobs", "private_methods", "py_exceptions")}


EVENT_ROLES = {
    "pool.dataset.query": "DATASET_READ",
    "pool.snapshot.query": "SNAPSHOT_READ",
    "pool.snapshottask.query": "SNAPSHOT_TASK_READ",
    "replication.query": "REPLICATION_TASK_READ",
    "sharing.nfs.query": "SHARING_NFS_READ",
    "service.query": "SERVICE_READ",
}


@method("core.subscribe", {"event": Field(Str())}, access="session")
async def subscribe(call: Call, event: str) -> str:
    """Ask for notifications."""
    session = call.connection.session
    assert session is not None
    if event != "core.get_jobs" and not session.has_any((EVENT_ROLES.get(event, "FULL_ADMIN"),)):
        raise CallError("Not authorized", errno.EACCES)
    ident = str(uuid.uuid4())
    call.connection.subscriptions[ident] = event
    return ident


@method("core.unsubscribe", {"id_": Field(Str())}, access="session")
async def unsubscribe(call: Call, ident: str) -> None:
    """End notifications."""
    collection = call.connection.subscriptions.pop(ident, None)
    if collection is not None:
        call.connection.send({"method": "notify_unsubscribed", "params": {"collection": collection, "error": None}})


@method("core.get_jobs", models.query, access="session")
async def get_jobs(call: Call, filters: list[Any], options: Row) -> Any:
    """Return jobs: all for an administrator, the own ones for everybody else."""
    rows = [job.document() for job in call.nas.jobs.all.values() if job.visible_to(call.connection)]
    return filter_list(rows, filters, options)


@method("core.job_wait", {"id": Field(Int())}, access="session", lock=lambda arguments: None)
async def job_wait(call: Call, number: int) -> Any:
    """Wait for another job and take over its end."""
    return await call.nas.jobs.get(number, call.connection).wait()


@method("core.job_abort", {"id": Field(Int())}, access="session")
async def job_abort(call: Call, number: int) -> None:
    """Stop a job; none of the jobs here can be stopped."""
    job = call.nas.jobs.all.get(number)
    if job is None:
        raise InstanceNotFound(f"Job with id {number} does not exist")
    raise CallError("Job is not abortable")
