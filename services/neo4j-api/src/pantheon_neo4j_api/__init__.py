# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bolt and Neo4j's Query API over FalkorDB: a stand-in for Neo4j, for machines that cannot run Neo4j itself."""

from __future__ import annotations

#: The version of Neo4j whose protocols are spoken, and what it is.
VERSION = "2026.07.1-lab"

#: What drivers are told; several of them insist on the first word.
AGENT = f"Neo4j/{VERSION}"

#: The one database that people use, and the one that only answers questions about the server.
DATABASE = "neo4j"
SYSTEM = "system"
