# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulated box as a whole: configuration, resolver, services, packet filter, and what tests ask of it."""

from __future__ import annotations

import hashlib
import sys
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .model import Row
from .resolver import Resolver
from .state import ConfigError, Store

FAULT_KINDS = ("drop", "unauthorized", "forbidden", "error", "slow", "service_fails", "empty")
KEPT_REQUESTS = 20000
SERVICES = ("unbound", "dnsmasq", "kea")


@dataclass
class Fault:
    """Something that shall go wrong with the next requests whose path contains `match`."""

    kind: str
    match: str = ""
    times: int = 1
    seconds: float = 1.0
    after: bool = False
    skip: int = 0

    @classmethod
    def parse(cls, given: Any) -> Fault:
        """A fault from the control interface."""
        if not isinstance(given, Mapping) or given.get("kind") not in FAULT_KINDS:
            raise ConfigError(f"a fault needs a kind out of {', '.join(FAULT_KINDS)}")
        unknown = sorted(set(given) - {"kind", "match", "times", "seconds", "after", "skip"})
        if unknown:
            raise ConfigError(f"a fault has no {', '.join(unknown)}")
        return cls(
            str(given["kind"]),
            str(given.get("match", "")),
            int(given.get("times", 1)),
            float(given.get("seconds", 1.0)),
            bool(given.get("after", False)),
            int(given.get("skip", 0)),
        )


@dataclass
class Firewall:
    """What the packet filter has loaded."""

    applied: int = 0
    aliases_applied: int = 0
    rules: Row = field(default_factory=dict)


