# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Roles and databases: the logic against a fake, and, where PostgreSQL is installed, against a real server."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.pantheon.ai.plugins.module_utils import _containers
from ansible_collections.pantheon.ai.plugins.module_utils import _postgresql_cluster as cluster
from ansible_collections.pantheon.ai.plugins.module_utils import _postgresql_databases as pg

# RFC 7677, section 3: user "user", password "pencil".
RFC_SALT = "W22ZaJ0SNY7soEsUEjb6gQ=="
RFC_VERIFIER = (
    "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="
    ":wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
)
WANTED = [
    {"name": "litellm", "user": "litellm", "password": "pass-of-litellm", "extensions": []},
    {"name": "open_webui", "user": "open_webui", "password": "pass-of-webui", "extensions": ["pg_trgm"]},
]


def test_the_verifier_is_the_one_of_the_standard() -> None:
    import base64

    assert pg.verifier("pencil", base64.b64decode(RFC_SALT)) == RFC_VERIFIER


@pytest.mark.parametrize(
    ("password", "stored", "expected"),
    [
        ("pencil", RFC_VERIFIER, True),
        ("Pencil", RFC_VERIFIER, False),
        ("pencil", RFC_VERIFIER.replace("4096", "4097"), False),
        ("pencil", "md5" + "0" * 32, False),
        ("pencil", None, False),
        ("pencil", "SCRAM-SHA-256$4096:!!$x:y", False),
    ],
)
def test_a_password_is_compared_with_what_is_stored(password: str, stored: str | None, expected: bool) -> None:
    assert pg.password_is(password, stored) is expected


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"name": "a-b"}, "name 'a-b' is not a plain name"),
        ({"name": 'x"; DROP DATABASE y; --'}, "is not a plain name"),
        ({"user": "Upper"}, "user 'Upper' is not a plain name"),
        ({"extensions": ["v; DROP"]}, "extensions 'v; DROP' is not a plain name"),
        ({"password": "ünicode"}, "not printable ASCII"),
        ({"password": ""}, "is empty or not printable"),
    ],
)
def test_what_cannot_be_said_in_sql_is_refused(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(pg.DatabaseError, match=message):
        pg.parse([{"name": "a", "user": "a", "password": "secret", "extensions": [], **entry}])


def test_one_user_has_one_password_and_a_database_is_wanted_once() -> None:
    a, b = ({"name": name, "user": "u", "password": name * 3, "extensions": []} for name in "ab")
    with pytest.raises(pg.DatabaseError, match="'u' is wanted with two passwords"):
        pg.parse([a, b])
    with pytest.raises(pg.DatabaseError, match="'a' is wanted twice"):
        pg.parse([a, a])


def test_without_a_server_everything_would_be_made() -> None:
    result = pg.Databases(None, check_mode=True).present(pg.parse(WANTED))
    assert result["changed"] is True
    assert result["roles"] == {"litellm": "created", "open_webui": "created"}
    assert result["databases"]["open_webui"]["extensions_added"] == ["pg_trgm"]
    assert "pass-of" not in str(result)


class Transcript:
    """Stands for docker: answers as told, and remembers what it was asked."""

    def __init__(self, *answers: tuple[int, str, str]) -> None:
        self.answers = list(answers)
        self.calls: list[tuple[list[str], str]] = []

    def __call__(self, command: Sequence[str], stdin: str = "", timeout: float = 30) -> tuple[int, str, str]:
        self.calls.append((list(command), stdin))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


PRIMARY = '{"server": {"standby": false, "streams": false, "waits": false, "standbys": 0}}\n'
ALONE = PRIMARY.replace('"waits": false', '"waits": true')
STANDBY = '{"server": {"standby": true, "streams": true, "waits": false, "standbys": 0}}\n'
LEADERLESS = STANDBY.replace('"streams": true', '"streams": false')
POOLER = pg.Pooler("pgbouncer", "pass-of-pool")


def test_passwords_are_in_no_argument_and_not_in_the_sql() -> None:
    runner = Transcript((0, PRIMARY, ""))
    pg.Databases(pg.Psql(runner, "abc"), check_mode=False).present(pg.parse(WANTED))
    (query, _input), (command, script) = runner.calls
    assert query == command
    assert command[:6] == ["docker", "exec", "--interactive", "--user", "postgres", "abc"]
    assert "SCRAM" not in str(command)
    assert "pass-of" not in script
    assert 'CREATE ROLE "litellm" LOGIN PASSWORD \'SCRAM-SHA-256$4096:' in script
    assert "DROP" not in script


def test_a_server_that_starts_is_waited_for() -> None:
    runner = Transcript((2, "", "the database system is starting up"), (0, "", ""))
    assert pg.Psql(runner, "abc", wait=5).sql("SELECT 1;") == ""
    assert len(runner.calls) == 2
    never = Transcript((2, "", "the database system is starting up"))
    with pytest.raises(pg.DatabaseError, match="takes no connection: the database system is starting up"):
        pg.Psql(never, "abc", wait=0).sql("SELECT 1;")


def test_an_error_shows_no_verifier_and_names_the_remedy() -> None:
    text = f"ERROR: x\nLINE 1: CREATE ROLE a PASSWORD '{RFC_VERIFIER}';"
    with pytest.raises(pg.DatabaseError) as caught:
        pg.Psql(Transcript((3, "", text)), "abc", wait=0).sql("x")
    assert "WG5d8oPm3Otc" not in str(caught.value)
    missing = 'ERROR:  extension "vector" is not available'
    with pytest.raises(pg.DatabaseError) as caught:
        pg.Psql(Transcript((3, "", missing)), "abc", wait=0).sql("x")
    assert "lacks this extension" in caught.value.remedy


def test_the_container_is_found_by_its_labels() -> None:
    runner = Transcript((0, "0123456789abcdef\n", ""))
    assert _containers.find(runner, "pantheon-postgresql", "postgresql") == "0123456789abcdef"
    assert "label=com.docker.compose.project=pantheon-postgresql" in runner.calls[0][0]
    with pytest.raises(_containers.NotRunning, match="no container of the compose project p"):
        _containers.find(Transcript((0, "\n", "")), "p", "s")
    with pytest.raises(_containers.ContainerError, match="Docker does not answer: Cannot connect"):
        _containers.find(Transcript((1, "", "Cannot connect")), "p", "s")


@pytest.mark.parametrize("check_mode", [False, True])
def test_a_standby_leaves_it_to_its_leader(check_mode: bool) -> None:
    runner = Transcript((0, STANDBY, ""))
    result = pg.Databases(pg.Psql(runner, "abc"), check_mode).present(pg.parse(WANTED), POOLER)
    assert len(runner.calls) == 1, "what the server is comes with what it holds"
    assert (result["changed"], result["role"], result["roles"], result["databases"]) == (False, "standby", {}, {})
    assert "standby" in result["msg"]


def test_a_leader_that_is_still_to_be_chosen_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pg, "POLL", 0)
    runner = Transcript((0, LEADERLESS, ""), (0, LEADERLESS, ""), (0, PRIMARY, ""))
    result = pg.Databases(pg.Psql(runner, "abc"), check_mode=True, wait=5).present(pg.parse(WANTED))
    assert (result["role"], result["changed"], len(runner.calls)) == ("primary", True, 3)
    with pytest.raises(pg.DatabaseError, match=r"standby that receives nothing from a leader.*after 0 s") as caught:
        pg.Databases(pg.Psql(Transcript((0, LEADERLESS, "")), "abc"), False, wait=0).present(pg.parse(WANTED))
    assert "patronictl list" in caught.value.remedy


