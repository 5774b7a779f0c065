# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that all TrueNAS modules share."""

from __future__ import annotations


class ModuleDocFragment:
    """Connection to a NAS."""

    DOCUMENTATION = r"""
options:
  host:
    description: Name or address of the NAS.
    type: str
    required: true
  port:
    description: Port of its web interface.
    type: int
    default: 443
  username:
    description: User that the API key belongs to. Best a user of its own with only the roles it needs.
    type: str
    required: true
  api_key:
    description:
      - API key of the user, of the form C(NUMBER-SECRET).
      - Without it, the environment variable E(TRUENAS_API_KEY) of the machine that runs the module.
    type: str
  mechanism:
    description:
      - How the key is shown to the NAS.
      - V(auto) sends it through TLS, and uses SCRAM on TrueNAS 26 and newer where the NAS refuses that.
      - V(scram) (TrueNAS 26 and newer) proves that the key is known without sending it.
    type: str
    choices: [auto, plain, scram]
    default: auto
  scheme:
    description:
      - V(wss) is encrypted.
      - V(ws) is not, and is refused before anything is sent unless O(host) is this machine or
        O(allow_insecure_transport) is set, as TrueNAS revokes a key that it receives over an unencrypted connection from
        another machine.
    type: str
    choices: [wss, ws]
    default: wss
  validate_certs:
    description:
      - Whether the certificate of the NAS is checked against the known authorities.
      - A NAS has a self-signed certificate at first; pin it with O(tls_fingerprint) instead of switching this off.
    type: bool
    default: true
  ca_path:
    description: File or directory with the certificates of authorities to trust, in PEM form.
    type: path
  tls_fingerprint:
    description:
      - SHA-256 of the certificate of the NAS, in hexadecimal with or without colons.
      - It is compared before anything is sent. Without O(ca_path) it replaces the check against authorities.
    type: str
  allow_insecure_transport:
    description: Allow O(scheme=ws) to another machine. For simulators only; a real TrueNAS revokes the key.
    type: bool
    default: false
  timeout:
    description: Seconds to wait for a connection and for the answer to a call; a job may take ten times as long.
    type: float
    default: 30
  retries:
    description:
      - How often to try again, with growing pauses, when the NAS is starting, refuses connections or limits logins.
      - After a connection that broke in the middle, the NAS is read again and only what is missing is done.
    type: int
    default: 4
requirements:
  - TrueNAS 25.04 or newer
  - Python 3.8 or newer where the module runs; nothing else
notes:
  - Runs on any machine that reaches the NAS, normally the controller (C(delegate_to=localhost) or C(connection=local)).
  - One task makes one login, and TrueNAS allows 20 logins a minute from one address. Give many objects to one task
    (M(pantheon.ai.truenas_nfs_storage)) instead of looping.
seealso:
  - module: pantheon.ai.truenas_nfs_storage
  - module: pantheon.ai.truenas_info
"""

    OWNER = r"""
options:
  owner:
    description:
      - Name that marks what belongs to this installation.
      - On a dataset it is the ZFS user property C(ai.lab:owner), which counts only where it is set on the dataset
        itself and not inherited; C(ai.lab:dataset) beside it holds the name of the dataset.
      - On a share it is C([ai.lab:OWNER]) in the comment.
    type: str
    default: pantheon
"""
