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


def test_passwords_are_in_no_argument_and_not_in_the_sql() -> None:
    runner = Transcript((0, "", ""))
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
