# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The site: catalog, overrides, inventory and settings as plain data (private to this collection).

:func:`load_site` is the only place that reads files and variables; everything that is derived from a :class:`Site`
is a pure function.
"""

from __future__ import annotations

import ipaddress
import re
import typing as t
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ansible import constants
from ansible.errors import AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean

from ansible_collections.pantheon.ai.plugins.plugin_utils import _encryption, _gpu
from ansible_collections.pantheon.ai.plugins.plugin_utils._catalog_files import (
    Problem,
    cached_catalog,
    describe,
)

#: Root of the collection: two folders above plugin_utils.
COLLECTION = Path(__file__).resolve().parents[2]

__all__ = [
    "COLLECTION",
    "Machine",
    "Machines",
    "Problem",
    "Settings",
    "Share",
    "Site",
    "SiteError",
    "inventory_folder",
    "load_site",
    "plain",
]


#: The segments with their addresses. The lower half is the engine's to give away, the upper half is given by the platform.
DEFAULT_OVERLAY_NETWORKS = {
    "pantheon-edge": "10.90.0.0/20",
    "pantheon-ai": "10.90.16.0/20",
    "pantheon-data": "10.90.32.0/20",
}


class SiteError(AnsibleError):
    """The site cannot be used; :attr:`problems` says for each fault where it is and what to do.

    Being an AnsibleError, it ends a task or a lookup with its own text instead of a traceback.
    """

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__(describe(problems))


@dataclass(frozen=True)
class GpuOptions:
    """What the owner of a machine chooses about its GPUs.

    ``declared`` is the word in the inventory; ``devices`` are those to use by UUID or bus address, none for all;
    ``hsa_override`` lets AMD cards run as a relative that ROCm was made for, ``igpu`` admits one that is part of the
    processor, and ``setup`` leaves drivers and container access to the platform.
    """

    declared: str = "none"
    devices: tuple[str, ...] = ()
    hsa_override: bool = False
    igpu: bool = False
    setup: bool = True


@dataclass(frozen=True)
class Machine:
    """One machine or appliance of the inventory. ``memory_mb`` is None when the inventory does not say, ``mac`` empty.

    ``gpu`` is none, nvidia, rocm or vulkan, as the facts of the machine say, or where nobody has looked, its owner.
    """

    name: str
    address: str
    memory_mb: int | None
    gpu: str
    mac: str = ""
    gpu_facts: _gpu.Facts = field(default_factory=lambda: _gpu.assumed("none"))
    gpu_options: GpuOptions = field(default_factory=GpuOptions)


@dataclass(frozen=True)
class Share:
    """A dataset of the NAS that the machines mount. ``writers`` are machines; all others may only read."""

    name: str
    path: str
    writers: tuple[str, ...]
    properties: dict[str, t.Any] = field(default_factory=dict)
    options: tuple[str, ...] = ()


DEFAULT_KEEP = {"daily": 7, "weekly": 4, "monthly": 6}
"""How many backups stay unless the owner says otherwise."""


@dataclass(frozen=True)
class Backup:
    """How backups are made (``pantheon_backup``): to a storage of the NAS or a directory, when, and how many are kept.

    ``keep`` counts days, weeks and months; ``drill`` is a time of systemd (OnCalendar), empty for none.
    """

    enabled: bool = True
    storage: str = "backups"
    path: str = ""
    at: str = "02:30"
    drill: str = "Sun 04:30"
    keep: dict[str, int] = field(default_factory=lambda: dict(DEFAULT_KEEP))


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
    pool: str = "tank"
    storage: tuple[Share, ...] = ()
    gpu_attach: bool = True
    postgresql: dict[str, t.Any] = field(default_factory=dict)
    backup: Backup = field(default_factory=Backup)
    encryption: tuple[_encryption.Encrypted, ...] = ()
    health_start_interval: int = 0
    overlay_networks: dict[str, str] = field(default_factory=lambda: dict(DEFAULT_OVERLAY_NETWORKS))


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
    appliances: Mapping[str, Machine] = field(default_factory=dict)

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
    task_vars = _with_inventory(task_vars)
    resolve = _resolver(task_vars, loader)
    found = cached_catalog(
        catalog or COLLECTION / "catalog", folder / "catalog" if folder else None, Path(constants.DEFAULT_LOCAL_TMP)
    )
    groups = _groups(task_vars)
    names = groups.get("machines", [])
    settings, setting_problems = _settings(task_vars, resolve, folder, groups)
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
        appliances=Machines(groups.get("appliances", []), _machine_reader(task_vars, folder)),
    )


def _with_inventory(task_vars: Mapping[str, t.Any]) -> Mapping[str, t.Any]:
    """Return *task_vars* with the variables of the inventory, which the hosts of a play are worked out without.

    There is no host yet then, so the first machine stands for all: what an owner decides about the platform is the same for
    each of them.
    """
    if "inventory_hostname" in task_vars:
        return task_vars
    machines = (task_vars.get("groups") or {}).get("machines") or []
    hostvars = task_vars.get("hostvars") or {}
    if not machines or machines[0] not in hostvars:
        return task_vars
    known = hostvars[machines[0]]
    return {**{name: known[name] for name in known if name.startswith("pantheon_")}, **task_vars}


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
    """Return *value* without Ansible's subclasses of str, int, float, list and dict, which YAML dumpers refuse."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return int(value) if isinstance(value, int) else float(value)
    return value