def test_nothing_is_changed_while_nobody_would_have_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pg, "POLL", 0)
    streaming = ALONE.replace('"standbys": 0', '"standbys": 1')
    runner = Transcript((0, ALONE, ""), (0, ALONE, ""), (0, streaming, ""), (0, "", ""))
    assert pg.Databases(pg.Psql(runner, "abc"), False, wait=5).present(pg.parse(WANTED))["changed"]
    assert "CREATE ROLE" in runner.calls[3][1]
    never = Transcript((0, ALONE, ""))
    with pytest.raises(pg.DatabaseError, match="waits for a synchronous standby, and none streams") as caught:
        pg.Databases(pg.Psql(never, "abc"), False, wait=0).present(pg.parse(WANTED))
    assert "Bring a standby back" in caught.value.remedy
    assert "CREATE" not in str(never.calls)


def test_a_leader_that_lost_its_place_says_so() -> None:
    text = "ERROR:  cannot execute CREATE ROLE in a read-only transaction"
    runner = Transcript((0, PRIMARY, ""), (3, "", text))
    with pytest.raises(pg.DatabaseError) as caught:
        pg.Databases(pg.Psql(runner, "abc"), check_mode=False).present(pg.parse(WANTED))
    assert caught.value.remedy == "Another machine became the leader just now: run again."


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"user": "Pool"}, "pooler.user: 'Pool' is not a plain name"),
        ({"user": "litellm"}, "pooler.user: 'litellm' is also the role of a database"),
        ({"password": None}, "pooler.password: the password of pgbouncer is empty"),
        ({"password": "ü"}, "not printable ASCII"),
    ],
)
def test_a_pool_that_cannot_be_is_refused(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(pg.DatabaseError, match=message):
        pg.parse_pooler({"user": "pgbouncer", "password": "secret", **entry}, pg.parse(WANTED))


def test_without_a_server_the_pool_would_be_made() -> None:
    result = pg.Databases(None, check_mode=True).present([], POOLER)
    assert (result["changed"], result["pooler"], result["role"]) == (True, "created", "primary")
    assert result["diff"]["before"] == {
        "pooler role pgbouncer": None,
        "pooler schema": None,
        "pooler function": None,
    }
    assert "pass-of" not in str(result)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"user": "a-b", "password": "x"}, "'a-b' is not a plain name"),
        ({"user": "litellm", "password": "x"}, "'litellm' is not a plain name, or also the role of a database"),
        ({"user": "pgbouncer", "password": "x"}, "or also the role of a database or of the pool"),
        ({"user": "replicator", "password": None}, "the password of replicator is empty"),
    ],
)
def test_an_account_that_cannot_be_is_refused(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(pg.DatabaseError, match=message):
        pg.parse_accounts([entry], pg.parse(WANTED), POOLER)


def test_accounts_that_the_cluster_has_not_made_yet_are_left_to_it() -> None:
    accounts = [pg.Account("replicator", "new-password")]
    runner = Transcript((0, PRIMARY, ""))
    result = pg.Databases(pg.Psql(runner, "abc"), check_mode=False).present([], None, accounts)
    assert result["changed"] is False
    assert len(runner.calls) == 1
    assert "new-password" not in str(runner.calls)


def test_passwords_of_the_cluster_wait_for_no_standby() -> None:
    """It may be for want of them that nobody stands by."""
    role = '{"role": "replicator", "login": true, "verifier": null}\n'
    runner = Transcript((0, ALONE + role, ""))
    accounts = [pg.Account("replicator", "new-password")]
    result = pg.Databases(pg.Psql(runner, "abc"), check_mode=False, wait=0).present([], None, accounts)
    assert result["roles"] == {"replicator": "changed"}
    script = runner.calls[-1][1]
    assert script.startswith(
        'SET synchronous_commit = local;\nBEGIN;\nALTER ROLE "replicator" PASSWORD \'SCRAM-SHA-256$'
    )
    assert "new-password" not in script


def test_nothing_wanted_asks_nobody() -> None:
    runner = Transcript((0, "", ""))
    assert pg.Databases(pg.Psql(runner, "abc"), False).present([])["changed"] is False
    assert runner.calls == []


# -- a real server ----------------------------------------------------------------------------------------------------

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))


