# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Perform the checks of a plan from outside the machines, side by side (private to the collection).

Names are never looked up: a connection goes to the address of the edge, with the host name in the TLS handshake, so the
checks work before any DNS server knows the platform.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import http.client
import json
import secrets as random
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.pantheon.ai.plugins.plugin_utils._catalog import GATEWAY_SERVICE as GATEWAY
from ansible_collections.pantheon.ai.plugins.plugin_utils._verify import (
    FAILED,
    INTERFACE,
    OK,
    SKIPPED,
    Check,
    EdgePoint,
    Model,
    Plan,
    Ports,
)

QUESTION = "Which model are you? Answer in one short sentence."
MOST_WORKERS = 32
MOST_TEXT = 300


class Failed(Exception):
    """The platform does not do what it should; fix says what to do."""

    def __init__(self, detail: str, fix: str) -> None:
        super().__init__(detail)
        self.fix = fix


class NobodyThere(Failed):
    """The edge answered in place of a service that it does not send requests to yet."""


class Skipped(Exception):
    """The check could not be performed; the text says why."""


@dataclass(frozen=True)
class Limits:
    """Seconds: to connect, for an ordinary answer, for an answer of a model, and how long a start-up may last."""

    connect: float = 3
    answer: float = 15
    chat: float = 120
    settle: float = 20
    port: float = 1


