#!/usr/bin/python
# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: opnsense_firewall_rules
short_description: Filter rules of an OPNsense router
version_added: 0.1.0
description:
  - Makes an OPNsense router hold certain filter rules. A rule is known by its owner and its name, which stand in its
    description. Automatic rules and rules of others are never touched.
  - Up to release 26.1, the rules are tried first, and confirmed when the router still answers on a new connection. If it
    does not, it takes them back after 60 seconds.
  - Release 26.7 cannot do that. There, a rule by which the module itself reaches the router is not touched. After loading
    the rules, a new connection is tried; if that fails, the old rules are restored over the connection that is still open.
author:
  - Pantheon contributors (@pantheon)
extends_documentation_fragment:
  - pantheon.ai.opnsense
attributes:
  check_mode:
    support: full
    description: Stops before anything is written.
  diff_mode:
    support: full
    description: Shows the rules of the owner as sorted lines.
  idempotent:
    support: full
    description: A second run changes nothing.
options:
  owner:
    description:
      - Name of who owns the rules. It stands in brackets at the end of the description of each rule.
      - Only rules with this name are ever changed or deleted.
    type: str
    required: true
  rules:
    description: The rules.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name, which is the key of the rule.
        type: str
        required: true
      action:
        description: What happens to a packet that matches.
        type: str
        choices: [pass, block, reject]
        default: pass
      interface:
        description: Interfaces as the router calls them, like V(lan) or V(opt1). Without any, all of them.
        type: list
        elements: str
        default: []
      direction:
        description: Direction, as seen from the router.
        type: str
        choices: [in, out, any]
        default: in
      ipprotocol:
        description: Family of addresses.
        type: str
        choices: [inet, inet6, inet46]
        default: inet
      protocol:
        description: Protocol, like V(TCP), V(UDP), V(TCP/UDP) or V(ICMP).
        type: str
        default: any
      source:
        description: Addresses, networks, aliases, or names of the router like V(lan), V(lanip) and V((self)).
        type: list
        elements: str
        default: [any]
      source_not:
        description: Whether all but the source matches.
        type: bool
        default: false
      source_port:
        description: Port, range like V(8000-8010), name or alias.
        type: str
      destination:
        description: Like the source.
        type: list
        elements: str
        default: [any]
      destination_not:
        description: Whether all but the destination matches.
        type: bool
        default: false
      destination_port:
        description: Port, range like V(8000-8010), name or alias.
        type: str
      gateway:
        description: Name of the gateway that the packets take.
        type: str
      sequence:
        description:
          - Place among the rules; a lower number comes first.
          - Without it, 1000 plus ten for each place in this list, so the order of the list counts.
        type: int
      quick:
        description: Whether the first rule that matches decides.
        type: bool
        default: true
      log:
        description: Whether packets that match are logged.
        type: bool
        default: false
      enabled:
        description: Whether the rule is loaded.
        type: bool
        default: true
      description:
        description: Text that is shown on the router behind the name.
        type: str
  state:
    description:
      - V(present) makes the router hold these rules.
      - V(absent) removes them, as far as the owner owns them. Only the name matters for that.
      - V(exact) is V(present), and removes all other rules of the owner.
    type: str
    choices: [present, absent, exact]
    default: present
  apply:
    description: Whether to load the rules after writing them. With V(false), they are saved only.
    type: bool
    default: true
seealso:
  - module: pantheon.ai.opnsense_firewall_aliases
"""

EXAMPLES = r"""
- name: Let the LAN reach the platform, and nothing else
  pantheon.ai.opnsense_firewall_rules:
    host: 10.42.0.1
    tls_server_name: OPNsense.internal
    ca_path: /etc/ansible/opnsense.pem
    credentials_file: /etc/ansible/opnsense-key.txt
    owner: pantheon
    state: exact
    rules:
      - name: lan to web
        interface: [lan]
        protocol: TCP
        source: [lan]
        destination: [pantheon_machines]
        destination_port: pantheon_web
      - name: guests stay out
        action: block
        interface: [opt1]
        source: [opt1]
        destination: [pantheon_machines]
        log: true
  delegate_to: localhost
  run_once: true

- name: Remove a rule
  pantheon.ai.opnsense_firewall_rules:
    host: 10.42.0.1
    tls_fingerprint: "{{ router_fingerprint }}"
    owner: pantheon
    state: absent
    rules:
      - name: guests stay out
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
created:
  description: The rules that are new.
  returned: success
  type: list
  elements: str
  sample: ["lan to web"]
updated:
  description: The rules that were changed in place.
  returned: success
  type: list
  elements: str
  sample: []
deleted:
  description: The rules that are gone.
  returned: success
  type: list
  elements: str
  sample: []
unchanged:
  description: The rules that were as wanted.
  returned: success
  type: list
  elements: str
  sample: []
rules:
  description: The uuid of each wanted rule by name.
  returned: success
  type: dict
  sample:
    lan to web: 5c0b1b0c-7a2e-4a0c-8f6e-7d9a7c3f4e21
protected:
  description: How the connection was kept safe, V(savepoint) or V(reachability). Empty when nothing had to be done.
  returned: success
  type: str
  sample: reachability
applied:
  description: Whether the changes were activated.
  returned: success
  type: bool
  sample: true
verified:
  description: Whether the router was asked, and still answers on a new connection.
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
    after: "  1000 pass in quick on lan inet proto TCP from lan to pantheon_machines port pantheon_web ; lan to web [pantheon]\n"
failure:
  description: Kind of the failure, for programs.
  returned: failure
  type: str
  sample: forbidden
"""

import typing as t

from ansible_collections.pantheon.ai.plugins.module_utils._opnsense_client import Client
from ansible_collections.pantheon.ai.plugins.module_utils._opnsense_firewall import Rules
from ansible_collections.pantheon.ai.plugins.module_utils._opnsense_module import run

ARGUMENTS: t.Dict[str, t.Dict[str, t.Any]] = {
    "owner": {"type": "str", "required": True},
    "rules": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {"type": "str", "required": True},
            "action": {"type": "str", "choices": ["pass", "block", "reject"], "default": "pass"},
            "interface": {"type": "list", "elements": "str", "default": []},
            "direction": {"type": "str", "choices": ["in", "out", "any"], "default": "in"},
            "ipprotocol": {"type": "str", "choices": ["inet", "inet6", "inet46"], "default": "inet"},
            "protocol": {"type": "str", "default": "any"},
            "source": {"type": "list", "elements": "str", "default": ["any"]},
            "source_not": {"type": "bool", "default": False},
            "source_port": {"type": "str"},
            "destination": {"type": "list", "elements": "str", "default": ["any"]},
            "destination_not": {"type": "bool", "default": False},
            "destination_port": {"type": "str"},
            "gateway": {"type": "str"},
            "sequence": {"type": "int"},
            "quick": {"type": "bool", "default": True},
            "log": {"type": "bool", "default": False},
            "enabled": {"type": "bool", "default": True},
            "description": {"type": "str"},
        },
    },
    "state": {"type": "str", "choices": ["present", "absent", "exact"], "default": "present"},
    "apply": {"type": "bool", "default": True},
}


def work(client: Client, params: t.Dict[str, t.Any], check_mode: bool) -> t.Dict[str, t.Any]:
    """Bring the rules into the wanted state."""
    return Rules(client, params, check_mode).run()


def main() -> None:
    run(ARGUMENTS, work)


if __name__ == "__main__":
    main()
