# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The site: catalog, overrides, inventory and settings as plain data (private to this collection).

:func:`load_site` is the only place that reads files and variables; everything that is derived from a :class:`Site`
is a pure function.
"""

from __future__ import annotations

import typing as t
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ansible import constants
from ansible.errors import AnsibleError

from ansible_collections.pantheon.ai.plugins.plugin_utils._catalog_files import (
    Problem,
    cached_catalog,
    describe,
)

#: Root of the collection: two folders above plugin_utils.
COLLECTION = Path(__file__).resolve().parents[2]

GPU_KINDS = ("none", "nvidia", "rocm")

__all__ = [
    "COLLECTION",
    "GPU_KINDS",
    "Machine",
    "Machines",
    "Problem",
    "Settings",
    "Site",
    "SiteError",
    "inventory_folder",
    "load_site",
    "plain",
]


class SiteError(AnsibleError):
    """The site cannot be used; :attr:`problems` says for each fault where it is and what to do.

    Being an AnsibleError, it ends a task or a lookup with its own text instead of a traceback.
    """

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__(describe(problems))


@dataclass(frozen=True)
class Machine:
    """One machine of the inventory. ``memory_mb`` is None when the inventory does not say."""

    name: str
    address: str
    memory_mb: int | None
    gpu: str


@dataclass(frozen=True)
class Settings:
    """What the owner tunes; ``environment`` is the name of the inventory's folder."""

    domain: str
    network: str
    root: str
    timezone: str
    admin_email: str
    images: dict[str, str]
    models: list[dict[str, t.Any]]
    environment: str


class Machines(Mapping[str, Machine]):
    """The machines by name, each looked up in the host variables on first use only.

    Reading the variables of a host costs about a millisecond: a task that needs one machine of a thousand must not
    pay for all of them.
    """

    def __init__(self, names: list[str], read: t.Callable[[str], Machine]) -> None:
        self._names = dict.fromkeys(names)
        self._read = read
        self._known: dict[str, Machine] = {}

    def __getitem__(self, name: str) -> Machine:
        if name not in self._names:
            raise KeyError(name)
        if name not in self._known:
            self._known[name] = self._read(name)
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names


@dataclass(frozen=True)
class Site:
    """Everything that the derivations need.

    ``sources`` holds the file that a message about a service names (the override, where there is one), ``templates``
    the text of every template that a service uses (None when the file is missing), ``disabled`` the services that the
    inventory leaves out, and ``inventory`` the folder of the inventory.
    """

    services: dict[str, dict[str, t.Any]]
    groups: dict[str, list[str]]
    machines: Mapping[str, Machine]
    settings: Settings
    sources: dict[str, str] = field(default_factory=dict)
    templates: dict[str, str | None] = field(default_factory=dict)
    disabled: list[str] = field(default_factory=list)
    inventory: str = ""

    def source(self, service: str) -> str:
        """Return the file that a message about *service* should name."""
        return self.sources.get(service, f"catalog/services/{service}.yml")


def load_site(
    task_vars: Mapping[str, t.Any],
    loader: t.Any = None,
    *,
    catalog: Path | None = None,
) -> Site:
    """Read catalog, overrides and settings for the inventory that *task_vars* belong to.

    *loader* is Ansible's DataLoader; with it, settings that are templates are resolved. *catalog* replaces the
    collection's own catalog folder (for tests). Raises :class:`SiteError` with every fault that makes the data
    unreadable: broken YAML, schema errors, settings of the wrong type. Cross-checks are ``check_site``.
    """
    folder = inventory_folder(task_vars)
    resolve = _resolver(task_vars, loader)
    found = cached_catalog(
        catalog or COLLECTION / "catalog", folder / "catalog" if folder else None, Path(constants.DEFAULT_LOCAL_TMP)
    )
    groups = _groups(task_vars)
    names = groups.get("machines", [])
    settings, setting_problems = _settings(task_vars, resolve, folder)
    problems = found.problems + setting_problems
    if problems:
        raise SiteError(problems)
    return Site(
        services=found.services,
        groups=groups,
        machines=Machines(names, _machine_reader(task_vars, folder)),
        settings=settings,
        sources=found.sources,
        templates=found.templates,
        disabled=found.disabled,
        inventory=str(folder) if folder else "",
    )


def inventory_folder(task_vars: Mapping[str, t.Any]) -> Path | None:
    """Return the folder of the inventory, also for the implicit localhost and for an inventory without hosts."""
    candidates: list[Path] = []
    given = [
        task_vars.get("inventory_dir") or _folder_of_machines(task_vars),
        *(task_vars.get("ansible_inventory_sources") or []),
    ]
    for source in given:
        if not source or "," in str(source):  # "host,": a list of hosts on the command line, no path
            continue
        path = Path(str(source)).absolute()
        if path.exists():
            candidates.append(path if path.is_dir() else path.parent)
    for path in candidates:
        if (path / "catalog").is_dir():
            return path
    return candidates[0] if candidates else None


def _folder_of_machines(task_vars: Mapping[str, t.Any]) -> t.Any:
    """Return the folder of the source that names the first machine.

    The implicit localhost belongs to no source; with several of them, what belongs to the platform lies beside its
    machines and not beside whatever source happens to be named first.
    """
    machines = (task_vars.get("groups") or {}).get("machines") or []
    hostvars = task_vars.get("hostvars") or {}
    if not machines or machines[0] not in hostvars:
        return None
    return hostvars[machines[0]].get("inventory_dir")


