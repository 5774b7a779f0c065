# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine below tmp_path is brought into its state: exactly, once, and also after a run that was killed."""

from __future__ import annotations

import copy
import grp
import http.server
import json
import os
import pwd
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.pantheon.ai.plugins.module_utils import _machine_state as code
from ansible_collections.pantheon.ai.plugins.module_utils._machine_docker import MachineError
from ansible_collections.pantheon.ai.plugins.module_utils._machine_state import MachineState, System

ME = pwd.getpwuid(os.geteuid()).pw_name
MY_GROUP = grp.getgrgid(os.getegid()).gr_name
DPKG = """\
Package: bash
Status: install ok installed
Version: 5.2

Package: gone
Status: deinstall ok config-files
Version: 1

Package: chrony
Status: install ok installed
Version: 4.6
"""


class Machine(System):
    """A machine in a folder, with a systemd and an apt that only remember what they were told."""

    def __init__(self, root: Path) -> None:
        super().__init__(self.command, str(root))
        self.calls: list[list[str]] = []
        self.units: dict[str, dict[str, str]] = {}
        self.users: dict[str, pwd.struct_passwd] = {ME: pwd.getpwnam(ME)}
        self.failing: dict[str, str] = {}
        self.put("/var/lib/dpkg/status", DPKG)
        self.put("/etc/os-release", 'ID=debian\nVERSION_ID="13"\nVERSION_CODENAME=trixie\n')
        self.put("/proc/meminfo", "MemTotal:       65750000 kB\n")
        for folder in ("/run", "/var/lib/dpkg/updates", "/var/lib/apt/lists", "/etc/systemd/system", "/home"):
            os.makedirs(self.at(folder), exist_ok=True)

    def put(self, path: str, text: str) -> None:
        os.makedirs(os.path.dirname(self.at(path)), exist_ok=True)
        Path(self.at(path)).write_text(text)

    def unit(self, name: str, active: str = "active", boot: str = "enabled", load: str = "loaded") -> None:
        self.units[name] = {"LoadState": load, "ActiveState": active, "UnitFileState": boot, "NeedDaemonReload": "no"}

    def command(self, command: list[str], environ_update: dict[str, str] | None = None) -> tuple[int, str, str]:
        if command[:2] == ["systemctl", "show"]:
            missing = {
                "LoadState": "not-found",
                "ActiveState": "inactive",
                "UnitFileState": "",
                "NeedDaemonReload": "no",
            }
            blocks = [{"Id": name, **self.units.get(name, missing)} for name in command[3:]]
            return 0, "\n\n".join("\n".join(f"{key}={value}" for key, value in block.items()) for block in blocks), ""
        self.calls.append(command)
        line = " ".join(command)
        for part, error in self.failing.items():
            if part in line:
                return 1, "", error
        if command[0] == "systemctl" and command[-1] in self.units:
            if command[1] in ("start", "restart"):
                self.units[command[-1]]["ActiveState"] = "active"
            elif command[1] == "enable":
                self.units[command[-1]]["UnitFileState"] = "enabled"
            elif command[1] == "stop":
                self.units[command[-1]]["ActiveState"] = "inactive"
        if command[0] == "apt-get" and "install" in command:
            names = command[command.index("--no-remove") + 1 :]
            self.put(
                "/var/lib/dpkg/status",
                DPKG + "".join(f"\nPackage: {name}\nStatus: install ok installed\nVersion: 1\n" for name in names),
            )
        if command[0] == "useradd":
            me = pwd.getpwnam(ME)
            self.users[command[-1]] = pwd.struct_passwd(
                (command[-1], "!", me.pw_uid, me.pw_gid, "", f"/home/{command[-1]}", "/bin/bash")
            )
        return 0, "", ""

    def told(self, program: str) -> list[str]:
        return [" ".join(call) for call in self.calls if call[0] == program]

    def user(self, name: str) -> pwd.struct_passwd | None:
        return self.users.get("root" if name == "root" and "root" in self.users else ME if name == "root" else name)

    def group(self, name: str) -> grp.struct_group | None:
        return grp.getgrnam(MY_GROUP) if name in ("root", MY_GROUP) else None

    def groups_of(self, name: str) -> set[str]:
        return set()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def tree(machine: Machine) -> dict[str, tuple[int, str]]:
    """Everything on the machine, except the lock."""
    found = {}
    for path in sorted(Path(machine.root).rglob("*")):
        if path.is_symlink():
            found[str(path.relative_to(machine.root))] = (0, os.readlink(path))
        elif path.is_file() and path.name != os.path.basename(code.LOCK_FILE):
            found[str(path.relative_to(machine.root))] = (path.stat().st_mode, path.read_text())
    return found


