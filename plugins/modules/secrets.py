#!/usr/bin/python
# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: secrets
short_description: Make the secrets of an environment complete
version_added: 0.1.0
description:
  - Makes the file C(secrets.yml) beside the inventory hold every secret that the placed services of the catalog declare.
  - The file is encrypted with the vault password of the run. Existing values are never changed and unknown ones are kept, so a
    new service adds its secrets and nothing else happens. Only server certificates are issued again, before they end or when
    their names change.
  - Passwords and keys are random. An authority yields C(NAME_key) and C(NAME_certificate), and so does a certificate, which
    holds the chain as well.
  - The file is locked while it is changed and replaced atomically with mode 0600. Two runs at once end with one set of values.
  - The certificate of the authority, which is public, is written to C(artifacts/ENVIRONMENT/ca.crt).
  - Runs on the controller as an action. Only names are returned, never values.
author:
  - Pantheon contributors (@pantheon)
attributes:
  check_mode:
    support: full
    description: Says what would be added and writes nothing.
  diff_mode:
    support: full
    description: Shows names only.
  idempotent:
    support: full
    description: A second call changes nothing.
options:
  artifacts:
    description: Folder for the certificate of the authority. Without it, C(artifacts/ENVIRONMENT) in the repository.
    type: path
  renew_days:
    description: A server certificate is issued again when it is valid for fewer days than this.
    type: int
    default: 30
"""

EXAMPLES = r"""
- name: Create the secrets that are missing
  pantheon.ai.secrets:

- name: Renew certificates earlier than usual
  pantheon.ai.secrets:
    renew_days: 90
"""

RETURN = r"""
added:
  description: Names of the values that were added.
  returned: success
  type: list
  elements: str
  sample: [redis_password]
renewed:
  description: Certificates that were issued again, with the reason.
  returned: success
  type: dict
  sample: {"edge_certificate": "it ends in 12 days"}
kept:
  description: Names of the values that were there before.
  returned: success
  type: list
  elements: str
  sample: [litellm_master_key]
unknown:
  description: Names of values in the file that no placed service declares. They are kept.
  returned: success
  type: list
  elements: str
  sample: []
file:
  description: The encrypted file.
  returned: success
  type: str
  sample: /home/me/pantheon/inventories/homelab/secrets.yml
ca_certificate:
  description: Where the certificate of the authority is.
  returned: success
  type: str
  sample: /home/me/pantheon/artifacts/homelab/ca.crt
"""

from ansible.module_utils.basic import AnsibleModule


def main() -> None:
    module = AnsibleModule(
        argument_spec={"artifacts": {"type": "path"}, "renew_days": {"type": "int", "default": 30}},
        supports_check_mode=True,
    )
    module.fail_json(msg="pantheon.ai.secrets runs on the controller as an action plugin, and was called as a module.")


if __name__ == "__main__":
    main()
