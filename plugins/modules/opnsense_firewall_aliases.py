#!/usr/bin/python
# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: opnsense_firewall_aliases
short_description: Firewall aliases of an OPNsense router
version_added: 0.1.0
description:
  - Makes an OPNsense router hold certain aliases, which are named lists of addresses, networks or ports, with one write
    and one reload.
  - The name is the key. The order of the content does not matter.
  - An alias that is still in use is not deleted. The task then does everything else, and fails with what uses it.
author:
  - Pantheon contributors (@pantheon)
extends_documentation_fragment:
  - pantheon.ai.opnsense
  - pantheon.ai.opnsense.owned
attributes:
  check_mode:
    support: full
    description: Stops before anything is written. Whether an alias is in use shows only in a real run.
  diff_mode:
    support: full
    description: Shows the aliases of the owner as sorted lines.
  idempotent:
    support: full
    description: A second run changes nothing.
options:
  aliases:
    description: The aliases.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name, up to 31 letters, digits and C(_).
        type: str
        required: true
      type:
        description: What the content is.
        type: str
        choices: [host, network, port, url, urltable, geoip, networkgroup, mac, asn, external]
        default: host
      content:
        description: The entries. A C(!) before an address or network takes it out. Ranges of ports are C(8000:8010).
        type: list
        elements: str
        default: []
      proto:
        description: Families of addresses, for types that need it.
        type: list
        elements: str
        choices: [IPv4, IPv6]
      interface:
        description: Interface, for types that need it.
        type: str
      counters:
        description: Whether the firewall counts what matches. Without it, it stays as it is.
        type: bool
      updatefreq:
        description: Days between updates of V(urltable), with fractions. Without it, it stays as it is.
        type: float
      enabled:
        description: Whether the alias is loaded.
        type: bool
        default: true
      description:
        description: Text that is shown on the router, in one line. The mark of the owner follows it.
        type: str
  state:
    description:
      - V(present) makes the router hold these aliases.
      - V(absent) removes them, as far as the owner owns them. The content does not matter for that.
      - V(exact) is V(present), and removes all other aliases of the owner.
    type: str
    choices: [present, absent, exact]
    default: present
seealso:
  - module: pantheon.ai.opnsense_firewall_rules
"""

EXAMPLES = r"""
- name: Name the machines of the platform
  pantheon.ai.opnsense_firewall_aliases:
    host: 10.42.0.1
    tls_server_name: OPNsense.internal
    ca_path: /etc/ansible/opnsense.pem
    credentials_file: /etc/ansible/opnsense-key.txt
    owner: pantheon
    state: exact
    aliases:
      - name: pantheon_machines
        content:
          - 10.42.0.11
          - 10.42.0.12
      - name: pantheon_web
        type: port
        content:
          - "80"
          - "443"
  delegate_to: localhost
  run_once: true

- name: Remove an alias
  pantheon.ai.opnsense_firewall_aliases:
    host: 10.42.0.1
    tls_fingerprint: "{{ router_fingerprint }}"
    owner: pantheon
    state: absent
    aliases:
      - name: pantheon_web
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
created:
  description: The aliases that are new.
  returned: success
  type: list
  elements: str
  sample: ["pantheon_machines"]
updated:
  description: The aliases that were changed in place.
  returned: success
  type: list
  elements: str
  sample: []
deleted:
  description: The aliases that are gone.
  returned: success
  type: list
  elements: str
  sample: []
unchanged:
  description: The aliases that were as wanted.
  returned: success
  type: list
  elements: str
  sample: []
foreign:
  description: The aliases of others in the place of wanted ones.
  returned: success
  type: list
  elements: str
  sample: []
aliases:
  description: The uuid of each wanted alias by name.
  returned: success
  type: dict
  sample:
    pantheon_machines: 0c6f3b5e-6f5a-4b43-9d6b-3a43a4f7b5f1
in_use:
  description: Names of the aliases that could not be deleted. Then the task fails.
  returned: success
  type: list
  elements: str
  sample: []
applied:
  description: Whether the changes were activated.
  returned: success
  type: bool
  sample: true
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
    after: "pantheon_web port {443, 80} ; [pantheon]\n"
failure:
  description: Kind of the failure, for programs.
  returned: failure
  type: str
  sample: forbidden
"""

import typing as t

from ansible_collections.pantheon.ai.plugins.module_utils._opnsense_client import Client
from ansible_collections.pantheon.ai.plugins.module_utils._opnsense_firewall import ALIAS_TYPES, Aliases
from ansible_collections.pantheon.ai.plugins.module_utils._opnsense_module import run

ARGUMENTS: t.Dict[str, t.Dict[str, t.Any]] = {
    "aliases": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {"type": "str", "required": True},
            "type": {"type": "str", "choices": list(ALIAS_TYPES), "default": "host"},
            "content": {"type": "list", "elements": "str", "default": []},
            "proto": {"type": "list", "elements": "str", "choices": ["IPv4", "IPv6"]},
            "interface": {"type": "str"},
            "counters": {"type": "bool"},
            "updatefreq": {"type": "float"},
            "enabled": {"type": "bool", "default": True},
            "description": {"type": "str"},
        },
    },
    "owner": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent", "exact"], "default": "present"},
    "unmanaged_conflict": {"type": "str", "choices": ["fail", "adopt", "ignore"], "default": "fail"},
    "apply": {"type": "bool", "default": True},
}


def work(client: Client, params: t.Dict[str, t.Any], check_mode: bool) -> t.Dict[str, t.Any]:
    """Bring the aliases into the wanted state."""
    return Aliases(client, params, check_mode).run()


def main() -> None:
    run(ARGUMENTS, work)


if __name__ == "__main__":
    main()