def run(machine: Machine, check_mode: bool = False, **wanted: Any) -> dict[str, Any]:
    return MachineState(machine, copy.deepcopy(wanted), check_mode).reconcile()


SERVICE = {"path": "/etc/app.conf", "content": "a = 1\n", "notify": [{"unit": "app.service", "action": "restart"}]}


def everything(machine: Machine) -> dict[str, Any]:
    """A wanted state with one of each kind."""
    machine.unit("app.service")
    machine.unit("late.service", "inactive", "disabled")
    machine.put("/proc/sys/net/core/somaxconn", "128\n")
    machine.put("/usr/share/zoneinfo/Europe/Berlin", "")
    return {
        "timezone": "Europe/Berlin",
        "packages": [{"name": "bash"}, {"name": "less"}, {"name": "chrony|ntp"}],
        "users": [{"name": "ada", "authorized_keys": ["ssh-ed25519 AAAA ada"], "sudo": True}],
        "directories": [{"path": "/opt/x", "mode": "0750"}],
        "files": [SERVICE],
        "json_files": [{"path": "/etc/d.json", "merge": {"a": 1}}],
        "sysctl_file": "/etc/sysctl.d/60.conf",
        "sysctl": {"net.core.somaxconn": 4096},
        "units": [{"name": "late.service", "enabled": True, "state": "started"}],
    }


def test_check_mode_says_what_the_real_run_does_and_touches_nothing(machine: Machine) -> None:
    wanted = everything(machine)
    before = tree(machine)
    dry = run(machine, True, **wanted)
    assert tree(machine) == before
    assert machine.calls == []
    real = run(machine, **wanted)
    assert real["actions"] == dry["actions"]
    assert real["diff"] == dry["diff"]
    assert real["actions"] == [
        "install less",
        "set the time zone to Europe/Berlin",
        "create user ada",
        "write /home/ada/.ssh/authorized_keys",
        "create /etc/sudoers.d/60-pantheon-ada",
        "create directory /opt/x",
        "create /etc/app.conf",
        "merge /etc/d.json",
        "create /etc/sysctl.d/60.conf",
        "set net.core.somaxconn from 128 to 4096",
        "enable late.service",
        "start late.service",
        "restart app.service",
    ]
    assert Path(machine.at("/proc/sys/net/core/somaxconn")).read_text() == "4096"
    assert Path(machine.at("/home/ada/.ssh/authorized_keys")).read_text() == "ssh-ed25519 AAAA ada\n"


def test_second_run_changes_nothing_and_starts_only_systemctl_show(machine: Machine) -> None:
    wanted = everything(machine)
    run(machine, **wanted)
    machine.calls.clear()
    before = tree(machine)
    again = run(machine, **wanted)
    assert (again["changed"], again["actions"]) == (False, [])
    assert "diff" not in again
    assert machine.calls == []
    assert tree(machine) == before


