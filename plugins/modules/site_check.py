#!/usr/bin/python
# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin site_check."""

from __future__ import absolute_import, annotations, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
---
module: site_check
short_description: Check catalog, inventory and settings against each other
version_added: 0.1.0
description:
  - Reads the service catalog, the overrides in C(catalog) beside the inventory, the inventory and the settings, and checks them against
    each other before any machine is touched.
  - Finds unknown keys, unknown endpoints, ports that collide on a machine, requirements that are missing or form a cycle, names used twice,
    secrets that nobody generates, groups that are absent or empty, machines whose memory does not suffice, and images that are not pinned.
  - Fails with all problems at once. Each names the file, the field, the value and what to do.
  - Fails for an inventory without machines, too, where a play would otherwise succeed with nothing done.
  - Runs on the controller. Nothing is changed.
author:
  - Pantheon contributors (@pantheon)
options: {}
attributes:
  check_mode:
    support: full
    description: Can run in check mode and does the same there.
  diff_mode:
    support: none
    description: Changes nothing, so there is no difference to show.
  idempotent:
    support: full
    description: Changes nothing.
seealso:
  - plugin: pantheon.ai.catalog
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: Check the catalog and the inventory against each other
  pantheon.ai.site_check:
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
msg:
  description: A sentence about the result; all problems, one per line, if there are any.
  returned: always
  type: str
  sample: 6 services on 10 machines, no problems.
problems:
  description: What is wrong. Empty when the site can be deployed.
  returned: always
  type: list
  elements: dict
  contains:
    file:
      description: The file in which to correct it.
      returned: always
      type: str
      sample: inventories/homelab/catalog/litellm.yml
    field:
      description: The field in this file.
      returned: always
      type: str
      sample: endpoints.api.port
    value:
      description: What stands there now, if the problem is a value.
      returned: always
      type: raw
      sample: 4000
    message:
      description: What is wrong with it.
      returned: always
      type: str
      sample: collides on orpheus with the endpoint http of open-webui
    remedy:
      description: What to do.
      returned: always
      type: str
      sample: give one of them another port with published
placement:
  description: The machines of each service that runs somewhere.
  returned: success
  type: dict
  sample:
    litellm: [orpheus, kratos]
    redis: [erebus]
"""
