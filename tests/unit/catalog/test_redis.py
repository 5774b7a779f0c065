# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Redis, its sentinels, its users, the way to the master, and the script that starts them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.pantheon.ai.plugins.plugin_utils import _redis

Workshop = Any

REPOSITORY = Path(__file__).resolve().parents[3]
SCRIPT = REPOSITORY / "catalog" / "templates" / "redis" / "redis.sh"

EREBUS, THANATOS, ZELUS = "10.1.0.11", "10.1.0.12", "10.1.0.18"


@pytest.fixture
def made(workshop: Workshop) -> Workshop:
    """Redis on two machines, sentinels on three."""
    workshop.hosts["zelus"] = {"ansible_host": ZELUS, "pantheon_memory_mb": 4096, "pantheon_gpu": "none"}
    workshop.groups["machines"].append("zelus")
    workshop.groups["redis"] = ["erebus", "thanatos"]
    workshop.groups["redis_sentinel"] = ["erebus", "thanatos", "zelus"]
    return workshop


def rules(text: str, user: str) -> list[str]:
    """Return the words of a user's line."""
    return next(line.split()[2:] for line in text.splitlines() if line.startswith(f"user {user} "))


def test_the_configuration_says_nothing_about_the_master(made: Workshop) -> None:
    site = made.load()
    text = _redis.redis_config(site, "thanatos")
    assert f"bind {THANATOS} 127.0.0.1\n" in text
    assert f"replica-announce-ip {THANATOS}\n" in text
    assert "maxmemory 307mb\n" in text, "the container has 512"
    assert not re.search(r"^(replicaof|slaveof|requirepass)", text, re.MULTILINE)


def test_the_topology(made: Workshop) -> None:
    site = made.load()
    assert _redis.redis_topology(site, "thanatos").splitlines() == [
        f"self {THANATOS} 6379",
        f"redis {EREBUS} 6379",
        f"redis {THANATOS} 6379",
        f"sentinel {EREBUS} 26379",
        f"sentinel {THANATOS} 26379",
        f"sentinel {ZELUS} 26379",
    ]
    assert _redis.sentinel_topology(site, "zelus").startswith(f"self {ZELUS} 26379\nredis {EREBUS} 6379\n")


@pytest.mark.parametrize(("count", "quorum"), [(1, 1), (2, 2), (3, 2), (5, 3)])
def test_more_than_half_of_the_sentinels_decide(made: Workshop, count: int, quorum: int) -> None:
    made.groups["redis_sentinel"] = ["erebus", "thanatos", "zelus", "nyx", "hades"][:count]
    site = made.load()
    text = _redis.sentinel_config(site, "erebus")
    assert f"sentinel monitor pantheon {EREBUS} 6379 {quorum}\n" in text
    assert text.count("known-sentinel") == count - 1
    assert f"known-sentinel pantheon {EREBUS}" not in text, "itself"


def test_a_sentinel_keeps_its_name(made: Workshop) -> None:
    site = made.load()
    own = re.search(r"myid ([0-9a-f]{40})\n", _redis.sentinel_config(site, "zelus"))
    assert own is not None
    assert f"known-sentinel pantheon {ZELUS} 26379 {own[1]}\n" in _redis.sentinel_config(site, "erebus")
    assert len({_redis.sentinel_id(host) for host in ("erebus", "thanatos", "zelus")}) == 3


