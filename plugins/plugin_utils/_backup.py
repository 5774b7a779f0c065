# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine backs up, where to and when: the configuration of pantheon-backup (private to this collection)."""

from __future__ import annotations

import functools
import json
import typing as t
from pathlib import Path

from ansible_collections.pantheon.ai.plugins.plugin_utils._catalog_compose import image_of, project_of
from ansible_collections.pantheon.ai.plugins.plugin_utils._catalog_core import (
    BACKUP_SECRET,
    SECRET_PLACEHOLDER,
    TIERS,
    backup_target,
    placed,
    resolve,
    services_on,
)
from ansible_collections.pantheon.ai.plugins.plugin_utils._secrets import SECRETS_FILE
from ansible_collections.pantheon.ai.plugins.plugin_utils._site import COLLECTION, Site

EVERY_HOURS = 24
METRICS = "/var/lib/pantheon/metrics/backup.prom"
CONFIGURATION = "configuration"
COMMAND = "/usr/local/sbin/pantheon-backup"
LIBRARY = "/usr/local/lib/pantheon/pantheon_backup"

#: Of an inventory that is one file in somebody's home directory, not everything beside it.
INVENTORY_FOLDERS = ("catalog", "group_vars", "host_vars")
INVENTORY_SUFFIXES = ("", ".ini", ".json", ".yaml", ".yml")
LARGEST = 1 << 20


def backed_up(site: Site) -> list[str]:
    """Return the machines that have something to back up, none where there is no place for it."""
    if backup_target(site) is None:
        return []
    return [name for name in site.machines if services_on(site, name)]


def backed_up_services(site: Site) -> dict[str, list[str]]:
    """Return the services that are backed up, with their machines, in the order in which they would be restored."""
    machines = backed_up(site)
    found = {
        name: [host for host in placed(site, name) if host in machines]
        for name, data in site.services.items()
        if data["backup"]["kind"] != "none"
    }
    order = sorted(found, key=lambda name: (TIERS.index(site.services[name]["tier"]), name))
    return {name: found[name] for name in order if found[name]}


def backup_config(site: Site, host: str) -> dict[str, t.Any] | None:
    """Return the configuration of pantheon-backup on *host*, None if there is nothing to do; secrets are placeholders."""
    target = backup_target(site)
    machines = backed_up(site)
    if target is None or host not in machines:
        return None
    jobs: list[dict[str, t.Any]] = [
        {"name": CONFIGURATION, "kind": "files", "paths": [site.settings.root, "/etc/pantheon"]}
    ]
    jobs += [job for name in services_on(site, host) for job in _jobs(site, name, host)]
    return {
        "machine": host,
        "environment": site.settings.environment,
        "target": {
            "path": target.path,
            "mount": target.mount,
            "password": SECRET_PLACEHOLDER.format(BACKUP_SECRET),
            "keep": dict(site.settings.backup.keep),
        },
        "schedule": {"every_hours": EVERY_HOURS, "at": site.settings.backup.at},
        # Where each machine has a directory of its own, its sets are its own, too.
        "expected": machines if target.mount else [host],
        "metrics": METRICS,
        "jobs": jobs,
    }


def _jobs(site: Site, service: str, host: str) -> list[dict[str, t.Any]]:
    """Return the job of a service on a machine: one, or none."""
    backup = site.services[service]["backup"]
    if backup["kind"] == "none":
        return []
    machine = site.machines[host]
    own = {key: value for key, value in backup.items() if key not in ("kind", "reason")}
    for key, value in own.items():
        if isinstance(value, list):
            own[key] = [resolve(site, service, part) for part in value]
    project = project_of(service)
    return [
        {
            "name": service,
            "kind": backup["kind"],
            "project": project,
            "directory": f"{site.settings.root}/{service}",
            "container": f"{project}-{service}-1",
            "image": image_of(
                site, service, machine.gpu if site.services[service]["placement"]["gpu"] != "none" else "none"
            ),
            **own,
        }
    ]


def backup_view(site: Site, host: str) -> dict[str, t.Any]:
    """Return what the role backup needs on *host*: the content of its files, empty where nothing is to be done."""
    config = backup_config(site, host)
    if config is None:
        # The paths, so that what an earlier run brought can be taken away.
        paths = [{"path": file["path"]} for file in program()]
        return {"config": "", "inventory": "", "at": "", "drill": "", "program": paths}
    return {
        "config": _text(config),
        # One machine keeps it for all.
        "inventory": _text({"files": inventory_files(site.inventory)}) if host == config["expected"][0] else "",
        "at": site.settings.backup.at,
        "drill": site.settings.backup.drill,
        "program": [dict(file) for file in program()],
    }


def _text(data: t.Any) -> str:
    return json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


@functools.lru_cache(maxsize=1)
def program() -> tuple[dict[str, str], ...]:
    """Return the files of the program, as machine_state takes them."""
    folder = COLLECTION / "roles" / "backup" / "files"
    command = {"path": COMMAND, "mode": "0755", "content": (folder / "pantheon-backup").read_text("utf-8")}
    library = folder / "pantheon_backup"
    return (
        command,
        *(
            {"path": f"{LIBRARY}/{path.relative_to(library)}", "content": path.read_text("utf-8")}
            for path in sorted(library.rglob("*.py"))
        ),
    )


def inventory_files(inventory: str) -> dict[str, str]:
    """Return the files of the inventory as they lie there, the secrets only if the vault has encrypted them.

    With the password of the vault they are enough to deploy the platform anew and restore its data.
    """
    folder = Path(inventory)
    if not inventory or not folder.is_dir():
        return {}
    paths = [path for path in folder.iterdir() if path.is_file()]
    for name in INVENTORY_FOLDERS:
        paths += [path for path in (folder / name).rglob("*") if path.is_file()]
    found = {}
    for path in sorted(paths):
        name = str(path.relative_to(folder))
        if path.suffix not in INVENTORY_SUFFIXES or path.name.startswith(".") or path.stat().st_size > LARGEST:
            continue
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        if name == SECRETS_FILE and not text.startswith("$ANSIBLE_VAULT;"):
            continue
        found[name] = text
    return found
