# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What differs between the releases that the simulator plays; each stands for its last patch level."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Release:
    """One release and the things it can do."""

    name: str
    version: str
    snake_case_acl: bool = True  # the access list matches snake_case spellings (camelCase before)
    raw_search: bool = True  # search rows hold the raw value and "%field" (the label alone before)
    host_ttl: bool = True
    host_txt: bool = True
    addptr: bool = True  # came together with deletes of comma lists
    inline_aliases: bool = True
    dnsmasq: bool = True
    dnsmasq_cnames: bool = True
    isc_dhcp: bool = False
    host_discovery: bool = True
    savepoint: bool = False
    all_rules: bool = True  # search_rule lists the automatic rules without being asked
    error_title: bool = True  # the refusal of a read-only user has a title
    error_level: bool = True
    labels_in_get: bool = True  # a record's text fields come with "%field" when the label differs
    blanks_in_hostname: bool = False
    server_netmask: bool = False  # a host override's address may carry a netmask

    @property
    def comma_delete(self) -> bool:
        """Whether del actions take a comma list of uuids."""
        return self.addptr

    @property
    def at_least_25_7(self) -> bool:
        """Whether validation texts end in a full stop, and more such details."""
        return self.raw_search

    @property
    def at_least_26(self) -> bool:
        """Whether this is one of the 26.x releases."""
        return self.addptr


RELEASES = {
    release.name: release
    for release in (
        Release(
            "24.7",
            "24.7.12",
            snake_case_acl=False,
            raw_search=False,
            host_ttl=False,
            host_txt=False,
            addptr=False,
            inline_aliases=False,
            dnsmasq=False,
            dnsmasq_cnames=False,
            isc_dhcp=True,
            host_discovery=False,
            savepoint=True,
            all_rules=False,
            error_title=False,
            error_level=False,
            labels_in_get=False,
            blanks_in_hostname=True,
            server_netmask=True,
        ),
        Release(
            "25.1",
            "25.1.12",
            snake_case_acl=False,
            raw_search=False,
            host_txt=False,
            addptr=False,
            inline_aliases=False,
            dnsmasq_cnames=False,
            isc_dhcp=True,
            host_discovery=False,
            savepoint=True,
            all_rules=False,
            error_title=False,
            error_level=False,
            labels_in_get=False,
            server_netmask=True,
        ),
        Release(
            "25.7",
            "25.7.11",
            addptr=False,
            inline_aliases=False,
            isc_dhcp=True,
            host_discovery=False,
            savepoint=True,
            all_rules=False,
            error_title=False,
            error_level=False,
            labels_in_get=False,
            server_netmask=True,
        ),
        Release("26.1", "26.1.11", savepoint=True, error_level=False, labels_in_get=False, server_netmask=True),
        Release("26.7", "26.7.2"),
    )
}
DEFAULT_RELEASE = "26.7"
