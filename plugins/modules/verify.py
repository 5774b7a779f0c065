#!/usr/bin/python
# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: verify
short_description: Look at the platform from outside and give a verdict
version_added: 0.1.0
description:
  - Walks the journeys of a user from outside the machines, all side by side, and says what works, what does not and how to fix it.
  - What is looked at is derived from the catalog and the inventory. Names are never looked up - connections go to the address of
    the edge with the host name in the TLS handshake.
  - It looks at the TLS chain and the names in it, the way from HTTP to HTTPS, the sign-in to Open WebUI, the models and a chat with
    each of them there and at the gateway (the answer and its headers prove which model spoke), vectors, streaming, refused keys,
    open and closed ports of every machine, and what M(pantheon.ai.segment_probe) found in the networks of the containers.
  - A check that could not be performed is V(skipped) with a reason, never V(ok). A verdict without a performed check is not ok.
  - The verdict is written to C(artifacts/ENVIRONMENT/verdict.json) and shown as a table. The task fails when it is not ok.
  - Runs on the controller as an action.
author:
  - Pantheon contributors (@pantheon)
attributes:
  check_mode:
    support: full
    description: Nothing is looked at in check mode; the task is skipped.
  diff_mode:
    support: none
    description: Changes nothing on the machines, so there is no difference to show.
  idempotent:
    support: full
    description: Never reports a change; the verdict is written anew each time.
options:
  artifacts:
    description: Folder for the verdict. Without it, C(artifacts/ENVIRONMENT) in the repository.
    type: path
  segments_from:
    description: Name of the variable in which the machines registered the result of M(pantheon.ai.segment_probe) in this run.
    type: str
    default: __verify_segments
  connect_timeout:
    description: Seconds to wait for a connection.
    type: float
    default: 3
  answer_timeout:
    description: Seconds to wait for an ordinary answer.
    type: float
    default: 15
  chat_timeout:
    description: Seconds to wait for the answer of a model, which may have to be loaded first.
    type: float
    default: 120
  port_timeout:
    description: Seconds after which a port without an answer counts as closed.
    type: float
    default: 1
  settle:
    description:
      - How many seconds a failure may last while services are still starting, before it counts.
      - What guards the platform, such as a refused key or a closed port, has to hold at once.
    type: float
    default: 20
"""

EXAMPLES = r"""
- name: Verify the platform
  pantheon.ai.verify:

- name: Verify a platform with large models on slow disks
  pantheon.ai.verify:
    chat_timeout: 600
"""

RETURN = r"""
ok:
  description: Whether something was checked and nothing failed.
  returned: always
  type: bool
  sample: true
checks:
  description:
    - What was looked at. C(ok) is null for a check that was skipped.
    - When the task fails, only the checks that failed; the file always holds all of them.
  returned: always
  type: list
  elements: dict
  sample:
    - name: chat with llama3.2:3b at the gateway
      ok: true
      state: ok
      seconds: 0.41
      detail: I am a language model.
      fix: ""
answers:
  description: The first answer of each model.
  returned: always
  type: dict
  sample: {"llama3.2:3b": "I am a language model."}
urls:
  description: Where people find the services.
  returned: always
  type: dict
  sample: {"open-webui": "https://chat.pantheon.home.arpa"}
environment:
  description: Name of the environment.
  returned: always
  type: str
  sample: homelab
started:
  description: When the checks began, in UTC.
  returned: always
  type: str
  sample: "2026-11-24T16:00:00Z"
seconds:
  description: How long they took.
  returned: always
  type: float
  sample: 3.42
file:
  description: The verdict as a file.
  returned: always
  type: str
  sample: /home/me/pantheon/artifacts/homelab/verdict.json
"""

from ansible.module_utils.basic import AnsibleModule


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "artifacts": {"type": "path"},
            "segments_from": {"type": "str", "default": "__verify_segments"},
            "connect_timeout": {"type": "float", "default": 3},
            "answer_timeout": {"type": "float", "default": 15},
            "chat_timeout": {"type": "float", "default": 120},
            "port_timeout": {"type": "float", "default": 1},
            "settle": {"type": "float", "default": 20},
        },
        supports_check_mode=True,
    )
    module.fail_json(msg="pantheon.ai.verify runs on the controller as an action plugin, and was called as a module.")


if __name__ == "__main__":
    main()
