# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unlock and lock an encrypted volume: used by the module encrypted_volume, and installed on the machine for its units.

A program of its own, so it imports nothing of the collection; standard library only. The key comes on standard input, from
a key file or from systemd-creds, and never stands in an argument, the environment or a message.

    pantheon_encryption.py unlock NAME [--stdin]
    pantheon_encryption.py lock NAME
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import hmac
import json
import os
import re
import struct
import subprocess
import sys
import time
import typing as t

FOLDER = "/etc/pantheon/encryption"
BASE = "/var/lib/pantheon/encrypted"
INNER = "data"
"""The directory in the file system of a device that is encrypted, and mounted at the path of the volume."""

UUID_PREFIX = "70616e74-6865-6f6e-"
"""The UUIDs of volumes that we made begin with the word pantheon: such a disk is never taken for an unknown one."""

WAIT_SECONDS = 30.0

# Of linux/fscrypt.h
_SET_POLICY, _GET_POLICY, _ADD_KEY, _REMOVE_KEY, _KEY_STATUS = (
    0x800C6613,
    0xC0096616,
    0xC0506617,
    0xC0406618,
    0xC080661A,
)
_SPEC_IDENTIFIER, _KEY_PRESENT = 2, 2
_AES_256_XTS, _AES_256_CTS, _PAD_32 = 1, 4, 3

#: What a kernel or file system without fscrypt answers.
UNSUPPORTED = (errno.EOPNOTSUPP, errno.ENOTTY, errno.ENOSYS)

Volume = t.Dict[str, str]
Run = t.Callable[..., t.Tuple[int, str]]


class EncryptionError(Exception):
    """What is wrong, in a sentence that says what to do."""


# -- keys -------------------------------------------------------------------------------------------------------------


def master_key(key: str) -> bytes:
    """Return the 64 bytes that the kernel derives the keys of files from.

    The key is random, not a word that a person chose, so it is only brought to its length, not stretched.
    """
    return hashlib.sha512(b"pantheon.ai fscrypt 1\0" + key.encode()).digest()


def identifier_of(master: bytes) -> str:
    """Return the identifier that the kernel gives a key: HKDF-SHA512 with the info b"fscrypt", 0, 1. It is no secret."""
    extracted = hmac.new(bytes(64), master, hashlib.sha512).digest()
    return hmac.new(extracted, b"fscrypt\0\x01\x01", hashlib.sha512).digest()[:16].hex()


def label_of(identifier: str) -> str:
    """Return the label of an ext4 with this key: what fits of the identifier, so that a key is checked before a mount."""
    return identifier[:16]


# -- the kernel -------------------------------------------------------------------------------------------------------


def _control(path: str, request: int, argument: bytearray) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.ioctl(handle, request, argument)
    finally:
        os.close(handle)


def policy_of(path: str) -> t.Optional[str]:
    """Return the identifier of the key that a directory is encrypted with, None if it is not encrypted.

    Raises:
        OSError: with one of UNSUPPORTED, the file system or the kernel has no encryption of files.
    """
    argument = bytearray(struct.pack("=Q", 24) + bytes(24))
    try:
        _control(path, _GET_POLICY, argument)
    except OSError as error:
        if error.errno == errno.ENODATA:
            return None
        raise
    if argument[8] != 2:
        return "an old policy (v%d)" % argument[8]
    return bytes(argument[16:32]).hex()


def set_policy(path: str, identifier: str) -> None:
    """Encrypt an empty directory: what is made in it from now on needs the key."""
    head = struct.pack("=4BB3x", 2, _AES_256_XTS, _AES_256_CTS, _PAD_32, 0)
    _control(path, _SET_POLICY, bytearray(head + bytes.fromhex(identifier)))


def _specifier(identifier: str) -> bytes:
    return struct.pack("=II32s", _SPEC_IDENTIFIER, 0, bytes.fromhex(identifier))


def add_key(path: str, master: bytes) -> str:
    """Give the kernel a key for the file system of a path; returns the identifier that the kernel calls it by."""
    argument = bytearray(struct.pack("=II32sI36x", _SPEC_IDENTIFIER, 0, b"", len(master)) + master)
    try:
        _control(path, _ADD_KEY, argument)
        return bytes(argument[8:24]).hex()
    finally:
        # The interpreter keeps copies all the same; this one is ours.
        ctypes.memset((ctypes.c_char * len(argument)).from_buffer(argument), 0, len(argument))


def remove_key(path: str, identifier: str) -> bool:
    """Take a key away again; returns whether files that are still open keep it in use."""
    argument = bytearray(_specifier(identifier) + bytes(24))
    try:
        _control(path, _REMOVE_KEY, argument)
    except OSError as error:
        if error.errno == errno.ENOKEY:
            return False
        raise
    return bool(struct.unpack_from("=I", argument, 40)[0] & 1)


def has_key(path: str, identifier: str) -> bool:
    """Say whether the kernel has the key for the file system of a path."""
    argument = bytearray(_specifier(identifier) + bytes(88))
    _control(path, _KEY_STATUS, argument)
    return bool(struct.unpack_from("=I", argument, 64)[0] == _KEY_PRESENT)


