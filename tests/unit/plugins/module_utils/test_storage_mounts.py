# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mounts of a machine below tmp_path, with a systemd and a kernel that only remember."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.pantheon.ai.plugins.module_utils import _storage_mounts as code
from ansible_collections.pantheon.ai.plugins.module_utils._storage_mounts import Child, StorageError, StorageMounts

MODELS: dict[str, Any] = {"name": "models", "source": "nas:/mnt/tank/models", "path": "/models"}
SHARED: dict[str, Any] = {"name": "shared", "source": "nas:/mnt/tank/shared", "path": "/shared", "read_only": False}
UNITS = "/etc/systemd/system"


class Done(Child):
    """A program with a known end."""

    def __init__(self, status: int | None, errors: str = "") -> None:
        self.result = (status, errors)

    def wait(self, deadline: float) -> tuple[int | None, str]:
        return self.result


class Machine(code.Machine):
    """A machine in a folder; the kernel's list of mounts is a list of lines here."""

    def __init__(self, root: Path, automounts: bool = True) -> None:
        super().__init__(str(root))
        self.calls: list[str] = []
        self.table: list[str] = ["1 0 8:1 / / rw - ext4 /dev/sda rw"]
        self.active: dict[str, str] = {}
        self.frozen: set[str] = set()
        self.down = ""  # what a mount helper says
        self.hangs = False
        self.users: list[str] = []
        self.stuck = False
        self.reload = False
        self.writes: list[str] = []
        self.put("/proc/filesystems", "nodev\tsysfs\nnodev\tnfs4\n\text4\n")
        self.put("/sbin/mount.nfs", "")
        if automounts:
            self.put("/dev/autofs", "")
        os.makedirs(self.at(UNITS))
        os.makedirs(self.at("/run"))

    def put(self, path: str, text: str) -> None:
        os.makedirs(os.path.dirname(self.at(path)), exist_ok=True)
        Path(self.at(path)).write_text(text)

    def text(self, path: str) -> str:
        return Path(self.at(path)).read_text()

    def write(self, path: str, text: str) -> None:
        self.writes.append(path)
        super().write(path, text)

    def mounts(self) -> list[code.Entry]:
        return code.parse_mountinfo("\n".join(self.table))

    def immutable(self, path: str, wanted: bool | None = None) -> bool | None:
        if wanted is not None:
            (self.frozen.add if wanted else self.frozen.discard)(path)
        return path in self.frozen

    def holders(self, path: str, device: str) -> list[str]:
        return self.users

    def _unit(self, name: str) -> dict[str, str]:
        text = self.text(f"{UNITS}/{name}")
        return dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))

    def mount(self, name: str) -> Child:
        if self.hangs:
            return Done(None)
        if self.down:
            return Done(1, "Job failed.")
        unit = self._unit(name)
        mode = "ro" if "ro" in unit["Options"].split(",") else "rw"
        self.table.append(f"9 1 0:9 / {unit['Where']} {mode} - {unit['Type']} {unit['What']} {mode}")
        return Done(0)

    def child(self, *command: str) -> Child:
        line = " ".join(command)
        self.calls.append(line)
        if command[:2] == ("systemctl", "start"):
            return self.mount(command[2])
        if command[:2] == ("systemctl", "stop"):
            name = command[2]
            self.active[name] = "inactive"
            if name.endswith(".mount") and not self.stuck:
                where = self._unit(name)["Where"]
                self.table = [entry for entry in self.table if entry.split(" ")[4] != where]
            return Done(1 if self.stuck and name.endswith(".mount") else 0, "target is busy" if self.stuck else "")
        if command[0] == "ls":
            return Done(None if self.hangs else 0)
        raise AssertionError(line)

    def run(self, *command: str, seconds: float = 30) -> tuple[int, str]:
        if command[:2] == ("systemctl", "show"):
            blocks = []
            for name in command[3:]:
                need = "yes" if self.reload else "no"
                blocks.append(f"Id={name}\nActiveState={self.active.get(name, 'inactive')}\nNeedDaemonReload={need}\n")
            return 0, "\n".join(blocks)
        if command[0] == "journalctl":
            return 0, f"Mounting\nmount.fuse.pantheon-nfs: {self.down}\nFailed to mount\n" if self.down else "nothing\n"
        self.calls.append(" ".join(command))
        if command[0] == "modprobe":
            return 1, "not found"
        if command[:2] == ("systemctl", "enable"):
            unit = self._unit(command[2])
            link = self.at(f"{UNITS}/{unit['WantedBy']}.wants/{command[2]}")
            os.makedirs(os.path.dirname(link), exist_ok=True)
            os.symlink(f"{UNITS}/{command[2]}", link)
        if command[:2] == ("systemctl", "start"):
            self.active[command[2]] = "active"
        if command[:2] == ("systemctl", "daemon-reload"):
            self.reload = False
        return 0, ""


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def run(machine: Machine, *mounts: dict[str, Any], check: bool = False, **more: Any) -> tuple[dict[str, Any], Any]:
    machine.calls.clear()
    machine.writes.clear()
    state = StorageMounts(machine, {"mounts": list(mounts), "wait": 0.2, "readahead_kib": 16384, **more}, check)
    return state.reconcile(), state