def test_users(made: Workshop) -> None:
    text = _redis.redis_users(made.load(), "erebus")
    assert not re.search(r"^(?!user )", text.rstrip("\n"), re.MULTILINE), "an aclfile knows nothing else"
    assert rules(text, "default") == ["reset", "off"]
    gateway = rules(text, "litellm")
    assert gateway[:2] == ["on", ">@@secret:litellm_redis_password@@"]
    assert [word for word in gateway if word[0] in "~&"] == ["~litellm:*", "&litellm:*"]
    assert [word for word in rules(text, "open_webui") if word[0] in "~&"] == [
        "~open-webui:*",
        "&open-webui:*",
        "&socketio",
        "&socketio#*",
    ]
    for user in ("litellm", "open_webui"):
        words = rules(text, user)
        # The last word counts: nothing may bring the dangerous ones back.
        assert words.index("-@dangerous") > words.index("+@write")
        assert words.index("-@admin") > words.index("+@connection")
        assert not {"+@all", "+@dangerous", "+@admin", "~*", "&*", "allkeys", "allchannels"} & set(words)
    assert "+config|rewrite" in rules(text, "sentinel")


def test_a_service_without_channels_may_not_use_them(made: Workshop) -> None:
    made.add(
        "tool",
        ["erebus"],
        requires=["redis-router"],
        secrets=[{"name": "tool_redis_password"}],
        redis=[
            {
                "service": "redis",
                "user": "tool",
                "secret": "tool_redis_password",
                "keys": ["tool:*"],
                "commands": ["+info"],
            }
        ],
    )
    words = rules(_redis.redis_users(made.load(), "erebus"), "tool")
    assert "+publish" not in words
    assert words[-1] == "+info"


def test_who_is_not_deployed_has_no_user(made: Workshop) -> None:
    made.groups["open_webui"] = []
    assert [entry["user"] for entry in _redis.clients(made.load())] == ["litellm"]


def test_faults_of_users(made: Workshop) -> None:
    entry = {"service": "redis", "user": "litellm", "secret": "nowhere", "keys": ["tool:*"]}
    made.add("tool", ["erebus"], redis=[entry])
    problems = [problem for problem in made.problems() if problem.field.startswith("redis.")]
    assert [(problem.field, problem.value) for problem in problems] == [
        ("redis.litellm", "redis"),
        ("redis.litellm", "litellm"),
        ("redis.litellm.secret", "nowhere"),
    ]


@pytest.mark.parametrize("user", ["default", "local", *_redis.PLATFORM_USERS])
def test_users_of_the_platform_are_taken(made: Workshop, user: str) -> None:
    made.add("tool", ["erebus"], redis=[{"service": "redis", "user": user, "secret": "x", "keys": ["tool:*"]}])
    assert [problem.field for problem in made.problems()] == ["redis.0.user"]


def test_the_router_believes_the_sentinels(made: Workshop) -> None:
    text = _redis.redis_router(made.load(), "orpheus")
    assert "  use_backend erebus if { nbsrv(erebus) ge 1 } { nbsrv(sentinels_for_erebus) ge 2 }\n" in text
    assert text.count("backend sentinels_for_") == 2
    assert text.count(f"server zelus {ZELUS}:26379 check") == 2
    assert f"expect string \\n{THANATOS}\\r\\n" in text, "not also 10.1.0.120"
    assert "  bind 127.0.0.1:7001\n" in text


def test_without_sentinels(made: Workshop) -> None:
    made.groups["redis"] = ["erebus"]
    made.override("redis-sentinel", {"enabled": False})
    site = made.load()
    assert "  use_backend erebus if { nbsrv(erebus) ge 1 }\n" in _redis.redis_router(site, "orpheus")
    assert _redis.redis_topology(site, "erebus") == f"self {EREBUS} 6379\nredis {EREBUS} 6379\n"


def test_ipv6(made: Workshop) -> None:
    made.hosts["thanatos"]["ansible_host"] = "fd00::12"
    site = made.load()
    assert "server thanatos [fd00::12]:6379 check" in _redis.redis_router(site, "orpheus")
    assert "bind fd00::12 127.0.0.1\n" in _redis.redis_config(site, "thanatos")


# -- redis.sh ---------------------------------------------------------------------------------------------------------

