# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the TrueNAS modules have in common: options, connection, one way out (private to the collection)."""

from __future__ import annotations

import typing as t

from ansible.module_utils.basic import AnsibleModule, env_fallback

from ansible_collections.pantheon.ai.plugins.module_utils._truenas_client import Credentials, Nas
from ansible_collections.pantheon.ai.plugins.module_utils._truenas_errors import ConnectionLost, NasError, Problems
from ansible_collections.pantheon.ai.plugins.module_utils._truenas_storage import Storage, Wanted, parse
from ansible_collections.pantheon.ai.plugins.module_utils._truenas_transport import Endpoint

Options = t.Dict[str, t.Dict[str, t.Any]]

CONNECTION: Options = {
    "host": {"type": "str", "required": True},
    "port": {"type": "int", "default": 443},
    "username": {"type": "str", "required": True},
    "api_key": {"type": "str", "no_log": True, "fallback": (env_fallback, ["TRUENAS_API_KEY"])},
    "mechanism": {"type": "str", "choices": ["auto", "plain", "scram"], "default": "auto"},
    "scheme": {"type": "str", "choices": ["wss", "ws"], "default": "wss"},
    "validate_certs": {"type": "bool", "default": True},
    "ca_path": {"type": "path"},
    "tls_fingerprint": {"type": "str"},
    "allow_insecure_transport": {"type": "bool", "default": False},
    "timeout": {"type": "float", "default": 30},
    "retries": {"type": "int", "default": 4},
}

OWNER: Options = {"owner": {"type": "str", "default": "pantheon"}}
STATE: Options = {"state": {"type": "str", "choices": ["present", "absent"], "default": "present"}}
ADOPT: Options = {"adopt": {"type": "bool", "default": False}}
FLAG = {"type": "bool"}
NAME = {"type": "str", "required": True}
TEXTS = {"type": "list", "elements": "str"}

PERMISSIONS: Options = {
    "user": {"type": "str"},
    "uid": {"type": "int"},
    "group": {"type": "str"},
    "gid": {"type": "int"},
    "mode": {"type": "str"},
    "strip_acl": {"type": "bool", "default": False},
}
DATASET: Options = {
    "name": NAME,
    "comment": {"type": "str"},
    "recordsize": {"type": "str"},
    "compression": {"type": "str"},
    "atime": {"type": "str"},
    "quota": {"type": "str"},
    "refquota": {"type": "str"},
    "acltype": {"type": "str"},
    "share_type": {
        "type": "str",
        "choices": ["generic", "multiprotocol", "nfs", "smb", "apps"],
        "default": "generic",
    },
    "properties": {"type": "dict", "default": {}},
    **ADOPT,
}
DESTROY: Options = {
    "destroy": {"type": "bool", "default": False},
    "destroy_max_used": {"type": "str", "default": "0"},
}
SHARE: Options = {
    "dataset": {"type": "str"},
    "path": {"type": "str"},
    "name": {"type": "str"},
    "comment": {"type": "str"},
    "networks": {"type": "list", "elements": "str", "default": []},
    "hosts": {"type": "list", "elements": "str", "default": []},
    "allow_everyone": {"type": "bool", "default": False},
    "read_only": {"type": "bool", "default": False, "aliases": ["ro"]},
    "maproot": {"type": "raw"},
    "mapall": {"type": "raw"},
    "security": {"type": "list", "elements": "str", "default": []},
    "enabled": {"type": "bool", "default": True},
    "expose_snapshots": FLAG,
    **ADOPT,
}
NFS: Options = {
    "servers": {"type": "int"},
    "allow_nonroot": FLAG,
    "protocols": TEXTS,
    "v4_krb": FLAG,
    "v4_domain": {"type": "str"},
    "bindip": TEXTS,
    "mountd_port": {"type": "int"},
    "rpcstatd_port": {"type": "int"},
    "rpclockd_port": {"type": "int"},
    "mountd_log": FLAG,
    "statd_lockd_log": FLAG,
    "userd_manage_gids": FLAG,
    "rdma": FLAG,
    "enabled": FLAG,
    "state": {"type": "str", "choices": ["started", "stopped"]},
}
SCHEDULE: Options = {
    "minute": {"type": "str", "default": "00"},
    "hour": {"type": "str", "default": "*"},
    "dom": {"type": "str", "default": "*"},
    "month": {"type": "str", "default": "*"},
    "dow": {"type": "str", "default": "*"},
    "begin": {"type": "str", "default": "00:00"},
    "end": {"type": "str", "default": "23:59"},
}
SNAPSHOT: Options = {
    "dataset": NAME,
    "naming_schema": {"type": "str", "default": "auto-%Y-%m-%d_%H-%M"},
    "recursive": FLAG,
    "exclude": TEXTS,
    "lifetime_value": {"type": "int"},
    "lifetime_unit": {"type": "str"},
    "allow_empty": FLAG,
    "enabled": FLAG,
    "schedule": {"type": "dict", "options": SCHEDULE},
    **ADOPT,
}
REPLICATION: Options = {
    "name": NAME,
    "direction": {"type": "str", "default": "push"},
    "transport": {"type": "str", "default": "local"},
    "ssh_credentials": {"type": "str"},
    "source_datasets": {"type": "list", "elements": "str", "required": True},
    "target_dataset": NAME,
    "recursive": FLAG,
    "exclude": TEXTS,
    "snapshot_tasks": {"type": "list", "elements": "raw", "aliases": ["periodic_snapshot_tasks"]},
    "naming_schema": TEXTS,
    "also_include_naming_schema": TEXTS,
    "name_regex": {"type": "str"},
    "auto": FLAG,
    "schedule": {"type": "dict", "options": SCHEDULE},
    "retention_policy": {"type": "str"},
    "lifetime_value": {"type": "int"},
    "lifetime_unit": {"type": "str"},
    "readonly": {"type": "str"},
    "allow_from_scratch": FLAG,
    "enabled": FLAG,
    "options": {"type": "dict", "default": {}},
    **ADOPT,
}


