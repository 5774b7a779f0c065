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
    "pooler": {
        "type": "dict",
        "options": {
            "user": {"type": "str", "default": "pgbouncer"},
            "password": {"type": "str", "no_log": True},
        },
    },
    "accounts": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "user": {"type": "str", "required": True},
            "password": {"type": "str", "no_log": True},
            "secret": {"type": "str", "no_log": False},
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
POLL = 0.5

LOOKUP_SCHEMA = "pgbouncer"
LOOKUP_ARGUMENTS = "i_username text, OUT uname text, OUT phash text"
# Accounts that could do more than use a database are none of the pool's business: they have no row at all.
LOOKUP_BODY = """
SELECT rolname::text, rolpassword::text
  FROM pg_catalog.pg_authid
 WHERE rolname = i_username AND rolcanlogin
   AND NOT rolsuper AND NOT rolreplication AND NOT rolbypassrls
   AND (rolvaliduntil IS NULL OR rolvaliduntil > pg_catalog.now())
"""


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


class Pooler(t.NamedTuple):
    """The role with which a connection pool looks up the passwords of its clients."""

    user: str
    password: str


class Account(t.NamedTuple):
    """A role of the cluster itself, made with it. Only its password is looked after."""

    user: str
    password: str


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


class Server(t.NamedTuple):
    """The part of the server in its cluster.

    ``streams`` says of a standby that it receives from a leader, ``waits`` of a leader that it waits for synchronous
    standbys, and ``standbys`` how many of them it has.
    """

    standby: bool = False
    streams: bool = False
    waits: bool = False
    standbys: int = 0


class State(t.NamedTuple):
    """The part of the server that the wanted databases are about. ``pooler`` is what it has for the pool, by kind."""

    roles: t.Dict[str, RoleState]
    databases: t.Dict[str, DatabaseState]
    server: Server = Server()
    pooler: t.Mapping[str, t.Any] = {}


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
            time.sleep(POLL)
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
    if "read-only transaction" in text or "recovery is in progress" in text:
        return "Another machine became the leader just now: run again."
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


def parse_pooler(entry: t.Optional[t.Mapping[str, t.Any]], databases: t.Sequence[Database]) -> t.Optional[Pooler]:
    """Return the role of the pool. Raises DatabaseError for one that is not possible."""
    if entry is None:
        return None
    user, password = entry["user"], entry["password"] or ""
    if not NAME.fullmatch(user):
        raise DatabaseError(
            f"pooler.user: {user!r} is not a plain name",
            "Use lower-case letters, digits and underscores, at most 63, not starting with a digit.",
        )
    if not password or not (password.isascii() and password.isprintable()):
        raise DatabaseError(
            f"pooler.password: the password of {user} is empty or not printable ASCII",
            "Remove the secret postgresql_pooler_password from secrets.yml: a new one is made.",
        )
    if user in [database.user for database in databases]:
        raise DatabaseError(
            f"pooler.user: {user!r} is also the role of a database", "Give the service a role of its own."
        )
    return Pooler(user, password)


def parse_accounts(
    entries: t.Sequence[t.Mapping[str, t.Any]], databases: t.Sequence[Database], pooler: t.Optional[Pooler]
) -> t.List[Account]:
    """Return the accounts of the cluster. Raises DatabaseError for one that is not possible."""
    others = {database.user for database in databases} | ({pooler.user} if pooler else set())
    accounts = []
    for entry in entries:
        user, password = entry["user"], entry["password"] or ""
        if not NAME.fullmatch(user) or user in others:
            raise DatabaseError(
                f"accounts: {user!r} is not a plain name, or also the role of a database or of the pool",
                "Use lower-case letters, digits and underscores, and a name of its own.",
            )
        if not password or not (password.isascii() and password.isprintable()):
            raise DatabaseError(
                f"accounts: the password of {user} is empty or not printable ASCII",
                "Remove its secret from secrets.yml: a new one is made.",
            )
        accounts.append(Account(user, password))
    return sorted(accounts)


SERVER_QUERY = """\
SET search_path = pg_catalog, pg_temp;
SELECT pg_is_in_recovery() AS standby,
       json_build_object(
         'standby', pg_is_in_recovery(),
         'streams', EXISTS (SELECT FROM pg_stat_get_wal_receiver() WHERE status = 'streaming'),
         'waits', current_setting('synchronous_standby_names') <> '',
         'standbys', (SELECT count(*) FROM pg_stat_replication
                       WHERE state = 'streaming' AND sync_state IN ('sync', 'quorum'))
       ) AS server \\gset
SELECT json_build_object('server', :'server'::json);
\\if :standby
\\quit
\\endif"""
"""What every script begins with: a standby has nothing else to say, and nothing to be changed."""