# -- programs ---------------------------------------------------------------------------------------------------------


def run(*command: str, given: t.Optional[str] = None, seconds: float = 120) -> t.Tuple[int, str]:
    """Run a program; returns its status, and its output, or its errors if it failed. What is *given* goes to its input."""
    try:
        done = subprocess.run(
            list(command),
            input=(given or "").encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"},
            timeout=seconds,
            check=False,
        )
    except FileNotFoundError:
        return 127, "%s is not installed" % command[0]
    except subprocess.TimeoutExpired:
        return 124, "%s did not end within %g s" % (command[0], seconds)
    return done.returncode, (done.stdout if done.returncode == 0 else done.stderr or done.stdout).decode(
        errors="replace"
    )


def signature_of(device: str, runner: Run = run) -> t.Dict[str, str]:
    """Return what blkid finds on a device (TYPE, UUID, LABEL, PTTYPE), read from the device itself; {} for nothing.

    Raises:
        EncryptionError: the device cannot be read, or holds several things at once.
    """
    status, text = runner("blkid", "--probe", "--output", "export", device)
    if status == 2:
        return {}
    if status == 8:
        return {"TYPE": "several file systems at once"}
    if status:
        raise EncryptionError("device %s: blkid cannot read it: %s" % (device, text.strip() or "status %d" % status))
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def mounted(table: str = "/proc/self/mountinfo") -> t.List[str]:
    """Return the paths that something is mounted on."""
    with open(table, encoding="utf-8", errors="surrogateescape") as stream:
        found = [line.split(" ")[4] for line in stream]
    return [re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), path) for path in found]


def base_of(volume: Volume) -> str:
    """Return where the file system of a device is mounted."""
    return "%s/%s" % (BASE, volume["name"])


def inner_of(volume: Volume) -> str:
    """Return the directory that is encrypted, which the path of the volume shows."""
    return volume.get("directory") or "%s/%s" % (base_of(volume), INNER)


def mapper_of(volume: Volume) -> str:
    """Return the opened device of a LUKS volume."""
    return "/dev/mapper/pantheon-%s" % volume["name"]


def is_unlocked(volume: Volume) -> bool:
    """Say whether the volume can be read."""
    if not volume.get("directory") and base_of(volume) not in mounted():
        return False
    if volume["method"] == "luks":
        return os.path.exists(mapper_of(volume))
    try:
        return has_key(inner_of(volume), volume["identifier"])
    except OSError:
        return False


WRONG_KEY = (
    "volume %s: this is not the key that %s was encrypted with. Nothing was touched. Restore encryption_key in the secrets of "
    "the inventory from a backup; if the disk came from another machine, name that one in key_machine."
)


def wrong_key(volume: Volume) -> EncryptionError:
    """Return the error for a key that does not fit."""
    return EncryptionError(WRONG_KEY % (volume["name"], volume.get("directory") or volume["device"]))


def check_device(volume: Volume, runner: Run = run) -> t.Dict[str, str]:
    """Return the signature of the device of a volume, which has to be the disk that it was made on."""
    found = signature_of(volume["device"], runner)
    if found.get("UUID") != volume["uuid"]:
        raise EncryptionError(
            "volume %s: %s is not its disk: UUID %s was expected, %s was found. Plug the disk in, or correct device; a name "
            "below /dev/disk/by-id stays with its disk."
            % (volume["name"], volume["device"], volume["uuid"], found.get("UUID") or "none")
        )
    return found


def unlock(volume: Volume, key: str, runner: Run = run) -> None:
    """Make a volume readable. A wrong key is found before anything is mounted."""
    if is_unlocked(volume):
        return
    directory = volume.get("directory")
    if directory:
        if policy_of(directory) != identifier_of(master_key(key)):
            raise wrong_key(volume)
        _give_key(volume, key)
        return
    deadline = time.monotonic() + WAIT_SECONDS
    while not os.path.exists(volume["device"]):
        if time.monotonic() > deadline:
            raise EncryptionError(
                "volume %s: there is no device %s. Plug the disk in." % (volume["name"], volume["device"])
            )
        time.sleep(0.2)
    found = check_device(volume, runner)
    source = volume["device"]
    if volume["method"] == "luks":
        source = mapper_of(volume)
        if not os.path.exists(source):
            open_luks(volume, key, runner)
    elif found.get("LABEL") != label_of(identifier_of(master_key(key))):
        raise wrong_key(volume)
    if base_of(volume) not in mounted():
        mount_base(volume, source, runner)
    if volume["method"] == "fscrypt":
        _give_key(volume, key)


def open_luks(volume: Volume, key: str, runner: Run = run) -> None:
    """Open a LUKS device."""
    name = os.path.basename(mapper_of(volume))
    status, text = runner("cryptsetup", "open", "--type", "luks2", "--key-file", "-", volume["device"], name, given=key)
    if status == 2:  # "no permission (bad passphrase)", says its manual
        raise wrong_key(volume)
    if status:
        raise EncryptionError("volume %s: cryptsetup open failed: %s" % (volume["name"], text.strip()))


