# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Try connections from within the network of a container (private to the collection).

The probe enters the network namespace of the container's process, and nothing else of the container: it works for any
image, with or without a shell in it. Names are asked of Docker's own DNS server, which the namespace has at 127.0.0.11.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import struct
import threading
import time
import typing as t

from ansible_collections.pantheon.ai.plugins.module_utils import _containers

DNS_SERVER = ("127.0.0.11", 53)


class ProbeError(Exception):
    """The network of the container cannot be entered or asked."""


class Probe(t.NamedTuple):
    """A connection to try: from the service's container to the name and port, and what is expected of it."""

    source: str
    target: str
    port: int
    expect: str


def dns_query(name: str, number: int) -> bytes:
    """Return a DNS question for the IPv4 addresses of the name."""
    labels = b"".join(struct.pack("B", len(label)) + label for label in name.encode("ascii").split(b"."))
    return struct.pack(">HHHHHH", number, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", 1, 1)


def dns_addresses(answer: bytes, number: int) -> t.List[str]:
    """Return the IPv4 addresses in a DNS answer; none for a name that is not known. Raises ProbeError."""
    try:
        identity, flags, questions, answers = struct.unpack(">HHHH", answer[:8])
        code = flags & 0x000F
        if identity != number or not flags & 0x8000:
            raise ProbeError("the DNS server sent an answer to another question")
        if code not in (0, 3):  # 3: there is no such name
            raise ProbeError(f"the DNS server answered with error {code}")
        place = 12
        for _question in range(questions):
            place = _skip_name(answer, place) + 4
        addresses = []
        for _answer in range(answers):
            place = _skip_name(answer, place)
            kind, _class, _ttl, length = struct.unpack(">HHIH", answer[place : place + 10])
            place += 10
            if kind == 1 and length == 4:
                addresses.append(socket.inet_ntoa(answer[place : place + 4]))
            place += length
    except (struct.error, IndexError, OSError):
        raise ProbeError("the DNS server sent an answer that cannot be read") from None
    return addresses


def _skip_name(data: bytes, place: int) -> int:
    while True:
        length = data[place]
        if length & 0xC0 == 0xC0:
            return place + 2
        place += 1 + length
        if length == 0:
            return place


def resolve(name: str, timeout: float = 2, server: t.Tuple[str, int] = DNS_SERVER) -> t.List[str]:
    """Return the addresses of the name, as the container's DNS server knows them.

    Raises ProbeError when the server gives no usable answer: it passes names that it does not know to the machine's
    own servers, which may be away.
    """
    with contextlib.suppress(OSError):
        socket.inet_aton(name)
        if name.count(".") == 3:
            return [name]
    number = random.randrange(0x10000)
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
        client.settimeout(timeout)
        try:
            client.sendto(dns_query(name, number), server)
            answer = client.recv(4096)
        except (socket.timeout, TimeoutError):
            raise ProbeError(f"no DNS answer within {timeout:g} s") from None
        except OSError as error:
            raise ProbeError(f"no DNS server in this network ({error.strerror})") from None
    return dns_addresses(answer, number)


def connects(address: str, port: int, timeout: float) -> bool:
    """Say whether a TCP connection is accepted."""
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as client:
        client.settimeout(timeout)
        return client.connect_ex((address, port)) == 0


def attempt(
    probe: Probe,
    timeout: float,
    knows_itself: bool,
    resolver: t.Callable[[str], t.List[str]] = resolve,
    connector: t.Callable[[str, int, float], bool] = connects,
) -> t.Dict[str, t.Any]:
    """Try one connection; the state is open, closed, partial or unknown, and ok says whether it is the expected one.

    A name that does not resolve counts as closed only where the DNS server has answered for the container's own name:
    without that proof a broken DNS server would look like a working wall.
    """
    started = time.monotonic()
    result: t.Dict[str, t.Any] = dict(probe._asdict(), addresses=[])
    try:
        addresses = resolver(probe.target)
        note = "" if addresses else "the name is not known in its networks"
    except ProbeError as error:
        addresses, note = [], str(error)
    result["addresses"] = addresses
    if addresses:
        accepted = [address for address in addresses if connector(address, probe.port, timeout)]
        # A name with a dead address fails for a share of the requests, so it is not open.
        result["state"] = ("open" if len(accepted) == len(addresses) else "partial") if accepted else "closed"
        result["detail"] = f"{len(accepted)} of {len(addresses)} addresses accept connections"
    elif knows_itself:
        result["state"], result["detail"] = "closed", note
    else:
        result["state"] = "unknown"
        result["detail"] = f"{note}; the DNS server does not know the container's own name {probe.source} either"
    result["ok"] = result["state"] == probe.expect
    result["seconds"] = round(time.monotonic() - started, 3)
    return result


def attempt_all(probes: t.Sequence[Probe], timeout: float) -> t.List[t.Dict[str, t.Any]]:
    """Try the connections of one container at the same time, from the network that the caller is in."""
    try:
        knows_itself = bool(resolve(probes[0].source)) if probes else False
    except ProbeError:
        knows_itself = False
    results: t.List[t.Dict[str, t.Any]] = [{} for _probe in probes]

    def work(index: int) -> None:
        results[index] = attempt(probes[index], timeout, knows_itself)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(probes))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def inside(pid: int, probes: t.Sequence[Probe], timeout: float) -> t.List[t.Dict[str, t.Any]]:
    """Try the connections from the network of the process, in a child process, so that this one stays where it is."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reader)
            try:
                _containers.enter_network(pid)
                answer: t.Dict[str, t.Any] = {"results": attempt_all(probes, timeout)}
            except (ProbeError, _containers.ContainerError) as error:
                answer = {"error": str(error)}
            with os.fdopen(writer, "w") as stream:
                json.dump(answer, stream)
            status = 0
        finally:
            os._exit(status)  # nothing of the parent (exit handlers, buffers) may run twice
    os.close(writer)
    with os.fdopen(reader) as stream:
        text = stream.read()
    os.waitpid(child, 0)
    if not text:
        raise ProbeError("the probe ended without a result")
    answer = json.loads(text)
    if "error" in answer:
        raise ProbeError(answer["error"])
    return list(answer["results"])


class Segments:
    """The probes of one machine, in the order given."""

    def __init__(
        self,
        runner: _containers.Runner,
        docker: str = "docker",
        timeout: float = 1,
        prober: t.Callable[[int, t.Sequence[Probe], float], t.List[t.Dict[str, t.Any]]] = inside,
    ) -> None:
        self.runner, self.docker, self.timeout, self.prober = runner, docker, timeout, prober

    def run(self, probes: t.Sequence[Probe], prefix: str = "pantheon-") -> t.List[t.Dict[str, t.Any]]:
        """Return a result per probe; a container that is not there makes its probes unknown, and so not ok."""
        results: t.List[t.Dict[str, t.Any]] = []
        for source in sorted({probe.source for probe in probes}):
            own = [probe for probe in probes if probe.source == source]
            try:
                results += self.prober(
                    _containers.process_of(self.runner, f"{prefix}{source}", source, self.docker), own, self.timeout
                )
            except _containers.ContainerError as error:
                results += [self._unknown(probe, f"{error}. {error.remedy}") for probe in own]
            except ProbeError as error:
                results += [self._unknown(probe, str(error)) for probe in own]
        return results

    @staticmethod
    def _unknown(probe: Probe, detail: str) -> t.Dict[str, t.Any]:
        return dict(probe._asdict(), state="unknown", ok=False, addresses=[], seconds=0.0, detail=detail)