RIGHTS = (
    "(SELECT coalesce(jsonb_agg(jsonb_build_array(CASE WHEN grantee <> 0 THEN pg_get_userbyid(grantee) END, privilege_type,"
    " is_grantable) ORDER BY 1), '[]') FROM aclexplode(coalesce({acl}, acldefault('{kind}', {owner})))"
    " WHERE grantee <> {owner})"
)
"""The rights of others than the owner: [role or null for everybody, right, whether it may be passed on]."""


def pooler_query(pooler: Pooler) -> str:
    """Return the statement that prints what the server has for the pool."""
    return f"""\
SELECT jsonb_build_object('pooler', jsonb_build_object(
  'role', (SELECT jsonb_build_object('verifier', rolpassword, 'connects', has_database_privilege(r.oid, 'postgres', 'CONNECT'),
             'login', rolcanlogin, 'superuser', rolsuper, 'replication', rolreplication, 'createdb', rolcreatedb,
             'createrole', rolcreaterole, 'bypassrls', rolbypassrls,
             'member_of', (SELECT coalesce(jsonb_agg(DISTINCT pg_get_userbyid(roleid)::text), '[]')
                             FROM pg_auth_members WHERE member = r.oid))
             FROM pg_authid r WHERE rolname = '{pooler.user}'),
  'schema', (SELECT jsonb_build_object('owner', pg_get_userbyid(nspowner),
               'rights', {RIGHTS.format(acl="nspacl", kind="n", owner="nspowner")})
               FROM pg_namespace WHERE nspname = '{LOOKUP_SCHEMA}'),
  'function', (SELECT jsonb_build_object('owner', pg_get_userbyid(proowner), 'body', prosrc,
                 'arguments', pg_get_function_arguments(p.oid), 'result', pg_get_function_result(p.oid),
                 'definer', prosecdef, 'language', lanname, 'volatility', provolatile, 'settings', proconfig,
                 'rights', {RIGHTS.format(acl="proacl", kind="f", owner="proowner")})
                 FROM pg_proc p JOIN pg_language l ON l.oid = prolang
                WHERE p.oid = to_regprocedure('{LOOKUP_SCHEMA}.user_lookup(text)'))));"""


def query(
    databases: t.Sequence[Database], pooler: t.Optional[Pooler] = None, accounts: t.Sequence[Account] = ()
) -> str:
    """Return the script that prints the present state: one JSON object per line."""
    script = [SERVER_QUERY]
    if pooler:
        script.append(pooler_query(pooler))
    if accounts:
        users = ", ".join(f"'{account.user}'" for account in accounts)
        script.append(
            "SELECT json_build_object('role', rolname, 'login', rolcanlogin, 'verifier', rolpassword)"
            f" FROM pg_catalog.pg_authid WHERE rolname IN ({users});"
        )
    return "\n".join(script + (_database_queries(databases) if databases else [])) + "\n"


def _database_queries(databases: t.Sequence[Database]) -> t.List[str]:
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
    return script


def read(
    client: Client,
    databases: t.Sequence[Database],
    pooler: t.Optional[Pooler] = None,
    accounts: t.Sequence[Account] = (),
) -> State:
    """Return the present state of the server, and on a leader of the wanted roles and databases."""
    roles: t.Dict[str, RoleState] = {}
    found: t.Dict[str, DatabaseState] = {}
    server, pool = Server(), t.cast(t.Mapping[str, t.Any], {})
    for line in client.sql(query(databases, pooler, accounts)).splitlines():
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except ValueError:
            raise DatabaseError(
                f"psql printed something unexpected: {hide(line)[:200]!r}",
                "Look at the image of the service postgresql.",
            ) from None
        if "server" in entry:
            server = Server(**entry["server"])
        elif "pooler" in entry:
            pool = entry["pooler"]
        elif "role" in entry:
            roles[entry["role"]] = RoleState(entry["login"], entry["verifier"])
        elif "database" in entry:
            found[entry["database"]] = DatabaseState(entry["owner"], entry["encoding"], entry["public"], frozenset())
        else:
            old = found[entry["in"]]
            found[entry["in"]] = old._replace(extensions=old.extensions | {entry["extension"]})
    return State(roles, found, server, pool)