@pytest.mark.parametrize("fatal", ["/etc/app.conf", "restart app.service"])
def test_restart_survives_a_run_that_was_killed(machine: Machine, monkeypatch: pytest.MonkeyPatch, fatal: str) -> None:
    class Killed(BaseException):
        pass

    machine.unit("app.service")
    real_write, real_command = System.write, machine.command

    def write(self: System, path: str, *rest: Any) -> None:
        real_write(self, path, *rest)
        if path == fatal:
            raise Killed

    def command(words: list[str], environ_update: dict[str, str] | None = None) -> tuple[int, str, str]:
        if " ".join(words[1:]) == fatal:
            raise Killed
        return real_command(words, environ_update)

    with monkeypatch.context() as patch:
        patch.setattr(System, "write", write)
        patch.setattr(machine, "_run", command)
        with pytest.raises(Killed):
            run(machine, files=[SERVICE])
    assert "systemctl restart app.service" not in machine.told("systemctl")

    dry = run(machine, True, files=[SERVICE])
    assert dry["actions"] == ["restart app.service (left over from an interrupted run)"]
    run(machine, files=[SERVICE])
    assert "systemctl restart app.service" in machine.told("systemctl")
    assert run(machine, files=[SERVICE])["changed"] is False


def test_failed_restart_is_tried_again(machine: Machine) -> None:
    machine.unit("app.service")
    machine.failing["restart app.service"] = "Job for app.service failed"
    with pytest.raises(MachineError, match=r"restart app\.service failed: Job for app\.service failed"):
        run(machine, files=[SERVICE])
    machine.failing.clear()
    assert run(machine, files=[SERVICE])["changed"] is True


def test_unit_that_does_not_run_is_not_restarted(machine: Machine) -> None:
    machine.unit("app.service", "inactive")
    assert run(machine, files=[SERVICE])["actions"] == ["create /etc/app.conf"]
    assert run(machine, files=[SERVICE])["changed"] is False


def test_invalid_content_replaces_nothing(machine: Machine) -> None:
    machine.put("/etc/app.conf", "old\n")
    machine.failing["true /"] = "line 1: no"
    with pytest.raises(MachineError, match=r"/etc/app\.conf would not be valid: line 1: no"):
        run(machine, files=[{"path": "/etc/app.conf", "content": "new\n", "validate": "/bin/true %s"}])
    assert Path(machine.at("/etc/app.conf")).read_text() == "old\n"
    assert sorted(os.listdir(machine.at("/etc"))) == ["app.conf", "os-release", "systemd"]


def test_mode_alone_is_a_change_without_a_restart(machine: Machine) -> None:
    machine.unit("app.service")
    run(machine, files=[SERVICE])
    os.chmod(machine.at("/etc/app.conf"), 0o666)
    assert run(machine, files=[SERVICE])["actions"] == ["change /etc/app.conf (mode 0666 to 0644)"]
    assert os.stat(machine.at("/etc/app.conf")).st_mode & 0o777 == 0o644


def test_sensitive_content_is_not_shown(machine: Machine) -> None:
    result = run(machine, files=[{"path": "/etc/key", "content": "hunter2", "mode": "0600", "sensitive": True}])
    assert "hunter2" not in json.dumps(result)
    assert os.stat(machine.at("/etc/key")).st_mode & 0o777 == 0o600


def test_removal_is_a_state_like_any_other(machine: Machine) -> None:
    machine.unit("app.service")
    run(machine, files=[SERVICE], directories=[{"path": "/opt/x"}])
    gone: dict[str, Any] = {
        "files": [{**SERVICE, "state": "absent"}],
        "directories": [{"path": "/opt/x", "state": "absent"}],
    }
    assert run(machine, **gone)["actions"] == ["remove /etc/app.conf", "restart app.service", "remove directory /opt/x"]
    assert run(machine, **gone)["changed"] is False


def test_directory_with_something_in_it_stays(machine: Machine) -> None:
    machine.put("/opt/x/keep", "")
    result = run(machine, directories=[{"path": "/opt/x", "state": "absent"}])
    assert result["changed"] is False
    assert result["not_applied"] == [{"subject": "directory /opt/x", "reason": "not empty, so it is left in place"}]


# -- packages


def test_lists_are_refreshed_only_to_install(machine: Machine) -> None:
    assert run(machine, packages=[{"name": "bash"}, {"name": "chrony|ntp"}])["changed"] is False
    assert machine.calls == []
    run(machine, packages=[{"name": "gone"}])
    apt = machine.told("apt-get")
    assert apt[0] == "apt-get update -q"
    assert apt[1].endswith("install --no-install-recommends --no-remove gone")


