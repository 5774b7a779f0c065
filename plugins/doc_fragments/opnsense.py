# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of the connection that all OPNsense modules share."""

from __future__ import annotations


class ModuleDocFragment:
    """Fragments of documentation: the connection, and what the modules that write have in common."""

    DOCUMENTATION = r"""
options:
  host:
    description:
      - Name or address of the router, without scheme, port and path.
      - Without it, the variable E(OPNSENSE_HOST) of the environment.
    type: str
    required: true
  port:
    description: Port of the web interface. Without it, the variable E(OPNSENSE_PORT).
    type: int
    default: 443
  scheme:
    description:
      - Whether TLS is used. With V(http) the API key travels readable; use it on loopback only.
      - Without it, the variable E(OPNSENSE_SCHEME).
    type: str
    choices: [https, http]
    default: https
  api_key:
    description: Key of the API, as made under System, Access, Users. Without it, the variable E(OPNSENSE_API_KEY).
    type: str
  api_secret:
    description: Secret of the API key. Without it, the variable E(OPNSENSE_API_SECRET).
    type: str
  credentials_file:
    description:
      - The file that OPNsense offers for download when a key is made, with the lines C(key=) and C(secret=).
        It is used for what O(api_key) and O(api_secret) leave open.
      - Without it, the variable E(OPNSENSE_CREDENTIALS_FILE).
    type: path
  validate_certs:
    description: Whether the certificate is verified. Without it, the variable E(OPNSENSE_VALIDATE_CERTS).
    type: bool
    default: true
  ca_path:
    description:
      - The certificate of the router, or of who signed it, as a PEM file; or a folder of such files.
      - Without it, the variable E(OPNSENSE_CA_PATH).
    type: path
  tls_server_name:
    description:
      - The name in the certificate, if it differs from O(host). The certificate that OPNsense makes for itself holds
        its name only, like V(OPNsense.internal), and no address.
      - Without it, the variable E(OPNSENSE_TLS_SERVER_NAME).
    type: str
  tls_fingerprint:
    description:
      - SHA-256 fingerprint that the certificate has to have, in hexadecimal digits, with or without colons. It is
        compared before the key is sent. Unless O(ca_path) is given too, it takes the place of the verification.
      - Without it, the variable E(OPNSENSE_TLS_FINGERPRINT).
    type: str
  timeout:
    description: Seconds to wait for an answer. Without it, the variable E(OPNSENSE_TIMEOUT).
    type: float
    default: 20
  apply_timeout:
    description:
      - Seconds to wait for a service to be restarted, and to serve what was written.
      - Without it, the variable E(OPNSENSE_APPLY_TIMEOUT).
    type: float
    default: 60
notes:
  - The module talks to the web interface of the router. Run it where that can be reached, usually on the controller, with
    C(delegate_to=localhost) or C(connection=local), and only once for all machines.
  - The options of the connection can be given once for all modules, by C(module_defaults) with the action group
    C(pantheon.ai.opnsense).
  - Releases 24.7 to 26.7 of OPNsense are supported.
  - Only the standard library of Python is needed.
"""

    OWNED = r"""
options:
  owner:
    description:
      - Name of who owns the entries. It stands in brackets at the end of the description of each entry.
      - Only entries with this name are ever changed or deleted.
    type: str
    required: true
  unmanaged_conflict:
    description:
      - What to do when the router has another entry in the place of a wanted one that the owner does not own.
      - V(fail) says so and writes nothing. V(adopt) makes such entries the owner's, which changes or deletes them.
        V(ignore) leaves them as they are and leaves the wanted one out, with a warning.
      - An entry that is as wanted already stays untouched in any case, and counts as there.
    type: str
    choices: [fail, adopt, ignore]
    default: fail
  apply:
    description:
      - Whether to activate what was written. With V(false), it is saved only.
    type: bool
    default: true
"""
