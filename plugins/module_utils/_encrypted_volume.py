# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An encrypted volume of a machine: looked at, planned, then brought into its state.

Private to the collection. Three rules: nothing is formatted that has anything on it, unless the owner names that device a
second time; a key is checked against the disk before anything is written; and check mode goes the same way as the real run.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import re
import stat
import typing as t
import uuid

from ansible_collections.pantheon.ai.plugins.module_utils import _encrypted_tool as tool
from ansible_collections.pantheon.ai.plugins.module_utils._encrypted_tool import EncryptionError, Volume
from ansible_collections.pantheon.ai.plugins.module_utils._outcome import Outcome
from ansible_collections.pantheon.ai.plugins.module_utils._storage_mounts import Entry, escape_path
from ansible_collections.pantheon.ai.plugins.module_utils._storage_mounts import Machine as MountMachine

MARKER = "# Managed by Ansible (pantheon.ai.encrypted_volume): changes are overwritten."
UNITS = "/etc/systemd/system"
PROGRAM = "/usr/local/lib/pantheon/pantheon_encryption.py"
HIDDEN = "(not shown)\n"

METHODS = ["auto", "luks", "fscrypt"]
UNLOCKS = ["file", "tpm2", "manual"]
ARGUMENTS: t.Dict[str, t.Any] = {
    "name": {"type": "str", "required": True},
    "device": {"type": "str"},
    "directory": {"type": "str"},
    "path": {"type": "str", "required": True},
    "method": {"type": "str", "choices": METHODS, "default": "auto"},
    "unlock": {"type": "str", "choices": UNLOCKS, "default": "file"},
    "key": {"type": "str", "no_log": True},
    # Read by the action only. Its value is the name of a machine.
    "key_machine": {"type": "str", "default": "", "no_log": False},
    "wipe": {"type": "str", "default": ""},
    "volumes": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {"type": "str", "required": True},
            "directory": {"type": "str", "required": True},
        },
    },
    "docker_root": {"type": "str", "default": "/var/lib/docker"},
    "state": {"type": "str", "choices": ["present", "unlocked", "locked", "absent"], "default": "present"},
}

_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}\Z")
_PATH = re.compile(r"(?:/[A-Za-z0-9_.@:+=-]+)+\Z")
_RELATIVE = re.compile(r"[A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+)*\Z")
_KEY = re.compile(r"[!-~]{32,512}\Z")
_SYSTEM = frozenset(
    ["/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/opt", "/proc", "/root", "/run", "/sbin", "/sys", "/tmp", "/usr",
     "/var", "/var/lib", "/var/lib/docker", "/mnt", "/srv"]
)  # fmt: skip

Json = t.Dict[str, t.Any]


class Machine(MountMachine):
    """The machine: everything that is read, written or run goes through here. Tests give another one."""

    def tell(self, *command: str, given: t.Optional[str] = None, seconds: float = 120) -> t.Tuple[int, str]:
        """Run a program with something on its input; returns status, and output or errors."""
        return tool.run(*command, given=given, seconds=seconds)

    def is_block(self, path: str) -> bool:
        """Say whether a path leads to a block device."""
        try:
            return stat.S_ISBLK(os.stat(self.at(path)).st_mode)
        except OSError:
            return False

    def in_use(self, device: str) -> str:
        """Return what uses a block device: it is mounted, swapped to, or part of another one. Empty for nothing."""
        number = os.stat(device).st_rdev
        place = "/sys/dev/block/%d:%d" % (os.major(number), os.minor(number))
        holders = [os.path.basename(path) for path in glob.glob(place + "/holders/*")]
        if holders:
            return "it is part of %s" % ", ".join(sorted(holders))
        partitions = [os.path.basename(os.path.dirname(path)) for path in glob.glob(place + "/*/partition")]
        if partitions:
            return "it has the partitions %s" % ", ".join(sorted(partitions))
        try:
            os.close(os.open(device, os.O_RDONLY | os.O_EXCL))
        except OSError as error:
            return "the kernel says: %s" % (error.strerror or error)
        return ""

    def policy_of(self, path: str) -> t.Optional[str]:
        """Return the identifier of the key of a directory, None if it is not encrypted."""
        return tool.policy_of(path)

    def set_policy(self, path: str, identifier: str) -> None:
        """Encrypt an empty directory."""
        tool.set_policy(path, identifier)

    def is_unlocked(self, volume: Volume) -> bool:
        """Say whether a volume can be read."""
        return tool.is_unlocked(volume)

    def unlock(self, volume: Volume, key: str) -> None:
        """Make a volume readable."""
        tool.unlock(volume, key, self.tell)

    def mount_base(self, volume: Volume, source: str) -> None:
        """Mount the file system of a device."""
        tool.mount_base(volume, source, self.tell)

    def write_private(self, path: str, text: str, mode: int) -> None:
        """Replace a file that only root may read, in one step."""
        folder = os.path.dirname(self.at(path))
        os.makedirs(folder, mode=0o755, exist_ok=True)
        os.chmod(folder, 0o700)
        fresh = os.path.join(folder, ".%s.pantheon" % os.path.basename(path))
        with contextlib.suppress(FileNotFoundError):
            os.unlink(fresh)
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.replace(fresh, self.at(path))

    def program(self) -> str:
        """Return the text of the program for the units: the module that this one imports, also out of an archive."""
        text = t.cast(t.Any, tool.__loader__).get_source(tool.__name__)
        # The loader of collections gives bytes, that of an archive text.
        return text.decode() if isinstance(text, bytes) else str(text)

    def new_uuid(self) -> str:
        """Return a UUID for a disk that we make."""
        return tool.UUID_PREFIX + uuid.uuid4().hex[:4] + "-" + uuid.uuid4().hex[:12]


