# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What wrote a backup: whoever restores it in a year wants to know."""

from __future__ import annotations

import platform

from pantheon_backup.model import Context

#: Of this program. The form of the files in a set is FORM.
PROGRAM = "1.0.0"
FORM = 1


def of(context: Context) -> dict[str, str]:
    """Return the versions of this program, of restic and of the service's image."""
    found = {"pantheon-backup": PROGRAM, "restic": context.restic.version(), "python": platform.python_version()}
    if context.job.image:
        found["image"] = context.job.image
        asked = ["docker", "inspect", "--format", "{{.Image}}", context.job.container]
        done = context.run(asked, check=False, timeout=60)
        if done.status == 0:
            found["image_id"] = done.text
    return found
