# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module encrypted_volume: what it takes, what it gives, and how it fails."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args

from ansible_collections.pantheon.ai.plugins.module_utils import _encrypted_volume
from ansible_collections.pantheon.ai.plugins.modules import encrypted_volume

KEY = "k" * 40


def call(capsys: pytest.CaptureFixture[str], **arguments: Any) -> dict[str, Any]:
    """Run the module and return what it prints."""
    with patch_module_args(arguments), pytest.raises(SystemExit):
        encrypted_volume.main()
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


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
    documentation = yaml.safe_load(encrypted_volume.DOCUMENTATION)
    wanted = {
        name: {key: value for key, value in option.items() if key != "no_log"}
        for name, option in _encrypted_volume.ARGUMENTS.items()
    }
    assert documented(documentation["options"]) == wanted


def test_every_result_is_documented(capsys: pytest.CaptureFixture[str]) -> None:
    keys = set(call(capsys, name="data", path="/srv/data", state="absent", _ansible_check_mode=True))
    assert keys - {"changed", "invocation", "diff"} == set(yaml.safe_load(encrypted_volume.RETURN))


def test_errors_are_sentences_and_hide_the_key(capsys: pytest.CaptureFixture[str]) -> None:
    result = call(capsys, name="data", device="/dev/nowhere", path="/srv/data", key=KEY, _ansible_check_mode=True)
    assert result["failed"] is True
    assert result["msg"] == (
        "volume data: device /dev/nowhere is not there, or no block device. Correct device, or plug it in."
    )
    assert KEY not in json.dumps(result)