class App:
    """Everything behind the two interfaces."""

    def __init__(self, store: Store, resolver: Resolver, *, auth_delay: float, rollback_seconds: float) -> None:
        self.store = store
        self.resolver = resolver
        self.auth_delay = auth_delay
        self.rollback_seconds = rollback_seconds
        self.service_lock = threading.Lock()
        self.log_lock = threading.Lock()
        self.log: deque[dict[str, Any]] = deque(maxlen=KEPT_REQUESTS)
        self.faults: list[Fault] = []
        self.services = {"dnsmasq": False, "kea": False}
        self.loaded: dict[str, Row] = {}
        self.firewall = Firewall()
        self._rollbacks: dict[str, threading.Timer] = {}

    def boot(self) -> None:
        """Start every enabled service with the saved configuration, as a box does when it is switched on."""
        for service in SERVICES:
            self.service_apply(service, self.enabled(service))
        models = self.store.content.models
        self.firewall = Firewall(rules=models["filter"])
        self.loaded.update(alias=models["alias"], filter=models["filter"])

    def shutdown(self) -> None:
        """Stop what runs outside this process, and the timers."""
        for timer in list(self._rollbacks.values()):
            timer.cancel()
        self._rollbacks.clear()
        self.resolver.stop()

    # Services

    def enabled(self, service: str) -> bool:
        """Whether the configuration wants a service."""
        models = self.store.content.models
        if service == "unbound":
            return bool(models["unbound"]["general"]["enabled"] == "1")
        if service == "dnsmasq":
            return self.store.release.dnsmasq and bool(models["dnsmasq"]["enable"] == "1")
        return bool(models["dhcpv4"]["general"]["enabled"] == "1")

    def service_running(self, service: str) -> bool:
        """Whether a service runs."""
        return self.resolver.running() if service == "unbound" else self.services[service]

    def service_apply(self, service: str, enabled: bool) -> None:
        """Stop a service and, when it is enabled, start it with the saved configuration."""
        fails = self.take_fault(f"/api/{service}/service/reconfigure", services=True) is not None
        with self.service_lock:
            # A save puts a new model in the place of the old one, so this one stays as it is now.
            model = "dhcpv4" if service == "kea" else service
            self.loaded[model] = self.store.content.models.get(model, {}) if enabled and not fails else {}
            if service != "unbound":
                self.services[service] = enabled and not fails
                return
            if not enabled or fails:
                self.resolver.stop()
                return
            with self.store.lock:
                content = self.store.content
                unbound = self.store.model("unbound").values
            self.resolver.apply(unbound, content.system, content.interfaces)
            if self.resolver.last_fault is not None:
                print(f"unbound does not start: {self.resolver.last_fault}", file=sys.stderr, flush=True)

    # The packet filter

    def apply_firewall(self, part: str) -> None:
        """Load rules or aliases."""
        self.loaded[part] = self.store.content.models[part]
        if part == "alias":
            self.firewall.aliases_applied += 1
        else:
            self.firewall.applied += 1
        self.firewall.rules = self.store.content.models["filter"]

    def start_rollback(self, revision: str) -> None:
        """Take the rules back after a while, unless somebody confirms them."""
        timer = threading.Timer(self.rollback_seconds, self._roll_back, (revision,))
        timer.daemon = True
        self._rollbacks[revision] = timer
        timer.start()

    def cancel_rollback(self, revision: str) -> bool:
        """Confirm the rules; False when no timer runs for the revision."""
        timer = self._rollbacks.pop(revision, None)
        if timer is not None:
            timer.cancel()
        return timer is not None

    def _roll_back(self, revision: str) -> None:
        if self._rollbacks.pop(revision, None) is not None:
            self.revert(revision, "root")

    def revert(self, revision: str, user: str) -> bool:
        """Restore and load the rules of a revision; False when it is not kept any more."""
        with self.store.lock:
            rules = self.store.rules_at(revision)
            if rules is None:
                return False
            self.store.content.models["filter"] = rules
            self.store.save(None, user, f"reverted the rules to {revision}")
        self.apply_firewall("filter")
        return True

    def automatic_rules(self) -> list[Row]:
        """The rules that OPNsense makes by itself."""
        lan = [key for key in self.store.content.interfaces if key == "lan"]
        rows = []
        for number, (group, action, interface, family, description, more) in enumerate(_AUTOMATIC, 1):
            if interface == "lan" and not lan:
                continue
            row: Row = {
                "enabled": "1",
                "action": action,
                "%action": action.capitalize(),
                "interface": interface,
                "direction": "in",
                "%direction": "In",
                "ipprotocol": family,
                "%ipprotocol": {"inet": "IPv4", "inet6": "IPv6", "inet46": ""}[family],
                "protocol": "",
                "%protocol": "",
                "source_net": "",
                "source_port": "",
                "destination_net": "",
                "destination_port": "",
                "description": description,
                "ref": "",
                "replyto": "",
                # A label of the packet filter, and no uuid of the configuration.
                "uuid": hashlib.md5(f"{number} {description}".encode(), usedforsecurity=False).hexdigest(),
                "sort_order": f"{group:06d}.1{number:06d}",
                "legacy": True,
                "is_automatic": True,
            }
            row.update(more)
            rows.append(row)
        return rows

    # The request log and faults

    def record(self, entry: dict[str, Any]) -> None:
        """Keep a request for the control interface."""
        with self.log_lock:
            self.log.append(entry)

    def take_fault(self, path: str, *, services: bool = False) -> Fault | None:
        """The next fault for a path, used up by one; `services` picks those of services."""
        with self.log_lock:
            for fault in self.faults:
                if (fault.kind == "service_fails") != services or fault.times <= 0 or fault.match not in path:
                    continue
                if fault.skip > 0:
                    fault.skip -= 1
                    continue
                fault.times -= 1
                return fault
        return None

    # The control interface

    def state(self) -> dict[str, Any]:
        """Configuration and running state."""
        return {
            **self.store.dump(),
            "release": self.store.release.name,
            "running": {
                "unbound": self.resolver.state(),
                **self.services,
                "loaded": self.loaded,
                "firewall": {
                    "applied": self.firewall.applied,
                    "aliases_applied": self.firewall.aliases_applied,
                    "filter": self.firewall.rules,
                    "rollback": sorted(self._rollbacks),
                },
            },
        }

    def seed(self, config: Mapping[str, Any]) -> None:
        """Replace parts of the state. Unless `apply` is false, services run with the new configuration."""
        config = dict(config)
        apply = config.pop("apply", True)
        running = config.pop("running", {})
        unknown = sorted(set(running) - set(SERVICES))
        if unknown:
            raise ConfigError(f"running: no service {', '.join(unknown)}; there are {', '.join(SERVICES)}")
        self.store.seed(config)
        self.store.write()
        if apply and set(config) & {"unbound", "system", "interfaces", "dnsmasq", "dhcpv4", "filter"}:
            self.boot()
        for service, wanted in running.items():
            self.service_apply(service, bool(wanted))

    def reset(self) -> None:
        """Back to the start."""
        for timer in list(self._rollbacks.values()):
            timer.cancel()
        self._rollbacks.clear()
        with self.log_lock:
            self.log.clear()
            self.faults.clear()
        self.store.reset()
        self.boot()


