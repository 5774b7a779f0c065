# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parameters of the modules of a machine, and what a look ahead answers."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from ansible_collections.pantheon.ai.plugins.plugin_utils._calls import (
    answer,
    config_hash,
    key_of,
    looks_of,
    with_passwords,
)
from ansible_collections.pantheon.ai.plugins.plugin_utils._secrets import SecretsError
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