def test_unwanted_package_goes_first_and_is_never_purged(machine: Machine) -> None:
    result = run(machine, packages=[{"name": "ntp"}, {"name": "chrony", "state": "absent"}])
    assert result["actions"] == ["remove packages chrony", "install ntp"]
    assert not any("purge" in line for line in machine.told("apt-get"))


def test_interrupted_dpkg_is_finished_first(machine: Machine) -> None:
    machine.put("/var/lib/dpkg/status", DPKG + "\nPackage: less\nStatus: install ok half-configured\nVersion: 1\n")
    run(machine, packages=[{"name": "less"}])
    assert machine.calls[0][:3] == ["dpkg", "--configure", "-a"]


def test_waits_for_the_lock_of_the_package_manager(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        machine.failing.clear()

    monkeypatch.setattr(time, "sleep", sleep)
    machine.failing["apt-get update"] = "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 4711"
    assert run(machine, packages=[{"name": "less"}])["changed"] is True
    assert len(slept) == 1


def test_lock_that_never_opens_is_an_error(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    monkeypatch.setattr(time, "monotonic", iter(range(0, 10**6, 200)).__next__)
    machine.failing["apt-get update"] = "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 4711"
    with pytest.raises(MachineError, match="held by process 4711") as caught:
        run(machine, packages=[{"name": "less"}])
    assert "lock_timeout" in caught.value.remedy


# -- accounts


def test_keys_of_the_owner_stay_and_ours_go_when_they_are_no_longer_wanted(machine: Machine) -> None:
    machine.users["ada"] = pwd.struct_passwd(("ada", "!", os.geteuid(), os.getegid(), "", "/home/ada", "/bin/bash"))
    path = "/home/ada/.ssh/authorized_keys"
    machine.put(path, "# mine\nssh-rsa OWNER laptop\n")
    both = ["ssh-ed25519 ONE a", "ssh-ed25519 TWO b"]
    run(machine, users=[{"name": "ada", "authorized_keys": both}])
    assert machine.read(path) == "# mine\nssh-rsa OWNER laptop\nssh-ed25519 ONE a\nssh-ed25519 TWO b\n"
    run(machine, users=[{"name": "ada", "authorized_keys": both[:1]}])
    assert machine.read(path) == "# mine\nssh-rsa OWNER laptop\nssh-ed25519 ONE a\n"
    run(machine, users=[{"name": "ada", "authorized_keys": both[:1], "exclusive_keys": True}])
    assert machine.read(path) == "# mine\nssh-ed25519 ONE a\n"


def test_key_that_was_there_before_us_stays(machine: Machine) -> None:
    machine.users["ada"] = pwd.struct_passwd(("ada", "!", os.geteuid(), os.getegid(), "", "/home/ada", "/bin/bash"))
    path = "/home/ada/.ssh/authorized_keys"
    machine.put(path, "ssh-rsa OWNER laptop\n")
    run(machine, users=[{"name": "ada", "authorized_keys": ["ssh-rsa OWNER laptop"]}])
    run(machine, users=[{"name": "ada", "authorized_keys": []}])
    assert machine.read(path) == "ssh-rsa OWNER laptop\n"


def test_root_writes_no_keys_through_a_link(machine: Machine) -> None:
    machine.users["ada"] = pwd.struct_passwd(("ada", "!", os.geteuid(), os.getegid(), "", "/home/ada", "/bin/bash"))
    os.makedirs(machine.at("/home/ada"))
    os.symlink(machine.at("/etc"), machine.at("/home/ada/.ssh"))
    with pytest.raises(MachineError, match=r"/home/ada/\.ssh is a link"):
        run(machine, users=[{"name": "ada", "authorized_keys": ["ssh-rsa A a"]}])
    assert not machine.exists("/etc/authorized_keys")


# -- kernel settings


def test_container_touches_only_its_own_settings(machine: Machine) -> None:
    machine.put("/run/systemd/container", "docker\n")
    machine.put("/proc/sys/vm/max_map_count", "65530\n")
    machine.put("/proc/sys/net/core/somaxconn", "128\n")
    wanted: dict[str, Any] = {
        "sysctl_file": "/etc/sysctl.d/60.conf",
        "sysctl": {"vm.max_map_count": 262144, "net.core.somaxconn": 4096, "net.core.rmem_max": 1},
    }
    result = run(machine, **wanted)
    assert machine.read("/proc/sys/vm/max_map_count") == "65530\n"
    assert "vm." not in (machine.read("/etc/sysctl.d/60.conf") or "")
    assert "net.core.somaxconn = 4096\n" in (machine.read("/etc/sysctl.d/60.conf") or "")
    reasons = {entry["subject"]: entry["reason"] for entry in result["not_applied"]}
    assert "belongs to the host of this container (docker)" in reasons["sysctl vm.max_map_count"]
    assert "does not offer it in this container" in reasons["sysctl net.core.rmem_max"]
    assert run(machine, **wanted)["changed"] is False


def test_real_machine_keeps_a_setting_whose_module_is_not_loaded_yet(machine: Machine) -> None:
    result = run(machine, sysctl_file="/etc/sysctl.d/60.conf", sysctl={"net.bridge.bridge-nf-call-iptables": True})
    assert "net.bridge.bridge-nf-call-iptables = 1\n" in (machine.read("/etc/sysctl.d/60.conf") or "")
    assert result["not_applied"][0]["subject"] == "sysctl net.bridge.bridge-nf-call-iptables"


def test_setting_that_cannot_be_written_is_reported(machine: Machine) -> None:
    machine.put("/proc/sys/net/core/somaxconn", "128\n")
    os.chmod(machine.at("/proc/sys/net/core/somaxconn"), 0o444)
    result = run(machine, sysctl_file="/etc/sysctl.d/60.conf", sysctl={"net.core.somaxconn": 1})
    assert (result["changed"], result["not_applied"][0]["reason"]) == (False, "read-only on this machine")


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("net.ipv4.conf.eth0/1.rp_filter", "/proc/sys/net/ipv4/conf/eth0.1/rp_filter"),
        ("vm.swappiness", "/proc/sys/vm/swappiness"),
    ],
)
def test_path_of_a_setting(key: str, path: str) -> None:
    assert code.sysctl_path(key) == path


