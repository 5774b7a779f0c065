#!/usr/bin/python
# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: opnsense_info
short_description: What an OPNsense router is and can do
version_added: 0.1.0
description:
  - Returns version, capabilities, services and the own privileges of the key, without changing anything.
  - What the key may not read is reported as unknown and does not make the task fail.
author:
  - Pantheon contributors (@pantheon)
extends_documentation_fragment:
  - pantheon.ai.opnsense
attributes:
  check_mode:
    support: full
    description: Nothing is changed in either mode.
  diff_mode:
    support: none
    description: There is nothing to compare.
  idempotent:
    support: full
    description: Nothing is changed.
options: {}
seealso:
  - module: pantheon.ai.opnsense_dns_records
"""

EXAMPLES = r"""
- name: Ask the router what it can do
  pantheon.ai.opnsense_info:
    host: 10.42.0.1
    tls_server_name: OPNsense.internal
    ca_path: /etc/ansible/opnsense.pem
    credentials_file: /etc/ansible/opnsense-key.txt
  delegate_to: localhost
  run_once: true
  register: router

- name: Show what the key lacks
  ansible.builtin.debug:
    var: router.opnsense.missing_privileges
"""

RETURN = r"""
opnsense:
  description: What was found out. What could not be is null.
  returned: success
  type: dict
  contains:
    name:
      description: Full name of the router. Empty without the privilege for the dashboard.
      returned: success
      type: str
      sample: OPNsense.internal
    system_domain:
      description: Domain of the router.
      returned: success
      type: str
      sample: internal
    version:
      description: Version of OPNsense.
      returned: success
      type: str
      sample: 26.7.2
    release:
      description: Year and month of the version.
      returned: success
      type: str
      sample: "26.7"
    versions:
      description: The lines of the dashboard about versions.
      returned: success
      type: list
      elements: str
      sample: ["OPNsense 26.7.2-amd64"]
    capabilities:
      description: What the release has - TTL, TXT, PTR and aliases of records, deleting of lists, Dnsmasq, savepoints of rules.
      returned: success
      type: dict
      sample:
        record_ttl: true
        record_txt: true
        record_ptr: true
        record_aliases: true
        delete_lists: true
        dnsmasq: true
        rule_savepoints: false
    services:
      description: Whether each service is enabled, and its state.
      returned: success
      type: dict
      sample:
        unbound:
          enabled: true
          status: running
    counts:
      description: How many entries there are.
      returned: success
      type: dict
      sample:
        records: 12
        forwards: 0
        dnsmasq_hosts: 0
        aliases: 2
    privileges:
      description: Which areas the key may use. Null where the release lacks the area.
      returned: success
      type: dict
      sample:
        system: false
        unbound: true
    missing_privileges:
      description: Names of the privileges that the key lacks.
      returned: success
      type: list
      elements: str
      sample: ["Lobby: Dashboard"]
requests:
  description: How many requests the run cost.
  returned: always
  type: int
  sample: 11
failure:
  description: Kind of the failure, for programs.
  returned: failure
  type: str
  sample: forbidden
"""

import typing as t

from ansible_collections.pantheon.ai.plugins.module_utils._opnsense_client import Client
from ansible_collections.pantheon.ai.plugins.module_utils._opnsense_info import Info
from ansible_collections.pantheon.ai.plugins.module_utils._opnsense_module import run

ARGUMENTS: t.Dict[str, t.Dict[str, t.Any]] = {}


def work(client: Client, params: t.Dict[str, t.Any], check_mode: bool) -> t.Dict[str, t.Any]:
    """Ask the router."""
    found = Info(client).collect()
    return {"changed": False, "opnsense": found, "requests": client.requests}


def main() -> None:
    run(ARGUMENTS, work)


if __name__ == "__main__":
    main()