# -- parameters


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"name": "Models"}, "name 'Models': use lower-case"),
        ({"path": "models"}, "path 'models': an absolute path"),
        ({"path": "/models/"}, "an absolute path"),
        ({"path": "/a/../b"}, "an absolute path"),
        ({"path": "/usr"}, "path /usr belongs to the system"),
        ({"source": "nas/models"}, "source 'nas/models': server:/path is wanted"),
        ({"source": "nas:/a b"}, "server:/path is wanted"),
        ({"options": ["soft"]}, "a soft mount cuts files short"),
        ({"options": ["rw"]}, "option rw contradicts read_only"),
        ({"options": ["a,b"]}, "one option per entry"),
        ({"options": ["vers=3"]}, "NFSv4 is wanted"),
        ({"options": ["x-systemd.idle-timeout=9"]}, "the units are written by this module"),
        ({"uid": -1}, "uid -1: a number from 0"),
        ({"backend": "bind"}, "with backend bind, a directory of this machine is wanted"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    machine: Machine, change: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(StorageError, match="mounts\\[0\\]") as caught:
        run(machine, MODELS | change)
    assert sentence in str(caught.value)
    assert machine.writes == machine.calls == []


def test_all_problems_are_named_at_once(machine: Machine) -> None:
    with pytest.raises(StorageError) as caught:
        run(
            machine,
            MODELS | {"options": ["soft"]},
            SHARED | {"name": "models", "options": ["nconnect=8"]},
            MODELS | {"name": "sub", "path": "/models/sub"},
        )
    for part in (
        "soft mount",
        "name models is used twice",
        "lie in each other",
        "nconnect=8, but nconnect=4 for models",
    ):
        assert part in str(caught.value)


def test_no_client_and_no_package_are_errors_with_a_remedy(machine: Machine) -> None:
    machine.put("/proc/filesystems", "nodev\tsysfs\n")
    with pytest.raises(StorageError, match="no module nfs.*Install a kernel with NFS"):
        run(machine, MODELS)
    machine.put("/dev/fuse", "")
    with pytest.raises(StorageError, match=r"mount.fuse.pantheon-nfs is not there. The role"):
        run(machine, MODELS)
    machine.put(code.FUSE_HELPER, "")
    with pytest.raises(StorageError, match=r"libnfs is not there. Install libnfs13"):
        run(machine, MODELS)
    machine.put("/usr/lib/x86_64-linux-gnu/libnfs.so.14", "")
    result, _rest = run(machine, MODELS)
    assert result["mounts"]["models"]["backend"] == "fuse"
    os.unlink(machine.at("/sbin/mount.nfs"))
    with pytest.raises(StorageError, match="Install nfs-common"):
        run(machine, MODELS, backend="kernel")


def test_bind_is_taken_only_when_asked_for(machine: Machine) -> None:
    machine.put("/proc/filesystems", "")
    with pytest.raises(StorageError, match="ask for backend bind"):
        run(machine, MODELS)
    machine.table.append("8 1 0:8 / /lab/models rw - ext4 /dev/sda rw")
    result, _rest = run(machine, MODELS | {"source": "/lab/models", "backend": "bind"}, check=True)
    assert result["mounts"]["models"]["backend"] == "bind"


# -- the whole way


@pytest.mark.parametrize("automounts", [True, False])
def test_create_unchanged_update_unchanged_delete_unchanged(tmp_path: Path, automounts: bool) -> None:
    machine = Machine(tmp_path, automounts)
    trigger = "automount" if automounts else "timer"

    planned, _rest = run(machine, MODELS, SHARED, check=True)
    assert machine.writes == []
    assert [call for call in machine.calls if "modprobe" not in call] == []
    assert machine.status("/models") is None
    done, state = run(machine, MODELS, SHARED)
    assert (planned["changed"], planned["actions"], planned["diff"]) == (True, done["actions"], done["diff"])
    assert done["actions"] == [
        "write /etc/nfs.conf.d/pantheon.conf",
        "protect /models",
        f"write {UNITS}/models.{trigger}" if automounts else f"write {UNITS}/models.mount",
        f"write {UNITS}/models.mount" if automounts else f"write {UNITS}/models.{trigger}",
        "protect /shared",
        f"write {UNITS}/shared.{trigger}" if automounts else f"write {UNITS}/shared.mount",
        f"write {UNITS}/shared.mount" if automounts else f"write {UNITS}/shared.{trigger}",
        "reload systemd",
        f"enable models.{trigger}",
        f"start models.{trigger}",
        f"enable shared.{trigger}",
        f"start shared.{trigger}",
    ]
    assert (state.failures, state.warnings) == ([], [])
    unit = machine.text(f"{UNITS}/models.mount")
    assert unit.startswith(code.MARKER + "\n")
    assert "Options=vers=4.2,proto=tcp,hard,noatime,nconnect=4,rsize=1048576,wsize=1048576,_netdev,nofail,ro\n" in unit
    for line in ("What=nas:/mnt/tank/models", "Where=/models", "Type=nfs4", "TimeoutSec=30", "StartLimitIntervalSec=0",
                 "Requires=network-online.target", "After=network-online.target"):  # fmt: skip
        assert f"\n{line}\n" in unit
    assert machine.text(f"{UNITS}/shared.mount").count(",rw\n") == 1
    assert "\nnfs4=16384\n" in machine.text(code.READAHEAD)
    status = machine.status("/models")
    assert status is not None
    assert stat.S_IMODE(status.st_mode) == 0
    assert "/models" in machine.frozen
    assert done["mounts"]["models"] == {
        "backend": "kernel", "source": "nas:/mnt/tank/models", "path": "/models", "type": "nfs4", "mounted": True,
        "read_only": True, "available": True, "reason": "",
    }  # fmt: skip

    began = time.monotonic()
    again, _rest = run(machine, MODELS, SHARED)
    assert time.monotonic() - began < 0.1
    assert (again["changed"], again["actions"], machine.writes) == (False, [], [])
    assert {call.split()[0] for call in machine.calls} <= {"ls", "modprobe"}

    changed = MODELS | {"options": ["actimeo=60"]}
    before = list(machine.table)
    update, _rest = run(machine, changed, SHARED, check=True)
    assert (machine.table, machine.writes) == (before, [])
    done, _rest = run(machine, changed, SHARED)
    assert done["actions"] == update["actions"]
    assert done["actions"] == [
        "unmount /models",
        f"write {UNITS}/models.mount",
        "reload systemd",
        f"start models.{trigger}",
    ]
    assert "systemctl stop shared.mount" not in machine.calls, "only what changed is mounted again"
    if automounts:
        assert machine.calls.index("systemctl stop models.mount") < machine.calls.index(
            "systemctl stop models.automount"
        )
    assert run(machine, changed, SHARED)[0]["changed"] is False

    planned, _rest = run(machine, SHARED, check=True)
    done, _rest = run(machine, SHARED)
    assert done["actions"] == planned["actions"]
    assert done["actions"][0] == "unmount /models"
    assert not machine.exists(f"{UNITS}/models.mount")
    assert not os.path.lexists(machine.at(f"{UNITS}/{code.WANTS[trigger]}.wants/models.{trigger}"))
    assert machine.status("/models") is None
    assert "/models" not in machine.frozen
    assert run(machine, SHARED)[0]["changed"] is False

    run(machine)
    assert machine.find(f"{UNITS}/*.*") == [path for path in machine.find(f"{UNITS}/*.*") if path.endswith(".wants")]
    assert not machine.exists(code.READAHEAD)
    assert run(machine)[0]["changed"] is False


def test_a_machine_that_got_automounts_loses_the_timer(machine: Machine) -> None:
    os.unlink(machine.at("/dev/autofs"))
    run(machine, MODELS)
    machine.put("/dev/autofs", "")
    done, _rest = run(machine, MODELS)
    assert f"remove {UNITS}/models.timer" in done["actions"]
    assert f"write {UNITS}/models.automount" in done["actions"]
    assert run(machine, MODELS)[0]["changed"] is False


def test_what_a_killed_run_left_is_finished(machine: Machine) -> None:
    run(machine, MODELS)
    machine.active.clear()
    machine.table = machine.table[:1]
    machine.reload = True
    done, _rest = run(machine, MODELS)
    assert done["actions"] == ["reload systemd", "start models.automount"]
    assert run(machine, MODELS)[0]["changed"] is False


# -- what belongs to somebody else


def test_what_is_not_ours_is_named_and_left_alone(machine: Machine) -> None:
    machine.put("/etc/fstab", "# x\nnas:/old /models nfs4 ro 0 0\n")
    with pytest.raises(StorageError, match="/etc/fstab mounts nas:/old on /models"):
        run(machine, MODELS)
    machine.put("/etc/fstab", "")
    machine.put("/usr/lib/systemd/system/models.mount", "[Mount]\n")
    with pytest.raises(StorageError, match="/usr/lib/systemd/system/models.mount is not ours"):
        run(machine, MODELS)
    os.unlink(machine.at("/usr/lib/systemd/system/models.mount"))
    machine.table.append("7 1 0:7 / /models rw - xfs /dev/sdb rw")
    with pytest.raises(StorageError, match=r"/dev/sdb \(xfs\) is mounted on /models, and not by us"):
        run(machine, MODELS)
    machine.table.pop()
    machine.put("/models/llama.gguf", "")
    with pytest.raises(StorageError, match=r"/models holds files \(llama.gguf\)"):
        run(machine, MODELS)
    assert machine.writes == []


def test_units_of_others_stay(machine: Machine) -> None:
    machine.put(f"{UNITS}/other.mount", "[Mount]\nWhere=/other\n")
    run(machine, MODELS)
    run(machine)
    assert machine.text(f"{UNITS}/other.mount") == "[Mount]\nWhere=/other\n"


def test_the_readahead_of_somebody_else_stays(machine: Machine) -> None:
    machine.put(code.READAHEAD, "[nfsrahead]\nnfs4=1\n")
    with pytest.raises(StorageError, match="is not ours"):
        run(machine, MODELS)
    assert run(machine, MODELS, readahead_kib=0)[0]["changed"] is True
    assert machine.text(code.READAHEAD) == "[nfsrahead]\nnfs4=1\n"


# -- faults


def test_a_server_that_is_gone_is_a_warning_and_the_rest_is_done(machine: Machine) -> None:
    machine.down = "nas:/mnt/tank/models on /models: no NFS server answers at nas port 2049 (timed out)"
    result, state = run(machine, MODELS, SHARED | {"source": "/lab", "backend": "bind"})
    assert result["mounts"]["models"]["available"] is False
    assert result["mounts"]["models"]["reason"] == "no NFS server answers at nas port 2049 (timed out)"
    assert state.failures == []
    assert state.warnings[0] == (
        "mount models: /models is not mounted: no NFS server answers at nas port 2049 (timed out). "
        "It comes back with the server."
    )
    assert run(machine, MODELS, SHARED | {"source": "/lab", "backend": "bind"})[0]["changed"] is False
    machine.down = ""
    result, state = run(machine, MODELS)
    assert result["mounts"]["models"]["available"] is True
    assert state.warnings == []


def test_a_refused_export_is_a_failure_that_says_where_to_look(machine: Machine) -> None:
    machine.down = (
        "nas:/mnt/tank/models on /models: the server has no such export, or does not grant it to this machine"
    )
    _rest, state = run(machine, MODELS)
    assert " ".join(state.failures) == (
        "mount models: /models is not mounted: the server has no such export, or does not grant it to this machine. "
        "Correct the export or its access list on the server."
    )


def test_a_mount_that_hangs_is_left_and_reported(machine: Machine) -> None:
    run(machine, MODELS)
    machine.hangs = True
    result, state = run(machine, MODELS)
    assert result["changed"] is False
    assert result["mounts"]["models"] | {"available": False, "mounted": True} == result["mounts"]["models"]
    assert "is mounted, but the server does not answer. It comes back with the server." in state.warnings[0]


def test_a_child_that_does_not_come_back_is_left_behind() -> None:
    child = Child(["sleep", "30"])
    began = time.monotonic()
    assert child.wait(time.monotonic() + 0.1) == (None, "")
    assert time.monotonic() - began < 2
    assert Child(["sh", "-c", "echo no >&2; exit 3"]).wait(time.monotonic() + 5) == (3, "no")


@pytest.mark.parametrize("stuck", [True, False])
def test_a_mount_in_use_stays_and_its_users_are_named(machine: Machine, stuck: bool) -> None:
    run(machine, MODELS, SHARED)
    units = machine.text(f"{UNITS}/models.mount")
    machine.stuck = stuck
    machine.users = [] if stuck else ["41 (bash)"]
    for wanted in ([SHARED], [MODELS | {"options": ["actimeo=9"]}, SHARED]):
        _rest, state = run(machine, *wanted)
        assert len(state.failures) == 1
        assert ("could not be unmounted" if stuck else "is in use by 41 (bash)") in state.failures[0]
        assert machine.text(f"{UNITS}/models.mount") == units
        assert any(" /models " in line for line in machine.table)
        assert not any("-l" in call.split() or "lazy" in call for call in machine.calls)
    machine.stuck, machine.users = False, []
    _rest, state = run(machine, SHARED)
    assert state.failures == []
    assert not machine.exists(f"{UNITS}/models.mount")


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (
            "9 1 0:9 / /models ro - nfs4 nas:/other ro",
            "nas:/other (nfs4) is mounted, nas:/mnt/tank/models (nfs4) is wanted",
        ),
        ("9 1 0:9 / /models ro - tmpfs tmpfs ro", "tmpfs (tmpfs) is mounted"),
        ("9 1 0:9 / /models rw - nfs4 nas:/mnt/tank/models rw", "it is mounted for writing"),
    ],
)
def test_what_is_mounted_is_asserted(machine: Machine, line: str, sentence: str) -> None:
    run(machine, MODELS)
    machine.table[-1] = line
    result, state = run(machine, MODELS)
    assert sentence in state.failures[0]
    assert result["mounts"]["models"]["available"] is False


