# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Roles, databases and extensions in the PostgreSQL of the platform (private to the collection).

SQL goes to psql on its standard input, inside the container: no secret is in any process list, and the server sees only
the verifier of a password, never the password.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
import time
import typing as t

from ansible_collections.pantheon.ai.plugins.module_utils._containers import ContainerError, NotRunning, find, run
from ansible_collections.pantheon.ai.plugins.module_utils._outcome import Outcome

ARGUMENTS: t.Dict[str, t.Any] = {
    "databases": {
        "type": "list",
        "elements": "dict",
        "options": {
            "name": {"type": "str", "required": True},
            "user": {"type": "str", "required": True},
            "password": {"type": "str", "no_log": True},
            # The name of a secret is not secret; "False" keeps Ansible from guessing.
            "secret": {"type": "str", "no_log": False},
            "extensions": {"type": "list", "elements": "str", "default": []},
        },
    },
    "service": {"type": "str", "default": "postgresql"},
    "project": {"type": "str"},
    "admin": {"type": "str", "default": "postgres"},
    "docker": {"type": "str", "default": "docker"},
    "wait": {"type": "float", "default": 30},
}

NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
EXTENSION = re.compile(r"[a-z_][a-z0-9_-]{0,62}")
VERIFIER = re.compile(r"SCRAM-SHA-256\$(?P<rounds>[0-9]+):(?P<salt>[A-Za-z0-9+/=]+)\$(?P<stored>[^:]+):(?P<server>.+)")
ROUNDS = 4096
UNREACHABLE = 2
"""Exit status of psql when it has no connection: the server may be starting."""
SCRIPT_FAILED = 3