_SELF = {"destination_net": "(self)"}
_OUT = {"direction": "out", "%direction": "Out"}
_ICMP6 = {"protocol": "ipv6-icmp", "%protocol": "IPV6-ICMP"}
_UDP = {"protocol": "udp", "%protocol": "UDP"}
_TCP = {"protocol": "tcp", "%protocol": "TCP"}
_RFC4890 = "IPv6 RFC4890 requirements (ICMP)"
_DHCP = "allow access to DHCP server"
_DHCPV6 = "allow access to DHCPv6 server on LAN"
_GATEWAY = "let out anything from firewall host itself (force gw)"
_AUTOMATIC: tuple[tuple[int, str, str, str, str, dict[str, Any]], ...] = (
    (1, "block", "", "inet46", "Default deny / state violation rule", {}),
    (1, "pass", "", "inet6", _RFC4890, _ICMP6),
    (1, "pass", "", "inet6", _RFC4890, {**_ICMP6, **_OUT, "source_net": "(self)"}),
    (1, "pass", "", "inet6", _RFC4890, {**_ICMP6, "source_net": "fe80::/10"}),
    (1, "pass", "", "inet6", _RFC4890, {**_ICMP6, "source_net": "ff02::/16"}),
    (1, "pass", "", "inet6", _RFC4890, {**_ICMP6, "source_net": "::"}),
    (1, "block", "", "inet46", "block all targeting port 0", {"protocol": "tcp/udp", "source_port": "0"}),
    (1, "block", "", "inet46", "block all targeting port 0", {"protocol": "tcp/udp", "destination_port": "0"}),
    (1, "pass", "", "inet6", "CARP defaults", {"protocol": "carp", "destination_net": "ff02::12"}),
    (1, "pass", "", "inet", "CARP defaults", {"protocol": "carp", "destination_net": "224.0.0.18"}),
    (1, "block", "", "inet", "sshlockout", {**_TCP, **_SELF, "source_net": "sshlockout", "destination_port": "22"}),
    (1, "block", "", "inet", "sshlockout", {**_TCP, **_SELF, "source_net": "sshlockout", "destination_port": "443"}),
    (1, "block", "", "inet", "virusprot overload table", {"source_net": "virusprot"}),
    (1, "pass", "wan", "inet6", "allow dhcpv6 client in WAN", {**_UDP, "destination_port": "546"}),
    (1, "pass", "wan", "inet6", "allow dhcpv6 client out WAN", {**_UDP, **_OUT, "destination_port": "547"}),
    (1, "pass", "wan", "inet", "allow DHCP client on WAN", {**_UDP, "source_port": "67", "destination_port": "68"}),
    (1, "pass", "wan", "inet", "allow DHCP client on WAN", {**_UDP, **_OUT, "destination_port": "67"}),
    (1, "pass", "lan", "inet", _DHCP, {**_UDP, "destination_net": "255.255.255.255", "destination_port": "67"}),
    (1, "pass", "lan", "inet", _DHCP, {**_UDP, **_SELF, "destination_port": "67"}),
    (1, "pass", "lan", "inet", _DHCP, {**_UDP, **_OUT, "source_net": "(self)", "destination_port": "68"}),
    (1, "pass", "lan", "inet6", _DHCPV6, {**_UDP, "source_net": "fe80::/10", "destination_port": "546"}),
    (1, "pass", "lan", "inet6", _DHCPV6, {**_UDP, "source_net": "fe80::/10", "destination_port": "547"}),
    (1, "pass", "lan", "inet6", _DHCPV6, {**_UDP, **_OUT, "source_net": "(self)", "source_port": "547"}),
    (5, "block", "wan", "inet", "Block bogon IPv4 networks from WAN", {"source_net": "bogons"}),
    (5, "block", "wan", "inet6", "Block bogon IPv6 networks from WAN", {"source_net": "bogonsv6"}),
    (5, "block", "wan", "inet", "Block private networks from WAN", {"source_net": "10.0.0.0/8"}),
    (5, "block", "wan", "inet6", "Block private networks from WAN", {"source_net": "fd00::/8"}),
    (5, "pass", "", "inet46", "let out anything from firewall host itself", _OUT),
    (5, "pass", "lan", "inet", "anti-lockout rule", {**_TCP, **_SELF, "destination_port": "443"}),
    (5, "pass", "lan", "inet", "anti-lockout rule", {**_TCP, **_SELF, "destination_port": "80"}),
    (10000, "pass", "", "inet", _GATEWAY, {**_OUT, "source_net": "vtnet1", "gateway": "WAN_DHCP"}),
    (10000, "pass", "", "inet6", _GATEWAY, {**_OUT, "source_net": "vtnet1", "gateway": "WAN_DHCP6"}),
)
