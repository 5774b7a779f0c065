# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine looks like after the role base."""

from __future__ import annotations

from pathlib import Path

from testinfra.host import Host

testinfra_hosts = ["ansible://pantheon-test-a"]


def test_time_zone(host: Host) -> None:
    assert host.file("/etc/localtime").linked_to == "/usr/share/zoneinfo/Europe/Berlin"
    assert host.check_output("date +%Z") in ("CET", "CEST")


def test_admin_signs_in_with_a_key_and_may_become_root(host: Host) -> None:
    ada = host.user("ada")
    assert ada.shell == "/bin/bash"
    assert "adm" in ada.groups
    assert ada.password in ("!", "!!", "*"), "no password may be set"
    keys = host.file("/home/ada/.ssh/authorized_keys")
    assert (keys.mode, keys.user, keys.group) == (0o600, "ada", "ada")
    assert "AAAAC3NzaC1lZDI1NTE5" in keys.content_string
    assert host.file("/home/ada/.ssh").mode == 0o700
    assert host.check_output("su ada -c 'sudo -n id -u'") == "0"


def test_packages(host: Host) -> None:
    for name in ("less", "ca-certificates", "unattended-upgrades"):
        assert host.package(name).is_installed


def test_settings_of_the_network_namespace_are_set_and_kept(host: Host) -> None:
    assert host.sysctl("net.ipv4.tcp_keepalive_time") == 100
    assert host.sysctl("net.ipv4.tcp_max_syn_backlog") == 4096
    assert "net.ipv4.tcp_keepalive_time = 100\n" in host.file("/etc/sysctl.d/60-pantheon.conf").content_string


def test_kernel_settings_of_the_host_are_left_alone(host: Host) -> None:
    kept = host.file("/etc/sysctl.d/60-pantheon.conf").content_string
    assert "vm." not in kept
    assert "fs." not in kept
    here = Path("/proc/sys/vm/max_map_count")
    if here.exists():
        assert host.sysctl("vm.max_map_count") == int(here.read_text())


def test_only_security_updates_and_never_gpu_drivers(host: Host) -> None:
    origins = host.check_output("apt-config dump Unattended-Upgrade::Origins-Pattern")
    assert "Debian-Security" in origins
    assert 'label=Debian"' not in origins
    assert 'origin=Debian,codename=${distro_codename},label=Debian";' not in origins
    assert "nvidia-" in host.check_output("apt-config dump Unattended-Upgrade::Package-Blacklist")
    assert '"1"' in host.check_output("apt-config dump APT::Periodic::Unattended-Upgrade")


def test_journal_is_limited(host: Host) -> None:
    assert "SystemMaxUse=1G" in host.file("/etc/systemd/journald.conf.d/60-pantheon.conf").content_string
    assert host.service("systemd-journald").is_running


def test_nothing_is_pending(host: Host) -> None:
    state = host.file("/var/lib/pantheon/machine_state.json")
    assert state.mode == 0o600
    assert "pending" not in state.content_string
