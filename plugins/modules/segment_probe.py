#!/usr/bin/python
# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: segment_probe
short_description: Try connections from within the network of a running container
version_added: 0.1.0
description:
  - Enters the network namespace of the running container of a service and tries TCP connections from there, with names
    resolved by Docker's own DNS server. Works for any image, because nothing in the container is used.
  - It tells what it found and never fails because of it; the verdict is made by M(pantheon.ai.verify).
  - The action of the same name on the controller fills in O(probes) from the catalog, for the services of this machine.
author:
  - Pantheon contributors (@pantheon)
attributes:
  check_mode:
    support: full
    description: Nothing is changed in any mode.
  diff_mode:
    support: none
    description: Changes nothing, so there is no difference to show.
  idempotent:
    support: full
    description: Changes nothing.
options:
  probes:
    description:
      - The connections to try.
      - Without it, what the catalog says about the services of this machine - what a service requires has to be open to it,
        what shares no network with it has to be closed.
    type: list
    elements: dict
    suboptions:
      source:
        description: Service whose container the connection comes from.
        type: str
        required: true
      target:
        description: Name or IPv4 address to connect to.
        type: str
        required: true
      port:
        description: TCP port.
        type: int
        required: true
      expect:
        description: What a working platform shows.
        type: str
        choices: [open, closed]
        required: true
  prefix:
    description: What the names of the compose projects start with.
    type: str
    default: pantheon-
  docker:
    description: The docker command.
    type: str
    default: docker
  timeout:
    description: Seconds to wait for a connection.
    type: float
    default: 1
requirements:
  - root on the machine
  - docker on the machine
"""

EXAMPLES = r"""
- name: Try what the catalog says about the services of this machine
  pantheon.ai.segment_probe:
  register: __verify_segments

- name: Try two connections
  pantheon.ai.segment_probe:
    probes:
      - {source: litellm, target: redis, port: 6379, expect: open}
      - {source: edge-proxy, target: postgresql, port: 5432, expect: closed}
"""

RETURN = r"""
ok:
  description: Whether every probe showed what was expected.
  returned: success
  type: bool
  sample: true
results:
  description:
    - A result per probe. C(state) is V(open), V(closed), V(partial) or V(unknown). V(partial) means that some of the
      addresses of the name accept connections, V(unknown) that the probe could not be made; neither is ever what was expected.
  returned: success
  type: list
  elements: dict
  sample:
    - source: litellm
      target: redis
      port: 6379
      expect: open
      state: open
      ok: true
      addresses: [10.90.8.4]
      detail: 1 of 1 addresses accept connections
      seconds: 0.002
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.pantheon.ai.plugins.module_utils._containers import run
from ansible_collections.pantheon.ai.plugins.module_utils._segment_probe import Probe, Segments

ARGUMENTS = {
    "probes": {
        "type": "list",
        "elements": "dict",
        "options": {
            "source": {"type": "str", "required": True},
            "target": {"type": "str", "required": True},
            "port": {"type": "int", "required": True},
            "expect": {"type": "str", "required": True, "choices": ["open", "closed"]},
        },
    },
    "prefix": {"type": "str", "default": "pantheon-"},
    "docker": {"type": "str", "default": "docker"},
    "timeout": {"type": "float", "default": 1},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    params = module.params
    probes = [Probe(**probe) for probe in params["probes"] or []]
    results = Segments(run, params["docker"], params["timeout"]).run(probes, params["prefix"])
    module.exit_json(changed=False, ok=all(result["ok"] for result in results), results=results)


if __name__ == "__main__":
    main()
