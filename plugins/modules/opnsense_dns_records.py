#!/usr/bin/python
# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: opnsense_dns_records
short_description: DNS records of an OPNsense router, the whole set in one task
version_added: 0.1.0
description:
  - Makes the resolver of an OPNsense router hold the wanted records. All of them are read with one request, written
    with one, and activated with one restart of the resolver, whatever their number.
  - Name and type are the key of a record. Another value changes it in place, so no stale address stays behind.
  - Records that would keep the resolver from starting are refused before anything is written, over what is wanted and
    what is there already; the router itself accepts them and leaves the network without DNS.
  - After applying, the running resolver is asked for the records. If it is down, the old state is restored and the task
    fails with the names of the records. What an earlier run saved and did not apply is noticed the same way, and applied.
  - An unchanged run costs at most 2 requests. A changed one costs at most 6 on releases that delete lists (26.1.3 and
    later), plus one for each further 200 records that are deleted; on older releases each deleted record costs one.
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
    description: Shows the records of the owner as lines of a zone file.
  idempotent:
    support: full
    description: A second run changes nothing.
options:
  records:
    description: The records.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description:
          - Full name. V(*.apps.home.arpa) is a wildcard. Upper case, a final dot and letters of any language are fine.
          - Give either this, or O(records[].domain) with or without O(records[].hostname).
        type: str
      hostname:
        description: The part before the domain. Without it, the record is at the domain itself.
        type: str
      domain:
        description: The domain.
        type: str
      type:
        description:
          - Type of the record. Without it, V(A) or V(AAAA), after the value; when records are removed, all types.
          - V(TXT) needs release 25.7.4.
        type: str
        choices: [A, AAAA, MX, TXT]
      value:
        description:
          - Address, name of the mail server, or text; or a list of them. Not needed when records are removed.
        type: raw
      ttl:
        description: Seconds that others may keep the answer, 3600 without it. Another one needs release 25.1.5.
        type: int
      priority:
        description: Priority of a mail server, 10 without it.
        type: int
      ptr:
        description:
          - Whether the address leads back to this name.
          - With V(auto), one of the names of an address gets that - the one that has it, else the first of the list.
          - Before release 26.1.3, the first name of an address always has it.
        type: str
        choices: [auto, "true", "false"]
        default: auto
      aliases:
        description: Further full names with the same addresses. They become records of their own.
        type: list
        elements: str
        default: []
      enabled:
        description: Whether the record is served.
        type: bool
        default: true
      description:
        description:
          - Text that is shown on the router, in one line. The mark of the owner follows it.
          - If the resolver is set to TXT support, it is published; so nothing private belongs here.
        type: str
  zones:
    description:
      - With O(state=exact), records are removed only inside these domains. Without any, everywhere.
      - Names inside them that the resolver serves and that no record has are taken as removed and not yet applied,
        unless the resolver registers DHCP clients by itself.
    type: list
    elements: str
    default: []
  state:
    description:
      - V(present) makes the router hold these records.
      - V(absent) removes them, as far as the owner owns them. The value does not matter for that.
      - V(exact) is V(present), and removes all other records of the owner inside O(zones).
    type: str
    choices: [present, absent, exact]
    default: present
  verify:
    description:
      - Whether to ask the router after applying whether the records are served.
    type: bool
    default: true
  rollback:
    description:
      - Whether to write the old state back, and apply it, when the server does not run after applying. The task fails
        in any case.
      - Also whether to save the old state again when an error comes between saving and applying, where a later run could
        not see that something is saved and not active (O(backend=dnsmasq), or without O(verify)).
    type: bool
    default: true
  backend:
    description:
      - Where the records are kept. V(unbound) are host overrides of the resolver, with all types and options.
      - V(dnsmasq) are hosts of Dnsmasq, from release 25.1.2, with addresses only; aliases become CNAMEs.
    type: str
    choices: [unbound, dnsmasq]
    default: unbound
  system_domain:
    description:
      - The router's own domain, as under System, Settings, General. There must be no wildcard for it.
      - Only needed for a wildcard, if the key may not read it (privilege C(Lobby - Dashboard)).
    type: str
seealso:
  - module: pantheon.ai.opnsense_dns_forwards
  - module: pantheon.ai.opnsense_dhcp_reservations
