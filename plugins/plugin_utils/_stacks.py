# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The wanted files of a machine, project by project (private to this collection)."""

from __future__ import annotations

import typing as t

from ansible_collections.pantheon.ai.plugins.plugin_utils._catalog import (
    SECRET_PATTERN,
    dump_env,
    encrypted_volume,
    image_of,
    networks_of,
    project_of,
    resolve,
    services_on,
    storage_paths,
    to_compose,
    to_env,
    to_override,
)
from ansible_collections.pantheon.ai.plugins.plugin_utils._catalog_core import SECRET_PLACEHOLDER, ReferenceFault
from ansible_collections.pantheon.ai.plugins.plugin_utils._catalog_files import Problem
from ansible_collections.pantheon.ai.plugins.plugin_utils._derived import DERIVED, ENVIRONMENT, dump
from ansible_collections.pantheon.ai.plugins.plugin_utils._site import Site, SiteError


class File(t.TypedDict):
    """A file of a project; secrets stand in ``content`` as placeholders."""

    path: str
    content: str
    mode: str
    uid: int
    gid: int
    sensitive: bool


class Stack(t.TypedDict):
    """A compose project that a machine should run."""

    name: str
    tier: str
    project: str
    networks: list[str]
    images: list[str]
    files: list[File]
    services: dict[str, dict[str, t.Any]]
    secret_names: list[str]
    storage: list[str]


def render_stacks(
    site: Site, host: str, tiers: t.Collection[str] | None = None, only: t.Collection[str] | None = None
) -> list[Stack]:
    """Return the projects of *host*, in the order of deployment; *only* restricts them to these services.

    Raises :class:`SiteError` for a name in *only* that the catalog does not have, and for what ``check_site`` would
    have refused.
    """
    unknown = sorted(set(only or ()) - set(site.services))
    if unknown:
        known = ", ".join(sorted(site.services))
        raise SiteError(
            [Problem("catalog", "only", name, f"use one of: {known}", "names an unknown service") for name in unknown]
        )
    return [_stack(site, name, host) for name in services_on(site, host, tiers) if only is None or name in only]


def _stack(site: Site, name: str, host: str) -> Stack:
    data = site.services[name]
    try:
        override = to_override(site, name, host)
        environment = to_env(site, name, host)
        if "derived_environment" in data:
            environment |= ENVIRONMENT[data["derived_environment"]](site, host)
        files = [
            _file("compose.yml", dump(to_compose(site, name), "compose.yml")),
            _file("compose.override.yml", dump(override, "compose.override.yml")),
            _file(".env", dump_env(environment), mode="0600", sensitive=True),
            *(_mounted(site, name, host, entry) for entry in data["files"]),
        ]
        encrypted = encrypted_volume(site, name, host)
        storage = sorted({*storage_paths(site, name), *([encrypted.path] if encrypted else [])})
        if storage:
            # The unit that starts the stack at boot reads it (role docker): it mounts these first, or tries again.
            files.append(_file("storage", "".join(f"{path}\n" for path in storage)))
    except ReferenceFault as error:
        raise SiteError(
            [Problem(site.source(name), "references", None, "correct the reference", str(error))]
        ) from error
    image = override["services"][name].get("image", image_of(site, name))
    return Stack(
        name=name,
        tier=data["tier"],
        project=project_of(name),
        networks=networks_of(site, name),
        images=[image],
        files=files,
        services={name: {"start_seconds": data["health"]["start_seconds"]}},
        secret_names=sorted({secret for file in files for secret in SECRET_PATTERN.findall(file["content"])}),
        storage=storage,
    )


def _file(path: str, content: str, mode: str = "0644", uid: int = 0, gid: int = 0, sensitive: bool = False) -> File:
    return File(
        path=path,
        content=content,
        mode=mode,
        uid=uid,
        gid=gid,
        sensitive=sensitive or SECRET_PATTERN.search(content) is not None,
    )


def _mounted(site: Site, name: str, host: str, entry: dict[str, t.Any]) -> File:
    path = f"files{entry['path']}"
    if "derived" in entry:
        derived = DERIVED[entry["derived"]](site, host)
        content = derived if isinstance(derived, str) else dump(derived, path)
    elif "secret" in entry:
        content = SECRET_PLACEHOLDER.format(entry["secret"])
    else:
        text = site.templates.get(entry["template"])
        if text is None:
            raise ReferenceFault(f"the template {entry['template']} does not exist")
        content = resolve(site, name, text, host)
    return _file(path, content, entry["mode"], entry["uid"], entry["gid"])