# -- pure helpers -----------------------------------------------------------------------------------------------------


def validate(wanted: Json) -> t.List[str]:
    """Return what is wrong with the parameters."""
    problems = []
    label = "volume %s: " % wanted["name"]
    if not _NAME.match(wanted["name"]):
        problems.append("name %r: use lower-case letters, digits and '-', 31 at most." % wanted["name"])
    places = [key for key in ("device", "directory") if wanted.get(key)]
    if len(places) != 1 and (places or wanted["state"] in ("present", "unlocked")):
        problems.append(
            label + "%s. Give one of device and directory." % ("both are given" if places else "neither is given")
        )
    for key in ("device", "directory", "path"):
        value = wanted.get(key)
        if value and (not _PATH.match(value) or os.path.normpath(value) != value):
            problems.append(
                label + "%s %r: an absolute path without spaces, '..' or a final slash is wanted." % (key, value)
            )
    if wanted["path"] in _SYSTEM or wanted.get("directory") in _SYSTEM:
        problems.append(
            label
            + "path %s belongs to the system. Use a directory of its own, such as /srv/pantheon/data." % wanted["path"]
        )
    directory = wanted.get("directory")
    path = wanted["path"]
    if directory and ((directory + "/").startswith(path + "/") or (path + "/").startswith(directory + "/")):
        problems.append(
            label + "directory %s and path %s lie in each other. Use paths side by side." % (directory, wanted["path"])
        )
    if directory and wanted.get("method") == "luks":
        problems.append(
            label + "method luks encrypts a device, and %s is a directory. Use fscrypt or auto." % directory
        )
    if wanted.get("wipe") and wanted["wipe"] != wanted.get("device"):
        problems.append(
            label
            + "wipe %s is not the device %s. Name the device itself, or leave wipe out."
            % (wanted["wipe"], wanted.get("device"))
        )
    if wanted.get("key") is not None and not _KEY.match(wanted["key"]):
        problems.append(
            label
            + "key: 32 to 512 random characters without spaces are wanted; it is not stretched, so a short one could be guessed."
        )
    for volume in wanted.get("volumes") or []:
        if not _RELATIVE.match(volume["directory"]) or ".." in volume["directory"].split("/"):
            problems.append(
                label + "directory %r of %s: a path below the volume is wanted." % (volume["directory"], volume["name"])
            )
    return problems


def service_name(name: str) -> str:
    """Return the unit that unlocks a volume."""
    return "pantheon-encrypted-%s.service" % name


def unit_texts(volume: Volume) -> t.Dict[str, str]:
    """Return the units of a volume, path -> text."""
    name, path, unlock = volume["name"], volume["path"], volume["unlock"]
    # A key that a person gives comes after the boot: nothing waits for it, and nothing tries in vain.
    install = "" if unlock == "manual" else "\n[Install]\nWantedBy=multi-user.target\n"
    first = "" if unlock == "manual" else "Before=docker.service\n"
    needs = "RequiresMountsFor=%s\n" % volume["directory"] if volume.get("directory") else ""
    service = (
        "%s\n[Unit]\nDescription=Unlock the encrypted volume %s\nAfter=local-fs.target\n%s%s"
        "\n[Service]\nType=oneshot\nRemainAfterExit=yes\n"
        "ExecStart=/usr/bin/python3 -I %s unlock %s\nExecStop=/usr/bin/python3 -I %s lock %s\n"
        # The file system is checked before it is mounted, which may take its time after a crash.
        "TimeoutStartSec=3600\n%s"
    ) % (MARKER, name, first, needs, PROGRAM, name, PROGRAM, name, install)
    mount = (
        "%s\n[Unit]\nDescription=Encrypted volume %s\nDefaultDependencies=no\nConflicts=umount.target\nBefore=umount.target\n%s"
        "Requires=%s\nAfter=%s\n\n[Mount]\nWhat=%s\nWhere=%s\nType=none\nOptions=bind\n%s"
    ) % (MARKER, name, first, service_name(name), service_name(name), tool.inner_of(volume), path, install)
    return {
        "%s/%s" % (UNITS, service_name(name)): service,
        "%s/%s.mount" % (UNITS, escape_path(path)): mount,
    }


