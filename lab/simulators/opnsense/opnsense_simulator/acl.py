# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may call which URL: the raw URL against patterns, with the spelling of the release."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

from .releases import Release

_OVERRIDES = [
    f"{verb}_{kind}"
    for kind in ("host_override", "host_alias", "domain_override")
    for verb in ("search", "get", "set", "add", "del", "toggle")
]

# The patterns of 25.7 and later. A name alone in the last part is respelled for older releases.
PRIVILEGES: dict[str, tuple[str, ...]] = {
    "page-all": ("*",),
    "user-config-readonly": (),
    "page-services-unbound": ("ui/unbound/*", "api/unbound/*"),
    "page-services-dnsresolver-overrides": (
        "ui/unbound/overrides",
        *(f"api/unbound/settings/{action}/*" for action in _OVERRIDES),
    ),
    "page-services-dnsforwarder": ("ui/dnsmasq/*", "api/dnsmasq/*"),
    "page-dhcp-kea-v4": ("ui/kea/dhcp/v4", "api/kea/dhcpv4/*", "api/kea/leases4/*", "api/kea/service/*"),
    "page-status-dhcpleases": ("ui/dhcpv4/leases", "api/dhcpv4/leases/*"),
    "page-firewall-alias-edit": ("ui/firewall/alias/*", "api/firewall/alias/*"),
    "page-firewall-aliases": (
        "ui/firewall/alias/*",
        "api/firewall/alias/export",
        "api/firewall/alias/search*",
        "api/firewall/alias/list*",
        "api/firewall/alias/get*",
    ),
    "page-filter-api": ("ui/firewall/filter/*", "api/firewall/filter/*"),
    "page-system-login-logout": (
        "index.php*",
        "api/core/dashboard/*",
        *(f"api/diagnostics/system/system_{part}" for part in ("disk", "information", "resources", "time")),
    ),
    "page-diagnostics-arptable": ("api/diagnostics/interface/get_arp*", "api/diagnostics/interface/search_arp*"),
    "page-hostdiscovery": ("api/hostdiscovery/settings/*", "api/hostdiscovery/service/*"),
    "page-system-firmware-manualupdate": ("ui/core/firmware/*", "api/core/firmware/*"),
    "page-status-services": ("ui/core/service", "api/core/service/*"),
}
_RESPELLED = ("api/unbound/settings/", "api/diagnostics/system/", "api/diagnostics/interface/get_arp")
_ALWAYS = ("index.php?logout", "api/core/menu/*")


def _camel_case(pattern: str) -> str:
    return re.sub(r"_([a-z])", lambda match: match.group(1).upper(), pattern)


@lru_cache(maxsize=256)
def _expression(pattern: str) -> re.Pattern[str]:
    text = pattern.replace(".", r"\.").replace("*", ".*").replace("?", r"\?")
    text = re.sub(r"([/&?])\.\*$", r"(\1.*)?", text)
    return re.compile(f"^/{text}$")


def patterns(release: Release, privileges: Iterable[str]) -> Iterator[str]:
    """The patterns of some privileges; what is not the name of one counts as a pattern itself."""
    for privilege in privileges:
        for pattern in PRIVILEGES.get(privilege, (privilege,)):
            if privilege in PRIVILEGES and not release.snake_case_acl and pattern.startswith(_RESPELLED):
                yield _camel_case(pattern)
            else:
                yield pattern
    yield from _ALWAYS


def allowed(release: Release, privileges: Iterable[str], uri: str) -> bool:
    """Whether the URL, as the client spelled it, is open to these privileges."""
    uri = re.sub(r"#.*$", "", uri)
    return any(_expression(pattern).match(uri) for pattern in patterns(release, privileges))