@dataclass(frozen=True)
class Answer:
    """An HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the decoded body, or None when it is not JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    @property
    def text(self) -> str:
        """Return the start of the body, for people."""
        return " ".join(self.body.decode("utf-8", "replace").split())[:MOST_TEXT]


class _Connection(http.client.HTTPSConnection):
    """HTTPS to a fixed address, whatever the name resolves to."""

    def __init__(self, name: str, point: EdgePoint, context: ssl.SSLContext, connect: float, timeout: float) -> None:
        super().__init__(name, point.https, timeout=timeout, context=context)
        self._point, self._tls, self._connect_timeout = point, context, connect

    def connect(self) -> None:
        """Connect to the address, and show the name in the handshake."""
        plain = socket.create_connection((self._point.address, self._point.https), self._connect_timeout)
        try:
            self.sock = self._tls.wrap_socket(plain, server_hostname=self.host)
        except BaseException:
            plain.close()
            raise
        self.sock.settimeout(self.timeout)


@dataclass
class Task:
    """A check to perform: run returns a detail for people, or raises Failed or Skipped.

    settles says that a failure may pass while services are still starting, so it is tried again for a while. What
    guards the platform (a refused key, a closed port) is never tried again: it has to hold at once. The one exception
    is an edge that says that nobody is behind it yet: then nobody was asked.
    """

    name: str
    run: Callable[[], str]
    settles: bool = False
    fix: str = ""


@dataclass
class Verifier:
    """Performs the checks of a plan. secrets are the values by name; segments the probe results by machine."""

    plan: Plan
    secrets: Mapping[str, str]
    segments: Mapping[str, Sequence[Mapping[str, Any]] | None] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    answers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._down: dict[str, str] = {}  # machine -> why it is not reachable
        self._dead: set[str] = set()  # edges that do not answer
        self._token: str | None = None
        self._token_error: Skipped | None = None
        self._token_lock = threading.Lock()
        self._context: ssl.SSLContext | None = None
        self._nonce = random.token_hex(4)

    # -- the run ------------------------------------------------------------------------------------------------------

    def perform(self) -> list[Check]:
        """Perform all checks and return them in the order of the plan."""
        # Who answers at all comes first: what depends on a machine that is off is skipped instead of waiting for it.
        checks = self._all([*self._machine_tasks(), *self._edge_tasks()])
        return checks + self._all(
            [
                *self._tls_tasks(),
                *self._interface_tasks(),
                *self._gateway_tasks(),
                *self._port_tasks(),
                *self._segment_tasks(),
            ]
        )

    def _all(self, tasks: Sequence[Task]) -> list[Check]:
        if not tasks:
            return []
        with ThreadPoolExecutor(min(MOST_WORKERS, len(tasks))) as pool:
            return list(pool.map(self._one, tasks))

    def _one(self, task: Task) -> Check:
        started = time.monotonic()
        deadline = started + self.limits.settle
        attempts = 0
        while True:
            attempts += 1
            again = task.settles
            try:
                state, detail, fix = OK, task.run(), ""
            except NobodyThere as failure:
                state, detail, fix, again = FAILED, str(failure), failure.fix, True
            except Skipped as reason:
                state, detail, fix = SKIPPED, str(reason), ""
            except Failed as failure:
                state, detail, fix = FAILED, str(failure), failure.fix
            except (OSError, http.client.HTTPException) as error:
                state, detail, fix = FAILED, describe(error), task.fix
            if state != FAILED or not again or time.monotonic() >= deadline:
                break
            time.sleep(min(1.0, max(self.limits.settle, 0.01)))
        if attempts > 1:
            detail += f" (attempt {attempts})"
        return Check(task.name, state, time.monotonic() - started, self._clean(detail), fix)

    def _clean(self, text: str) -> str:
        """Return the text without any secret: servers like to repeat what they were sent."""
        for value in self.secrets.values():
            if len(value) >= 8:
                text = text.replace(value, "********")
        return text

    # -- machines and edge --------------------------------------------------------------------------------------------

    def _machine_tasks(self) -> Iterator[Task]:
        for host in self.plan.hosts:

            def run(name: str = host.name, address: str = host.address, port: int | None = host.port) -> str:
                if port is None:
                    raise Skipped("not managed over ssh")
                try:
                    socket.create_connection((address, port), self.limits.connect).close()
                except ConnectionRefusedError:
                    return f"{address} is up (port {port} is closed)"
                except OSError as error:
                    self._down[name] = describe(error)
                    raise Failed(
                        f"{address} does not answer ({describe(error)})",
                        f"Switch {name} on, look at its network, then run site.yml again: it is brought in.",
                    ) from error
                return f"{address} answers"

            yield Task(f"machine {host.name}", run)

    def _edge_tasks(self) -> Iterator[Task]:
        for point in self.plan.edges:

            def run(point: EdgePoint = point) -> str:
                try:
                    socket.create_connection((point.address, point.https), self.limits.connect).close()
                except OSError as error:
                    self._dead.add(point.machine)
                    raise Failed(
                        f"{point.address}:{point.https} does not answer ({describe(error)})",
                        f"On {point.machine}, look at `docker compose -p pantheon-edge-proxy ps` and its logs.",
                    ) from error
                self._dead.discard(point.machine)
                return f"{point.address}:{point.https} answers"

            yield Task(f"edge {point.machine}", run, settles=True)

    def _edge(self) -> EdgePoint:
        alive = [point for point in self.plan.edges if point.machine not in self._dead]
        if not self.plan.edges:
            raise Skipped("no machine publishes the edge")
        if not alive:
            raise Skipped("no edge answers")
        return alive[0]

    def _trust(self) -> ssl.SSLContext:
        if self._context is None:
            certificates = "".join(self.secrets.get(name, "") for name in self.plan.ca_secrets)
            if not certificates:
                raise Failed("there is no own certificate authority in the secrets", "Run playbooks/preflight.yml.")
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.load_verify_locations(cadata=certificates)
            self._context = context
        return self._context

    def _tls_tasks(self) -> Iterator[Task]:
        fix = "Run site.yml with --tags edge-proxy: it issues and installs the certificate again."
        for point in self.plan.edges:
            for name in self.plan.names:

                def run(point: EdgePoint = point, name: str = name) -> str:
                    self._alive(point)
                    connection = _Connection(name, point, self._trust(), self.limits.connect, self.limits.answer)
                    try:
                        connection.connect()
                        tls = connection.sock
                        certificate: dict[str, Any] = tls.getpeercert() or {}
                        left = ssl.cert_time_to_seconds(str(certificate["notAfter"])) - time.time()
                        return f"{tls.version()}, {int(left // 86400)} days left"
                    except ssl.SSLCertVerificationError as error:
                        raise Failed(f"the certificate is not valid: {error.verify_message}", fix) from error
                    finally:
                        connection.close()

                yield Task(f"TLS {name} at {point.machine}", run, settles=True, fix=fix)
            if point.http is not None and self.plan.names:

                def redirect(point: EdgePoint = point, name: str = self.plan.names[0]) -> str:
                    self._alive(point)
                    return self._redirects(point, name)

                yield Task(
                    f"HTTP leads to HTTPS at {point.machine}",
                    redirect,
                    settles=True,
                    fix=f"On {point.machine}, look at the logs of the edge: port {point.http} gives no HTTP answer.",
                )

    def _alive(self, point: EdgePoint) -> None:
        if point.machine in self._dead:
            raise Skipped(f"the edge on {point.machine} does not answer")

    def _redirects(self, point: EdgePoint, name: str) -> str:
        connection = http.client.HTTPConnection(point.address, point.http, timeout=self.limits.answer)
        try:
            connection.request("GET", "/", headers={"Host": name})
            response = connection.getresponse()
            target = response.getheader("Location") or ""
            if response.status in (301, 302, 307, 308) and target.startswith(f"https://{name}"):
                return f"{response.status} to {target}"
            raise Failed(
                f"http://{name}/ answered {response.status}{' to ' + target if target else ''} instead of leading to https",
                "Run site.yml with --tags edge-proxy, and look for a local change of the edge's configuration.",
            )
        finally:
            connection.close()

    # -- HTTP ---------------------------------------------------------------------------------------------------------

    def _request(
        self,
        name: str,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        token: str | None = None,
        timeout: float | None = None,
    ) -> Answer:
        with self._response(name, method, path, body, token, timeout) as response:
            headers = {key.lower(): value for key, value in response.getheaders()}
            return Answer(response.status, headers, response.read())

    @contextlib.contextmanager
    def _response(
        self,
        name: str,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        token: str | None,
        timeout: float | None,
    ) -> Iterator[http.client.HTTPResponse]:
        headers = {"Accept": "application/json", "User-Agent": "pantheon-verify"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        connection = _Connection(name, self._edge(), self._trust(), self.limits.connect, timeout or self.limits.answer)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            yield connection.getresponse()
        finally:
            connection.close()

    # -- Open WebUI ---------------------------------------------------------------------------------------------------

    def _interface_tasks(self) -> Iterator[Task]:
        name = self.plan.interface
        if not name:
            return
        fix = f"Look at `docker compose -p pantheon-{INTERFACE} logs` on its machine, then run site.yml with --tags {INTERFACE}."
        yield Task("sign in to Open WebUI", self._sign_in, settles=True, fix=fix)
        yield Task("Open WebUI refuses a stranger", lambda: self._refuses_stranger(name), fix=fix)
        yield Task("models in Open WebUI", lambda: self._lists_models(name, "/api/models", self._session()), True, fix)
        chat = [model for model in self.plan.models if model.role == "chat"]
        for model in chat:
            yield Task(
                f"chat with {model.name} in Open WebUI",
                lambda model=model: self._chat(name, "/api/chat/completions", self._session(), model, False),  # type: ignore[misc]
                True,
                fix,
            )
        if chat:
            yield Task(
                f"streaming of {chat[0].name} in Open WebUI",
                lambda: self._streams(name, "/api/chat/completions", self._session(), chat[0]),
                True,
                fix,
            )

    def _sign_in(self) -> str:
        with self._token_lock:
            self._token, self._token_error = None, None
            try:
                token = self._fetch_token()
            except (Failed, OSError, http.client.HTTPException) as error:
                self._token_error = Skipped(f"signing in to Open WebUI failed: {error}")
                raise
            self._token = token
        return f"as {self.plan.admin_email}"

    def _session(self) -> str:
        """Return the token of the administrator; the first caller signs in, the others wait for it."""
        with self._token_lock:
            if self._token is None:
                try:
                    self._token = self._fetch_token()
                except (Failed, OSError, http.client.HTTPException) as error:
                    raise Skipped(f"signing in to Open WebUI failed: {self._clean(str(error))}") from error
            return self._token

    def _fetch_token(self) -> str:
        password = self.secrets.get(self.plan.admin_secret)
        if not password:
            raise Failed("the password of the administrator is not in the secrets", "Run playbooks/preflight.yml.")
        answer = self._request(
            self.plan.interface,
            "POST",
            "/api/v1/auths/signin",
            {"email": self.plan.admin_email, "password": password},
        )
        data = answer.json()
        if answer.status == 200 and isinstance(data, dict) and data.get("token"):
            return str(data["token"])
        raise Failed(
            f"{self.plan.admin_email} cannot sign in: {answer.status} {answer.text}",
            f"If the password was changed in Open WebUI, write it to {self.plan.admin_secret} with ansible-vault edit; "
            "else look at the logs of open-webui.",
        )

    def _refuses_stranger(self, name: str) -> str:
        answer = self._request(name, "GET", "/api/models")
        self._refused(
            answer, "a request without a session", f"Look for a setting of {INTERFACE} that turns sign-in off."
        )
        stranger = {"email": f"nobody-{self._nonce}@invalid.invalid", "password": random.token_urlsafe(16)}
        answer = self._request(name, "POST", "/api/v1/auths/signin", stranger)
        data = answer.json()
        if answer.status < 400 or (isinstance(data, dict) and data.get("token")):
            raise Failed(
                f"an unknown person could sign in ({answer.status})",
                f"Look for a setting of {INTERFACE} that turns sign-in off or lets everybody in, such as WEBUI_AUTH.",
            )
        if answer.status >= 500:
            raise Failed(f"signing in answered {answer.status} {answer.text}", "Look at the logs of open-webui.")
        return f"{answer.status} for an unknown person"

    # -- both ways to a model -----------------------------------------------------------------------------------------

    def _lists_models(self, name: str, path: str, token: str) -> str:
        answer = self._request(name, "GET", path, token=token)
        data = answer.json()
        entries = data.get("data") if isinstance(data, dict) else None
        if answer.status != 200 or not isinstance(entries, list):
            raise Failed(
                f"the list of models answered {answer.status} {answer.text}", f"Look at the logs of {GATEWAY}."
            )
        listed = {str(entry.get("id")) for entry in entries if isinstance(entry, dict)}
        # Open WebUI may hide models that cannot chat; the gateway lists all of them.
        wanted = {model.name for model in self.plan.models if model.role == "chat" or name == self.plan.gateway}
        missing = sorted(wanted - listed)
        if missing:
            raise Failed(
                f"missing: {', '.join(missing)}; listed: {', '.join(sorted(listed)) or 'none'}",
                f"Run site.yml with --tags ollama,{GATEWAY},{INTERFACE}.",
            )
        return ", ".join(sorted(wanted))

    def _body(self, name: str, model: Model, stream: bool) -> dict[str, Any]:
        # The number makes each question a new one: an answer from a cache would prove nothing.
        question = f"{QUESTION} ({self._nonce}{random.token_hex(2)})"
        body: dict[str, Any] = {
            "model": model.name,
            "messages": [{"role": "user", "content": question}],
            "max_tokens": 256,
            "stream": stream,
        }
        if name == self.plan.interface:
            # What the page sends: only with it does Open WebUI offer the model its own tools, as it does to a person.
            body["session_id"] = f"verify-{self._nonce}"
        return body

    def _chat(self, name: str, path: str, token: str, model: Model, needs_id: bool) -> str:
        answer = self._request(name, "POST", path, self._body(name, model, False), token, self.limits.chat)
        where = ", ".join(model.machines) or "the machines of the model"
        fix = f"Run site.yml with --tags ollama,{GATEWAY}; then `docker compose -p pantheon-ollama logs` on {where}."
        if not needs_id:
            fix = (
                f"If the same chat works at the gateway, look at `docker compose -p pantheon-{INTERFACE} logs`; else run "
                f"site.yml with --tags ollama,{GATEWAY}."
            )
        if answer.status != 200:
            raise Failed(f"{model.name} answered {answer.status} {answer.text}", fix)
        data = answer.json()
        text = content_of(data)
        if not text:
            raise Failed(f"{model.name} gave no answer: {answer.text}", fix)
        self._proves(model, text, data, answer, needs_id, fix)
        self.answers.setdefault(model.name, text)
        return shorten(text)

    def _proves(self, model: Model, text: str, data: Any, answer: Answer, needs_id: bool, fix: str) -> None:
        """Refuse an answer of another model than the one that was asked."""
        if model.answer and model.answer not in text:
            raise Failed(
                f"{model.name} was asked, and the answer is not its own: {shorten(text)!r} lacks {model.answer!r}", fix
            )
        if needs_id:
            self._deployment(model, answer, fix)
        elif not model.answer and model.name not in str(data.get("model", model.name)):
            raise Failed(f"{model.name} was asked, and {data.get('model')} answered", fix)

    def _deployment(self, model: Model, answer: Answer, fix: str) -> None:
        identity = answer.headers.get("x-litellm-model-id", "")
        if identity not in model.ids:
            raise Failed(
                f"{model.name} was asked, and the deployment {identity or '(not told)'} answered; its own are "
                f"{', '.join(sorted(model.ids)) or 'none'}",
                fix,
            )

    def _streams(self, name: str, path: str, token: str, model: Model) -> str:
        fix = "Look for something between the edge and the gateway that gathers answers (buffering) before it passes them on."
        started = time.monotonic()
        times: list[float] = []
        ended: float | None = None
        text = ""
        with self._response(name, "POST", path, self._body(name, model, True), token, self.limits.chat) as response:
            kind = response.getheader("Content-Type") or ""
            if response.status != 200:
                body = Answer(response.status, {}, response.read())
                raise Failed(
                    f"{model.name} answered {body.status} {body.text}",
                    f"Look at the chat with {model.name} first; if that works, at the logs of {GATEWAY} and {INTERFACE}.",
                )
            if "text/event-stream" not in kind:
                raise Failed(f"the answer came as {kind or 'something without a type'}, not as a stream", fix)
            for event in events(response):
                moment = time.monotonic() - started
                if event == "[DONE]":
                    ended = moment
                    break
                with contextlib.suppress(ValueError):
                    part = content_of(json.loads(event), stream=True)
                    if part:
                        times.append(moment)
                        text += part
        ended = ended if ended is not None else time.monotonic() - started
        if len(times) < 2:
            raise Failed(f"{len(times)} part(s) of the answer came before its end, not several", fix)
        if ended > 1 and times[-1] - times[0] < 0.05 * ended:
            raise Failed(f"all {len(times)} parts came at once, {times[0]:.1f} s after the question", fix)
        if model.answer and model.answer not in text:
            raise Failed(f"the streamed answer of {model.name} is not its own: {shorten(text)!r}", fix)
        return f"{len(times)} parts, the first after {times[0]:.2f} s, the last after {times[-1]:.2f} s"

    # -- the gateway --------------------------------------------------------------------------------------------------

    def _gateway_tasks(self) -> Iterator[Task]:
        name = self.plan.gateway
        if not name:
            return
        fix = f"Look at `docker compose -p pantheon-{GATEWAY} logs` on its machines, then run site.yml with --tags {GATEWAY}."
        yield Task("models at the gateway", lambda: self._lists_models(name, "/v1/models", self._key()), True, fix)
        chat = [model for model in self.plan.models if model.role == "chat"]
        for model in self.plan.models:
            if model.role == "chat":
                yield Task(
                    f"chat with {model.name} at the gateway",
                    lambda model=model: self._chat(name, "/v1/chat/completions", self._key(), model, True),  # type: ignore[misc]
                    True,
                    fix,
                )
            else:
                yield Task(
                    f"vectors of {model.name} at the gateway",
                    lambda model=model: self._embeds(name, model),  # type: ignore[misc]
                    True,
                    fix,
                )
        if chat:
            yield Task(
                f"streaming of {chat[0].name} at the gateway",
                lambda: self._streams(name, "/v1/chat/completions", self._key(), chat[0]),
                True,
                fix,
            )
        yield Task(
            "the gateway refuses a wrong key", lambda: self._refuses_key(f"sk-{random.token_urlsafe(24)}"), False, fix
        )
        yield Task("the gateway refuses a missing key", lambda: self._refuses_key(None), False, fix)

    def _key(self) -> str:
        key = self.secrets.get(self.plan.key_secret)
        if not key:
            raise Failed("there is no key for the gateway in the secrets", "Run playbooks/preflight.yml.")
        return key

    def _embeds(self, name: str, model: Model) -> str:
        fix = f"Run site.yml with --tags ollama,{GATEWAY}, and check that {model.name} is an embedding model."
        body = {"model": model.name, "input": f"The lamp stands on the table. {self._nonce}"}
        answer = self._request(name, "POST", "/v1/embeddings", body, self._key(), self.limits.chat)
        data = answer.json()
        try:
            vector = data["data"][0]["embedding"]
            numbers = [float(number) for number in vector]
        except (KeyError, IndexError, TypeError, ValueError):
            numbers = []
        if answer.status != 200 or not numbers:
            raise Failed(f"{model.name} gave no vector: {answer.status} {answer.text}", fix)
        if not any(numbers):
            raise Failed(f"{model.name} gave a vector of {len(numbers)} zeros", fix)
        self._deployment(model, answer, fix)
        return f"{len(numbers)} numbers"

    def _refuses_key(self, key: str | None) -> str:
        model = self.plan.models[0].name if self.plan.models else "none"
        body = {"model": model, "messages": [{"role": "user", "content": QUESTION}], "max_tokens": 1}
        answer = self._request(self.plan.gateway, "POST", "/v1/chat/completions", body, key, self.limits.chat)
        return self._refused(
            answer,
            "a request without a key" if key is None else "a wrong key",
            f"Look at the keys and at general_settings of {GATEWAY}, then run site.yml with --tags {GATEWAY}.",
        )

    @staticmethod
    def _refused(answer: Answer, what: str, fix: str) -> str:
        if answer.status in (401, 403):
            return f"{answer.status}"
        if answer.status in (502, 503, 504):
            raise NobodyThere(f"{what} could not be tried: {answer.status} {answer.text}", fix)
        word = "was accepted" if answer.status < 400 else "was not refused with 401"
        raise Failed(f"{what} {word}: {answer.status} {answer.text}", fix)

    # -- ports and segments -------------------------------------------------------------------------------------------

    def _port_tasks(self) -> Iterator[Task]:
        for ports in self.plan.ports:

            def run(ports: Ports = ports) -> str:
                if ports.skip:
                    raise Skipped(ports.skip)
                if ports.machine in self._down:
                    raise Skipped(f"{ports.machine} does not answer")
                found = open_ports(ports.address, [*ports.closed, *ports.public], self.limits.port)
                wrong = sorted(port for port in ports.closed if port in found)
                if wrong:
                    named = ", ".join(f"{port} ({ports.closed[port]})" for port in wrong)
                    raise Failed(
                        f"open from outside on {ports.address}: {named}",
                        f"On {ports.machine}, `ss -ltnp` names the program; if it is a container, look for `ports:` in a local "
                        "compose file.",
                    )
                missing = sorted(port for port in ports.public if port not in found)
                if missing:
                    named = ", ".join(f"{port} ({ports.public[port]})" for port in missing)
                    raise Failed(
                        f"closed on {ports.address}, and published by the catalog: {named}",
                        f"Run site.yml with --limit {ports.machine}, and look at its firewall.",
                    )
                shown = ", ".join(str(port) for port in sorted(ports.public))
                return f"{len(ports.closed)} closed{', open: ' + shown if shown else ''}"

            yield Task(f"ports of {ports.machine}", run)

    def _segment_tasks(self) -> Iterator[Task]:
        for machine, probes in self.plan.probes.items():
            for source in sorted({probe.source for probe in probes}):

                def run(machine: str = machine, source: str = source) -> str:
                    return self._segment(machine, source)

                yield Task(f"networks of {source} on {machine}", run)

    def _segment(self, machine: str, source: str) -> str:
        results = self.segments.get(machine)
        if results is None:
            reason = self._down.get(machine)
            raise Skipped(f"{machine} does not answer" if reason else "the containers of this machine were not probed")
        wanted = {
            (probe.target, probe.port, probe.expect) for probe in self.plan.probes[machine] if probe.source == source
        }
        own = [
            result
            for result in results
            if result["source"] == source and (result["target"], result["port"], result["expect"]) in wanted
        ]
        missing = wanted - {(result["target"], result["port"], result["expect"]) for result in own}
        if missing:
            names = ", ".join(f"{target}:{port}" for target, port, _expect in sorted(missing))
            raise Failed(f"not probed: {names}", "Run playbooks/verify.yml again, for all machines.")
        wrong = [result for result in own if not result["ok"]]
        if wrong:
            named = "; ".join(
                f"{result['target']}:{result['port']} is {result['state']}, not {result['expect']} ({result['detail']})"
                for result in wrong
            )
            raise Failed(
                named,
                f"Run site.yml with --limit {machine}; then compare `docker inspect` of {source} with the networks in its "
                "compose.yml.",
            )
        opened = sorted({result["target"] for result in own if result["expect"] == "open"})
        shut = sum(result["expect"] == "closed" for result in own)
        return f"reaches {', '.join(opened) or 'nothing'}; {shut} others closed"


def events(response: http.client.HTTPResponse) -> Iterator[str]:
    """Yield the data of each server-sent event as it arrives."""
    while True:
        line = response.readline()
        if not line:
            return
        text = line.decode("utf-8", "replace").strip()
        if text.startswith("data:"):
            yield text[5:].strip()


def content_of(data: Any, stream: bool = False) -> str:
    """Return the text in an answer of the chat API; a model that thinks first may only have got to its thoughts."""
    try:
        message = data["choices"][0]["delta" if stream else "message"]
    except (KeyError, IndexError, TypeError):
        return ""
    if not isinstance(message, dict):
        return ""
    text = message.get("content") or message.get("reasoning_content") or ""
    return text if stream else str(text).strip()


def open_ports(address: str, ports: Sequence[int], timeout: float) -> set[int]:
    """Return which TCP ports accept a connection within timeout seconds; all are tried at the same time."""
    found: set[int] = set()
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
        waiting = 0
        for port in dict.fromkeys(ports):
            family, kind, protocol, _name, target = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
            client = stack.enter_context(socket.socket(family, kind, protocol))
            client.setblocking(False)
            status = client.connect_ex(target)
            if status == 0:
                found.add(port)
            elif status == errno.EINPROGRESS:
                selector.register(client, selectors.EVENT_WRITE, port)
                waiting += 1
        deadline = time.monotonic() + timeout
        while waiting and (left := deadline - time.monotonic()) > 0:
            for key, _mask in selector.select(left):
                client = key.fileobj  # type: ignore[assignment]
                if client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                    found.add(int(key.data))
                selector.unregister(client)
                waiting -= 1
    return found


def describe(error: BaseException) -> str:
    """Return an error of a connection for people."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not valid: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__} {error}".strip()


def shorten(text: str, length: int = 100) -> str:
    """Return the start of a text, on one line."""
    flat = " ".join(text.split())
    return flat if len(flat) <= length else flat[: length - 3] + "..."


def utc_now() -> str:
    """Return the present time as ISO 8601 in UTC."""
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