@pytest.fixture(scope="module")
def server() -> Iterator[pg.Psql]:
    """Start a server of the machine's own PostgreSQL on a socket; nothing of an existing one is touched."""
    if not BINARIES:
        pytest.skip("PostgreSQL is not installed on this machine (apt-get install postgresql)")
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if as_user and shutil.which("runuser") is None:
        pytest.skip("runs as root, and runuser, which leaves root, is not installed")
    folder = Path(tempfile.mkdtemp(prefix="pantheon-pg-", dir="/tmp"))  # a socket path may not be long
    if as_user:
        shutil.chown(folder, "postgres")
    binaries, data = BINARIES[-1].parent, folder / "data"

    def command(*words: str) -> None:
        done = subprocess.run([*as_user, *words], check=False, capture_output=True, text=True, timeout=120, cwd="/")
        assert done.returncode == 0, done.stdout + done.stderr

    command(f"{binaries}/initdb", "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "SQL_ASCII", "--no-sync")
    hba = data / "pg_hba.conf"
    # As in the image: the superuser on the socket, everybody else with a password.
    rules = "local all postgres trust\nlocal all all scram-sha-256\n"
    command("sh", "-c", f"printf '%s' '{rules}' > {hba}")
    options = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off"
    command(f"{binaries}/pg_ctl", "-D", str(data), "-l", f"{folder}/log", "-w", "-o", options, "start")

    def run(words: Sequence[str], stdin: str = "", timeout: float = 30) -> tuple[int, str, str]:
        psql = words[words.index("psql") :]  # what docker exec would run in the container
        environment = {**os.environ, "PGHOST": str(folder)}
        done = subprocess.run(
            [f"{binaries}/psql", *psql[1:]],
            check=False,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=environment,
        )
        return done.returncode, done.stdout, done.stderr

    try:
        yield pg.Psql(run, "unused", wait=5)
    finally:
        command(f"{binaries}/pg_ctl", "-D", str(data), "-m", "immediate", "stop")
        shutil.rmtree(folder)


def sign_in(server: pg.Psql, user: str, password: str, database: str, sql: str = "SELECT 1;") -> tuple[int, str]:
    """Connect as a service does, with its password."""
    words = ["psql", "-XAtq", "-U", user, "-d", database, "-c", sql]
    old = os.environ.get("PGPASSWORD")
    os.environ["PGPASSWORD"] = password
    try:
        status, output, errors = server.runner(words, "", 30)
    finally:
        os.environ.pop("PGPASSWORD")
        if old is not None:
            os.environ["PGPASSWORD"] = old
    return status, (output + errors).strip()


def test_a_real_server_gets_what_is_wanted_once(server: pg.Psql) -> None:
    wanted = pg.parse(WANTED)
    check = pg.Databases(server, check_mode=True).present(wanted)
    first = pg.Databases(server, check_mode=False).present(wanted)
    assert check == first, "check mode and the real run report the same"
    assert first["changed"] is True
    second = pg.Databases(server, check_mode=False).present(wanted)
    assert second["changed"] is False
    assert second["diff"] == {"before": {}, "after": {}}
    assert second["roles"] == {"litellm": "none", "open_webui": "none"}
    assert {database["action"] for database in second["databases"].values()} == {"none"}

    assert sign_in(server, "litellm", "pass-of-litellm", "litellm", "CREATE TABLE t (i int);")[0] == 0
    encoding = sign_in(server, "open_webui", "pass-of-webui", "open_webui", "SHOW server_encoding;")
    assert encoding == (0, "UTF8"), "whatever the cluster's own encoding is"
    assert sign_in(server, "open_webui", "pass-of-webui", "open_webui", "SELECT similarity('a', 'a');") == (0, "1")
    assert sign_in(server, "litellm", "wrong", "litellm")[0] == 2
    status, text = sign_in(server, "litellm", "pass-of-litellm", "open_webui")
    assert status == 2
    assert "permission denied for database" in text, "only the owner may connect"


def test_a_real_server_is_brought_back(server: pg.Psql) -> None:
    wanted = pg.parse(WANTED)
    pg.Databases(server, check_mode=False).present(wanted)
    server.sql(
        "ALTER ROLE litellm NOLOGIN; ALTER ROLE open_webui PASSWORD 'changed-by-hand';"
        "GRANT CONNECT ON DATABASE litellm TO PUBLIC; ALTER DATABASE open_webui OWNER TO postgres;\n"
        "\\connect open_webui\nDROP EXTENSION pg_trgm;\n"
    )
    result = pg.Databases(server, check_mode=False).present(wanted)
    assert result["roles"] == {"litellm": "changed", "open_webui": "changed"}
    assert result["diff"]["before"]["role litellm"] == {"login": False, "password": "right"}
    assert result["diff"]["before"]["role open_webui"] == {"login": True, "password": "other"}
    assert result["diff"]["before"]["database litellm"]["public"] is True
    assert result["diff"]["before"]["database open_webui"] == {"owner": "postgres", "public": False, "extensions": []}
    assert pg.Databases(server, check_mode=False).present(wanted)["changed"] is False
    assert sign_in(server, "open_webui", "pass-of-webui", "open_webui")[0] == 0


def test_a_real_server_gets_renewed_passwords_for_the_roles_of_its_cluster(server: pg.Psql) -> None:
    server.sql("DROP ROLE IF EXISTS replicator; CREATE ROLE replicator LOGIN REPLICATION PASSWORD 'pass-of-before';\n")
    accounts = [pg.Account("replicator", "pass-of-today"), pg.Account("rewind", "pass-of-nobody")]
    check = pg.Databases(server, check_mode=True).present([], None, accounts)
    first = pg.Databases(server, check_mode=False).present([], None, accounts)
    assert check == first
    assert first["changed"] is True
    assert first["roles"] == {"replicator": "changed"}, "one that is not there is left alone"
    assert first["diff"]["after"] == {"role replicator": {"password": "right"}}
    assert pg.Databases(server, check_mode=False).present([], None, accounts)["changed"] is False
    assert sign_in(server, "replicator", "pass-of-today", "postgres")[0] == 0
    assert sign_in(server, "replicator", "pass-of-before", "postgres")[0] == 2
    rights = "SELECT rolreplication AND NOT rolsuper FROM pg_roles WHERE rolname = 'replicator';"
    assert server.sql(rights).strip() == "t", "its rights are as they were"


def test_a_real_server_keeps_what_is_no_longer_wanted(server: pg.Psql) -> None:
    pg.Databases(server, check_mode=False).present(pg.parse(WANTED))
    assert pg.Databases(server, check_mode=False).present(pg.parse(WANTED[:1]))["changed"] is False
    assert server.sql("SELECT count(*) FROM pg_database WHERE datname = 'open_webui';").strip() == "1"


def test_a_real_server_without_the_extension_says_what_to_do(server: pg.Psql) -> None:
    wanted = pg.parse([{"name": "other", "user": "other", "password": "secret", "extensions": ["no_such_thing"]}])
    with pytest.raises(pg.DatabaseError) as caught:
        pg.Databases(server, check_mode=False).present(wanted)
    assert "no_such_thing" in str(caught.value)
    assert "lacks this extension" in caught.value.remedy


def test_a_database_with_another_encoding_is_pointed_out(server: pg.Psql) -> None:
    server.sql("CREATE DATABASE old ENCODING 'SQL_ASCII' TEMPLATE template0;\n")
    wanted = pg.parse([{"name": "old", "user": "old", "password": "secret", "extensions": []}])
    result = pg.Databases(server, check_mode=False).present(wanted)
    assert result["warnings"] == [
        "database old has the encoding SQL_ASCII; services need UTF8. Dump it, drop it and run again."
    ]


def test_a_real_server_needs_a_restart_for_the_parameters_that_are_known_to(server: pg.Psql) -> None:
    """What postgresql_cluster foresees in check mode."""
    found = set(server.sql("SELECT name FROM pg_settings WHERE context = 'postmaster';").split())
    # Set by Patroni, on the command line or at build time, or of no use to anybody.
    others = {"config_file", "data_directory", "data_sync_retry", "debug_io_direct", "hba_file", "ignore_invalid_pages"}
    assert found - others <= cluster.NEED_RESTART
    assert not set(server.sql("SELECT name FROM pg_settings WHERE context <> 'postmaster';").split()) & (
        cluster.NEED_RESTART
    )


OTHER_LOOKUP = (
    "CREATE FUNCTION pgbouncer.user_lookup(i_username text, OUT uname text) LANGUAGE sql AS $$SELECT i_username$$;"
)
LOOKUP = "SELECT uname, phash IS NOT NULL FROM pgbouncer.user_lookup('{}');"


def test_a_real_server_lets_the_pool_look_up_who_may_sign_in(server: pg.Psql) -> None:
    wanted = pg.parse(WANTED)
    check = pg.Databases(server, check_mode=True).present(wanted, POOLER)
    first = pg.Databases(server, check_mode=False).present(wanted, POOLER)
    assert check == first
    assert (first["pooler"], first["changed"]) == ("created", True)
    second = pg.Databases(server, check_mode=False).present(wanted, POOLER)
    assert (second["pooler"], second["changed"], second["diff"]) == ("none", False, {"before": {}, "after": {}})

    server.sql(
        "CREATE ROLE copies LOGIN REPLICATION PASSWORD 'x'; CREATE ROLE root LOGIN SUPERUSER PASSWORD 'x';"
        "CREATE ROLE over LOGIN PASSWORD 'x' VALID UNTIL '2001-01-01'; CREATE ROLE nobody PASSWORD 'x';"
    )

    def seen(name: str, user: str = "pgbouncer", password: str = "pass-of-pool") -> tuple[int, str]:
        return sign_in(server, user, password, "postgres", LOOKUP.format(name))

    assert seen("litellm") == (0, "litellm|t")
    assert [seen(name) for name in ("postgres", "copies", "root", "over", "nobody", "missing")] == [(0, "")] * 6
    status, text = seen("litellm", "litellm", "pass-of-litellm")
    assert status == 1
    assert "permission denied" in text
    status, text = sign_in(server, "pgbouncer", "pass-of-pool", "postgres", "SELECT rolpassword FROM pg_authid;")
    assert "permission denied" in text
    assert sign_in(server, "pgbouncer", "pass-of-pool", "litellm")[0] == 2, "it only looks up"


@pytest.mark.parametrize(
    ("drift", "kinds"),
    [
        ("ALTER ROLE pgbouncer SUPERUSER CREATEDB;", ["role"]),
        ("ALTER ROLE pgbouncer NOLOGIN REPLICATION PASSWORD 'other';", ["role"]),
        ("GRANT pg_read_all_data, pg_monitor TO pgbouncer;", ["role"]),
        ("GRANT ALL ON SCHEMA pgbouncer TO PUBLIC; GRANT CREATE ON SCHEMA pgbouncer TO litellm;", ["schema"]),
        ("ALTER SCHEMA pgbouncer OWNER TO litellm;", ["schema"]),
        ("GRANT EXECUTE ON FUNCTION pgbouncer.user_lookup(text) TO PUBLIC, litellm;", ["function"]),
        ("REVOKE EXECUTE ON FUNCTION pgbouncer.user_lookup(text) FROM pgbouncer;", ["function"]),
        ("ALTER FUNCTION pgbouncer.user_lookup(text) RESET search_path;", ["function"]),
        ("ALTER FUNCTION pgbouncer.user_lookup(text) SECURITY INVOKER;", ["function"]),
        ("ALTER FUNCTION pgbouncer.user_lookup(text) OWNER TO litellm;", ["function"]),
        ("DROP SCHEMA pgbouncer CASCADE;", ["schema", "function"]),
        ("DROP FUNCTION pgbouncer.user_lookup(text); " + OTHER_LOOKUP, ["function"]),
    ],
)
def test_a_real_server_gets_back_what_the_pool_needs(server: pg.Psql, drift: str, kinds: list[str]) -> None:
    wanted = pg.parse(WANTED)
    pg.Databases(server, check_mode=False).present(wanted, POOLER)
    server.sql(drift)
    check = pg.Databases(server, check_mode=True).present(wanted, POOLER)
    result = pg.Databases(server, check_mode=False).present(wanted, POOLER)
    assert check == result
    assert result["pooler"] == "changed"
    assert [name.split()[1] for name in result["diff"]["after"]] == kinds
    assert "pass-of" not in str(result)
    assert "SCRAM" not in str(result)
    assert pg.Databases(server, check_mode=False).present(wanted, POOLER)["changed"] is False
    assert sign_in(server, "pgbouncer", "pass-of-pool", "postgres", LOOKUP.format("litellm")) == (0, "litellm|t")
