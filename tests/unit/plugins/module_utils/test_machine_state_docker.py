# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which packages bring Docker to a machine, and what is read from its engine."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest

from ansible_collections.pantheon.ai.plugins.module_utils._machine_docker import (
    Engine,
    EngineUnavailable,
    MachineError,
    choose_engine,
    engine_facts,
    fingerprints,
    repository_file,
    swarm_facts,
)

NONE = Engine("none", False)
DEBIAN_13 = ["docker.io", "docker-cli", "docker-compose"]
UBUNTU = ["docker.io", "docker-compose-v2"]
UPSTREAM = ["docker-ce", "docker-ce-cli", "containerd.io", "docker-compose-plugin"]
PLUGIN = ["docker-compose-plugin"]

# system, release, engine that is there, compose v2 there, docker_source -> source, packages, repository; or part of the error
TABLE: list[tuple[str, str, str, bool, str, Any]] = [
    # nothing there
    ("debian", "13", "none", False, "auto", ("distribution", DEBIAN_13, False)),
    ("debian", "12", "none", False, "auto", ("upstream", UPSTREAM, True)),
    ("ubuntu", "22.04", "none", False, "auto", ("distribution", UBUNTU, False)),
    ("ubuntu", "24.04", "none", False, "auto", ("distribution", UBUNTU, False)),
    ("fedora", "41", "none", False, "auto", "fedora 41"),
    ("debian", "13", "none", False, "upstream", ("upstream", UPSTREAM, True)),
    ("debian", "12", "none", False, "distribution", "carries no compose v2"),
    ("debian", "13", "none", False, "existing", "no Docker Engine"),
    # an engine with compose v2: kept, whatever it is
    ("debian", "13", "distribution", True, "auto", ("existing", [], False)),
    ("debian", "12", "upstream", True, "auto", ("existing", [], False)),
    ("ubuntu", "24.04", "other", True, "auto", ("existing", [], False)),
    ("fedora", "41", "other", True, "auto", ("existing", [], False)),
    ("fedora", "41", "other", True, "existing", ("existing", [], False)),
    ("ubuntu", "24.04", "other", True, "existing", ("existing", [], False)),
    # an engine without compose v2: only the plugin
    ("debian", "13", "distribution", False, "auto", ("distribution", ["docker-compose"], False)),
    ("ubuntu", "22.04", "distribution", False, "auto", ("distribution", ["docker-compose-v2"], False)),
    ("debian", "12", "distribution", False, "auto", ("upstream", PLUGIN, True)),
    ("debian", "13", "upstream", False, "auto", ("upstream", PLUGIN, True)),
    ("ubuntu", "24.04", "other", False, "auto", ("upstream", PLUGIN, True)),
    ("debian", "12", "distribution", False, "existing", "no compose v2"),
    # never replaced
    ("debian", "13", "upstream", True, "distribution", "another origin (upstream)"),
    ("debian", "13", "other", False, "distribution", "another origin (other)"),
    ("debian", "13", "distribution", True, "upstream", "another origin (distribution)"),
    ("ubuntu", "24.04", "other", True, "upstream", "another origin (other)"),
    ("debian", "13", "upstream", True, "upstream", ("upstream", UPSTREAM, True)),
]


@pytest.mark.parametrize(("os_id", "version", "origin", "compose", "source", "expected"), TABLE)
def test_choice_of_the_engine(os_id: str, version: str, origin: str, compose: bool, source: str, expected: Any) -> None:
    if isinstance(expected, str):
        with pytest.raises(MachineError) as caught:
            choose_engine(os_id, version, Engine(origin, compose), source)
        assert expected in str(caught.value)
        assert "docker_source" in caught.value.remedy
    else:
        choice = choose_engine(os_id, version, Engine(origin, compose), source)
        assert (choice.source, choice.packages, choice.repository) == expected


def test_every_choice_is_kept_by_the_next_run() -> None:
    for os_id, version in (("debian", "12"), ("debian", "13"), ("ubuntu", "22.04"), ("ubuntu", "24.04")):
        choice = choose_engine(os_id, version, NONE)
        assert choose_engine(os_id, version, Engine(choice.source, True)).packages == []


def test_repository_names_the_system_and_its_key() -> None:
    text = repository_file("debian", "bookworm", "amd64", "https://mirror.example/docker/")
    assert "URIs: https://mirror.example/docker/debian\n" in text
    assert "Suites: bookworm\n" in text
    assert "Signed-By: /etc/apt/keyrings/docker.asc\n" in text


def armor(*packets: bytes) -> str:
    body = base64.b64encode(b"".join(packets)).decode()
    lines = [body[start : start + 64] for start in range(0, len(body), 64)]
    return "\n".join(
        ["-----BEGIN PGP PUBLIC KEY BLOCK-----", "", *lines, "=AAAA", "-----END PGP PUBLIC KEY BLOCK-----", ""]
    )


