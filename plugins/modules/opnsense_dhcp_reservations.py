#!/usr/bin/python
# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: opnsense_dhcp_reservations
short_description: DHCP reservations of an OPNsense router
version_added: 0.1.0
description:
  - Makes the DHCP server of an OPNsense router give certain machines certain IPv4 addresses, with one write and one restart.
  - The MAC address is the key. Another address changes the reservation in place; so does another MAC address for an
    address that the owner has reserved, when the old reservation is to go.
  - If the server is down after applying, the old state is restored and the task fails.
author:
  - Pantheon contributors (@pantheon)
extends_documentation_fragment:
  - pantheon.ai.opnsense
  - pantheon.ai.opnsense.owned
attributes:
  check_mode:
    support: full
    description: Stops before anything is written.
  diff_mode:
    support: full
    description: Shows the reservations of the owner as sorted lines.
  idempotent:
    support: full
    description: A second run changes nothing.
options:
  reservations:
    description: The reservations.
    type: list
    elements: dict
    default: []
    suboptions:
      mac:
        description: MAC address of the machine, in any of the usual spellings.
        type: str
        required: true
      address:
        description: The IPv4 address. Not needed for removing. In Kea it has to lie in one of its subnets.
        type: str
      hostname:
        description: Name of the machine. With Dnsmasq it becomes a DNS name as well.
        type: str
      domain:
        description: Domain of the name. Dnsmasq needs one, here, in O(reservations[].hostname) or in O(domain).
        type: str
      description:
        description: Text that is shown on the router, in one line. The mark of the owner follows it.
        type: str
  domain:
    description: Domain of all names without one, for Dnsmasq.
    type: str
  backend:
    description:
      - The DHCP server. With V(auto), the one that is enabled; that costs up to two requests more.
      - V(dnsmasq) needs release 25.1.2.
    type: str
    choices: [auto, dnsmasq, kea]
    default: auto
  state:
    description:
      - V(present) makes the router hold these reservations.
      - V(absent) removes them, as far as the owner owns them. The address does not matter for that.
      - V(exact) is V(present), and removes all other reservations of the owner.
    type: str
    choices: [present, absent, exact]
    default: present
  verify:
    description:
      - Whether to ask the router after applying whether the server runs.
    type: bool
    default: true
  rollback:
    description:
      - Whether to write the old state back, and apply it, when the server does not run after applying. The task fails
        in any case.
      - Also whether to save the old state again when an error comes between saving and applying; a later run could not
        see that something is saved and not active.
    type: bool
    default: true
seealso:
  - module: pantheon.ai.opnsense_dns_records
"""

EXAMPLES = r"""
- name: Reserve the addresses of the machines
  pantheon.ai.opnsense_dhcp_reservations:
    host: 10.42.0.1
    tls_server_name: OPNsense.internal
    ca_path: /etc/ansible/opnsense.pem
    credentials_file: /etc/ansible/opnsense-key.txt
    owner: pantheon
    state: exact
    domain: home.arpa
    reservations:
      - mac: 52:54:00:12:34:11
        address: 10.42.0.11
        hostname: nyx
  delegate_to: localhost
  run_once: true

- name: Remove a reservation
  pantheon.ai.opnsense_dhcp_reservations:
    host: 10.42.0.1
    tls_fingerprint: "{{ router_fingerprint }}"
    owner: pantheon
    backend: kea
    state: absent
    reservations:
      - mac: 52:54:00:12:34:11
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
created:
  description: The reservations that are new.
  returned: success
  type: list
  elements: str
  sample: ["52:54:00:12:34:11 10.42.0.11 nyx.home.arpa"]
updated:
  description: The reservations that were changed in place.
  returned: success
  type: list
  elements: str
  sample: []
deleted:
  description: The reservations that are gone.
  returned: success
  type: list
  elements: str
  sample: []
unchanged:
  description: The reservations that were as wanted.
  returned: success
  type: list
  elements: str
  sample: []
foreign:
  description: The reservations of others in the place of wanted ones.
  returned: success
  type: list
  elements: str
  sample: []
reservations:
  description: The wanted reservations by MAC address, each with its address and its uuid on the router.
  returned: success
  type: dict
  sample:
    "52:54:00:12:34:11":
      - value: 10.42.0.11
        uuid: 7a0c6d52-53cb-4a43-95d4-2a1f5d7f5a10
backend:
  description: The DHCP server that was used.
  returned: success
  type: str
  sample: kea
applied:
  description: Whether the changes were activated.
  returned: success
  type: bool
  sample: true
verified:
  description: Whether the router was asked, and runs.
  returned: success
  type: bool
  sample: true
rolled_back:
  description: Whether the old state was restored. Then the task fails.
  returned: success
  type: bool
  sample: false
requests:
  description: How many requests the run cost.
  returned: always
  type: int
  sample: 4
revisions:
  description: How many revisions of the configuration the run cost. The router keeps the last 100.
  returned: success
  type: int
  sample: 1
diff:
  description: What is on the router and what will be, as sorted lines.
  returned: success
  type: dict
  sample:
    before: ""
    after: "10.42.0.11 52:54:00:12:34:11 nyx.home.arpa ; [pantheon]\n"
failure:
  description: Kind of the failure, for programs.
  returned: failure
  type: str
  sample: forbidden
"""

import typing as t

from ansible_collections.pantheon.ai.plugins.module_utils._opnsense_client import Client
from ansible_collections.pantheon.ai.plugins.module_utils._opnsense_dhcp import KeaReservations, reservations
from ansible_collections.pantheon.ai.plugins.module_utils._opnsense_module import run

ARGUMENTS: t.Dict[str, t.Dict[str, t.Any]] = {
    "reservations": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "mac": {"type": "str", "required": True},
            "address": {"type": "str"},
            "hostname": {"type": "str"},
            "domain": {"type": "str"},
            "description": {"type": "str"},
        },
    },
    "domain": {"type": "str"},
    "backend": {"type": "str", "choices": ["auto", "dnsmasq", "kea"], "default": "auto"},
    "owner": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent", "exact"], "default": "present"},
    "unmanaged_conflict": {"type": "str", "choices": ["fail", "adopt", "ignore"], "default": "fail"},
    "apply": {"type": "bool", "default": True},
    "verify": {"type": "bool", "default": True},
    "rollback": {"type": "bool", "default": True},
}


def work(client: Client, params: t.Dict[str, t.Any], check_mode: bool) -> t.Dict[str, t.Any]:
    """Bring the reservations into the wanted state."""
    engine = reservations(client, params, check_mode)
    backend = "kea" if isinstance(engine, KeaReservations) else "dnsmasq"
    return {**engine.run(), "backend": backend}


def main() -> None:
    run(ARGUMENTS, work)


if __name__ == "__main__":
    main()