def test_values_are_compared_in_one_spelling(machine: Machine) -> None:
    machine.put("/proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n")
    wanted: dict[str, Any] = {
        "sysctl_file": "/etc/sysctl.d/60.conf",
        "sysctl": {"net.ipv4.ip_local_port_range": "32768   60999"},
    }
    assert run(machine, **wanted)["actions"] == ["create /etc/sysctl.d/60.conf"]


# -- units


def test_masked_unit_is_left_alone_and_reported(machine: Machine) -> None:
    machine.unit("app.service", "inactive", "masked", "masked")
    result = run(machine, units=[{"name": "app.service", "enabled": True, "state": "started"}])
    assert (result["changed"], result["not_applied"]) == (
        False,
        [{"subject": "unit app.service", "reason": "masked on this machine"}],
    )
    asked = run(machine, True, units=[{"name": "app.service", "state": "started", "masked": False}])
    assert asked["actions"] == ["unmask app.service", "start app.service"]


def test_unknown_unit_is_an_error_unless_optional(machine: Machine) -> None:
    with pytest.raises(MachineError, match=r"unit no\.service does not exist"):
        run(machine, units=[{"name": "no.service", "state": "started"}])
    assert run(machine, units=[{"name": "no.service", "state": "started", "optional": True}])["changed"] is False
    assert run(machine, units=[{"name": "no.service", "state": "stopped", "enabled": False}])["changed"] is False


def test_host_only_is_left_out_in_a_container(machine: Machine) -> None:
    wanted: dict[str, Any] = {
        "units": [{"name": "clock.service", "state": "started", "host_only": True}],
        "packages": [{"name": "ntp", "host_only": True}],
    }
    machine.unit("clock.service", "inactive")
    assert run(machine, True, **wanted)["actions"] == ["install ntp", "start clock.service"]
    machine.put("/run/systemd/container", "docker\n")
    result = run(machine, **wanted)
    assert result["changed"] is False
    assert [entry["subject"] for entry in result["not_applied"]] == ["package ntp", "unit clock.service"]