def test_fingerprints_are_those_of_primary_keys() -> None:
    key = b"\x04" + b"\x00" * 4 + b"\x01" + bytes(range(256)) * 2
    expected = hashlib.sha1(b"\x99" + len(key).to_bytes(2, "big") + key).hexdigest().upper()
    old_format = b"\x99" + len(key).to_bytes(2, "big") + key
    new_format = b"\xc6" + bytes([((len(key) - 192) >> 8) + 192, (len(key) - 192) & 0xFF]) + key
    user_id = b"\xb4\x05Owner"
    subkey = b"\xb9" + len(key).to_bytes(2, "big") + key
    assert fingerprints(armor(old_format, user_id, subkey)) == [expected]
    assert fingerprints(armor(user_id, new_format)) == [expected]
    assert fingerprints("<html>not a key</html>") == []


class FakeApi:
    """An engine that answers from a table; None: it does not answer."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers

    def get(self, path: str, filters: dict[str, list[str]] | None = None) -> Any:
        answer = self.answers.get(path)
        if answer is None:
            raise EngineUnavailable(f"{path}: no answer")
        return answer


INFO = {
    "ServerVersion": "26.1.5",
    "Swarm": {
        "NodeID": "n1",
        "NodeAddr": "10.0.0.1",
        "LocalNodeState": "active",
        "ControlAvailable": True,
        "Cluster": {"ID": "c1"},
        "RemoteManagers": [{"NodeID": "n2", "Addr": "10.0.0.2:2377"}, {"NodeID": "n1", "Addr": "10.0.0.1:2377"}],
    },
}
NETWORKS = [
    {"Name": "ingress", "Id": "i", "Ingress": True},
    {
        "Name": "pantheon-data",
        "Id": "d",
        "Attachable": True,
        "Options": {"com.docker.network.driver.overlay.vxlanid_list": "4097", "encrypted": ""},
        "IPAM": {"Config": [{"Subnet": "10.90.8.0/22", "IPRange": "10.90.8.0/23"}]},
    },
]
SERVICES = [
    {
        "Spec": {
            "Name": "anchor",
            "Mode": {"Global": {}},
            "TaskTemplate": {"ContainerSpec": {"Image": "a:1@sha256:0"}, "Networks": [{"Target": "d"}]},
        }
    },
    {"Spec": {"Name": "anchor-other", "Mode": {"Replicated": {}}, "TaskTemplate": {}}},
]
NODES = [
    {
        "ID": "n2",
        "Description": {"Hostname": "b"},
        "Status": {"State": "down"},
        "Spec": {"Role": "worker", "Availability": "active"},
    },
    {
        "ID": "n1",
        "Description": {"Hostname": "a"},
        "Status": {"State": "ready"},
        "Spec": {"Role": "manager", "Availability": "active"},
        "ManagerStatus": {"Leader": True, "Reachability": "reachable"},
    },
]


def test_facts_of_a_manager() -> None:
    ends = {
        "c1": {"Name": "redis", "IPv4Address": "10.90.8.7/22"},
        "lb-pantheon-data": {"Name": "pantheon-data-endpoint", "IPv4Address": "10.90.8.6/22"},
        "c2": {"Name": "leaving", "IPv4Address": ""},
    }
    answers = {"/info": INFO, "/networks": NETWORKS, "/services": SERVICES, "/nodes": NODES}
    api = FakeApi({**answers, "/networks/d": {"Containers": ends}})
    found = engine_facts(api)
    swarm = found["swarm"]
    networks = swarm_facts(api, swarm, ["anchor"])
    assert found["version"] == "26.1.5"
    assert (swarm["state"], swarm["is_manager"], swarm["has_quorum"], swarm["cluster_id"]) == (
        "active",
        True,
        True,
        "c1",
    )
    assert swarm["managers"] == ["10.0.0.1:2377", "10.0.0.2:2377"]
    assert [(node["name"], node["status"], node["role"]) for node in swarm["nodes"]] == [
        ("a", "ready", "manager"),
        ("b", "down", "worker"),
    ]
    assert networks == {
        "pantheon-data": {
            "id": "d",
            "subnet": "10.90.8.0/22",
            "range": "10.90.8.0/23",
            "encrypted": True,
            "attachable": True,
            "addresses": {"redis": "10.90.8.7", "pantheon-data-endpoint": "10.90.8.6"},
        }
    }
    assert swarm["services"] == {"anchor": {"image": "a:1@sha256:0", "networks": ["pantheon-data"], "mode": "global"}}


def test_manager_without_a_majority_says_so() -> None:
    api = FakeApi({"/info": INFO, "/networks": NETWORKS})
    swarm = engine_facts(api)["swarm"]
    networks = swarm_facts(api, swarm, [])
    assert networks["pantheon-data"]["addresses"] == {}
    assert swarm["has_quorum"] is False
    assert "/nodes" in swarm["error"]


def test_engine_that_does_not_run() -> None:
    found = engine_facts(FakeApi({}))
    assert (found["running"], found["swarm"]["state"]) == (False, "inactive")
