#!/usr/bin/python
# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_databases
short_description: Roles, databases and extensions in the PostgreSQL of the platform
version_added: 0.1.0
description:
  - Makes the PostgreSQL server of a compose project hold the wanted databases, each with a role that owns it, logs in with a
    password and alone may connect.
  - The whole wanted set is compared and changed in one call, through C(psql) in the server's container, with the SQL on its
    standard input. No password is in a process list, and the server only ever sees the SCRAM-SHA-256 verifier of it.
  - In a cluster it runs on every member, and only the leader acts. Which one that is comes with what the server holds, so a call that finds nothing
    to do is one start of C(psql). A standby that receives from a leader has nothing to do; without a leader it waits for one.
  - A leader that waits for synchronous standbys and has none is not given a statement that would hang; it is waited for as well.
  - Whether a password is the right one is found by computing the verifier again, so nothing changes when nothing has to.
  - With O(pooler) a connection pool can look up the password of whoever signs in, through C(pgbouncer.user_lookup) in the database postgres. Only the
    pool's role may call it. It has no row for superusers, for roles that replicate or bypass row security, or for those that may not log in.
  - Nothing is ever dropped, but the rights of others in what belongs to the pool. Removing a database is left to a person.
  - The action of the same name on the controller fills in O(databases) from the catalog and the passwords from the encrypted
    secrets, so that they never become variables of a host.
author:
  - Pantheon contributors (@pantheon)
attributes:
  check_mode:
    support: full
    description: Where the server does not run yet, it is taken as empty, with a warning.
  diff_mode:
    support: full
    description: Passwords are shown as V(right) or V(other) only.
  idempotent:
    support: full
    description: A second call changes nothing; a password is set only where it differs.
options:
  databases:
    description:
      - The wanted databases.
      - Without it, the databases that the catalog asks of the service O(service), if this machine runs it.
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the database. Lower-case letters, digits and underscores.
        type: str
        required: true
      user:
        description: Name of the role that owns the database and logs in to it.
        type: str
        required: true
      password:
        description: Password of the role. Printable ASCII.
        type: str
      secret:
        description: Name of the secret that holds the password. Read on the controller, used when O(databases[].password) is not given.
        type: str
      extensions:
        description: Extensions that the database has.
        type: list
        elements: str
        default: []
  pooler:
    description:
      - The role of a connection pool. Without it, on the controller, that of the catalog's pools if O(databases) comes from the catalog, too.
      - Role, schema C(pgbouncer) and function are compared in full and brought back.
    type: dict
    suboptions:
      user:
        description: Name of the role.
        type: str
        default: pgbouncer
      password:
        description: Its password. Without it, the controller reads the secret C(postgresql_pooler_password).
        type: str
  accounts:
    description:
      - Roles of the cluster itself, which are made with it. Only their passwords are compared and set, so that a secret that was renewed holds; a
        role that is not there is left alone.
      - On the controller, those of the catalog's cluster if O(databases) comes from the catalog, too.
      - "They have to be set before the members are given the new passwords to sign in with: connections that are there stay."
    type: list
    elements: dict
    default: []
    suboptions:
      user:
        description: Name of the role.
        type: str
        required: true
      password:
        description: Its password. Printable ASCII.
        type: str
      secret:
        description: Name of the secret that holds the password. Read on the controller, used when O(accounts[].password) is not given.
        type: str
  service:
    description: Name of the service in the catalog, and of the service in the compose project.
    type: str
    default: postgresql
  project:
    description: Name of the compose project. Without it, C(pantheon-) and O(service).
    type: str
  admin:
    description: Name of the superuser.
    type: str
    default: postgres
  docker:
    description: The docker command.
    type: str
    default: docker
  wait:
    description: How many seconds to wait for a server that takes no connections yet, for a leader, and for its synchronous standby.
    type: float
    default: 30
requirements:
  - docker on the machine
"""

EXAMPLES = r"""
- name: Create what the catalog asks for
  pantheon.ai.postgresql_databases:

- name: Create one database, with its password from the encrypted secrets
  pantheon.ai.postgresql_databases:
    databases:
      - name: litellm
        user: litellm
        secret: litellm_database_password
        extensions: [vector]

- name: Nothing is dropped when a database is no longer listed
  pantheon.ai.postgresql_databases:
    databases: []
"""

RETURN = r"""
role:
  description: V(primary) for the leader or a server alone, V(standby) for one that leaves it to its leader. Empty if nothing was asked.
  returned: success
  type: str
  sample: primary
pooler:
  description: What was done for the pool, V(created), V(changed) or V(none).
  returned: success
  type: str
  sample: none
roles:
  description: What was done to each role.
  returned: success
  type: dict
  sample: {"litellm": "created", "open_webui": "none"}
databases:
  description: What was done to each database.
  returned: success
  type: dict
  sample: {"litellm": {"action": "created", "owner": "litellm", "extensions_added": ["vector"]}}
container:
  description: Id of the server's container. Empty in check mode when it does not run yet.
  returned: success
  type: str
  sample: 3f9c6a0d1b52
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.pantheon.ai.plugins.module_utils._postgresql_databases import ARGUMENTS, perform


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    outcome = perform(module.params, module.check_mode)
    for warning in outcome.warnings:
        module.warn(warning)
    if outcome.error:
        module.fail_json(msg=outcome.error)
    module.exit_json(**outcome.result)


if __name__ == "__main__":
    main()
