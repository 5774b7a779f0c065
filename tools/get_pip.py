# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Offline stand-in for the installer that ansible-test sanity would download."""

from __future__ import annotations

import subprocess
import sys

UNKNOWN = {"--no-python-version-warning", "--no-setuptools", "--no-wheel"}
arguments = [argument for argument in sys.argv[1:] if argument not in UNKNOWN]
subprocess.check_call([sys.executable, "-m", "ensurepip", "--default-pip"])
subprocess.check_call([sys.executable, "-m", "pip", "install", *arguments])