def test_new_unit_file_reloads_systemd_before_it_starts(machine: Machine) -> None:
    unit = {"path": "/etc/systemd/system/new.service", "content": "[Service]\n"}
    machine.unit("new.service", "inactive", "disabled")
    result = run(machine, files=[unit], units=[{"name": "new.service", "state": "started"}])
    assert result["actions"] == ["create /etc/systemd/system/new.service", "reload systemd", "start new.service"]


# -- merged JSON


def test_owners_settings_survive_ours(machine: Machine) -> None:
    owner = {"bip": "172.31.255.1/24", "log-driver": "syslog", "dns": ["9.9.9.9"], "log-opts": {"tag": "x"}}
    machine.put("/etc/docker/daemon.json", json.dumps(owner))
    ours = {"log-driver": "local", "dns": ["1.1.1.1", "9.9.9.9"], "log-opts": {"max-size": "10m"}, "new": {"a": 1}}
    item = {"path": "/etc/docker/daemon.json", "merge": ours}
    run(machine, json_files=[item])
    assert json.loads(machine.read("/etc/docker/daemon.json") or "") == {
        "bip": "172.31.255.1/24",
        "log-driver": "local",
        "dns": ["9.9.9.9", "1.1.1.1"],
        "log-opts": {"tag": "x", "max-size": "10m"},
        "new": {"a": 1},
    }
    assert run(machine, json_files=[item])["changed"] is False
    # A list of ours that changes takes its old entries along.
    run(machine, json_files=[{**item, "merge": {**ours, "dns": ["8.8.8.8"]}}])
    assert json.loads(machine.read("/etc/docker/daemon.json") or "")["dns"] == ["9.9.9.9", "8.8.8.8"]
    run(machine, json_files=[{**item, "state": "absent"}])
    assert json.loads(machine.read("/etc/docker/daemon.json") or "") == owner


def test_equal_content_in_another_format_is_left_as_it_is(machine: Machine) -> None:
    machine.put("/etc/d.json", '{"a":1,    "b":2}')
    assert run(machine, json_files=[{"path": "/etc/d.json", "merge": {"a": 1}}])["changed"] is False
    assert machine.read("/etc/d.json") == '{"a":1,    "b":2}'
    # It was the owner's, so taking ours back does not take it.
    run(machine, json_files=[{"path": "/etc/d.json", "state": "absent"}])
    assert machine.read("/etc/d.json") == '{"a":1,    "b":2}'


def test_file_of_ours_alone_is_removed_in_the_end(machine: Machine) -> None:
    item = {"path": "/etc/d.json", "merge": {"a": [1], "b": {"c": 2}}}
    run(machine, json_files=[item])
    run(machine, json_files=[{**item, "state": "absent"}])
    assert not machine.exists("/etc/d.json")


def test_broken_json_is_named_and_not_touched(machine: Machine) -> None:
    machine.put("/etc/d.json", "{nonsense")
    with pytest.raises(MachineError, match=r"/etc/d\.json is not valid JSON"):
        run(machine, json_files=[{"path": "/etc/d.json", "merge": {"a": 1}}])
    assert machine.read("/etc/d.json") == "{nonsense"


def test_passwords_of_proxies_stay_out_of_the_diff(machine: Machine) -> None:
    machine.put("/etc/d.json", '{"proxies": {"http-proxy": "http://me:secret@proxy:3128"}}')
    result = run(machine, json_files=[{"path": "/etc/d.json", "merge": {"a": 1}}])
    assert "secret" not in json.dumps(result["diff"])
    assert "me:secret@" in (machine.read("/etc/d.json") or "")


# -- Docker, facts


