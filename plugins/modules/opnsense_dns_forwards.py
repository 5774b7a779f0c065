#!/usr/bin/python
# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: opnsense_dns_forwards
short_description: Query forwards of the resolver of an OPNsense router
version_added: 0.1.0
description:
  - Makes the resolver of an OPNsense router ask certain servers for certain domains. These were called domain overrides
    before release 24.7.10.
  - The domain is the key. Another server changes the forward in place.
  - Forwards over TLS that are kept in the same list are left alone.
  - If the resolver is down after applying, the old state is restored and the task fails.
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
    description: Shows the forwards of the owner as sorted lines.
  idempotent:
    support: full
    description: A second run changes nothing.
options:
  forwards:
    description: The forwards.
    type: list
    elements: dict
    default: []
    suboptions:
      domain:
        description: The domain. V(.) stands for everything.
        type: str
        required: true
      server:
        description: Address of the server, with C(@port) if the port is not 53; or a list of them. Not needed for removing.
        type: raw
      tcp:
        description: Whether the server is asked over TCP.
        type: bool
        default: false
      first:
        description: Whether the resolver asks on its own when the server gives no answer. Needs a release that has it.
        type: bool
      enabled:
        description: Whether the forward is used.
        type: bool
        default: true
      description:
        description: Text that is shown on the router, in one line. The mark of the owner follows it.
        type: str
  state:
    description:
      - V(present) makes the router hold these forwards.
      - V(absent) removes them, as far as the owner owns them. The server does not matter for that.
      - V(exact) is V(present), and removes all other forwards of the owner.
    type: str
    choices: [present, absent, exact]
    default: present
  verify:
    description:
      - Whether to ask the router after applying whether the resolver runs.
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
- name: Ask Dnsmasq for the names of the DHCP clients
  pantheon.ai.opnsense_dns_forwards:
    host: 10.42.0.1
    tls_server_name: OPNsense.internal
    ca_path: /etc/ansible/opnsense.pem
    credentials_file: /etc/ansible/opnsense-key.txt
    owner: pantheon
    forwards:
      - domain: lan.home.arpa
        server: 127.0.0.1@53053
  delegate_to: localhost
  run_once: true

- name: Remove all forwards of the platform
  pantheon.ai.opnsense_dns_forwards:
    host: 10.42.0.1
    tls_fingerprint: "{{ router_fingerprint }}"
    owner: pantheon
    state: exact
    forwards: []
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
created:
  description: The forwards that are new.
  returned: success
  type: list
  elements: str
  sample: ["lan.home.arpa -> 127.0.0.1@53053"]
updated:
  description: The forwards that were changed in place.
  returned: success
  type: list
  elements: str
  sample: []
deleted:
  description: The forwards that are gone.
  returned: success
  type: list
  elements: str
  sample: []
unchanged:
  description: The forwards that were as wanted.
  returned: success
  type: list
  elements: str
  sample: []
foreign:
  description: The forwards of others in the place of wanted ones.
  returned: success
  type: list
  elements: str
  sample: []
forwards:
  description: The wanted forwards by domain, each with its server and its uuid on the router.
  returned: success
  type: dict
  sample:
    lan.home.arpa:
      - value: 127.0.0.1@53053
        uuid: 1b0d8a36-4d7f-4c33-8b77-3c1a5a1d0f52
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
    after: "lan.home.arpa. forward 127.0.0.1@53053 ; [pantheon]\n"
failure:
  description: Kind of the failure, for programs.
  returned: failure
  type: str
  sample: forbidden
"""

import typing as t

from ansible_collections.pantheon.ai.plugins.module_utils._opnsense_client import Client
from ansible_collections.pantheon.ai.plugins.module_utils._opnsense_dns import Forwards
from ansible_collections.pantheon.ai.plugins.module_utils._opnsense_module import run

ARGUMENTS: t.Dict[str, t.Dict[str, t.Any]] = {
    "forwards": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "domain": {"type": "str", "required": True},
            "server": {"type": "raw"},
            "tcp": {"type": "bool", "default": False},
            "first": {"type": "bool"},
            "enabled": {"type": "bool", "default": True},
            "description": {"type": "str"},
        },
    },
    "owner": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent", "exact"], "default": "present"},
    "unmanaged_conflict": {"type": "str", "choices": ["fail", "adopt", "ignore"], "default": "fail"},
    "apply": {"type": "bool", "default": True},
    "verify": {"type": "bool", "default": True},
    "rollback": {"type": "bool", "default": True},
}


def work(client: Client, params: t.Dict[str, t.Any], check_mode: bool) -> t.Dict[str, t.Any]:
    """Bring the forwards into the wanted state."""
    return Forwards(client, params, check_mode).run()


def main() -> None:
    run(ARGUMENTS, work)


if __name__ == "__main__":
    main()
