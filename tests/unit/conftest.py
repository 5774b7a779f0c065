# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the checkout importable as the collection pantheon.ai (ansible-test brings its own loader)."""

from __future__ import annotations

from pathlib import Path

try:
    from ansible.plugins.loader import init_plugin_loader
except ImportError:  # ansible-test hides ansible.plugins from module tests
    pass
else:
    collections = Path(__file__).resolve().parents[2] / "collections"
    if collections.is_dir():
        init_plugin_loader([str(collections)])