def _groups(task_vars: Mapping[str, t.Any]) -> dict[str, list[str]]:
    groups = task_vars.get("groups") or {}
    return {str(name): [str(host) for host in hosts] for name, hosts in groups.items()}


def _resolver(task_vars: Mapping[str, t.Any], loader: t.Any) -> t.Callable[[t.Any], t.Any]:
    """Return a function that resolves templates; action plugins get their variables unresolved."""
    if loader is None:
        return lambda value: value
    from ansible.template import Templar

    resolve: t.Callable[[t.Any], t.Any] = Templar(loader=loader, variables=dict(task_vars)).template
    return resolve


def plain(value: t.Any) -> t.Any:
    """Return *value* without Ansible's subclasses of str, list and dict, which YAML dumpers refuse."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


_KIND_NAMES: dict[type, str] = {str: "a string", dict: "a mapping", list: "a list"}


class _Reader:
    """Reads typed settings and collects what is wrong with them."""

    def __init__(self, variables: Mapping[str, t.Any], resolve: t.Callable[[t.Any], t.Any], file: str) -> None:
        self.variables, self.resolve, self.file = variables, resolve, file
        self.problems: list[Problem] = []

    def get(self, name: str, kind: type, default: t.Any) -> t.Any:
        if name not in self.variables or self.variables[name] is None:
            return default
        value = plain(self.resolve(self.variables[name]))
        if not isinstance(value, kind):
            wanted = _KIND_NAMES[kind]
            self.problems.append(
                Problem(self.file, name, value, f"make it {wanted}", f"is {type(value).__name__}, not {wanted}")
            )
            return default
        return value


def _settings(
    task_vars: Mapping[str, t.Any], resolve: t.Callable[[t.Any], t.Any], folder: Path | None
) -> tuple[Settings, list[Problem]]:
    file = str(folder / "group_vars" / "all") if folder else "group_vars/all"
    reader = _Reader(task_vars, resolve, file)
    network = reader.get("pantheon_network", str, "overlay")
    if network not in ("overlay", "host"):
        reader.problems.append(
            Problem(file, "pantheon_network", network, "use overlay or host", "is not a kind of network")
        )
    images = reader.get("pantheon_images", dict, {})
    models = reader.get("pantheon_models", list, [])
    for index, model in enumerate(models):
        reader.problems += _model_problems(file, index, model)
    settings = Settings(
        domain=reader.get("pantheon_domain", str, "pantheon.home.arpa"),
        network=network,
        root=reader.get("pantheon_root", str, "/opt/pantheon"),
        timezone=reader.get("pantheon_timezone", str, "Etc/UTC"),
        admin_email=reader.get("pantheon_admin_email", str, "admin@pantheon.home.arpa"),
        images={str(name): str(image) for name, image in images.items()},
        models=models,
        environment=folder.name if folder else "",
    )
    return settings, reader.problems


def _model_problems(file: str, index: int, model: t.Any) -> list[Problem]:
    where = f"pantheon_models[{index}]"
    if not isinstance(model, dict) or not isinstance(model.get("name"), str) or not model["name"]:
        return [Problem(file, where, model, "write {name: ..., role: chat or embedding}", "has no name")]
    problems = [
        Problem(file, f"{where}.{key}", model[key], "known keys are name, role, machines, answer", "is an unknown key")
        for key in model
        if key not in ("name", "role", "machines", "answer")
    ]
    if model.get("role", "chat") not in ("chat", "embedding"):
        problems.append(Problem(file, f"{where}.role", model["role"], "use chat or embedding", "is not a role"))
    answer = model.get("answer", "")
    if not isinstance(answer, str):
        problems.append(Problem(file, f"{where}.answer", answer, "write the text that the answer holds", "is no text"))
    machines = model.get("machines", [])
    if not isinstance(machines, list) or not all(isinstance(name, str) for name in machines):
        problems.append(
            Problem(file, f"{where}.machines", machines, "list names of hosts or groups", "is not a list of names")
        )
    return problems


def _machine_reader(task_vars: Mapping[str, t.Any], folder: Path | None) -> t.Callable[[str], Machine]:
    hostvars: Mapping[str, t.Any] = task_vars.get("hostvars") or {}

    def read(name: str) -> Machine:
        variables: Mapping[str, t.Any] = hostvars[name] if name in hostvars else {}  # noqa: SIM401 - HostVars has no get
        address = variables.get("pantheon_address") or variables.get("ansible_host") or name
        memory = variables.get("pantheon_memory_mb")
        gpu = variables.get("pantheon_gpu") or "none"
        file = str(folder / "host_vars" / name) if folder else name
        problems = []
        if memory is not None and not str(memory).isdigit():
            problems.append(
                Problem(file, "pantheon_memory_mb", memory, "give whole megabytes, such as 32768", "is not a number")
            )
        if str(gpu) not in GPU_KINDS:
            problems.append(Problem(file, "pantheon_gpu", gpu, f"use one of {', '.join(GPU_KINDS)}", "is unknown"))
        if problems:
            raise SiteError(problems)
        return Machine(name=name, address=str(address), memory_mb=None if memory is None else int(memory), gpu=str(gpu))

    return read