_KIND_NAMES: dict[type, str] = {
    str: "a string",
    dict: "a mapping",
    list: "a list",
    bool: "true or false",
    int: "a whole number",
}


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
    task_vars: Mapping[str, t.Any],
    resolve: t.Callable[[t.Any], t.Any],
    folder: Path | None,
    groups: Mapping[str, list[str]],
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
    storage = []
    for index, entry in enumerate(reader.get("pantheon_storage", list, DEFAULT_STORAGE)):
        share, problems = _share(file, index, entry, groups)
        reader.problems += problems
        storage += [share] if share else []
    encryption, faults = _encryption.parse(reader.get("pantheon_encryption", list, []), groups)
    reader.problems += [Problem(file, *fault) for fault in faults]
    settings = Settings(
        domain=reader.get("pantheon_domain", str, "pantheon.home.arpa"),
        network=network,
        root=reader.get("pantheon_root", str, "/opt/pantheon"),
        timezone=reader.get("pantheon_timezone", str, "Etc/UTC"),
        admin_email=reader.get("pantheon_admin_email", str, "admin@pantheon.home.arpa"),
        images={str(name): str(image) for name, image in images.items()},
        models=models,
        environment=folder.name if folder else "",
        pool=reader.get("pantheon_pool", str, "tank"),
        gpu_attach=reader.get("pantheon_gpu_attach", bool, True),
        storage=tuple(storage),
        postgresql=reader.get("pantheon_postgresql", dict, {}),
        backup=_backup(reader),
        encryption=encryption,
        health_start_interval=_seconds(reader, "pantheon_health_start_interval"),
        overlay_networks=_overlay_networks(reader),
    )
    return settings, reader.problems


def _seconds(reader: _Reader, name: str) -> int:
    """Return a number of seconds, 0 where the owner gives none."""
    value: int = reader.get(name, int, 0)
    if isinstance(value, bool) or value < 0:
        reader.problems.append(
            Problem(reader.file, name, value, "give whole seconds, such as 2", "is no number of seconds")
        )
        return 0
    return value


