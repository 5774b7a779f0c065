#!/usr/bin/python
# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ollama_models
short_description: Models that the Ollama of a machine holds
version_added: 0.1.0
description:
  - Makes the Ollama server of a machine hold the wanted models, through its HTTP API.
  - Ollama has no authentication, so its port is published nowhere. The module enters the network namespace of the running
    container and asks at its loopback address, unless O(url) names another way.
  - Models that are there are left alone, whether they are wanted or not; nothing is removed.
  - All models are tried, then the task fails if one of them could not be fetched.
  - The action of the same name on the controller fills in O(models) from C(pantheon_models).
author:
  - Pantheon contributors (@pantheon)
attributes:
  check_mode:
    support: full
    description: Where no server answers yet, it is taken as empty, with a warning.
  diff_mode:
    support: full
    description: Shows which models are there before and after.
  idempotent:
    support: full
    description: A model that is there is not fetched again.
options:
  models:
    description:
      - Names of the models. A name without a tag means V(latest).
      - Without it, the models that C(pantheon_models) places on this machine, if it runs Ollama.
    type: list
    elements: str
  url:
    description:
      - Address of the HTTP API, as seen from the machine.
      - Without it, V(http://127.0.0.1:11434) in the network of the container of O(service).
    type: str
  service:
    description: Name of the service in the catalog, and of the service in the compose project.
    type: str
    default: ollama
  project:
    description: Name of the compose project. Without it, C(pantheon-) and O(service).
    type: str
  docker:
    description: The docker command.
    type: str
    default: docker
  wait:
    description: How many seconds to wait for a server that does not answer yet.
    type: float
    default: 30
  stall_timeout:
    description: After how many seconds without any progress fetching a model is given up. The whole fetch may last for hours.
    type: float
    default: 120
requirements:
  - root and docker on the machine, unless O(url) is given
"""

EXAMPLES = r"""
- name: Fetch what the inventory places on this machine
  pantheon.ai.ollama_models:

- name: Fetch two models
  pantheon.ai.ollama_models:
    models:
      - llama3.2:3b
      - nomic-embed-text
"""

RETURN = r"""
models:
  description: What was done for each model. C(bytes) and C(seconds) are only there for one that was fetched.
  returned: always
  type: dict
  sample:
    "llama3.2:3b":
      action: pulled
      size: 2019393189
      digest: a80c4f17acd55265feec403c7aef86be0c25983ab279d83f3bcd3abbcb5b8b72
      bytes: 2019393189
      seconds: 41.3
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.pantheon.ai.plugins.module_utils._ollama_models import ARGUMENTS, perform


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    outcome = perform(module.params, module.check_mode)
    for warning in outcome.warnings:
        module.warn(warning)
    if outcome.error:
        module.fail_json(msg=outcome.error, **outcome.result)
    module.exit_json(**outcome.result)


if __name__ == "__main__":
    main()