def test_settings_are_there_before_the_engine_is_installed(machine: Machine) -> None:
    daemon = {
        "path": "/etc/docker/daemon.json",
        "merge": {"a": 1},
        "early": True,
        "notify": [{"unit": "docker.service", "action": "restart"}],
    }
    seen: list[bool] = []
    real = machine.command

    def command(words: list[str], environ_update: dict[str, str] | None = None) -> tuple[int, str, str]:
        if "install" in words:
            seen.append(machine.exists("/etc/docker/daemon.json"))
            machine.unit("docker.service")
        return real(words, environ_update)

    machine._run = command
    result = run(
        machine,
        docker={"state": "present"},
        json_files=[daemon],
        units=[{"name": "docker.service", "state": "started"}],
    )
    assert result["actions"] == [
        "merge /etc/docker/daemon.json",
        "install docker-cli docker-compose docker.io",
        "start docker.service",
    ]
    assert seen == [True]
    assert "systemctl restart docker.service" not in machine.told("systemctl")


def test_upstream_key_must_be_dockers(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.put("/etc/os-release", 'ID=debian\nVERSION_ID="12"\nVERSION_CODENAME=bookworm\n')
    machine.put("/etc/ssl/certs/ca-certificates.crt", "authorities\n")
    monkeypatch.setattr(System, "fetch", lambda self, url: "not the key")
    with pytest.raises(MachineError, match="release key 9DC858229FC7DD38854AE2D88D81803C0EBFCD88"):
        run(machine, docker={"state": "present"})
    assert not machine.exists("/etc/apt/sources.list.d/docker.sources")
    assert not any("install" in line for line in machine.told("apt-get"))


def test_authorities_are_there_before_the_key_is_fetched(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.put("/etc/os-release", 'ID=debian\nVERSION_ID="12"\nVERSION_CODENAME=bookworm\n')
    told: list[str] = []

    def fetch(self: System, url: str) -> str:
        told.extend(machine.told("apt-get"))
        raise MachineError("no way out")

    monkeypatch.setattr(System, "fetch", fetch)
    with pytest.raises(MachineError, match="no way out"):
        run(machine, docker={"state": "present"}, packages=[{"name": "curl"}])
    installs = [line for line in told if " install " in line]
    assert len(installs) == 1
    assert installs[0].endswith(" ca-certificates")


def test_facts(machine: Machine) -> None:
    machine.put("/run/systemd/container", "docker\n")
    machine.put("/sys/fs/cgroup/memory.max", "1073741824\n")
    result = run(machine, gather=["docker"])
    assert result["os"] == {"id": "debian", "version": "13", "codename": "trixie"}
    assert result["virtualization"] == {"container": True, "type": "docker"}
    assert result["memory_mb"] == 1024
    assert result["docker"] == {
        "installed": False,
        "running": False,
        "version": "",
        "compose_version": "",
        "origin": "none",
    }
    assert result["swarm"]["state"] == "inactive"


def test_runs_wait_for_each_other(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    inner: list[str] = []
    real = MachineState.plan

    def plan(self: MachineState) -> None:
        if not inner:
            inner.append("waiting")
            monkeypatch.setattr(time, "monotonic", iter(range(0, 10**6, 1000)).__next__)
            with pytest.raises(MachineError, match="another run"):
                run(machine, files=[])
            inner.append("refused")
        real(self)

    monkeypatch.setattr(MachineState, "plan", plan)
    run(machine, files=[])
    assert inner == ["waiting", "refused"]


def test_a_text_is_fetched_and_a_failure_names_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    class Site(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path == "/debian/gpg"
            self.send_response(200 if found else 404)
            self.end_headers()
            self.wfile.write("clé".encode() if found else b"nothing here")

        def log_message(self, *arguments: Any) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Site) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        system = System(lambda *arguments, **options: (0, "", ""))
        url = f"http://127.0.0.1:{server.server_port}"
        assert system.fetch(url + "/debian/gpg") == "clé"
        with pytest.raises(MachineError, match=url + "/lost cannot be fetched: .*404"):
            system.fetch(url + "/lost")
        server.shutdown()
        thread.join(10)
    with pytest.raises(MachineError, match="cannot be fetched: .*refused"):
        system.fetch(url + "/debian/gpg")