# -- pieces


def test_names_of_units_are_those_of_systemd() -> None:
    assert code.escape_path("/models") == "models"
    assert code.escape_path("/srv/ai-models/.x/v1.2") == "srv-ai\\x2dmodels-.x-v1.2"
    assert code.escape_path("/.hidden") == "\\x2ehidden"


def test_options_of_the_owner_replace_defaults() -> None:
    assert code.merge_options(("hard", "noatime", "nconnect=4"), ["nconnect=8", "atime", "fsc"]) == [
        "hard", "nconnect=8", "atime", "fsc",
    ]  # fmt: skip


def test_options_of_a_line_for_fstab_are_taken(machine: Machine) -> None:
    line = "ro,vers=4.2,hard,nconnect=4,_netdev,nofail,x-systemd.automount,x-systemd.mount-timeout=30s"
    options = [*line.split(","), "x-systemd.requires=network-online.target"]
    run(machine, MODELS)
    run(machine, MODELS | {"options": options})
    written = machine.text(f"{UNITS}/models.mount")
    assert (
        "Options=proto=tcp,noatime,rsize=1048576,wsize=1048576,vers=4.2,hard,nconnect=4,_netdev,nofail,ro\n" in written
    )


def test_mountinfo_with_spaces_and_options_of_the_file_system() -> None:
    entry = code.parse_mountinfo("30 1 0:3 / /a\\040b rw,nosuid shared:1 - fuse.pantheon-nfs nas:/x ro,user_id=0\nbad")[
        0
    ]
    assert entry == code.Entry("/a b", "fuse.pantheon-nfs", "nas:/x", True, "0:3", "/", True)