class Databases:
    """The wanted roles, databases and extensions. Nothing is ever dropped."""

    def __init__(self, client: t.Optional[Client], check_mode: bool, wait: float = 30, admin: str = "postgres") -> None:
        self.client, self.check_mode, self.wait, self.admin = client, check_mode, wait, admin

    def present(
        self,
        databases: t.Sequence[Database],
        pooler: t.Optional[Pooler] = None,
        accounts: t.Sequence[Account] = (),
    ) -> t.Dict[str, t.Any]:
        """Make the server hold the databases, if it is the leader of its cluster.

        Without a client (check mode, no server yet) it is taken as an empty leader.
        """
        if not databases and not pooler and not accounts:
            return _nothing("")
        deadline = time.monotonic() + self.wait
        state = read(self.client, databases, pooler, accounts) if self.client else State({}, {})
        while self.client and self._undecided(state) and time.monotonic() < deadline:
            time.sleep(POLL)
            state = read(self.client, databases, pooler, accounts)
        if state.server.standby:
            if not state.server.streams:
                raise DatabaseError(
                    f"PostgreSQL here is a standby that receives nothing from a leader, also after {self.wait:.0f} s",
                    "Look at `patronictl list` in its container, and run again when the cluster has a leader.",
                )
            return {**_nothing("standby"), "msg": "PostgreSQL here is a standby: its leader holds the databases."}
        script, result = plan(databases, state)
        statements = plan_pooler(pooler, state.pooler, self.admin, result) if pooler else []
        passwords = plan_accounts(accounts, state.roles, result)
        script = statements + script
        result["changed"] = bool(passwords or script)
        if passwords and self.client and not self.check_mode:
            self.client.sql("\n".join(passwords) + "\n")
        if script and self.client and not self.check_mode:
            self._apply(script, state, databases, pooler, deadline)
        return result

    @staticmethod
    def _undecided(state: State) -> bool:
        """Say whether a leader is still to be chosen: this server may become it."""
        return state.server.standby and not state.server.streams

    def _apply(
        self,
        script: t.List[str],
        state: State,
        databases: t.Sequence[Database],
        pooler: t.Optional[Pooler],
        deadline: float,
    ) -> None:
        client = t.cast(Client, self.client)
        while state.server.waits and not state.server.standbys:
            # The server would do it, and not come back from it until somebody has a copy.
            if time.monotonic() >= deadline:
                raise DatabaseError(
                    "the leader waits for a synchronous standby, and none streams: a change would wait for it, too",
                    "Bring a standby back (`patronictl list` in the container shows them), and run again.",
                )
            time.sleep(POLL)
            state = read(client, databases, pooler)
        client.sql("\n".join(script) + "\n")


def plan_accounts(
    accounts: t.Sequence[Account], roles: t.Mapping[str, RoleState], result: t.Dict[str, t.Any]
) -> t.List[str]:
    """Return the statements that give the cluster's own roles their passwords, and add to the result what they are.

    One that is not there is left to whoever makes the cluster.
    """
    statements = []
    for account in accounts:
        role = roles.get(account.user)
        if role is None:
            continue
        right = password_is(account.password, role.verifier)
        result["roles"][account.user] = "none" if right else "changed"
        if not right:
            statements.append(f"ALTER ROLE {_quoted(account.user)} PASSWORD '{verifier(account.password)}';")
            result["diff"]["before"][f"role {account.user}"] = {"password": "other"}
            result["diff"]["after"][f"role {account.user}"] = {"password": "right"}
    # A standby that cannot sign in for want of these is not waited for. All or none: who signs in meanwhile meets one set.
    return ["SET synchronous_commit = local;", "BEGIN;", *statements, "COMMIT;"] if statements else []


