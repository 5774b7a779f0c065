# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The resolver behind the API: a judge with a memory, or a real Unbound."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import generator

Row = dict[str, Any]
START_SECONDS = 10.0  # as long as OPNsense waits for the pid file


class ResolverError(RuntimeError):
    """The resolver cannot be used at all on this machine."""


class Resolver:
    """What the service actions need. `apply` is a stop and a start, and says nothing about its success."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.applied = 0  # how often a configuration was applied
        self.last_fault: str | None = None

    def apply(self, unbound: Row, system: Mapping[str, str], interfaces: Mapping[str, Mapping[str, str]]) -> None:
        """Stop, and start with the saved configuration."""
        raise NotImplementedError  # the built-in judge and the real Unbound each have their own

    def stop(self) -> None:
        """Stop."""
        raise NotImplementedError  # the built-in judge and the real Unbound each have their own

    def running(self) -> bool:
        """Whether the server runs."""
        raise NotImplementedError  # the built-in judge and the real Unbound each have their own

    def local_data(self) -> list[dict[str, str]] | None:
        """The records of the running server; None when it is down."""
        raise NotImplementedError  # the built-in judge and the real Unbound each have their own

    def state(self) -> dict[str, Any]:
        """What the control interface shows."""
        return {
            "running": self.running(),
            "applied": self.applied,
            "fault": self.last_fault,
            "records": self.local_data() or [],
        }


class BuiltIn(Resolver):
    """Keeps the applied records and knows which input stops a real Unbound."""

    def __init__(self) -> None:
        super().__init__()
        self._records: list[dict[str, str]] | None = None

    def apply(self, unbound: Row, system: Mapping[str, str], interfaces: Mapping[str, Mapping[str, str]]) -> None:
        with self.lock:
            items = generator.entries(unbound, system, interfaces)
            self.last_fault = generator.fault(items)
            self._records = generator.records(items) if self.last_fault is None else None
            self.applied += 1

    def stop(self) -> None:
        with self.lock:
            self._records = None

    def running(self) -> bool:
        return self._records is not None

    def local_data(self) -> list[dict[str, str]] | None:
        return self._records


@dataclass(frozen=True)
class UnboundOptions:
    """How the real Unbound is run."""

    folder: Path
    addresses: tuple[str, ...] = ("127.0.0.1",)
    port: int = 53
    upstreams: tuple[str, ...] = ()
    access: tuple[str, ...] = ("0.0.0.0/0", "::0/0")


class Unbound(Resolver):
    """A real Unbound as a child process."""

    def __init__(self, options: UnboundOptions) -> None:
        super().__init__()
        missing = [name for name in ("unbound", "unbound-checkconf", "unbound-control") if _program(name) is None]
        if missing:
            raise ResolverError(f"{', '.join(missing)} not found: install Debian's package unbound")
        self.options = options
        self._process: subprocess.Popen[bytes] | None = None
        folder = options.folder.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        self.file = folder / "unbound.conf"
        self.log = folder / "unbound.log"
        self.socket = folder / "control"
        if len(str(self.socket)) > 100:  # the system's limit for the path of a socket
            self.socket = Path(tempfile.mkdtemp(prefix="unbound-")) / "control"
        # An empty root that nothing is below: what is neither here nor forwarded does not exist, at once.
        (folder / "root.zone").write_text(
            ". 3600 IN SOA localhost. nobody.localhost. 1 3600 900 604800 60\n. 3600 IN NS localhost.\n",
            encoding="utf-8",
        )

    # The configuration

    def render(self, unbound: Row, system: Mapping[str, str], interfaces: Mapping[str, Mapping[str, str]]) -> str:
        """The whole unbound.conf."""
        options = self.options
        folder = self.file.parent
        lines = ["server:"]
        addresses = [address for address in options.addresses if ":" not in address or _has_ipv6(address)]
        lines += [f"  interface: {address}" for address in addresses]
        if "0.0.0.0" in addresses or "::0" in addresses:
            lines.append("  interface-automatic: yes")
        local = any(
            row["server"].startswith("127.") or row["server"] == "::1" for row in unbound["dots"]["dot"].values()
        )
        local = local or any(re.match(r"127\.|::1", upstream) for upstream in options.upstreams)
        lines += [
            f"  port: {options.port}",
            *(f"  access-control: {network} allow" for network in options.access),
            '  chroot: ""',
            '  username: ""',
            f'  directory: "{folder}"',
            '  pidfile: ""',
            '  logfile: ""',
            "  use-syslog: no",
            "  do-daemonize: no",
            "  verbosity: 1",
            "  num-threads: 1",
            '  module-config: "iterator"',
            f"  do-ip6: {'yes' if _has_ipv6('::1') else 'no'}",
            f"  do-not-query-localhost: {'no' if local else 'yes'}",
            "  hide-identity: yes",
            "  hide-version: yes",
        ]
        lines += [f"  {item.line()}" for item in generator.entries(unbound, system, interfaces)]
        lines += [*generator.forward_lines(unbound)]
        if ("forward", ".") not in generator.forwards(unbound) and ("dot", ".") not in generator.forwards(unbound):
            if options.upstreams:
                lines += ["forward-zone:", '  name: "."']
                lines += [f"  forward-addr: {upstream}" for upstream in options.upstreams]
            else:
                lines += [
                    "auth-zone:",
                    '  name: "."',
                    f'  zonefile: "{folder / "root.zone"}"',
                    "  for-downstream: no",
                    "  for-upstream: yes",
                    "  fallback-enabled: no",
                ]
        lines += [
            "remote-control:",
            "  control-enable: yes",
            f'  control-interface: "{self.socket}"',
            "  control-use-cert: no",
        ]
        return "\n".join(lines) + "\n"

    # The service

    def apply(self, unbound: Row, system: Mapping[str, str], interfaces: Mapping[str, Mapping[str, str]]) -> None:
        with self.lock:
            self.stop()
            self.applied += 1
            self.file.write_text(self.render(unbound, system, interfaces), encoding="utf-8")
            check = subprocess.run(
                [_need("unbound-checkconf"), str(self.file)],
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                check=False,
            )
            if check.returncode != 0:
                self.last_fault = (check.stderr or check.stdout).strip()
                return
            self.socket.unlink(missing_ok=True)
            with self.log.open("wb") as log:
                self._process = subprocess.Popen(
                    [_need("unbound"), "-d", "-c", str(self.file)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            self.last_fault = None if self._wait() else f"unbound did not start: see {self.log}"

    def _wait(self) -> bool:
        """Wait until the server answers on its control socket."""
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            if not self.running():
                return False
            if self.socket.exists() and self._control("status").returncode == 0:
                return True
            time.sleep(0.02)
        return self.running()

    def _control(self, command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [_need("unbound-control"), "-c", str(self.file), command],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )

    def stop(self) -> None:
        with self.lock:
            process, self._process = self._process, None
            if process is None:
                return
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def running(self) -> bool:
        process = self._process
        return process is not None and process.poll() is None

    def state(self) -> dict[str, Any]:
        process = self._process
        return {**super().state(), "pid": process.pid if process is not None else None}

    def local_data(self) -> list[dict[str, str]] | None:
        if not self.running():
            return None
        listed = self._control("list_local_data")
        if listed.returncode != 0:
            return None
        result = []
        for line in listed.stdout.split("\n"):
            parts = line.split()
            if len(parts) >= 5:
                result.append(dict(zip(("name", "ttl", "type", "rrtype", "value"), parts[:5], strict=True)))
        return result


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin:/sbin")


def _need(name: str) -> str:
    program = _program(name)
    if program is None:
        raise ResolverError(f"{name} not found")
    return program


def _has_ipv6(address: str) -> bool:
    """Whether the machine lets a server listen on an IPv6 address."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True
