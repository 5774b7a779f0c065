# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parameters of the modules of a machine, and what a look ahead answers."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
import yaml

from ansible_collections.pantheon.ai.plugins.plugin_utils._calls import (
    STORAGE_DEFAULTS,
    answer,
    client_digests,
    config_hash,
    key_of,
    looks_of,
    storage_key,
    with_passwords,
)
from ansible_collections.pantheon.ai.plugins.plugin_utils._secrets import SecretsError
from ansible_collections.pantheon.ai.plugins.plugin_utils._site import COLLECTION
from ansible_collections.pantheon.ai.plugins.plugin_utils._stacks import Stack


def stack(content: str, path: str = "a", mode: str = "0644") -> Stack:
    return Stack(
        name="x",
        tier="data",
        project="pantheon-x",
        networks=[],
        images=[],
        services={"x": {}},
        secret_names=[],
        files=[{"path": path, "content": content, "mode": mode, "uid": 0, "gid": 0, "sensitive": False}],
    )


def test_the_hash_changes_with_everything_that_containers_see() -> None:
    secrets = {"s": "1"}
    base = config_hash(stack("k=@@secret:s@@ @@config-hash@@"), secrets)
    others = [
        config_hash(stack("k=@@secret:s@@ @@config-hash@@"), {"s": "2"}),
        config_hash(stack("k=@@secret:s@@  @@config-hash@@"), secrets),
        config_hash(stack("k=@@secret:s@@ @@config-hash@@", mode="0600"), secrets),
        config_hash(stack("k=@@secret:s@@ @@config-hash@@", path="b"), secrets),
    ]
    assert len({base, *others}) == 5
    assert base == config_hash(stack("k=@@secret:s@@ @@config-hash@@"), {"s": "1", "other": "x"})
    assert len(base) == hashlib.sha256().digest_size * 2


def test_a_key_does_not_depend_on_the_order_of_names() -> None:
    assert key_of({"a": 1, "b": [1, 2]}) == key_of({"b": [1, 2], "a": 1})
    assert key_of({"a": 1, "b": [1, 2]}) != key_of({"a": 1, "b": [2, 1]})


LOOK = {"module": "ollama_models", "keys": {"models": "k"}, "result": {"changed": False, "models": {}}}


@pytest.mark.parametrize(
    ("variables", "count"),
    [
        ({}, 0),
        ({"docker_result": {"changed": False}}, 0),
        ({"docker_result": {"looks": [LOOK]}}, 1),
        ({"docker_result": {"looks": [LOOK]}, "stacks_result": {"looks": [LOOK]}}, 1),
        ({"docker_result": {"looks": [LOOK]}, "stacks_result": {}}, 0),
        ({"docker_result": {"looks": [LOOK]}, "stacks_result": {"changed": True}}, 0),
    ],
)
def test_the_latest_result_decides_whether_looks_hold(variables: dict[str, Any], count: int) -> None:
    assert len(looks_of(variables)) == count


def test_only_the_same_question_has_an_answer() -> None:
    looks = looks_of({"docker_result": {"looks": [LOOK]}})
    assert answer(looks, "ollama_models", {"models": "k"}) == {"changed": False, "models": {}}
    assert answer(looks, "ollama_models", {"models": "other"}) is None
    assert answer(looks, "postgresql_databases", {"models": "k"}) is None


def test_passwords_come_from_secrets_or_the_error_says_which_is_missing() -> None:
    databases = [{"name": "chat", "user": "chat", "secret": "chat_password"}, {"name": "own", "password": "given"}]
    assert [entry["password"] for entry in with_passwords(databases, {"chat_password": "p"}, "inv")] == ["p", "given"]
    with pytest.raises(SecretsError, match=r"inv/secrets.yml: chat_password: .*database chat"):
        with_passwords(databases, {}, "inv")
    assert with_passwords(databases, {}, "inv", "later")[0]["password"] == "later"


def test_the_client_lies_where_the_role_puts_it() -> None:
    """The controller compares what the role installs without rendering it: both have to name the same files."""
    folder = COLLECTION / "roles" / "storage"
    wanted = yaml.safe_load((folder / "vars" / "main.yml").read_text())
    places = {
        entry["path"]
        .replace("{{ __storage_helper }}", wanted["__storage_helper"])
        .replace("{{ __storage_library }}", wanted["__storage_library"])
        for entry in wanted["__storage_client_files"]
    }
    assert places == set(client_digests())
    assert len(set(client_digests().values())) == len(places)


def test_the_defaults_of_the_storage_are_those_of_the_role() -> None:
    defaults = yaml.safe_load((COLLECTION / "roles" / "storage" / "defaults" / "main.yml").read_text())
    assert {name: defaults[f"storage_{name}"] for name in STORAGE_DEFAULTS} == STORAGE_DEFAULTS


def test_how_long_to_wait_is_not_part_of_the_question() -> None:
    asked = {"mounts": [{"name": "models", "path": "/models"}]}
    assert storage_key(asked) == storage_key({**asked, **STORAGE_DEFAULTS, "wait": 3})
    assert storage_key(asked) != storage_key({**asked, "backend": "fuse"})
    assert storage_key(asked) != storage_key({"mounts": [{"name": "models", "path": "/other"}]})
