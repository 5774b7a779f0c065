# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys of the model gateway without a database: LiteLLM's custom_auth.

The keys stand in a file that only the gateway reads (PANTHEON_GATEWAY_KEYS). In memory there are only their hashes.
A key may be restricted to a list of models; LiteLLM does not enforce that list for custom_auth, so it is enforced here.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
from typing import Any, NamedTuple

from fastapi import Request
from litellm.proxy._types import LitellmUserRoles, ProxyException, UserAPIKeyAuth

#: What a key without admin rights may post to: models, nothing that manages the gateway.
MODEL_PATHS = (
    "/chat/completions",
    "/completions",
    "/embeddings",
    "/responses",
    "/messages",
)

#: One entry of the list of models, as GET.
MODEL_PATH = re.compile(r"/models/[A-Za-z0-9_:-][A-Za-z0-9_.:-]*")


class Key(NamedTuple):
    """A key that is accepted; models None means every model."""

    digest: bytes
    alias: str
    admin: bool
    models: frozenset[str] | None


def load_keys(path: str) -> list[Key]:
    """Return the keys in the file *path*."""
    with open(path, encoding="utf-8") as stream:
        entries: list[dict[str, Any]] = json.load(stream)["keys"]
    return [
        Key(
            digest=_digest(entry["key"]),
            alias=entry["alias"],
            admin=bool(entry["admin"]),
            models=None if entry["models"] is None else frozenset(entry["models"]),
        )
        for entry in entries
    ]


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


# The file is part of the configuration hash of the container: a changed key makes a new container, so once is enough.
KEYS = load_keys(os.environ["PANTHEON_GATEWAY_KEYS"])


def find(keys: list[Key], api_key: str) -> Key | None:
    """Return the key that *api_key* is. Every digest is compared, so that the time tells nothing."""
    digest = _digest(api_key.removeprefix("Bearer "))
    found = None
    for key in keys:
        if hmac.compare_digest(key.digest, digest):
            found = key
    return found


def _refuse(message: str, code: int, param: str | None = None) -> ProxyException:
    kind = "auth_error" if code == 401 else "permission_error"
    return ProxyException(message=message, type=kind, param=param, code=code)


def _may_call(method: str, path: str) -> bool:
    path = path.removeprefix("/v1")
    if method == "GET":
        return path.rstrip("/") == "/models" or MODEL_PATH.fullmatch(path) is not None
    return path.rstrip("/") in MODEL_PATHS


async def _models_of(request: Request) -> list[str]:
    """Return every model that the request may end up with; empty when that cannot be told for sure.

    LiteLLM takes the model from the body, and before that from the query string; a body may also bring fallbacks.
    """
    if request.url.query:
        return []
    try:
        body = await request.json()
    except ValueError:
        return []
    if not isinstance(body, dict) or any("fallbacks" in name for name in body):
        return []
    model = body.get("model")
    return [model] if isinstance(model, str) else []


async def user_api_key_auth(request: Request, api_key: str) -> UserAPIKeyAuth:
    """Return who calls, or refuse: 401 for an unknown key, 403 for what the key may not do."""
    key = find(KEYS, api_key or "")
    if key is None:
        raise _refuse("The key is missing or unknown.", 401)
    if key.admin:
        return UserAPIKeyAuth(api_key=key.digest.hex(), key_alias=key.alias, user_role=LitellmUserRoles.PROXY_ADMIN)
    if not _may_call(request.method, request.url.path):
        raise _refuse(f"The key {key.alias} may only call models.", 403)
    if key.models is not None and request.method != "GET":
        wanted = await _models_of(request)
        if not wanted or not key.models.issuperset(wanted):
            allowed = ", ".join(sorted(key.models))
            raise _refuse(f"The key {key.alias} needs one of these models in the body: {allowed}.", 403, "model")
    return UserAPIKeyAuth(
        api_key=key.digest.hex(),
        key_alias=key.alias,
        models=[] if key.models is None else sorted(key.models),
        user_role=LitellmUserRoles.INTERNAL_USER,
    )