def new_module(options: Options) -> AnsibleModule:
    """Return the module with its own options and those of the connection."""
    return AnsibleModule(argument_spec={**CONNECTION, **options}, supports_check_mode=True)


def picked(params: t.Mapping[str, t.Any], options: t.Iterable[str]) -> t.Dict[str, t.Any]:
    """Return the parameters of some options."""
    return {name: params[name] for name in options}


def connection(params: t.Mapping[str, t.Any], warn: t.Callable[[str], None]) -> Nas:
    """Return the NAS that the options name; nothing is sent yet."""
    endpoint = Endpoint(
        host=params["host"],
        port=params["port"],
        scheme=params["scheme"],
        validate_certs=params["validate_certs"],
        ca_path=params["ca_path"],
        tls_fingerprint=params["tls_fingerprint"],
        allow_insecure_transport=params["allow_insecure_transport"],
        timeout=params["timeout"],
    )
    credentials = Credentials(params["username"], params["api_key"] or "", params["mechanism"])
    return Nas(endpoint, credentials, params["retries"], warn)


def reading(nas: Nas, work: t.Callable[[Nas], t.Dict[str, t.Any]], retries: int) -> t.Dict[str, t.Any]:
    """Run something that only reads; after a lost connection it starts over."""
    while True:
        try:
            return work(nas)
        except ConnectionLost:
            if retries <= 0:
                raise
            retries -= 1
            nas.reconnect()


def execute(module: AnsibleModule, work: t.Callable[[Nas], t.Dict[str, t.Any]]) -> None:
    """Run something that only reads from a NAS and leave."""
    nas: t.Optional[Nas] = None
    try:
        nas = connection(module.params, module.warn)
        result = reading(nas, work, module.params["retries"])
    except NasError as error:
        fail(module, nas, error)
    else:
        module.exit_json(**{"changed": False, **result, **trace(nas)})
    finally:
        if nas is not None:
            nas.close()


def execute_wanted(module: AnsibleModule, wanted: Wanted) -> None:
    """Bring the NAS into a desired state and leave."""
    nas: t.Optional[Nas] = None
    storage: t.Optional[Storage] = None
    problems: t.List[str] = []
    try:
        # Mistakes in the connection and in the desired state are told together, before anything is sent.
        try:
            nas = connection(module.params, module.warn)
        except Problems as error:
            problems.extend(error.problems)
        try:
            parse(wanted)
        except Problems as error:
            problems.extend(error.problems)
        if problems or nas is None:
            raise Problems(problems)
        storage = Storage(nas, wanted, module.check_mode, module.params["retries"])
        result = storage.run()
    except NasError as error:
        for text in storage.warnings if storage else []:
            module.warn(text)
        written = bool(storage and storage.written)
        extra = {"changed": written, "diff": storage.changes.result()["diff"]} if written and storage else {}
        fail(module, nas, error, **extra)
    else:
        for text in storage.warnings:
            module.warn(text)
        module.exit_json(**result, **trace(nas))
    finally:
        if nas is not None:
            nas.close()


def trace(nas: t.Optional[Nas]) -> t.Dict[str, t.Any]:
    """Return which methods were called and what version answered."""
    return {"calls": nas.calls if nas else [], "server": nas.version_text if nas else ""}


def fail(module: AnsibleModule, nas: t.Optional[Nas], error: NasError, **extra: t.Any) -> None:
    """Leave with a sentence for people and fields for programs."""
    problems = error.problems if isinstance(error, Problems) else []
    module.fail_json(msg=error.sentence(), code=error.code, problems=problems, **trace(nas), **extra)
