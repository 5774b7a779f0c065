# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Ollama HTTP API over llama.cpp's llama-server, for the Pantheon lab."""

from __future__ import annotations

# The Ollama release whose API this follows, marked as the lab's: nobody should take it for Ollama itself.
VERSION = "0.32.15-lab"