"""

EXAMPLES = r"""
- name: Make the router hold all records of the platform
  pantheon.ai.opnsense_dns_records:
    host: 10.42.0.1
    tls_server_name: OPNsense.internal
    ca_path: /etc/ansible/opnsense.pem
    credentials_file: /etc/ansible/opnsense-key.txt
    owner: pantheon
    state: exact
    zones:
      - home.arpa
    records:
      - name: nyx.home.arpa
        value: 10.42.0.11
        aliases:
          - gpu.home.arpa
      - name: "*.apps.home.arpa"
        value: 10.42.0.9
      - name: home.arpa
        type: MX
        value: mail.home.arpa
      - name: _owner.home.arpa
        type: TXT
        value: the platform
  delegate_to: localhost
  run_once: true

- name: Remove a name
  pantheon.ai.opnsense_dns_records:
    host: 10.42.0.1
    tls_fingerprint: "{{ router_fingerprint }}"
    owner: pantheon
    state: absent
    records:
      - name: old.home.arpa
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
created:
  description: The records that are new.
  returned: success
  type: list
  elements: str
  sample: ["nyx.home.arpa A 10.42.0.11"]
updated:
  description: The records that were changed in place.
  returned: success
  type: list
  elements: str
  sample: []
deleted:
  description: The records that are gone.
  returned: success
  type: list
  elements: str
  sample: []
unchanged:
  description: The records that were as wanted.
  returned: success
  type: list
  elements: str
  sample: []
foreign:
  description: The records of others in the place of wanted ones.
  returned: success
  type: list
  elements: str
  sample: []
records:
  description: The wanted records by name, each with its value and its uuid on the router. The uuid of a new record is
    empty where it would have cost one request too many.
  returned: success
  type: dict
  sample:
    nyx.home.arpa:
      - type: A
        value: 10.42.0.11
        uuid: 3c8ad1f0-5d0b-4d6e-9d5c-0f6f3f6a2b11
applied:
  description: Whether the changes were activated.
  returned: success
  type: bool
  sample: true
verified:
  description: Whether the router was asked, and serves the records.
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
  description: What is on the router and what will be, as sorted lines of a zone file.
  returned: success
  type: dict
  sample:
    before: ""
    after: "nyx.home.arpa. 3600 IN A 10.42.0.11 ; ptr [pantheon]\n"
failure:
  description: Kind of the failure, for programs.
  returned: failure
  type: str
  sample: forbidden
"""

import typing as t

from ansible_collections.pantheon.ai.plugins.module_utils._opnsense_client import Client
from ansible_collections.pantheon.ai.plugins.module_utils._opnsense_dns import DnsmasqRecords, Engine, UnboundRecords
from ansible_collections.pantheon.ai.plugins.module_utils._opnsense_module import run

ARGUMENTS: t.Dict[str, t.Dict[str, t.Any]] = {
    "records": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {"type": "str"},
            "hostname": {"type": "str"},
            "domain": {"type": "str"},
            "type": {"type": "str", "choices": ["A", "AAAA", "MX", "TXT"]},
            "value": {"type": "raw"},
            "ttl": {"type": "int"},
            "priority": {"type": "int"},
            "ptr": {"type": "str", "choices": ["auto", "true", "false"], "default": "auto"},
            "aliases": {"type": "list", "elements": "str", "default": []},
            "enabled": {"type": "bool", "default": True},
            "description": {"type": "str"},
        },
    },
    "zones": {"type": "list", "elements": "str", "default": []},
    "owner": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent", "exact"], "default": "present"},
    "unmanaged_conflict": {"type": "str", "choices": ["fail", "adopt", "ignore"], "default": "fail"},
    "apply": {"type": "bool", "default": True},
    "verify": {"type": "bool", "default": True},
    "rollback": {"type": "bool", "default": True},
    "backend": {"type": "str", "choices": ["unbound", "dnsmasq"], "default": "unbound"},
    "system_domain": {"type": "str"},
}


def work(client: Client, params: t.Dict[str, t.Any], check_mode: bool) -> t.Dict[str, t.Any]:
    """Bring the records into the wanted state."""
    kind: t.Type[Engine] = DnsmasqRecords if params["backend"] == "dnsmasq" else UnboundRecords
    return kind(client, params, check_mode).run()


def main() -> None:
    run(ARGUMENTS, work)


if __name__ == "__main__":
    main()