def describe(signature: t.Mapping[str, str]) -> str:
    """Say in a few words what is on a device."""
    if not signature:
        return "nothing"
    what = signature.get("TYPE") or "a partition table (%s)" % signature.get("PTTYPE", "of an unknown kind")
    more = ", ".join("%s %s" % (key.lower(), signature[key]) for key in ("LABEL", "UUID") if signature.get(key))
    return "%s (%s)" % (what, more) if more else what


def is_ours(signature: t.Mapping[str, str]) -> bool:
    """Say whether a device is a volume that this module made, on whichever machine."""
    return signature.get("UUID", "").startswith(tool.UUID_PREFIX)


def method_of(signature: t.Mapping[str, str]) -> str:
    """Return how a device of ours is encrypted."""
    return "luks" if signature.get("TYPE") == "crypto_LUKS" else "fscrypt"


# -- the state --------------------------------------------------------------------------------------------------------


class EncryptedVolume:
    """Compares one volume with what is wanted of it, and brings it there."""

    def __init__(self, machine: Machine, wanted: Json, check_mode: bool = False) -> None:
        self.machine, self.wanted, self.check_mode = machine, wanted, check_mode
        self.name: str = wanted["name"]
        self.key: t.Optional[str] = wanted.get("key")
        self.actions: t.List[str] = []
        self.diffs: t.List[Json] = []
        self.warnings: t.List[str] = []

    def reconcile(self) -> Json:
        """Do what is to be done; return the result of the module."""
        problems = validate(self.wanted)
        if problems:
            raise EncryptionError(" ".join(problems))
        known = self._known()
        if self.wanted["state"] == "present":
            return self._present(known)
        if self.wanted["state"] == "unlocked":
            if known is None:
                raise EncryptionError("volume %s: it was never set up on this machine. Run site.yml." % self.name)
            # Looks whether disk and key are those of the volume.
            self._directory(known) if known.get("directory") else self._device(known)
            self._start(known)
            return self._result(known)
        if known is not None:
            self._lock(known)
            if self.wanted["state"] == "absent":
                self._forget(known)
        return self._result(known)

    # -- what is there

    def _known(self) -> t.Optional[Volume]:
        text = self.machine.read(tool.config_file(self.name))
        if text is None:
            return None
        try:
            return t.cast(Volume, json.loads(text))
        except ValueError:
            raise EncryptionError(
                "volume %s: %s cannot be read. Remove it: it is made again from the disk."
                % (self.name, tool.config_file(self.name))
            ) from None

    def _entry(self, path: str) -> t.Optional[Entry]:
        found = [entry for entry in self.machine.mounts() if entry.path == path]
        return found[-1] if found else None

    def _do(self, text: str, apply: t.Callable[[], t.Any], diff: t.Optional[Json] = None) -> None:
        """Note a change, and make it unless this is check mode."""
        self.actions.append(text)
        if diff:
            self.diffs.append(diff)
        if not self.check_mode:
            apply()

    def _must(self, *command: str, given: t.Optional[str] = None, seconds: float = 120) -> str:
        status, text = self.machine.tell(*command, given=given, seconds=seconds)
        if status:
            raise EncryptionError("volume %s: %s failed: %s" % (self.name, " ".join(command), text.strip()[-500:]))
        return text

    # -- present

    def _present(self, known: t.Optional[Volume]) -> Json:
        volume, blank = self._directory(known) if self.wanted.get("directory") else self._device(known)
        self._conflicts(volume, known)
        if blank and self.key is None and not self.check_mode:
            raise EncryptionError("volume %s: a new volume needs a key. Give key." % self.name)
        if self.wanted["unlock"] == "tpm2" and not self.machine.exists("/dev/tpmrm0"):
            raise EncryptionError(
                "volume %s: unlock tpm2: the machine has no TPM (/dev/tpmrm0). Use file or manual." % self.name
            )
        moved = known if known is not None and known["path"] != volume["path"] else None
        if moved is not None:
            self._unmount(moved)
        self._protect(volume["path"])
        if blank:
            self._make(volume)
        self._keep_key(volume, known)
        self._files(volume, moved)
        self._start(volume)
        self._directories(volume)
        left = self._elsewhere(volume)
        if left:
            raise EncryptionError(
                "volume %s: these volumes of Docker are there already, unencrypted: %s. The encrypted volume is ready; move them as "
                "docs/encryption.md says, or take their tier out of tiers." % (self.name, ", ".join(left))
            )
        return self._result(volume)

    def _device(self, known: t.Optional[Volume]) -> t.Tuple[Volume, bool]:
        """Return the volume as it will be, and whether its device has to be formatted first."""
        device = str(self.wanted["device"])
        label = "volume %s: " % self.name
        if known is not None and known.get("directory"):
            raise EncryptionError(
                label
                + "it is the directory %s. Leave it there, or choose another name for %s."
                % (known["directory"], device)
            )
        if not self.machine.is_block(device):
            raise EncryptionError(
                label + "device %s is not there, or no block device. Correct device, or plug it in." % device
            )
        signature = tool.signature_of(device, self.machine.tell)
        if known is not None and signature.get("UUID") != known["uuid"]:
            raise EncryptionError(
                label
                + "%s is not its disk: UUID %s was expected, %s was found. Plug the disk in, or correct device; to begin anew "
                "with an empty volume, use state absent first." % (device, known["uuid"], describe(signature))
            )
        if is_ours(signature):
            method = method_of(signature)
            if self.wanted["method"] not in ("auto", method):
                raise EncryptionError(
                    label
                    + "%s is encrypted with %s, method %s is wanted. Leave it, or move the content to another disk."
                    % (device, method, self.wanted["method"])
                )
            volume = self._volume(method, signature["UUID"])
            self._check_key(volume, signature)
            if not volume["identifier"]:
                volume["identifier"] = known["identifier"] if known else ""
            return volume, False
        if signature and self.wanted.get("wipe") != device:
            raise EncryptionError(
                label
                + "%s holds %s. Nothing was touched. Choose another device; if all of it may be erased, say so with wipe: %s"
                % (device, describe(signature), device)
            )
        used = self.machine.in_use(device)
        if used:
            raise EncryptionError(label + "%s is in use: %s. Choose another device, or free it." % (device, used))
        volume = self._volume(self._choose(), self.machine.new_uuid())
        before = "%s\n" % describe(signature)
        after = "LUKS2\n" if volume["method"] == "luks" else "ext4 with encryption\n"
        self.diffs.append(_diff(device, before, after))
        return volume, True

    def _directory(self, known: t.Optional[Volume]) -> t.Tuple[Volume, bool]:
        """Return the volume as it will be, and whether its directory has to be encrypted first."""
        directory = str(self.wanted["directory"])
        label = "volume %s: " % self.name
        if known is not None and known.get("directory") != directory:
            raise EncryptionError(
                label
                + "it lies on %s. Leave it there, or choose another name for %s."
                % (known.get("directory") or known["device"], directory)
            )
        volume = self._volume("fscrypt", "")
        status = self.machine.status(directory)
        above = directory
        while self.machine.status(above) is None:
            above = os.path.dirname(above)
        try:
            found = self.machine.policy_of(self.machine.at(above))
        except OSError as error:
            if error.errno not in tool.UNSUPPORTED:
                raise
            raise EncryptionError(
                label
                + "the file system of %s cannot encrypt files (%s). Switch it on (ext4: tune2fs -O encrypt on its device), or "
                "give a device." % (directory, os.strerror(error.errno or 0))
            ) from None
        if above != directory and found is not None:
            raise EncryptionError(label + "%s is encrypted already, so %s cannot be on its own." % (above, directory))
        if above == directory and found is not None:
            if self.key is not None and found != volume["identifier"]:
                raise tool.wrong_key(volume)
            volume["identifier"] = found
            return volume, False
        if known is not None:
            raise EncryptionError(
                label
                + "%s is not encrypted any more. If its content may be left behind, use state absent first." % directory
            )
        if status is not None and (not stat.S_ISDIR(status.st_mode) or self.machine.listdir(directory)):
            raise EncryptionError(
                label
                + "%s holds something, and only an empty directory can be encrypted. Move its content away." % directory
            )
        self.diffs.append(_diff(directory, "not encrypted\n", "encrypted\n"))
        return volume, True

    def _volume(self, method: str, number: str) -> Volume:
        identifier = ""
        if method == "fscrypt" and self.key is not None:
            identifier = tool.identifier_of(tool.master_key(self.key))
        return {
            "name": self.name,
            "method": method,
            "device": self.wanted.get("device") or "",
            "directory": self.wanted.get("directory") or "",
            "path": self.wanted["path"],
            "unlock": self.wanted["unlock"],
            "uuid": number,
            "identifier": identifier,
        }

    def _check_key(self, volume: Volume, signature: t.Mapping[str, str]) -> None:
        if self.key is None:
            return
        if volume["method"] == "fscrypt":
            if signature.get("LABEL") != tool.label_of(volume["identifier"]):
                raise tool.wrong_key(volume)
            return
        status, text = self.machine.tell(
            "cryptsetup",
            "open",
            "--test-passphrase",
            "--type",
            "luks2",
            "--key-file",
            "-",
            volume["device"],
            given=self.key,
        )
        if status == 2:
            raise tool.wrong_key(volume)
        # In check mode the packages are not there on a machine that is new.
        if status and not (status == 127 and self.check_mode):
            raise EncryptionError("volume %s: cryptsetup cannot test the key: %s" % (self.name, text.strip()))

    def _choose(self) -> str:
        """Return how a new device is encrypted."""
        machine = self.machine
        if self.wanted["method"] == "luks":
            return "luks"
        # The control node is what a container lacks that runs on a kernel with dm-crypt.
        if self.wanted["method"] == "auto" and machine.exists("/dev/mapper/control"):
            if machine.exists("/sys/module/dm_crypt"):
                return "luks"
            if not machine.tell("modprobe", *(["--dry-run"] if self.check_mode else []), "dm_crypt")[0]:
                return "luks"
        # A module that is not loaded yet says nothing, and one that is says what it can.
        if machine.exists("/sys/fs/ext4/features") and not machine.exists("/sys/fs/ext4/features/encryption"):
            raise EncryptionError(
                "volume %s: the kernel has neither dm-crypt nor encryption of files (CONFIG_FS_ENCRYPTION), and method is %s. Boot a "
                "kernel that has one of them." % (self.name, self.wanted["method"])
            )
        return "fscrypt"

    def _conflicts(self, volume: Volume, known: t.Optional[Volume]) -> None:
        path = volume["path"]
        label = "volume %s: " % self.name
        for unit in unit_texts(volume):
            text = self.machine.read(unit)
            if text is not None and not text.startswith(MARKER):
                raise EncryptionError(label + "%s is not ours. Remove it, or use another path." % unit)
        there = self._entry(path)
        if there is not None and (known is None or known["path"] != path):
            raise EncryptionError(
                label
                + "%s (%s) is mounted on %s, and not by us. Unmount it, or use another path."
                % (there.source, there.kind, path)
            )
        status = self.machine.status(path)
        if there is None and status is not None:
            if not stat.S_ISDIR(status.st_mode):
                raise EncryptionError(label + "%s is not a directory. Move it away." % path)
            content = sorted(self.machine.listdir(path))
            if content:
                raise EncryptionError(
                    label
                    + "%s holds files (%s), which the mount would hide. Move them away."
                    % (path, ", ".join(content[:3]))
                )

    # -- making

    def _protect(self, path: str) -> None:
        """A write to the bare directory has to fail: otherwise it lands unencrypted on the disk of the machine."""
        if self._entry(path) is not None:
            return
        status = self.machine.status(path)
        if status is not None and stat.S_IMODE(status.st_mode) == 0 and self.machine.immutable(path) is not False:
            return

        def apply() -> None:
            self.machine.make_directory(path)
            self.machine.immutable(path, False)
            self.machine.chmod(path, 0)
            self.machine.immutable(path, True)

        before = "" if status is None else "directory, mode %04o\n" % stat.S_IMODE(status.st_mode)
        self._do("protect %s" % path, apply, _diff(path, before, "directory, mode 0000, immutable\n"))

    def _make(self, volume: Volume) -> None:
        if volume["directory"]:

            def encrypt() -> None:
                self.machine.make_directory(volume["directory"])
                self._encrypt(volume, volume["directory"])

            self._do("encrypt %s" % volume["directory"], encrypt)
            return
        self._do("format %s (%s)" % (volume["device"], volume["method"]), lambda: self._format(volume))

    def _format(self, volume: Volume) -> None:
        device, key = volume["device"], self.key or ""
        if self.wanted.get("wipe") == device:
            self._must("wipefs", "--all", device)
        if volume["method"] == "luks":
            self._must(
                *("cryptsetup", "luksFormat", "--batch-mode", "--type", "luks2", "--uuid", volume["uuid"]),
                *("--label", "pantheon-%s" % self.name, "--key-file", "-", device),
                given=key,
            )
            self._inside(volume, key)
            return
        # The directory comes before the label, so that a run that was killed in between is begun anew (its UUID is ours).
        self._must(
            *("mkfs.ext4", "-q", "-F", "-O", "encrypt", "-U", volume["uuid"]),
            *("-L", tool.label_of(volume["identifier"]), device),
            seconds=3600,
        )

    def _inside(self, volume: Volume, key: str) -> None:
        """Make the file system inside of an opened LUKS device, if there is none yet."""
        source = tool.mapper_of(volume)
        if not self.machine.exists(source):
            tool.open_luks(volume, key, self.machine.tell)
        if not tool.signature_of(source, self.machine.tell):
            self._must("mkfs.ext4", "-q", source, seconds=3600)

    def _encrypt(self, volume: Volume, directory: str) -> None:
        self.machine.chmod(directory, 0o711)
        try:
            self.machine.set_policy(self.machine.at(directory), volume["identifier"])
        except OSError as error:
            raise EncryptionError(
                "volume %s: the kernel cannot encrypt %s (%s). Use method luks, or a kernel with CONFIG_FS_ENCRYPTION."
                % (self.name, directory, error.strerror)
            ) from None

    def _keep_key(self, volume: Volume, known: t.Optional[Volume]) -> None:
        """Bring the key on the machine into its state; its text is in no diff."""
        file, sealed = tool.key_file(self.name), tool.sealed_file(self.name)
        if volume["unlock"] == "file" and self.key is not None and self.machine.read(file) != self.key:
            key = self.key
            before = HIDDEN if self.machine.exists(file) else ""
            self._do(
                "write %s" % file, lambda: self.machine.write_private(file, key, 0o400), _diff(file, before, HIDDEN)
            )
        if volume["unlock"] == "file" and self.key is None and not self.machine.exists(file) and not self.check_mode:
            raise EncryptionError("volume %s: %s is not there, and no key was given. Give key." % (self.name, file))
        if volume["unlock"] == "tpm2" and self.key is not None:
            # What is sealed can be compared with nothing but itself, opened.
            status, text = self.machine.tell("systemd-creds", "decrypt", "--name=pantheon-%s" % self.name, sealed, "-")
            if status or text != self.key:
                self._do("seal the key to the TPM", lambda: self._seal(sealed), _diff(sealed, "", HIDDEN))
        for path, kept in ((file, "file"), (sealed, "tpm2")):
            if volume["unlock"] != kept and self.machine.exists(path):
                self._do("remove %s" % path, lambda path=path: self.machine.remove(path), _diff(path, HIDDEN, ""))  # type: ignore[misc]

    def _seal(self, path: str) -> None:
        text = self._must(
            *(
                "systemd-creds",
                "encrypt",
                "--with-key=tpm2",
                "--tpm2-pcrs=7",
                "--name=pantheon-%s" % self.name,
                "-",
                "-",
            ),
            given=self.key,
        )
        self.machine.write_private(path, text, 0o400)

    def _files(self, volume: Volume, moved: t.Optional[Volume]) -> None:
        """Write the program, what the volume is, and its units."""
        config = tool.config_file(self.name)
        program = self.machine.program()
        if self.machine.read(PROGRAM) != program:
            # Its text is the same on every machine and says nothing to a reader of a diff.
            self._do("write %s" % PROGRAM, lambda: self.machine.write(PROGRAM, program))
        text = json.dumps(volume, indent=2, sort_keys=True) + "\n"
        before = self.machine.read(config)
        if before != text:
            # A new disk gets its UUID when it is formatted: check mode cannot know it.
            shown = [re.sub(r'"(uuid|identifier)": ".*"', r'"\1": "..."', item) for item in (before or "", text)]
            self._do(
                "write %s" % config,
                lambda: self.machine.write_private(config, text, 0o600),
                _diff(config, shown[0], shown[1]),
            )
        reload = False
        if moved is not None:
            old = "%s/%s.mount" % (UNITS, escape_path(moved["path"]))
            self._remove_unit(old)
            reload = True
        for path, content in sorted(unit_texts(volume).items()):
            now = self.machine.read(path)
            if now != content:
                if now is not None:
                    self._drop_links(path)
                self._do(
                    "write %s" % path,
                    lambda path=path, content=content: self.machine.write(path, content),  # type: ignore[misc]
                    _diff(path, now or "", content),
                )
                reload = True
        if reload:
            self._do("reload systemd", lambda: self._must("systemctl", "daemon-reload"))
        for path in sorted(unit_texts(volume)):
            link = self._link(path)
            if volume["unlock"] != "manual" and not os.path.islink(self.machine.at(link)):
                unit = os.path.basename(path)
                self._do("enable %s" % unit, lambda unit=unit: self._must("systemctl", "enable", unit))  # type: ignore[misc]

    def _start(self, volume: Volume) -> None:
        unlocked = self.machine.is_unlocked(volume)
        if not unlocked:
            if self.key is None and not self.check_mode:
                raise EncryptionError(
                    "volume %s is locked, and no key was given. Run playbooks/unlock.yml." % self.name
                )
            self._do("unlock %s" % self.name, lambda: self._unlock(volume))
        if not volume["directory"] and not self.check_mode:
            self._complete(volume)
        if not self._active(service_name(self.name)):
            # It finds the volume unlocked; from now on systemd locks it when the machine goes down.
            self._do(
                "start %s" % service_name(self.name), lambda: self._must("systemctl", "start", service_name(self.name))
            )
        if self._entry(volume["path"]) is None:
            unit = escape_path(volume["path"]) + ".mount"
            self._do("mount %s" % volume["path"], lambda: self._must("systemctl", "start", unit))

    def _unlock(self, volume: Volume) -> None:
        key = self.key or ""
        if volume["directory"]:
            self.machine.unlock(volume, key)
            return
        if volume["method"] == "luks":
            # Also where a run was killed between the two formats.
            self._inside(volume, key)
            self.machine.unlock(volume, key)
            return
        if tool.base_of(volume) not in [entry.path for entry in self.machine.mounts()]:
            tool.check_device(volume, self.machine.tell)
            self.machine.mount_base(volume, volume["device"])
        self._complete(volume)
        self.machine.unlock(volume, key)

    def _complete(self, volume: Volume) -> None:
        """Make the directory that is encrypted, in a file system that has none yet."""
        inner = tool.inner_of(volume)
        if self.machine.status(inner) is None:
            self.machine.make_directory(inner)
            self.machine.chmod(inner, 0o711)
        if volume["method"] == "fscrypt" and self.machine.policy_of(self.machine.at(inner)) is None:
            if self.machine.listdir(inner):
                raise EncryptionError(
                    "volume %s: %s is not encrypted, and holds something. Move its content away." % (self.name, inner)
                )
            self._encrypt(volume, inner)

    def _active(self, unit: str) -> bool:
        return self.machine.tell("systemctl", "is-active", "--quiet", unit)[0] == 0

    def _directories(self, volume: Volume) -> None:
        """Make the directories that volumes of Docker are bound to."""
        mounted = self._entry(volume["path"]) is not None
        # A volume that is locked shows nothing in check mode; what it holds is there since an earlier run.
        known = self.machine.exists(tool.config_file(self.name))
        for wanted in self.wanted.get("volumes") or []:
            path = "%s/%s" % (volume["path"], wanted["directory"])
            if (mounted and self.machine.status(path) is None) or (not mounted and self.check_mode and not known):
                self._do("make %s" % path, lambda path=path: self.machine.make_directory(path))  # type: ignore[misc]

    def _elsewhere(self, volume: Volume) -> t.List[str]:
        """Return the volumes of Docker that exist, and do not lie in this one."""
        found = []
        for wanted in self.wanted.get("volumes") or []:
            folder = "%s/volumes/%s" % (self.wanted.get("docker_root") or "/var/lib/docker", wanted["name"])
            if not self.machine.exists(folder):
                continue
            options: t.Any = {}
            with contextlib.suppress(ValueError):
                options = json.loads(self.machine.read(folder + "/opts.json") or "{}")
            device = options.get("MountDevice") if isinstance(options, dict) else None
            if device != "%s/%s" % (volume["path"], wanted["directory"]):
                found.append(wanted["name"])
        return found

    # -- locking and taking away

    def _unmount(self, volume: Volume) -> None:
        there = self._entry(volume["path"])
        if there is None:
            return
        holders = self.machine.holders(volume["path"], there.device)
        # A volume of Docker in use is one more mount of the same file system.
        own = (volume["path"], tool.base_of(volume))
        holders += [
            "the mount %s" % entry.path
            for entry in self.machine.mounts()
            if entry.device == there.device and entry.path not in own and entry.root.startswith(there.root)
        ]
        if holders:
            raise EncryptionError(
                "volume %s: %s is in use by %s, so it stays as it is. Stop them, and run this again."
                % (self.name, volume["path"], ", ".join(holders[:8]))
            )
        unit = escape_path(volume["path"]) + ".mount"
        self._do("unmount %s" % volume["path"], lambda: self._must("systemctl", "stop", unit))

    def _lock(self, volume: Volume) -> None:
        self._unmount(volume)
        if self._active(service_name(self.name)) or self.machine.is_unlocked(volume):
            self._do("lock %s" % self.name, self._close)

    def _close(self) -> None:
        # systemctl does not say that what it stopped had failed to lock: asked again, the program does.
        self._must("systemctl", "stop", service_name(self.name))
        self._must("/usr/bin/python3", "-I", PROGRAM, "lock", self.name)

    def _forget(self, volume: Volume) -> None:
        """Take away what is on the machine. The disk keeps its content, encrypted."""
        for path in sorted(unit_texts(volume)):
            self._remove_unit(path)
        self._do("reload systemd", lambda: self._must("systemctl", "daemon-reload"))
        for path in (tool.key_file(self.name), tool.sealed_file(self.name), tool.config_file(self.name)):
            if self.machine.exists(path):
                shown = HIDDEN if not path.endswith(".json") else self.machine.read(path) or ""
                self._do("remove %s" % path, lambda path=path: self.machine.remove(path), _diff(path, shown, ""))  # type: ignore[misc]
        others = [path for path in self.machine.find(tool.FOLDER + "/*.json") if path != tool.config_file(self.name)]
        if not others and self.machine.exists(PROGRAM):
            self._do("remove %s" % PROGRAM, lambda: self.machine.remove(PROGRAM))
        if self.machine.status(volume["path"]) is not None:
            self._do("give %s back" % volume["path"], lambda: self._give_back(volume["path"]))

    def _give_back(self, path: str) -> None:
        self.machine.immutable(path, False)
        with contextlib.suppress(OSError):
            self.machine.chmod(path, 0o755)
        self.machine.remove_directory(path)

    def _link(self, path: str) -> str:
        return "%s/multi-user.target.wants/%s" % (UNITS, os.path.basename(path))

    def _drop_links(self, path: str) -> None:
        """A unit that is no longer started at boot keeps no link that says so."""
        link = self._link(path)
        if self.wanted["unlock"] == "manual" and os.path.islink(self.machine.at(link)):
            self._do("disable %s" % os.path.basename(path), lambda: self.machine.remove(link))

    def _remove_unit(self, path: str) -> None:
        text = self.machine.read(path)
        if text is None:
            return

        def apply() -> None:
            self.machine.remove(self._link(path))
            self.machine.remove(path)

        self._do("remove %s" % path, apply, _diff(path, text, ""))

    # -- reporting

    def _result(self, volume: t.Optional[Volume]) -> Json:
        fact: Json = {"name": self.name}
        if volume is not None and self.wanted["state"] != "absent":
            fact.update(
                method=volume["method"],
                device=volume["device"] or volume["directory"],
                path=volume["path"],
                unlock=volume["unlock"],
                mounted=self._entry(volume["path"]) is not None,
                unlocked=self.machine.is_unlocked(volume),
            )
            if (
                self.wanted["state"] in ("present", "unlocked")
                and not self.check_mode
                and not (fact["mounted"] and fact["unlocked"])
            ):
                raise EncryptionError(
                    "volume %s: %s is not mounted after all was done. Look at `journalctl -u %s`."
                    % (self.name, volume["path"], service_name(self.name))
                )
        result: Json = {"changed": bool(self.actions), "actions": self.actions, "volume": fact}
        if self.actions and self.diffs:
            result["diff"] = self.diffs
        return result


def perform(params: Json, check_mode: bool, machine: t.Optional[Machine] = None) -> Outcome:
    """Bring one volume into its state."""
    state = EncryptedVolume(machine or Machine(), params, check_mode)
    try:
        result = state.reconcile()
    except EncryptionError as error:
        return Outcome(
            {"changed": bool(state.actions) and not check_mode, "actions": state.actions}, state.warnings, str(error)
        )
    except PermissionError as error:
        return Outcome({"actions": state.actions}, state.warnings, "%s. Run as root (become: true)." % error)
    return Outcome(result, state.warnings, idle=not result["changed"])


def _diff(name: str, before: str, after: str) -> Json:
    return {"before_header": name, "after_header": name, "before": before, "after": after}