def _nothing(role: str) -> t.Dict[str, t.Any]:
    """Return the result where nothing is to be done."""
    return {
        "changed": False,
        "role": role,
        "roles": {},
        "databases": {},
        "pooler": "none",
        "warnings": [],
        "diff": {"before": {}, "after": {}},
    }


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def plan_pooler(pooler: Pooler, state: t.Mapping[str, t.Any], admin: str, result: t.Dict[str, t.Any]) -> t.List[str]:
    """Return the statements that the pool's role and lookup function lack, and add to the result what they are."""
    user, schema, function = _quoted(pooler.user), LOOKUP_SCHEMA, f"{LOOKUP_SCHEMA}.user_lookup(text)"
    wanted: t.Dict[str, t.Dict[str, t.Any]] = {
        "role": {
            "bypassrls": False,
            "connects": True,
            "createdb": False,
            "createrole": False,
            "login": True,
            "member_of": [],
            "password": "right",
            "replication": False,
            "superuser": False,
        },
        "schema": {"owner": admin, "rights": [[pooler.user, "USAGE", False]]},
        "function": {
            "arguments": LOOKUP_ARGUMENTS,
            "body": LOOKUP_BODY,
            "definer": True,
            "language": "sql",
            "owner": admin,
            "result": "SETOF record",
            "rights": [[pooler.user, "EXECUTE", False]],
            "settings": ["search_path=pg_catalog, pg_temp"],
            "volatility": "s",
        },
    }
    now: t.Dict[str, t.Optional[t.Dict[str, t.Any]]] = {kind: dict(state.get(kind) or {}) or None for kind in wanted}
    role = now["role"]
    if role is not None:
        role["password"] = "right" if password_is(pooler.password, role.pop("verifier")) else "other"
    different = [kind for kind in wanted if now[kind] != wanted[kind]]
    script: t.List[str] = []
    if "role" in different:
        flags = "LOGIN NOSUPERUSER NOREPLICATION NOCREATEDB NOCREATEROLE NOBYPASSRLS"
        password = f" PASSWORD '{verifier(pooler.password)}'" if role is None or role["password"] != "right" else ""
        script.append(f"{'CREATE' if role is None else 'ALTER'} ROLE {user} {flags}{password};")
        script += [f"REVOKE {_quoted(group)} FROM {user};" for group in (role or {}).get("member_of", [])]
        if role is None or not role["connects"] or role["superuser"]:
            script.append(f"GRANT CONNECT ON DATABASE postgres TO {user};")
    if "schema" in different:
        script.append(f"CREATE SCHEMA IF NOT EXISTS {schema};")
        script.append(f"ALTER SCHEMA {schema} OWNER TO {_quoted(admin)};")
        others = {who for who, _right, _passed in (now["schema"] or {}).get("rights", [])}
        script += [
            f"REVOKE ALL ON SCHEMA {schema} FROM {'PUBLIC' if who is None else _quoted(who)} CASCADE;"
            for who in sorted(others, key=lambda who: who or "")
        ]
        script.append(f"GRANT USAGE ON SCHEMA {schema} TO {user};")
    if "function" in different:
        # Made anew: replacing it keeps rights, and cannot change what it returns.
        script += [
            f"DROP FUNCTION IF EXISTS {function};",
            f"CREATE FUNCTION {schema}.user_lookup({LOOKUP_ARGUMENTS}) RETURNS SETOF record",
            "LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp",
            f"AS $lookup${LOOKUP_BODY}$lookup$;",
            f"ALTER FUNCTION {function} OWNER TO {_quoted(admin)};",
            f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC;",
            f"GRANT EXECUTE ON FUNCTION {function} TO {user};",
        ]
    if not different:
        return []
    result["pooler"] = "created" if all(now[kind] is None for kind in wanted) else "changed"
    for kind in different:
        name = f"pooler {kind}" + (f" {pooler.user}" if kind == "role" else "")
        result["diff"]["before"][name], result["diff"]["after"][name] = now[kind], wanted[kind]
    # A schema of this name comes first in the search path of the role with this name: plain names are the server's own.
    return ["SET search_path = pg_catalog, pg_temp;", "BEGIN;", *script, "COMMIT;", "RESET search_path;"]


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
        "role": "primary",
        "roles": roles,
        "databases": actions,
        "pooler": "none",
        "warnings": warnings,
        "diff": {"before": before, "after": after},
    }
    return script, result


def perform(params: t.Dict[str, t.Any], check_mode: bool) -> Outcome:
    """Make the server hold the databases if it is the leader: the module postgresql_databases without Ansible."""
    warnings: t.List[str] = []
    try:
        if any(entry["password"] is None for entry in params["databases"] or []):
            raise DatabaseError(
                "a database has no password", "Give `password`, or `secret` and let the controller read it."
            )
        databases = parse(params["databases"] or [])
        pooler = parse_pooler(params["pooler"], databases)
        accounts = parse_accounts(params["accounts"] or [], databases, pooler)
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
        result = Databases(client, check_mode, params["wait"], params["admin"]).present(databases, pooler, accounts)
    except (DatabaseError, ContainerError) as error:
        return Outcome({}, warnings, f"{error}. {error.remedy}")
    warnings += result.pop("warnings")
    return Outcome({"container": container[:12], **result}, warnings, idle=not result["changed"])


__all__ = ["ARGUMENTS", "ContainerError", "DatabaseError", "Databases", "NotRunning", "Psql", "parse", "perform"]
