# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A module of this collection without Ansible, so that another one can ask it too. Private; standard library only."""

from __future__ import annotations

import typing as t


class Outcome(t.NamedTuple):
    """What a call of a module comes to.

    Attributes:
        result: the module's result, as its documentation describes it.
        warnings: sentences for the person who runs it.
        error: why it failed, empty if it did not.
        idle: whether the same call outside check mode would find nothing to do and nothing to wait for.
    """

    result: t.Dict[str, t.Any]
    warnings: t.Sequence[str] = ()
    error: str = ""
    idle: bool = False


Perform = t.Callable[[t.Dict[str, t.Any], bool], Outcome]
"""A module without Ansible: (parameters, check mode) -> outcome."""