ASKED = """#!/bin/sh
# Stands in for redis-cli: the answer lies in a file named by address, port and command.
while [ "$#" -gt 0 ]; do
    case $1 in
        -t | --user) shift 2 ;;
        -h) host=$2; shift 2 ;;
        -p) port=$2; shift 2 ;;
        *) break ;;
    esac
done
cat "$ANSWERS/$host-$port-$(echo "$*" | tr ' ' '-')" 2> /dev/null
"""


class Container:
    """What a container of Redis holds, with other programs in place of Redis's own."""

    def __init__(self, folder: Path) -> None:
        self.managed, self.data, self.programs, self.answers = (
            folder / name for name in ("managed", "data", "programs", "answers")
        )
        for path in (self.managed, self.data, self.programs, self.answers):
            path.mkdir()
        self.topology(EREBUS)
        (self.managed / "users.acl").write_text("user default reset off\n")
        (self.managed / "sentinel.conf").write_text(
            f"port 26379\nsentinel monitor pantheon {EREBUS} 6379 2\nsentinel down-after-milliseconds pantheon 2000\n"
        )
        self.program("redis-cli", ASKED)
        self.program("id", "#!/bin/sh\necho 999\n")
        for name in ("redis-server", "redis-sentinel"):
            self.program(name, "#!/bin/sh\nexit 3\n")

    def program(self, name: str, text: str) -> None:
        (self.programs / name).write_text(text)
        (self.programs / name).chmod(0o755)

    def topology(self, own: str, nodes: tuple[str, ...] = (EREBUS, THANATOS), port: int = 6379) -> None:
        lines = [f"self {own} {port}", *(f"redis {node} 6379" for node in nodes)]
        lines += [f"sentinel {one} 26379" for one in (EREBUS, THANATOS, ZELUS)]
        (self.managed / "topology").write_text("\n".join(lines) + "\n")

    def answer(self, host: str, port: int, command: str, text: str) -> None:
        (self.answers / f"{host}-{port}-{command.replace(' ', '-')}").write_text(text)

    def sentinel_says(self, sentinel: str, master: str, epoch: int) -> None:
        fields = {
            "name": "pantheon",
            "ip": master,
            "port": "6379",
            "flags": "master",
            "link-refcount": "",
            "config-epoch": str(epoch),
        }
        self.answer(
            sentinel, 26379, "sentinel master pantheon", "".join(f"{key}\n{value}\n" for key, value in fields.items())
        )

    def redis_says(self, host: str, role: str, replicas: int = 0) -> None:
        self.answer(host, 6379, "info replication", f"# Replication\r\nrole:{role}\r\nconnected_slaves:{replicas}\r\n")

    def run(self, what: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", str(SCRIPT), what],
            env={
                "PATH": f"{self.programs}:/usr/bin:/bin",
                "REDIS_MANAGED": str(self.managed),
                "REDIS_DATA": str(self.data),
                "ANSWERS": str(self.answers),
            },
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def master(self) -> str:
        """Start the server and return whose replica it is; its own address if it is the master."""
        assert self.run("server").returncode == 3, "what the server ends with is what the container ends with"
        text = (self.data / "redis.conf").read_text()
        found = re.search(r"^replicaof (\S+) 6379$", text, re.MULTILINE)
        own = (self.managed / "topology").read_text().split()[1]
        assert ("replica-priority 0" in text) == (found is not None), "not promoted before it has the data"
        return found[1] if found else own

    def state(self) -> list[str]:
        """Start the sentinel and return what it is started with."""
        assert self.run("sentinel").returncode == 3
        return (self.data / "sentinel.conf").read_text().splitlines()


@pytest.fixture
def container(tmp_path: Path) -> Container:
    return Container(tmp_path)


def test_a_replica_may_take_over_although_the_first_order_was_lost(container: Container) -> None:
    """With priority 0 it never would: an order without an answer is given again."""
    container.topology(THANATOS)
    container.answer(THANATOS, 6379, "info replication", "role:slave\r\nmaster_link_status:up\r\n")
    container.program("redis-server", "#!/bin/sh\nsleep 3\nexit 3\n")
    orders = container.answers / "orders"
    container.program(
        "redis-cli",
        f"#!/bin/sh\ncase \"$*\" in *'config set replica-priority 100')\n"
        f"  echo x >> {orders}\n  if [ $(wc -l < {orders}) -gt 1 ]; then echo OK; exit 0; else exit 1; fi;;\nesac\n"
        + ASKED.split("\n", 1)[1],
    )
    assert container.master() == EREBUS
    assert orders.read_text() == "x\nx\n", "given again after the first, and not after the second"


@pytest.mark.parametrize("own", [EREBUS, THANATOS])
def test_at_the_very_first_start_the_first_is_the_master(container: Container, own: str) -> None:
    container.topology(own)
    assert container.master() == EREBUS


def test_the_sentinels_decide(container: Container) -> None:
    container.sentinel_says(ZELUS, THANATOS, 4)
    (container.data / "appendonlydir").mkdir()
    assert container.master() == THANATOS


def test_it_waits_for_more_than_half_of_the_sentinels(container: Container) -> None:
    """A master that was off during a failover must not go on as the master."""
    container.sentinel_says(ZELUS, EREBUS, 3)
    container.sentinel_says(THANATOS, EREBUS, 3)
    (container.data / "appendonlydir").mkdir()
    assert container.master() == EREBUS
    (container.answers / f"{THANATOS}-26379-sentinel-master-pantheon").unlink()
    # By the time it looks again, the second one is there and knows more.
    container.program(
        "sleep",
        f"#!/bin/sh\ncp {container.answers}/later {container.answers}/{EREBUS}-26379-sentinel-master-pantheon\n",
    )
    container.sentinel_says("later", THANATOS, 4)
    (container.answers / "later-26379-sentinel-master-pantheon").rename(container.answers / "later")
    assert container.master() == THANATOS


def test_the_latest_failover_counts(container: Container) -> None:
    container.topology(THANATOS)
    container.sentinel_says(EREBUS, EREBUS, 9)
    container.sentinel_says(THANATOS, THANATOS, 10)
    (container.data / "appendonlydir").mkdir()
    assert container.master() == THANATOS


@pytest.mark.parametrize(
    ("written", "master"),
    [
        ("include x\n", EREBUS),
        (f"include x\nreplicaof {THANATOS} 6379\n", THANATOS),
        # A machine that no longer is one of ours.
        ("include x\nreplicaof 10.9.9.9 6379\n", EREBUS),
    ],
)
def test_without_sentinels_it_is_what_it_was(container: Container, written: str, master: str) -> None:
    (container.data / "redis.conf").write_text(written)
    assert container.master() == master


def test_a_second_machine_that_was_the_master_still_is(container: Container) -> None:
    container.topology(THANATOS)
    (container.data / "redis.conf").write_text("include x\n")
    assert container.master() == THANATOS


def test_one_alone_is_the_master_whatever_was(container: Container) -> None:
    container.topology(EREBUS, nodes=(EREBUS,))
    (container.data / "redis.conf").write_text(f"replicaof {THANATOS} 6379\n")
    assert container.master() == EREBUS


def test_a_master_without_data_waits_for_its_replica_to_take_over(container: Container) -> None:
    container.sentinel_says(EREBUS, EREBUS, 1)
    container.sentinel_says(ZELUS, EREBUS, 1)
    container.answer(THANATOS, 6379, "info keyspace", "# Keyspace\r\ndb0:keys=5,expires=0\r\n")
    # By the time it looks again, the sentinels have decided.
    answer = container.answers / f"{ZELUS}-26379-sentinel-master-pantheon"
    later = answer.read_text().replace(EREBUS, THANATOS).replace("\n1\n", "\n2\n")
    container.program("sleep", f"#!/bin/sh\ncat > {answer} <<'END'\n{later}END\n")
    assert container.master() == THANATOS


def test_a_master_without_data_starts_where_nobody_has_any(container: Container) -> None:
    container.sentinel_says(ZELUS, EREBUS, 0)
    assert container.master() == EREBUS


def test_the_script_has_a_user_of_its_own(container: Container) -> None:
    container.master()
    users = (container.data / "users.acl").read_text()
    container.master()
    assert users.startswith("user default reset off\nuser local on >")
    assert (container.data / "users.acl").read_text() != users, "with another password each time"
    assert (container.data / "users.acl").stat().st_mode & 0o077 == 0


def test_a_sentinel_starts_as_managed(container: Container) -> None:
    container.topology(ZELUS, port=26379)
    assert container.state() == [
        "port 26379",
        f"sentinel monitor pantheon {EREBUS} 6379 2",
        "sentinel down-after-milliseconds pantheon 2000",
        f"sentinel known-replica pantheon {THANATOS} 6379",
        "sentinel config-epoch pantheon 0",
        "sentinel leader-epoch pantheon 0",
        "sentinel current-epoch 0",
    ]


def test_a_sentinel_remembers_the_master_and_nothing_else(container: Container) -> None:
    container.topology(ZELUS, port=26379)
    (container.data / "sentinel.conf").write_text(
        f"""sentinel monitor pantheon {THANATOS} 6379 5
sentinel down-after-milliseconds pantheon 99
sentinel config-epoch pantheon 7
sentinel leader-epoch pantheon 8
sentinel current-epoch 9
sentinel known-sentinel pantheon 10.9.9.9 26379 {"0" * 40}
"""
    )
    assert container.state() == [
        "port 26379",
        f"sentinel monitor pantheon {THANATOS} 6379 2",
        "sentinel down-after-milliseconds pantheon 2000",
        f"sentinel known-replica pantheon {EREBUS} 6379",
        "sentinel config-epoch pantheon 7",
        "sentinel leader-epoch pantheon 8",
        "sentinel current-epoch 9",
    ]


def test_a_sentinel_believes_one_that_has_seen_a_later_failover(container: Container) -> None:
    container.topology(ZELUS, port=26379)
    (container.data / "sentinel.conf").write_text(
        f"sentinel monitor pantheon {EREBUS} 6379 2\nsentinel config-epoch pantheon 3\n"
    )
    container.sentinel_says(EREBUS, EREBUS, 3)
    container.sentinel_says(THANATOS, THANATOS, 4)
    assert f"sentinel monitor pantheon {THANATOS} 6379 2" in container.state()


def test_a_sentinel_that_knows_nothing_looks_who_is_the_master(container: Container) -> None:
    container.topology(ZELUS, port=26379)
    container.redis_says(EREBUS, "slave")
    container.redis_says(THANATOS, "master", 1)
    assert f"sentinel monitor pantheon {THANATOS} 6379 2" in container.state()


def test_a_master_that_left_the_platform_and_is_gone(container: Container) -> None:
    container.topology(ZELUS, port=26379)
    (container.data / "sentinel.conf").write_text("sentinel monitor pantheon 10.9.9.9 6379 2\n")
    container.redis_says(THANATOS, "master")
    assert f"sentinel monitor pantheon {THANATOS} 6379 2" in container.state()


@pytest.mark.parametrize(
    ("state", "healthy"),
    [
        ("role:master\r\n", True),
        ("role:slave\r\nmaster_link_status:up\r\n", True),
        ("role:slave\r\nmaster_link_status:down\r\n", False),
        ("", False),
    ],
)
def test_health(container: Container, state: str, healthy: bool) -> None:
    container.answer(EREBUS, 6379, "info replication", state)
    container.answer(EREBUS, 6379, "set pantheon:health ok ex 60", "OK\n")
    assert (container.run("server-health").returncode == 0) == healthy


def test_a_master_that_takes_no_write_is_not_healthy(container: Container) -> None:
    container.redis_says(EREBUS, "master")
    assert container.run("server-health").returncode != 0