def _backup(reader: _Reader) -> Backup:
    """Return how backups are made; what is wrong is said with the value and a remedy."""
    given = reader.get("pantheon_backup", dict, {})
    wrong = []
    kinds: dict[str, tuple[type, str]] = {
        "enabled": (bool, "true or false"),
        "storage": (str, "the name of an entry of pantheon_storage"),
        "path": (str, "an absolute path of a directory of its own, such as /srv/backups"),
        "at": (str, "a time of day, such as 02:30, in quotes"),
        "drill": (str, "a time of systemd, such as Sun 04:30, or an empty text"),
        "keep": (dict, "{daily: 7, weekly: 4, monthly: 6}"),
    }
    for key, value in given.items():
        if key not in kinds:
            wrong.append((key, value, f"known keys are {', '.join(kinds)}", "is an unknown key"))
        elif not isinstance(value, kinds[key][0]):
            wrong.append((key, value, f"give {kinds[key][1]}", f"is {type(value).__name__}"))
    if not wrong:
        path = given.get("path", "")
        if path and (not re.fullmatch(r"(/[A-Za-z0-9_.-]+){2,}", path) or "/../" in f"{path}/"):
            wrong.append(("path", path, f"give {kinds['path'][1]}", "is no path below another directory"))
        if not re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", given.get("at", "02:30")):
            wrong.append(("at", given["at"], f"give {kinds['at'][1]}", "is no time of day"))
        for period, number in given.get("keep", {}).items():
            if period not in DEFAULT_KEEP:
                remedy = f"known periods are {', '.join(DEFAULT_KEEP)}"
                wrong.append((f"keep.{period}", number, remedy, "is an unknown period"))
            elif not isinstance(number, int) or isinstance(number, bool) or number < (1 if period == "daily" else 0):
                remedy = "give a whole number; of days at least one"
                wrong.append((f"keep.{period}", number, remedy, "is no number of backups"))
    if wrong:
        reader.problems += [
            Problem(reader.file, f"pantheon_backup.{key}", value, remedy, message)
            for key, value, remedy, message in wrong
        ]
        return Backup()
    return Backup(**{**given, "keep": {**DEFAULT_KEEP, **given.get("keep", {})}})


def _overlay_networks(reader: _Reader) -> dict[str, str]:
    """Return the subnet of each segment; the owner may give some of them another one."""
    wanted = reader.get("pantheon_overlay_networks", dict, {})
    result = dict(DEFAULT_OVERLAY_NETWORKS)
    for name, subnet in wanted.items():
        where = f"pantheon_overlay_networks.{name}"
        if name not in result:
            remedy = f"use one of {', '.join(sorted(result))}"
            reader.problems.append(Problem(reader.file, where, subnet, remedy, "is no network of the platform"))
            continue
        try:
            network = ipaddress.IPv4Network(subnet)
        except ValueError as error:
            remedy = "give an IPv4 network, such as 10.90.0.0/20"
            reader.problems.append(Problem(reader.file, where, subnet, remedy, f"is no network ({error})"))
            continue
        if network.prefixlen > 24:
            remedy = "give a network of /24 or larger"
            reader.problems.append(Problem(reader.file, where, subnet, remedy, "has too few addresses"))
            continue
        result[name] = str(network)
    for name, subnet in result.items():
        for other, theirs in result.items():
            if name < other and ipaddress.IPv4Network(subnet).overlaps(ipaddress.IPv4Network(theirs)):
                reader.problems.append(
                    Problem(
                        reader.file,
                        f"pantheon_overlay_networks.{name}",
                        subnet,
                        "give them different addresses",
                        f"overlaps with {other}, {theirs}",
                    )
                )
    return result


DEFAULT_STORAGE: list[dict[str, t.Any]] = [
    {
        "name": "models",
        "path": "/models",
        "writers": ["model_library"],
        # Weights are large, read from end to end, and do not compress.
        "properties": {"recordsize": "1M", "compression": "off", "atime": "off"},
    },
    # Services run as many different users: all may write.
    {"name": "shared", "path": "/shared", "writers": ["machines"], "properties": {"owner": {"mode": "0777"}}},
    # Below a directory of its own, which containers can be given while the NAS is away. Only root lists what is there.
    {"name": "backups", "path": "/backups/nas", "writers": ["machines"], "properties": {"owner": {"mode": "0711"}}},
]
"""What the NAS keeps for the platform unless the owner says otherwise: design decision 9 has one writer of the library."""

_SHARE_KEYS = ("name", "path", "writers", "properties", "options")


