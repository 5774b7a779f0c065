# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine shows about its graphics cards: files below a root, and the answers of a few commands.

Private to the collection. Nothing is decided here. What cannot be read (no file, no permission, a card that fell off the
bus) is no evidence and never an error, and no command may take longer than its time.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
import select
import signal
import stat
import subprocess
import time
import typing as t

NVIDIA, AMD, INTEL, MICROSOFT = 0x10DE, 0x1002, 0x8086, 0x1414

#: Longer files are no evidence of anything that is looked for.
MOST_BYTES = 1 << 20

#: Where commands are looked for below the root. WSL2 has nvidia-smi in a folder of its own.
COMMAND_FOLDERS = (
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
    "/snap/bin",
    "/usr/lib/wsl/lib",
)

#: Columns of nvidia-smi. An old one does not know the last two, and says which.
SMI_FIELDS = (
    "index",
    "uuid",
    "pci.bus_id",
    "name",
    "driver_version",
    "memory.total",
    "compute_cap",
    "mig.mode.current",
)
CDI_FOLDERS = ("/etc/cdi", "/var/run/cdi")


class Files:
    """Reads below a root. Links that are absolute stay below it, as they would on the machine itself."""

    def __init__(self, root: str = "/") -> None:
        self.root = os.path.abspath(root)

    def at(self, path: str) -> str:
        """Return where a path of the machine lies."""
        if self.root == "/":
            return path
        parts = [part for part in path.split("/") if part]
        done: t.List[str] = []
        links = 0
        while parts:
            part = parts.pop(0)
            if part == ".":
                continue
            if part == "..":
                del done[-1:]
                continue
            here = os.path.join(self.root, *done, part)
            try:
                target = os.readlink(here)
            except OSError:
                done.append(part)
                continue
            links += 1
            if links > 40:
                break
            if target.startswith("/"):
                done = []
            parts = [piece for piece in target.split("/") if piece] + parts
        return os.path.join(self.root, *done, *parts)

    def read(self, path: str) -> t.Optional[str]:
        """Return the text of a file without NUL and blanks at its ends, None if it cannot be read."""
        data = self.read_bytes(path)
        return None if data is None else data.decode("utf-8", "replace").strip("\0 \t\r\n")

    def read_bytes(self, path: str) -> t.Optional[bytes]:
        """Return what is in a regular file, None if it cannot be read."""
        try:
            # A pipe in place of a file must not make anybody wait.
            handle = os.open(self.at(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (OSError, ValueError):
            return None
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                return None
            parts: t.List[bytes] = []
            left = MOST_BYTES
            while left > 0:
                part = os.read(handle, min(left, 65536))
                if not part:
                    break
                parts.append(part)
                left -= len(part)
            return b"".join(parts)
        except OSError:
            return None
        finally:
            os.close(handle)

    def number(self, path: str) -> t.Optional[int]:
        """Return the number in a file: 0x... or decimal."""
        return to_int(self.read(path))

    def names(self, path: str) -> t.List[str]:
        """Return the names in a folder, sorted; none if it cannot be read."""
        try:
            return sorted(os.listdir(self.at(path)))
        except (OSError, ValueError):
            return []

    def exists(self, path: str) -> bool:
        """Say whether there is something at a path."""
        return os.path.exists(self.at(path))

    def link_name(self, path: str) -> t.Optional[str]:
        """Return the last part of what a link points to, also when nothing is there."""
        parent, name = os.path.split(path)
        try:
            return os.path.basename(os.readlink(os.path.join(self.at(parent), name)).rstrip("/")) or None
        except (OSError, ValueError):
            return None

    def gid(self, path: str) -> t.Optional[int]:
        """Return the number of the group that a device node belongs to."""
        try:
            return os.stat(self.at(path)).st_gid
        except (OSError, ValueError):
            return None


class Answer(t.NamedTuple):
    """What a command said; ``status`` is None when it gave no answer in time or could not be started."""

    status: t.Optional[int]
    out: str
    err: str
    timed_out: bool = False

    @property
    def text(self) -> str:
        """Everything it said."""
        return "\n".join(part for part in (self.out.strip(), self.err.strip()) if part)


class Commands:
    """Runs the commands of a machine, each within its time."""

    def __init__(self, files: Files, folders: t.Optional[t.Sequence[str]] = None, timeout: float = 15) -> None:
        self.timeout = timeout
        if folders:
            self.folders = [part for folder in folders for part in folder.split(os.pathsep) if part]
        else:
            # Below another root, programs of this machine would answer for the wrong one.
            self.folders = [files.at(folder) for folder in COMMAND_FOLDERS]

    def find(self, name: str) -> t.Optional[str]:
        """Return the path of a program."""
        for folder in self.folders:
            path = os.path.join(folder, name)
            if os.path.isfile(path) and os.access(path, os.X_OK):
                return path
        return None

    def run(self, name: str, *arguments: str) -> t.Optional[Answer]:
        """Return what a program says, None if there is none."""
        path = self.find(name)
        return None if path is None else self._run([path] + list(arguments))

    def _run(self, command: t.List[str]) -> Answer:
        environment = dict(os.environ, LC_ALL="C", LANG="C")
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            return Answer(None, "", "%s: %s" % (command[0], error.strerror or error))
        streams = {process.stdout.fileno(): 0, process.stderr.fileno(): 1}  # type: ignore[union-attr]
        texts: t.List[t.List[bytes]] = [[], []]
        sizes = [0, 0]
        deadline = time.monotonic() + self.timeout
        try:
            while streams:
                left = deadline - time.monotonic()
                ready = select.select(list(streams), [], [], left)[0] if left > 0 else []
                if not ready:
                    # A program that ended may have left a child behind which holds the streams.
                    if process.poll() is None:
                        raise subprocess.TimeoutExpired(command, self.timeout)
                    break
                for stream in ready:
                    part = os.read(stream, 65536)
                    which = streams[stream]
                    if not part:
                        del streams[stream]
                    elif sizes[which] < MOST_BYTES:
                        texts[which].append(part)
                        sizes[which] += len(part)
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._kill(process)
            return Answer(None, decode(texts[0]), decode(texts[1]), True)
        finally:
            process.stdout.close()  # type: ignore[union-attr]
            process.stderr.close()  # type: ignore[union-attr]
        return Answer(process.returncode, decode(texts[0]), decode(texts[1]))

    @staticmethod
    def _kill(process: subprocess.Popen[bytes]) -> None:
        # nvidia-smi may sleep where no signal reaches it: whoever waited for its end would hang with it.
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.5)


def decode(parts: t.Sequence[bytes]) -> str:
    """Return text of what a program wrote."""
    return b"".join(parts).decode("utf-8", "replace").replace("\0", "")


def to_int(text: t.Optional[str]) -> t.Optional[int]:
    """Return a number written as 0x... or decimal, None for anything else."""
    if text is None:
        return None
    text = text.strip()
    try:
        return int(text, 16) if text.lower().startswith("0x") else int(text, 10)
    except ValueError:
        return None


def to_version(text: t.Optional[str]) -> t.Tuple[int, ...]:
    """Return the numbers of a version for comparing: 10.0 is above 9.0. Empty when there is none."""
    match = re.match(r"\s*(\d{1,9}(?:\.\d{1,9})*)", text or "")
    return tuple(int(part) for part in match.group(1).split(".")) if match else ()


def gfx_name(version: int) -> str:
    """Return the name of a target of KFD: 90010 is gfx90a."""
    return "gfx%d%x%x" % (version // 10000, version // 100 % 100, version % 100)


class Card(t.NamedTuple):
    """A graphics card or accelerator on the PCI bus."""

    bus: str
    vendor: int
    device: int
    driver: t.Optional[str]
    render: t.List[str]

    @property
    def slot(self) -> str:
        """The address without the function."""
        return self.bus.rsplit(".", 1)[0]


def cards(files: Files) -> t.List[Card]:
    """Return the cards on the PCI bus, also of vendors that are of no use here."""
    found = []
    base = "/sys/bus/pci/devices"
    for name in files.names(base):
        folder = "%s/%s" % (base, name)
        vendor, device, kind = (files.number("%s/%s" % (folder, entry)) for entry in ("vendor", "device", "class"))
        if vendor is None or kind is None:
            continue
        # Any display class: some cards say "display controller". Of the accelerators only the processing ones: 0x1201
        # is no card, and audio, USB and switches of the same vendor have other classes.
        if kind >> 16 != 0x03 and kind >> 8 != 0x1200:
            continue
        render = [entry for entry in files.names(folder + "/drm") if re.match(r"renderD\d+$", entry)]
        found.append(Card(name.lower(), vendor, device or 0, driver_of(files, folder), render))
    return found


def driver_of(files: Files, folder: str) -> t.Optional[str]:
    """Return the driver that holds a device."""
    name = files.link_name(folder + "/driver")
    if name is None:
        # A copy of a tree may have lost its links; the kernel says it here as well.
        match = re.search(r"^DRIVER=(\S+)$", files.read(folder + "/uevent") or "", re.MULTILINE)
        name = match.group(1) if match else None
    return name


class SmiRow(t.NamedTuple):
    """A card as nvidia-smi describes it; ``memory`` is None when it says none, ``shared`` when it has none of its own."""

    number: t.Optional[int]
    uuid: str
    bus: str
    name: str
    driver: str
    memory: t.Optional[int]
    shared: bool
    capability: t.Tuple[int, ...]
    mig: t.Optional[bool]


def smi_bus(text: str) -> str:
    """Return an address as sysfs writes it: nvidia-smi gives eight digits of domain, in capitals."""
    return text.strip().lower()[-12:]


def smi_rows(text: str, fields: t.Sequence[str]) -> t.List[SmiRow]:
    """Return the cards in the table of nvidia-smi. Lines that are no row of it are left out."""
    rows = []
    # A line that is longer than any row would be too much for the reader.
    lines = [line for line in text.splitlines() if len(line) < 4096]
    for values in csv.reader(lines, skipinitialspace=True):
        if len(values) != len(fields):
            continue
        row = {name: values[position].strip() for position, name in enumerate(fields)}
        if not row["uuid"].startswith("GPU-") and not re.match(r"[0-9a-fA-F]+:[0-9a-fA-F]{2}:", row["pci.bus_id"]):
            continue
        memory = re.match(r"\d{1,12}", row["memory.total"])
        mode = row.get("mig.mode.current", "").lower()
        rows.append(
            SmiRow(
                number=to_int(row["index"]),
                uuid=row["uuid"],
                bus=smi_bus(row["pci.bus_id"]),
                name=row["name"],
                driver=row["driver_version"],
                memory=int(memory.group()) if memory else None,
                shared=bool(re.search(r"N/A|not supported", row["memory.total"], re.IGNORECASE)),
                capability=to_version(row.get("compute_cap")),
                mig={"enabled": True, "disabled": False}.get(mode),
            )
        )
    return rows


class MigDevice(t.NamedTuple):
    """A part of a card that was split by MIG."""

    card: str
    name: str
    uuid: str


def mig_devices(text: str) -> t.List[MigDevice]:
    """Return the parts that nvidia-smi -L lists, each below its card."""
    found, card = [], ""
    for line in text.splitlines():
        match = re.search(r"\(UUID:\s*([^)\s]+)\)", line)
        if not match:
            continue
        if re.match(r"\s+MIG\b", line):
            name = re.match(r"\s+MIG\s+(\S+)", line)
            found.append(MigDevice(card, name.group(1) if name else "", match.group(1)))
        elif line.startswith("GPU "):
            card = match.group(1)
    return found


class Smi(t.NamedTuple):
    """What nvidia-smi said; ``answer`` is None when there is no such program."""

    answer: t.Optional[Answer]
    rows: t.List[SmiRow]
    mig: t.List[MigDevice]


def ask_smi(commands: Commands) -> Smi:
    """Ask nvidia-smi for its cards."""
    fields = list(SMI_FIELDS)
    while True:
        answer = commands.run("nvidia-smi", "--query-gpu=" + ",".join(fields), "--format=csv,noheader,nounits")
        if answer is None:
            return Smi(None, [], [])
        unknown = [name for name in fields[-2:] if '"%s" is not a valid field' % name in answer.text]
        if answer.status == 0 or not unknown:
            break
        # An old driver: the columns that it knows still tell how old it is.
        fields = [name for name in fields if name not in unknown]
    rows = smi_rows(answer.out, fields) if answer.status == 0 else []
    mig: t.List[MigDevice] = []
    if any(row.mig for row in rows):
        listed = commands.run("nvidia-smi", "-L")
        mig = mig_devices(listed.out) if listed and listed.status == 0 else []
    return Smi(answer, rows, mig)


class KfdNode(t.NamedTuple):
    """A node of KFD that is a GPU of AMD; in CPX mode one card has many."""

    slot: str
    target: int
    render: t.Optional[int]
    memory: int
    unique: int
    #: Position among the nodes with a GPU: how the runtime of ROCm counts.
    order: int


def kfd_nodes(files: Files) -> t.List[KfdNode]:
    """Return the nodes that are GPUs. A node that cannot be read belongs to somebody else and is left out."""
    base = "/sys/class/kfd/kfd/topology/nodes"
    found: t.List[KfdNode] = []
    for name in sorted(files.names(base), key=lambda name: (to_int(name) is None, to_int(name) or 0, name)):
        folder = "%s/%s" % (base, name)
        values = {}
        for line in (files.read(folder + "/properties") or "").splitlines():
            key, _blank, value = line.strip().partition(" ")
            number = to_int(value)
            if number is not None:
                values[key] = number
        if values.get("vendor_id") != AMD or not values.get("gfx_target_version"):
            continue
        place, domain = values.get("location_id", 0), values.get("domain", 0)
        memory = 0
        for bank in files.names(folder + "/mem_banks"):
            text = files.read("%s/mem_banks/%s/properties" % (folder, bank)) or ""
            pairs = dict(line.strip().partition(" ")[::2] for line in text.splitlines())
            if to_int(pairs.get("heap_type")) in (1, 2):
                memory += to_int(pairs.get("size_in_bytes")) or 0
        minor = values.get("drm_render_minor")
        found.append(
            KfdNode(
                # The upper bits may hold the number of a partition.
                slot="%04x:%02x:%02x" % (domain, place >> 8 & 0xFF, place >> 3 & 31),
                target=values["gfx_target_version"],
                render=minor if minor and minor > 0 else None,
                memory=memory,
                unique=values.get("unique_id", 0),
                order=len(found),
            )
        )
    return found


class Container(t.NamedTuple):
    """What containers can use: runtimes of Docker and files of CDI."""

    source: str  #: command: Docker itself said so; files: what is configured
    docker_version: t.Optional[str]
    cgroup_driver: t.Optional[str]
    nvidia_runtime: bool
    nvidia_cdi: bool
    amd_runtime: bool
    amd_cdi: bool


def docker_info(commands: Commands) -> t.Dict[str, t.Any]:
    """Return what docker info says, empty if it says nothing."""
    answer = commands.run("docker", "info", "--format", "{{json .}}")
    if answer is None or not answer.out.strip():
        return {}
    try:
        value = json.loads(answer.out)
    except (ValueError, RecursionError):
        value = _docker_text(answer.out) if answer.status == 0 else {}
    # Without an engine the client still prints a document, with everything about the engine empty.
    if not isinstance(value, dict) or value.get("ServerErrors"):
        return {}
    return value


def _docker_text(text: str) -> t.Dict[str, t.Any]:
    """Return the few lines that matter of docker info for people."""
    values: t.Dict[str, t.Any] = {}
    for name, key in (("Server Version", "ServerVersion"), ("Cgroup Driver", "CgroupDriver")):
        match = re.search(r"^\s*%s:\s*(\S+)\s*$" % name, text, re.MULTILINE)
        if match:
            values[key] = match.group(1)
    match = re.search(r"^\s*Runtimes:(.*)$", text, re.MULTILINE)
    if match:
        values["Runtimes"] = {name: {} for name in match.group(1).split()}
    return values


def container(files: Files, commands: Commands) -> Container:
    """Find out which cards Docker can give to a container."""
    info = docker_info(commands)
    runtimes = info.get("Runtimes")
    known = isinstance(runtimes, dict)
    if not known:
        runtimes = _configured_runtimes(files)
    names = set(runtimes) if isinstance(runtimes, dict) else set()
    version = info.get("ServerVersion")
    version = version if isinstance(version, str) and version else None
    folders: t.List[str] = list(CDI_FOLDERS)
    listed = info.get("CDISpecDirs")
    if isinstance(listed, list):
        folders += [entry for entry in listed if isinstance(entry, str) and entry not in folders]
    # Docker before 25 knows no CDI; later ones say with an empty list that it is switched off.
    usable = listed != [] and not (version and (25,) > to_version(version) > ())
    found = info.get("DiscoveredDevices")
    devices = [entry.get("ID") for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []

    def cdi(vendor: str, kind: str) -> bool:
        pattern = re.compile(r"%s[\w.-]*\.(yaml|yml|json)$" % vendor)
        return usable and (
            any(str(entry).startswith(kind) for entry in devices)
            or any(pattern.match(name) for folder in folders for name in files.names(folder))
        )

    driver = info.get("CgroupDriver")
    return Container(
        source="command" if known else "files",
        docker_version=version,
        cgroup_driver=driver if isinstance(driver, str) and driver else None,
        nvidia_runtime="nvidia" in names,
        nvidia_cdi=cdi("nvidia", "nvidia.com/gpu"),
        amd_runtime="amd" in names,
        amd_cdi=cdi("amd", "amd.com/gpu"),
    )


def _configured_runtimes(files: Files) -> t.Dict[str, t.Any]:
    try:
        settings = json.loads(files.read("/etc/docker/daemon.json") or "{}")
    except (ValueError, RecursionError):
        return {}
    if not isinstance(settings, dict):
        return {}
    runtimes = settings.get("runtimes")
    names = dict(runtimes) if isinstance(runtimes, dict) else {}
    if isinstance(settings.get("default-runtime"), str):
        names.setdefault(settings["default-runtime"], {})
    return names


class Platform(t.NamedTuple):
    """What kind of machine it is."""

    wsl: bool
    jetson: bool
    jetpack: t.Optional[str]
    gb10: bool
    model: str
    secure_boot: bool
    memory_mib: t.Optional[int]
    release: str


def platform(files: Files) -> Platform:
    """Find out whether it is one of the machines where other rules hold."""
    release = files.read("/proc/sys/kernel/osrelease") or ""
    if not release:
        match = re.match(r"Linux version (\S+)", files.read("/proc/version") or "")
        release = match.group(1) if match else ""
    tegra = files.read("/etc/nv_tegra_release")
    family = files.read("/sys/devices/soc0/family") or ""
    match = re.search(r"\bR(\d+)\b", tegra or "")
    variable = files.read_bytes("/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c")
    memory = re.search(r"^MemTotal:\s+(\d{1,18})\s*kB", files.read("/proc/meminfo") or "", re.MULTILINE)
    return Platform(
        wsl="microsoft" in release.lower() and files.exists("/dev/dxg"),
        jetson=tegra is not None or family.startswith("Tegra"),
        jetpack={"35": "5", "36": "6"}.get(match.group(1)) if match else None,
        gb10=files.read("/sys/devices/soc0/soc_id") == "jep106:0426:8901",
        model=files.read("/proc/device-tree/model") or "",
        # The value comes after four bytes of attributes.
        secure_boot=(variable or b"")[-1:] == b"\1",
        memory_mib=int(memory.group(1)) // 1024 if memory else None,
        release=release,
    )


def module_on_disk(files: Files, release: str) -> bool:
    """Say whether the NVIDIA module lies on disk for the running kernel. Debian's has another name there."""
    pattern = re.compile(r"nvidia(-(current|open|tesla|legacy)[\w.-]*?)?\.ko(\.\w+)?$")
    helpers = re.compile(r"nvidia.*[-_](uvm|drm|modeset|peermem)\.ko")
    releases = [release] if release else files.names("/lib/modules")
    for name in releases:
        if "/" in name or name in (".", ".."):
            continue
        for _folder, _folders, entries in os.walk(files.at("/lib/modules/" + name)):
            if any(pattern.match(entry) and not helpers.match(entry) for entry in entries):
                return True
    return False


def proc_gpu(files: Files, bus: str) -> t.Dict[str, str]:
    """Return what the driver says about a card."""
    text = files.read("/proc/driver/nvidia/gpus/%s/information" % bus) or ""
    pairs = (line.partition(":") for line in text.splitlines())
    return {key.strip(): value.strip() for key, _colon, value in pairs if value.strip()}