def test_needed_packages(machine: Machine) -> None:
    assert code.needed(machine, [MODELS], "auto", False) == {
        "detected": "kernel", "backends": ["kernel"], "packages": [{"name": "nfs-common"}],
    }  # fmt: skip
    machine.put("/proc/filesystems", "")
    machine.put("/dev/fuse", "")
    machine.put("/etc/os-release", 'ID=debian\nVERSION_ID="12"\n')
    assert code.needed(machine, [MODELS], "auto", False)["packages"][0] == {"name": "libnfs13|libnfs14"}
    assert code.needed(machine, [MODELS | {"state": "absent"}], "auto", False)["backends"] == []


def test_processes_that_use_a_mount(tmp_path: Path) -> None:
    root = tmp_path / "proc"
    for number, place in ((7, "/models/llama"), (8, "/home"), (9, "/modelsx")):
        (root / str(number) / "fd").mkdir(parents=True)
        (root / str(number) / "comm").write_text("bash\n")
        os.symlink(place, root / str(number) / "cwd")
    os.symlink("/models/a", root / "8" / "fd" / "3")
    # A copy of the mount in a container holds it; one in the sandbox of a service goes along with it.
    for number, fields in ((20, "rw - nfs4 nas:/x rw"), (21, "rw master:5 - nfs4 nas:/x rw")):
        (root / str(number) / "ns").mkdir(parents=True)
        os.symlink(f"mnt:[{number}]", root / str(number) / "ns" / "mnt")
        (root / str(number) / "comm").write_text("ollama\n")
        (root / str(number) / "mountinfo").write_text(f"9 1 0:9 / /data {fields}\n")
    assert code.Machine(str(tmp_path)).holders("/models", "0:9") == [
        "7 (bash)", "8 (bash)", "20 (ollama, in a container)",
    ]  # fmt: skip
