# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway's keys: who is let in, and to what. LiteLLM and FastAPI are replaced by what the module uses of them."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

MODULE = Path(__file__).resolve().parents[3] / "catalog/templates/litellm/pantheon_gateway_auth.py"


class ProxyException(Exception):
    def __init__(self, message: str, type: str, param: str | None, code: int) -> None:
        super().__init__(message)
        self.message, self.type, self.param, self.code = message, type, param, code


class UserAPIKeyAuth(SimpleNamespace):
    pass


@pytest.fixture
def auth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    types = ModuleType("litellm.proxy._types")
    types.ProxyException = ProxyException  # type: ignore[attr-defined]
    types.UserAPIKeyAuth = UserAPIKeyAuth  # type: ignore[attr-defined]
    types.LitellmUserRoles = SimpleNamespace(PROXY_ADMIN="proxy_admin", INTERNAL_USER="internal_user")  # type: ignore[attr-defined]
    fastapi = ModuleType("fastapi")
    fastapi.Request = object  # type: ignore[attr-defined]
    for name, module in {
        "litellm": ModuleType("litellm"),
        "litellm.proxy": ModuleType("litellm.proxy"),
        "litellm.proxy._types": types,
        "fastapi": fastapi,
    }.items():
        monkeypatch.setitem(sys.modules, name, module)
    keys = [
        {"alias": "master", "key": "sk-master", "admin": True, "models": None},
        {"alias": "all", "key": "sk-all", "admin": False, "models": None},
        {"alias": "some", "key": "sk-some", "admin": False, "models": ["small"]},
    ]
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"keys": keys}))
    monkeypatch.setenv("PANTHEON_GATEWAY_KEYS", str(path))
    spec = importlib.util.spec_from_file_location("pantheon_gateway_auth", MODULE)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def ask(auth: Any, key: str, path: str = "/v1/chat/completions", body: Any = None, method: str = "POST") -> Any:
    async def read() -> Any:
        if isinstance(body, Exception):
            raise body
        return body

    request = SimpleNamespace(
        method=method, url=SimpleNamespace(path=path.partition("?")[0], query=path.partition("?")[2]), json=read
    )
    return asyncio.run(auth.user_api_key_auth(request, key))


@pytest.mark.parametrize("key", ["sk-all", "Bearer sk-all"])
def test_a_known_key(auth: Any, key: str) -> None:
    caller = ask(auth, key, body={"model": "large"})
    assert (caller.key_alias, caller.models, caller.user_role) == ("all", [], "internal_user")


@pytest.mark.parametrize("key", ["", "sk-", "sk-allx", "sk-al", "SK-ALL", None])
def test_an_unknown_key_gets_401(auth: Any, key: str) -> None:
    with pytest.raises(ProxyException) as caught:
        ask(auth, key, body={"model": "small"})
    assert (caught.value.code, caught.value.type) == (401, "auth_error")


def test_keys_are_kept_as_hashes_only(auth: Any) -> None:
    caller = ask(auth, "sk-all", body={"model": "small"})
    assert "sk-" not in repr(auth.KEYS) and "sk-" not in repr(caller)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/chat/completions", "/v1/embeddings", "/v1/messages"])
def test_the_list_of_models_is_enforced(auth: Any, path: str) -> None:
    assert ask(auth, "sk-some", path, {"model": "small"}).models == ["small"]
    with pytest.raises(ProxyException) as caught:
        ask(auth, "sk-some", path, {"model": "large"})
    assert (caught.value.code, caught.value.param) == (403, "model")


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {},
        {"model": None},
        {"model": ["large"]},
        {"model": "small,large"},
        {"model": "small", "fallbacks": ["large"]},
        ValueError("no JSON"),
    ],
)
def test_a_restricted_key_has_to_name_a_model(auth: Any, body: Any) -> None:
    with pytest.raises(ProxyException) as caught:
        ask(auth, "sk-some", body=body)
    assert caught.value.code == 403


def test_a_restricted_key_cannot_name_another_model_in_the_query(auth: Any) -> None:
    with pytest.raises(ProxyException) as caught:
        ask(auth, "sk-some", "/v1/chat/completions?model=large", {"model": "small"})
    assert caught.value.code == 403


def test_one_entry_of_the_list_of_models(auth: Any) -> None:
    assert ask(auth, "sk-some", "/v1/models/qwen3:8b", method="GET").key_alias == "some"


def test_the_list_of_models_may_be_read(auth: Any) -> None:
    assert ask(auth, "sk-some", "/v1/models", method="GET").key_alias == "some"


@pytest.mark.parametrize(
    "path",
    ["/key/generate", "/model/new", "/config/update", "/health", "/metrics", "/", "/engines/large/chat/completions",
     "/v1/models/../../key/generate", "/ollama/api/delete", "/v1/v1/models"],
)  # fmt: skip
def test_only_the_master_key_manages(auth: Any, path: str) -> None:
    with pytest.raises(ProxyException) as caught:
        ask(auth, "sk-all", path, {"model": "small"})
    assert caught.value.code == 403
    assert ask(auth, "sk-master", path, {"model": "small"}).user_role == "proxy_admin"
