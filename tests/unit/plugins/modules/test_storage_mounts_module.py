# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module storage_mounts: what it takes, what it gives, and how it fails."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args

from ansible_collections.pantheon.ai.plugins.module_utils import _storage_call, _storage_mounts
from ansible_collections.pantheon.ai.plugins.modules import storage_mounts

MODELS = {"name": "models", "source": "nas:/mnt/tank/models", "path": "/models"}


def call(capsys: pytest.CaptureFixture[str], **arguments: Any) -> dict[str, Any]:
    """Run the module and return what it prints."""
    with patch_module_args(arguments), pytest.raises(SystemExit):
        storage_mounts.main()
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine in a folder, whose kernel has NFS and whose systemd says yes to everything."""

    class Machine(_storage_mounts.Machine):
        def __init__(self) -> None:
            super().__init__(str(tmp_path))

        def run(self, *command: str, seconds: float = 30) -> tuple[int, str]:
            units = command[3:] if command[:2] == ("systemctl", "show") else ()
            return 0, "\n".join(f"Id={name}\nActiveState=inactive\nNeedDaemonReload=no\n" for name in units)

        def child(self, *command: str) -> _storage_mounts.Child:
            return _storage_mounts.Child(["true"])

    for path, text in (("proc/filesystems", "nfs4\n"), ("sbin/mount.nfs", ""), ("dev/autofs", "")):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    (tmp_path / "run").mkdir()
    monkeypatch.setattr(_storage_call, "Machine", Machine)
    return tmp_path


def documented(options: dict[str, Any]) -> dict[str, Any]:
    """Reduce documented options to what the argument specification says."""
    return {
        name: {
            **{key: option[key] for key in ("type", "elements", "choices", "default") if key in option},
            **({"required": True} if option.get("required") else {}),
            **({"options": documented(option["suboptions"])} if "suboptions" in option else {}),
        }
        for name, option in options.items()
    }


def test_documentation_says_what_the_module_takes() -> None:
    documentation = yaml.safe_load(storage_mounts.DOCUMENTATION)
    assert documented(documentation["options"]) == storage_mounts.ARGUMENTS


def test_every_result_is_documented(capsys: pytest.CaptureFixture[str]) -> None:
    keys = set(call(capsys, mounts=[MODELS], _ansible_check_mode=True))
    keys |= set(call(capsys, mounts=[MODELS], detect_only=True))
    assert keys - {"changed", "invocation", "diff"} == set(yaml.safe_load(storage_mounts.RETURN))


def test_errors_are_sentences(capsys: pytest.CaptureFixture[str]) -> None:
    result = call(capsys, mounts=[MODELS | {"source": "nas"}])
    assert result["failed"] is True
    assert result["msg"] == (
        "mounts[0] (models): source 'nas': server:/path is wanted, with an IPv6 address in brackets."
    )


def test_check_mode_writes_nothing_and_gives_the_facts(capsys: pytest.CaptureFixture[str], machine: Path) -> None:
    result = call(capsys, mounts=[MODELS], _ansible_check_mode=True)
    assert result["changed"] is True
    assert "write /etc/systemd/system/models.mount" in result["actions"]
    assert result["ansible_facts"] == {"pantheon_storage": result["mounts"]}
    assert not (machine / "etc").exists()


def test_a_refused_mount_fails_after_the_rest_was_done(capsys: pytest.CaptureFixture[str], machine: Path) -> None:
    mount = _storage_mounts.StorageMounts
    original = mount._reason
    mount._reason = lambda self, wanted, begun: "access denied by server"  # type: ignore[method-assign]
    try:
        result = call(capsys, mounts=[MODELS], readahead_kib=0)
    finally:
        mount._reason = original  # type: ignore[method-assign]
    assert result["failed"] is True
    assert "access denied by server. Correct the export" in result["msg"]
    assert result["mounts"]["models"]["mounted"] is False
    assert (machine / "etc/systemd/system/models.mount").is_file()


def test_detection_names_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    result = call(capsys, mounts=[MODELS], detect_only=True)
    assert (result["changed"], result["backends"], result["packages"]) == (
        False,
        ["kernel"],
        [{"name": "nfs-common"}],
    )