class DatabaseError(Exception):
    """The databases cannot be read or changed; remedy says what to do."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


class Database(t.NamedTuple):
    """A database, the role that owns it and logs in to it, and the extensions in it."""

    name: str
    user: str
    password: str
    extensions: t.Tuple[str, ...]


class RoleState(t.NamedTuple):
    """A role as the server knows it; verifier is None without a password."""

    login: bool
    verifier: t.Optional[str]


class DatabaseState(t.NamedTuple):
    """A database as the server knows it."""

    owner: str
    encoding: str
    public: bool
    extensions: t.FrozenSet[str]


class State(t.NamedTuple):
    """The part of the server that the wanted databases are about."""

    roles: t.Dict[str, RoleState]
    databases: t.Dict[str, DatabaseState]


class Client(t.Protocol):
    """What runs SQL; tests pass a fake."""

    def sql(self, script: str) -> str:
        """Run a psql script that stops at the first error, and return what it printed."""


class Psql:
    """psql in the container of the server, as its superuser over the local socket."""

    def __init__(
        self,
        runner: t.Callable[..., t.Tuple[int, str, str]],
        container: str,
        admin: str = "postgres",
        docker: str = "docker",
        wait: float = 30,
        timeout: float = 120,
    ) -> None:
        self.runner, self.timeout, self.wait = runner, timeout, wait
        psql = [
            "psql",
            "--no-psqlrc",
            "--quiet",
            "--tuples-only",
            "--no-align",
            "--set=ON_ERROR_STOP=1",
            "--no-password",
        ]
        self.command = [
            docker, "exec", "--interactive", "--user", "postgres", container,
            *psql, f"--username={admin}", "--dbname=postgres", "--file=-",
        ]  # fmt: skip

    def sql(self, script: str) -> str:
        """Run the script; wait for a server that is still starting. Raises DatabaseError."""
        deadline = time.monotonic() + self.wait
        while True:
            status, output, errors = self.runner(self.command, script, self.timeout)
            if status == 0:
                return output
            text = hide(errors.strip() or output.strip())
            if status != UNREACHABLE or time.monotonic() > deadline:
                break
            time.sleep(0.5)
        if status == UNREACHABLE:
            raise DatabaseError(
                f"PostgreSQL takes no connection: {text}", "Look at `docker compose logs` of the service postgresql."
            )
        raise DatabaseError(f"PostgreSQL refused a statement: {text}", remedy_of(text))


def hide(text: str) -> str:
    """Return the text without password verifiers (the server quotes the statement that failed)."""
    return re.sub(r"SCRAM-SHA-256\$[^'\s]*", "SCRAM-SHA-256$...", text)


def remedy_of(text: str) -> str:
    """Return what to do about an error of the server."""
    if "extension" in text and ("not available" in text or "could not open extension control file" in text):
        return (
            "The image of the service postgresql lacks this extension: use another image, or leave the extension out."
        )
    if "being accessed by other users" in text:
        return "Something is connected to the template database: close that connection and run again."
    if "No space left on device" in text:
        return "The disk of the machine is full: free some space and run again."
    return "Look at `docker compose logs` of the service postgresql."


def verifier(password: str, salt: t.Optional[bytes] = None, rounds: int = ROUNDS) -> str:
    """Return the SCRAM-SHA-256 verifier (RFC 5802, 7677) as PostgreSQL stores it.

    The password has to be printable ASCII: for it, the normalisation of the standard changes nothing.
    """
    salt = os.urandom(16) if salt is None else salt
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, rounds)
    client = hmac.new(salted, b"Client Key", hashlib.sha256).digest()
    stored = hashlib.sha256(client).digest()
    server = hmac.new(salted, b"Server Key", hashlib.sha256).digest()

    def text(data: bytes) -> str:
        return base64.b64encode(data).decode("ascii")

    return f"SCRAM-SHA-256${rounds}:{text(salt)}${text(stored)}:{text(server)}"


def password_is(password: str, stored: t.Optional[str]) -> bool:
    """Say whether the stored verifier belongs to this password; other kinds of hashes never do."""
    match = VERIFIER.fullmatch(stored or "")
    if not match:
        return False
    try:
        salt = base64.b64decode(match["salt"], validate=True)
    except ValueError:
        return False
    return hmac.compare_digest(verifier(password, salt, int(match["rounds"])), stored or "")


def parse(entries: t.Sequence[t.Mapping[str, t.Any]]) -> t.List[Database]:
    """Return the wanted databases. Raises DatabaseError for a name, password or combination that is not possible."""
    databases: t.List[Database] = []
    passwords: t.Dict[str, str] = {}
    for entry in entries:
        name, user, password = entry["name"], entry["user"], entry["password"]
        extensions = tuple(sorted(set(entry.get("extensions") or ())))
        for field, value, pattern in [("name", name, NAME), ("user", user, NAME)] + [
            ("extensions", extension, EXTENSION) for extension in extensions
        ]:
            if not pattern.fullmatch(value):
                raise DatabaseError(
                    f"database {name!r}: {field} {value!r} is not a plain name",
                    "Use lower-case letters, digits and underscores, at most 63, not starting with a digit.",
                )
        if not password or not (password.isascii() and password.isprintable()):
            raise DatabaseError(
                f"database {name!r}: the password of {user} is empty or not printable ASCII",
                "Remove the secret from secrets.yml: a new one is made.",
            )
        if name in [database.name for database in databases]:
            raise DatabaseError(f"database {name!r} is wanted twice", "Give each service a database of its own.")
        if passwords.setdefault(user, password) != password:
            raise DatabaseError(
                f"role {user!r} is wanted with two passwords", "Name the same secret wherever this user appears."
            )
        databases.append(Database(name, user, password, extensions))
    return sorted(databases)


def query(databases: t.Sequence[Database]) -> str:
    """Return the script that prints the present state: one JSON object per line."""
    users = ", ".join(f"'{user}'" for user in sorted({database.user for database in databases}))
    names = ", ".join(f"'{database.name}'" for database in databases)
    roles = (
        "SELECT json_build_object('role', rolname, 'login', rolcanlogin, 'verifier', rolpassword)"
        f" FROM pg_catalog.pg_authid WHERE rolname IN ({users});"
    )
    # A database without an access list has the built-in one, which lets everybody connect.
    present = (
        "SELECT json_build_object('database', datname, 'owner', pg_catalog.pg_get_userbyid(datdba),"
        " 'encoding', pg_catalog.pg_encoding_to_char(encoding),"
        " 'public', datacl IS NULL OR EXISTS (SELECT FROM pg_catalog.aclexplode(datacl) WHERE grantee = 0))"
        f" FROM pg_catalog.pg_database WHERE datname IN ({names});"
    )
    script = [roles, present]
    for database in databases:
        if database.extensions:
            script += [
                f"SELECT EXISTS (SELECT FROM pg_catalog.pg_database WHERE datname = '{database.name}') AS there \\gset",
                "\\if :there",
                f'\\connect "{database.name}"',
                "SELECT json_build_object('extension', extname, 'in', current_database()) FROM pg_catalog.pg_extension;",
                "\\endif",
            ]
    return "\n".join(script) + "\n"


def read(client: Client, databases: t.Sequence[Database]) -> State:
    """Return the present state of the wanted roles and databases."""
    roles: t.Dict[str, RoleState] = {}
    found: t.Dict[str, DatabaseState] = {}
    for line in client.sql(query(databases)).splitlines():
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except ValueError:
            raise DatabaseError(
                f"psql printed something unexpected: {hide(line)[:200]!r}",
                "Look at the image of the service postgresql.",
            ) from None
        if "role" in entry:
            roles[entry["role"]] = RoleState(entry["login"], entry["verifier"])
        elif "database" in entry:
            found[entry["database"]] = DatabaseState(entry["owner"], entry["encoding"], entry["public"], frozenset())
        else:
            old = found[entry["in"]]
            found[entry["in"]] = old._replace(extensions=old.extensions | {entry["extension"]})
    return State(roles, found)


class Databases:
    """The wanted roles, databases and extensions. Nothing is ever dropped."""

    def __init__(self, client: t.Optional[Client], check_mode: bool) -> None:
        self.client, self.check_mode = client, check_mode

    def present(self, databases: t.Sequence[Database]) -> t.Dict[str, t.Any]:
        """Make the server hold the databases. Without a client (check mode, no server yet) it is taken as empty."""
        if not databases:
            return {"changed": False, "roles": {}, "databases": {}, "warnings": [], "diff": {"before": {}, "after": {}}}
        state = read(self.client, databases) if self.client else State({}, {})
        script, result = plan(databases, state)
        if script and self.client and not self.check_mode:
            self.client.sql("\n".join(script) + "\n")
        return result


def plan(databases: t.Sequence[Database], state: State) -> t.Tuple[t.List[str], t.Dict[str, t.Any]]:
    """Return the statements that are missing, and the result: what each role and database needs."""
    script: t.List[str] = []
    warnings: t.List[str] = []
    roles: t.Dict[str, str] = {}
    actions: t.Dict[str, t.Dict[str, t.Any]] = {}
    before: t.Dict[str, t.Any] = {}
    after: t.Dict[str, t.Any] = {}

    statements: t.List[str] = []
    for user, password in sorted({database.user: database.password for database in databases}.items()):
        role = state.roles.get(user)
        good = role is not None and password_is(password, role.verifier)
        if role is not None and role.login and good:
            roles[user] = "none"
            continue
        roles[user] = "created" if role is None else "changed"
        before[f"role {user}"] = (
            None if role is None else {"login": role.login, "password": "right" if good else "other"}
        )
        after[f"role {user}"] = {"login": True, "password": "right"}
        verb = "CREATE" if role is None else "ALTER"
        statements.append(f"{verb} ROLE \"{user}\" LOGIN PASSWORD '{verifier(password)}';")
    if statements:
        script += ["BEGIN;", *statements, "COMMIT;"]

    for database in databases:
        now = state.databases.get(database.name)
        missing = [name for name in database.extensions if now is None or name not in now.extensions]
        wanted = {"owner": database.user, "public": False, "extensions": sorted(database.extensions)}
        action = "none"
        if now is None:
            action = "created"
            # template0: the encoding may differ from the one of template1, which is what local changes may be in.
            script.append(
                f'CREATE DATABASE "{database.name}" OWNER "{database.user}" ENCODING \'UTF8\' TEMPLATE template0;'
            )
        elif now.owner != database.user:
            action = "changed"
            script.append(f'ALTER DATABASE "{database.name}" OWNER TO "{database.user}";')
        if now is not None and now.encoding != "UTF8":
            warnings.append(
                f"database {database.name} has the encoding {now.encoding}; services need UTF8. Dump it, drop it and run again."
            )
        if now is None or now.public:
            action = "created" if now is None else "changed"
            script.append(f'REVOKE ALL ON DATABASE "{database.name}" FROM PUBLIC;')
        if missing:
            action = "created" if now is None else "changed"
            script.append(f'\\connect "{database.name}"')
            script += [f'CREATE EXTENSION IF NOT EXISTS "{name}";' for name in missing]
            script.append("\\connect postgres")
        actions[database.name] = {"action": action, "owner": database.user, "extensions_added": missing}
        if action != "none":
            before[f"database {database.name}"] = now and {
                "owner": now.owner,
                "public": now.public,
                "extensions": sorted(now.extensions & set(database.extensions)),
            }
            after[f"database {database.name}"] = wanted
    result = {
        "changed": bool(script),
        "roles": roles,
        "databases": actions,
        "warnings": warnings,
        "diff": {"before": before, "after": after},
    }
    return script, result


def perform(params: t.Dict[str, t.Any], check_mode: bool) -> Outcome:
    """Make the server hold the databases: the module postgresql_databases without Ansible."""
    warnings: t.List[str] = []
    try:
        if any(entry["password"] is None for entry in params["databases"] or []):
            raise DatabaseError(
                "a database has no password", "Give `password`, or `secret` and let the controller read it."
            )
        databases = parse(params["databases"] or [])
        container, client = "", None
        try:
            container = find(
                run, params["project"] or f"pantheon-{params['service']}", params["service"], params["docker"]
            )
            client = Psql(run, container, params["admin"], params["docker"], params["wait"])
        except NotRunning as error:
            if not check_mode:
                raise
            warnings.append(f"{error}: taken as empty, because this is check mode.")
        result = Databases(client, check_mode).present(databases)
    except (DatabaseError, ContainerError) as error:
        return Outcome({}, warnings, f"{error}. {error.remedy}")
    warnings += result.pop("warnings")
    return Outcome({"container": container[:12], **result}, warnings, idle=not result["changed"])


__all__ = ["ARGUMENTS", "ContainerError", "DatabaseError", "Databases", "NotRunning", "Psql", "parse", "perform"]