def _share(file: str, index: int, entry: t.Any, groups: Mapping[str, list[str]]) -> tuple[Share | None, list[Problem]]:
    where = f"pantheon_storage[{index}]"
    if not isinstance(entry, dict):
        return None, [Problem(file, where, entry, "write {name: ..., path: ..., writers: [...]}", "is not a mapping")]
    problems = [
        Problem(file, f"{where}.{key}", entry[key], f"known keys are {', '.join(_SHARE_KEYS)}", "is an unknown key")
        for key in entry
        if key not in _SHARE_KEYS
    ]
    name, path = str(entry.get("name") or ""), str(entry.get("path") or "")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*)*", name):
        problems.append(Problem(file, f"{where}.name", name, "give the name of a dataset in the pool", "is no name"))
    if not re.fullmatch(r"(/[A-Za-z0-9_.-]+)+", path) or "/../" in f"{path}/":
        problems.append(Problem(file, f"{where}.path", path, "give an absolute path, such as /models", "is no path"))
    kinds: dict[str, type] = {"writers": list, "properties": dict, "options": list}
    for key, kind in kinds.items():
        if not isinstance(entry.get(key, kind()), kind):
            remedy = f"make it {_KIND_NAMES[kind]}"
            problems.append(Problem(file, f"{where}.{key}", entry[key], remedy, f"is not {_KIND_NAMES[kind]}"))
    if problems:
        return None, problems
    writers: dict[str, None] = {}
    for writer in entry.get("writers", []):
        # The group of the library's writer is only there where something writes it, and without machines that is said already.
        writers |= dict.fromkeys(groups.get(writer, [writer] if writer in groups.get("machines", []) else []))
        if writer not in (*groups, *groups.get("machines", []), "machines", "model_library"):
            problems.append(
                Problem(
                    file, f"{where}.writers", writer, "name a machine or a group", "is neither a machine nor a group"
                )
            )
    options = tuple(str(option) for option in entry.get("options", []))
    return Share(name, path, tuple(writers), dict(entry.get("properties", {})), options), problems


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
        mac = str(variables.get("pantheon_mac") or "")
        # Where facts are injected as variables, the fact of this name hides the owner's word.
        declared = variables.get("pantheon_gpu") or "none"
        found = (variables.get("ansible_facts") or {}).get("pantheon_gpu")
        file = str(folder / "host_vars" / name) if folder else name
        problems = []
        if memory is not None and not str(memory).isdigit():
            problems.append(
                Problem(file, "pantheon_memory_mb", memory, "give whole megabytes, such as 32768", "is not a number")
            )
        if not isinstance(declared, Mapping) and str(declared) not in _gpu.DECLARED:
            remedy = f"use one of {', '.join(_gpu.DECLARED)}"
            problems.append(Problem(file, "pantheon_gpu", declared, remedy, "is unknown"))
        devices = variables.get("pantheon_gpu_devices") or []
        if not isinstance(devices, (list, tuple)):
            remedy = "list UUIDs or bus addresses"
            problems.append(Problem(file, "pantheon_gpu_devices", devices, remedy, "is not a list"))
            devices = []
        if mac and not re.fullmatch(r"[0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5}", mac):
            problems.append(
                Problem(file, "pantheon_mac", mac, "write it like 52:54:00:12:34:56", "is no hardware address")
            )
        if problems:
            raise SiteError(problems)
        options = GpuOptions(
            "auto" if isinstance(declared, Mapping) else str(declared),
            tuple(str(device) for device in devices),
            boolean(variables.get("pantheon_gpu_hsa_override") or False),
            boolean(variables.get("pantheon_gpu_igpu") or False),
            boolean(variables.get("pantheon_gpu_setup", True)),
        )
        facts = _gpu.facts_of(declared, found)
        return Machine(
            name=name,
            address=str(address),
            memory_mb=None if memory is None else int(memory),
            gpu=_gpu.kind(facts, igpu=options.igpu),
            mac=mac.replace("-", ":").lower(),
            gpu_facts=facts,
            gpu_options=options,
        )

    return read