def mount_base(volume: Volume, source: str, runner: Run = run) -> None:
    """Check the file system of a device, and mount it where nobody but root looks."""
    status, text = runner("e2fsck", "-p", source, seconds=3600)
    if status & ~3:  # 1 and 2: what was wrong is repaired
        raise EncryptionError(
            "volume %s: e2fsck found faults on %s that need a person: %s Run `e2fsck %s` on the machine."
            % (volume["name"], source, text.strip()[-300:], source)
        )
    os.makedirs(BASE, mode=0o700, exist_ok=True)
    os.makedirs(base_of(volume), mode=0o700, exist_ok=True)
    status, text = runner("mount", "-t", "ext4", "-o", "nosuid,nodev,noatime", source, base_of(volume))
    if status:
        raise EncryptionError("volume %s: %s cannot be mounted: %s" % (volume["name"], source, text.strip()))


def _give_key(volume: Volume, key: str) -> None:
    master = master_key(key)
    place = inner_of(volume)
    if policy_of(place) != identifier_of(master):
        raise wrong_key(volume)
    if add_key(place, master) != identifier_of(master):
        raise EncryptionError("volume %s: the kernel calls its key by another name." % volume["name"])


def lock(volume: Volume, runner: Run = run) -> None:
    """Make a volume unreadable: unmount the file system, which takes its key along, or take the key from the kernel."""
    name, base = volume["name"], base_of(volume)
    if volume.get("directory"):
        # Asked of the directory above: the directory itself would be one of the files that are open.
        if remove_key(os.path.dirname(volume["directory"]), volume["identifier"]):
            raise EncryptionError(
                "volume %s: files in %s are open, and stay readable. Stop what uses them, and lock it again."
                % (name, volume["directory"])
            )
        return
    if base in mounted():
        status, text = runner("umount", base)
        if status:
            raise EncryptionError("volume %s: %s cannot be unmounted: %s" % (name, base, text.strip()))
    if volume["method"] == "luks":
        if os.path.exists(mapper_of(volume)):
            status, text = runner("cryptsetup", "close", os.path.basename(mapper_of(volume)))
            if status:
                raise EncryptionError("volume %s: cryptsetup close failed: %s" % (name, text.strip()))
    elif os.path.exists(volume["device"]):
        try:
            os.close(os.open(volume["device"], os.O_RDONLY | os.O_EXCL))
        except OSError:
            raise EncryptionError(
                "volume %s: %s is still mounted somewhere, in a container perhaps, and stays readable there. Stop what uses it, and "
                "lock it again." % (name, volume["device"])
            ) from None


# -- the program ------------------------------------------------------------------------------------------------------


def config_file(name: str) -> str:
    """Return the file that says what a volume is."""
    return "%s/%s.json" % (FOLDER, name)


def key_file(name: str) -> str:
    """Return the file that holds the key of a volume, for unlock: file."""
    return "%s/%s.key" % (FOLDER, name)


def sealed_file(name: str) -> str:
    """Return the file that holds the key of a volume sealed to the TPM of the machine, for unlock: tpm2."""
    return "%s/%s.sealed" % (FOLDER, name)


def stored_key(volume: Volume, runner: Run = run) -> str:
    """Return the key that is kept on the machine."""
    name = volume["name"]
    if volume["unlock"] == "tpm2":
        status, text = runner("systemd-creds", "decrypt", "--name=pantheon-%s" % name, sealed_file(name), "-")
        if status:
            raise EncryptionError(
                "volume %s: the TPM does not give its key (%s). Run playbooks/unlock.yml, then site.yml, which seals it again."
                % (name, text.strip()[-200:] or "status %d" % status)
            )
        return text
    if volume["unlock"] == "manual":
        raise EncryptionError(
            "volume %s is locked, and its key is not on this machine. Run playbooks/unlock.yml from the controller."
            % name
        )
    try:
        with open(key_file(name), encoding="ascii") as stream:
            return stream.read()
    except FileNotFoundError:
        raise EncryptionError(
            "volume %s: %s is gone. Run site.yml, which writes it." % (name, key_file(name))
        ) from None


def main(arguments: t.Sequence[str]) -> int:
    """Run the program."""
    if len(arguments) < 2 or arguments[0] not in ("unlock", "lock"):
        sys.stderr.write("usage: pantheon_encryption.py unlock NAME [--stdin] | lock NAME\n")
        return 2
    try:
        try:
            with open(config_file(arguments[1]), encoding="utf-8") as stream:
                volume: Volume = json.load(stream)
        except FileNotFoundError:
            raise EncryptionError("there is no volume %s on this machine." % arguments[1]) from None
        if arguments[0] == "lock":
            lock(volume)
        elif not is_unlocked(volume):
            unlock(volume, sys.stdin.read() if "--stdin" in arguments else stored_key(volume))
    except (EncryptionError, OSError) as error:
        sys.stderr.write("%s\n" % error)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
