# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The model gateway: its configuration and its keys (private to this collection)."""

from __future__ import annotations

import typing as t

from ansible_collections.pantheon.ai.plugins.plugin_utils._catalog_core import (
    GATEWAY_SERVICE,
    OLLAMA_SERVICE,
    SECRET_PLACEHOLDER,
    address_of,
    models_of,
    placed,
)
from ansible_collections.pantheon.ai.plugins.plugin_utils._site import Site

REDIS_SERVICE = "redis-router"
REDIS_USER = "litellm"
MASTER_SECRET = "litellm_master_key"

#: Routing goes on without Redis, so no request waits for one that is just being replaced.
REDIS_TIMEOUTS = {"socket_timeout": 0.5, "socket_connect_timeout": 0.5}

#: A model that is not in memory may need minutes to load from disk before the first token.
REQUEST_SECONDS = 600

#: Ollama keeps this many models per machine without a GPU, or per GPU, in memory. Health checks are real requests: with
#: more models than that, they would throw each other's models out of memory.
LOADED_MODELS = 3

HEALTH_INTERVAL_SECONDS = 30
HEALTH_TIMEOUT_SECONDS = 20


def gateway_models(site: Site) -> dict[str, t.Any]:
    """Return LiteLLM's configuration: one deployment per model and machine, routing, keys without a database."""
    checked = _checked_machines(site)
    router: dict[str, t.Any] = {
        # least-busy sends all sequential traffic to the first machine; shuffling spreads it evenly.
        "routing_strategy": "simple-shuffle",
        "num_retries": 2,
        "retry_after": 0,
        "allowed_fails": 1,
        "cooldown_time": 20,
        "timeout": REQUEST_SECONDS,
        "stream_timeout": REQUEST_SECONDS,
    }
    if REDIS_SERVICE in site.services and placed(site, REDIS_SERVICE):
        address = address_of(site, REDIS_SERVICE, "redis", caller=GATEWAY_SERVICE)
        host, _colon, port = address.rpartition(":")
        # Two gateways see each other's cooled-down machines.
        router |= {
            "redis_host": host,
            "redis_port": int(port),
            "redis_password": SECRET_PLACEHOLDER.format("litellm_redis_password"),
            # The namespace is the only part of Redis that this user may touch.
            "cache_kwargs": {"username": REDIS_USER, "namespace": REDIS_USER, **REDIS_TIMEOUTS},
        }
    return {
        "model_list": [
            _deployment(site, model, host, host in checked) for model in models_of(site) for host in model["machines"]
        ],
        "router_settings": router,
        "litellm_settings": {
            "callbacks": ["prometheus"],
            "drop_params": True,
            "telemetry": False,
            "request_timeout": REQUEST_SECONDS,
        },
        "general_settings": {
            "master_key": "os.environ/LITELLM_MASTER_KEY",
            "custom_auth": "pantheon_gateway_auth.user_api_key_auth",
            # Takes a machine out of rotation before a person meets it: cooling down alone leaves out connection errors.
            "background_health_checks": True,
            "enable_health_check_routing": True,
            "health_check_interval": HEALTH_INTERVAL_SECONDS,
            "health_check_details": False,
        },
    }


def _deployment(site: Site, model: dict[str, t.Any], host: str, checked: bool) -> dict[str, t.Any]:
    embedding = model["role"] == "embedding"
    info: dict[str, t.Any] = {
        # Shows in the header x-litellm-model-id: which machine answered.
        "id": f"{model['name']}@{host}",
        "mode": "embedding" if embedding else "chat",
        "health_check_timeout": HEALTH_TIMEOUT_SECONDS,
    }
    if not checked:
        info["disable_background_health_check"] = True
    return {
        "model_name": model["name"],
        "litellm_params": {
            "model": f"{'ollama' if embedding else 'ollama_chat'}/{model['name']}",
            "api_base": f"http://{address_of(site, OLLAMA_SERVICE, 'api', host)}",
        },
        "model_info": info,
    }


def _checked_machines(site: Site) -> set[str]:
    """Return the machines whose models all fit in memory side by side, so that checking one evicts no other."""
    counts: dict[str, int] = {}
    for model in models_of(site):
        for host in model["machines"]:
            counts[host] = counts.get(host, 0) + 1
    return {host for host, count in counts.items() if count <= LOADED_MODELS}


def gateway_keys(site: Site) -> dict[str, t.Any]:
    """Return the keys that the gateway accepts (as placeholders), for its authentication module.

    The master key may do everything; any other one may call models: all of them, or those that it lists.
    """
    keys: list[dict[str, t.Any]] = [
        {"alias": "master", "key": SECRET_PLACEHOLDER.format(MASTER_SECRET), "admin": True, "models": None}
    ]
    for service, data in sorted(site.services.items()):
        if not placed(site, service):
            continue
        keys += [
            {
                "alias": key["alias"],
                "key": SECRET_PLACEHOLDER.format(key["secret"]),
                "admin": False,
                "models": key.get("models"),
            }
            for key in data["gateway_keys"]
        ]
    return {"keys": keys}
