# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Qdrant's REST API over the Qdrant Edge engine, for the Pantheon lab."""

from __future__ import annotations

# The Qdrant release whose API this follows, marked as the lab's: nobody should take it for Qdrant itself.
VERSION = "1.19.0-lab"
