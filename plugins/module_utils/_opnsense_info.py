# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an OPNsense router is and can do (private to the collection)."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.pantheon.ai.plugins.module_utils._opnsense_client import (
    Api,
    Forbidden,
    Json,
    Missing,
    Refused,
    entries,
    part,
    privilege,
    text,
)

Found = t.Optional[bool]
"""True or false, or None when it could not be found out."""


class Info:
    """Ask a router for what can be known without changing anything."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.allowed: t.Dict[str, Found] = {}
        self.missing: t.List[str] = []

    def ask(self, area: str, path: str) -> t.Optional[Json]:
        """Read something; remember whether the key may do that. None when there is no answer."""
        try:
            answer = self.api.get(path)
        except Forbidden:
            self.allowed[area] = False
            self.missing.append(privilege(path))
            return None
        except (Missing, Refused):
            self.allowed.setdefault(area, None)
            return None
        self.allowed[area] = True
        return answer

    def collect(self) -> t.Dict[str, t.Any]:
        """Return all of it."""
        system = self.ask("system", "diagnostics/system/system_information")
        unbound = self.ask("unbound", "unbound/settings/get")
        template = self.ask("unbound", "unbound/settings/get_host_override") if unbound is not None else None
        dnsmasq = self.ask("dnsmasq", "dnsmasq/settings/get")
        kea = self.ask("kea", "kea/dhcpv4/get")
        aliases = self.ask("firewall_aliases", "firewall/alias/export")
        rule = self.ask("firewall_rules", "firewall/filter/get_rule")
        savepoint = self.savepoint() if rule is not None else None
        full = text(part(system, "name")) if part(system, "name") else ""
        versions = [str(line) for line in part(system, "versions") or []]
        host_fields = set(part(template, "host"))
        services = {
            "unbound": self.service("unbound", unbound, part(unbound, "unbound", "general").get("enabled", "1")),
            "dnsmasq": self.service("dnsmasq", dnsmasq, part(dnsmasq, "dnsmasq").get("enable", "0")),
            "kea": self.service("kea", kea, part(kea, "dhcpv4", "general").get("enabled", "0")),
        }
        return {
            "name": full,
            "system_domain": full.partition(".")[2].lower(),
            "versions": versions,
            "version": version(versions),
            "release": ".".join(version(versions).split(".")[:2]),
            "capabilities": {
                "record_ttl": "ttl" in host_fields if host_fields else None,
                "record_txt": "txtdata" in host_fields if host_fields else None,
                "record_ptr": "addptr" in host_fields if host_fields else None,
                "record_aliases": "aliases" in host_fields if host_fields else None,
                "delete_lists": "addptr" in host_fields if host_fields else None,
                "dnsmasq": None if self.allowed.get("dnsmasq") is False else dnsmasq is not None,
                "rule_savepoints": savepoint,
            },
            "services": services,
            "counts": {
                "records": len(entries(part(unbound, "unbound", "hosts", "host"))) if unbound is not None else None,
                "forwards": self.forwards(unbound),
                "dnsmasq_hosts": len(entries(part(dnsmasq, "dnsmasq", "hosts"))) if dnsmasq is not None else None,
                "aliases": len(entries(part(aliases, "aliases", "alias"))) if aliases is not None else None,
            },
            "privileges": dict(self.allowed),
            "missing_privileges": sorted(set(self.missing)),
        }

    def service(self, module: str, settings: t.Optional[Json], enabled: Json) -> t.Dict[str, t.Any]:
        """Return whether a service is enabled and what it does."""
        if settings is None:
            return {"enabled": None, "status": "unknown"}
        status = part(self.ask(module, f"{module}/service/status"), "status")
        return {"enabled": text(enabled) == "1", "status": str(status or "unknown")}

    @staticmethod
    def forwards(unbound: t.Optional[Json]) -> t.Optional[int]:
        """Return the number of query forwards."""
        if unbound is None:
            return None
        found = entries(part(unbound, "unbound", "dots", "dot")).values()
        return sum(text(entry.get("type")) == "forward" for entry in found)

    def savepoint(self) -> Found:
        """Tell whether unconfirmed rules are taken back by the router."""
        try:
            self.api.get("firewall/filter/savepoint")
        except Missing:
            return False
        except (Forbidden, Refused):
            return None
        return True


def version(lines: t.Sequence[str]) -> str:
    """Return the version of OPNsense out of the lines of the dashboard."""
    for line in lines:
        match = re.match(r"OPNsense\S*\s+(\d+\.\d+(?:\.\d+)?)", line)
        if match:
            return match.group(1)
    return ""
