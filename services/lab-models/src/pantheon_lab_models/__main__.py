# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m pantheon_lab_models DIRECTORY`."""

from __future__ import annotations

from .library import main

raise SystemExit(main())
