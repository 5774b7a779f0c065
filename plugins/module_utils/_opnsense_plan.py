# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who owns an entry of the router, what differs, and how it is written (private to the collection)."""

from __future__ import annotations

import re
import time
import typing as t

from ansible_collections.pantheon.ai.plugins.module_utils._opnsense_client import (
    Api,
    Fields,
    Invalid,
    Json,
    Missing,
    OpnsenseError,
    TooSlow,
    validations,
)

DELETES_PER_REQUEST = 200
"""A list of 500 uuids does not fit into the header of a request."""

DESCRIPTION_LENGTH = 255

OWNER = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 ._:@-]{0,61}[A-Za-z0-9])?")
TAG = re.compile(r"^(.*?)\s*\[([^\[\]]+)\]$", re.DOTALL)

Key = t.Tuple[str, ...]


def tagged(text: str, owner: str) -> str:
    """Return a description that says who owns the entry."""
    return f"{text} [{owner}]" if text else f"[{owner}]"


def untagged(description: str) -> t.Tuple[str, str]:
    """Return the text and the owner of a description."""
    match = TAG.match(description.strip())
    return (match.group(1), match.group(2)) if match else (description.strip(), "")


def check_owner(owner: str) -> t.List[str]:
    """Return what is wrong with the name of an owner."""
    if OWNER.fullmatch(owner):
        return []
    return [
        f"owner {owner!r} has to be 1 to 63 letters, digits, blanks and . _ : @ -, with a letter or digit at both ends"
    ]


def check_description(text: str, owner: str, where: str) -> t.List[str]:
    """Return what is wrong with a description."""
    problems = []
    if any(ord(character) < 32 for character in text):
        problems.append(
            f"{where}: description contains a line break or another control character; write it in one line"
        )
    if len(tagged(text, owner)) > DESCRIPTION_LENGTH:
        problems.append(
            f"{where}: description is longer than the {DESCRIPTION_LENGTH - len(owner) - 3} characters that are left "
            f"beside the mark of the owner"
        )
    return problems


def refuse(problems: t.Sequence[str], remedy: str, limit: int = 50) -> None:
    """Raise all problems as one error, if there are any."""
    if not problems:
        return
    shown = list(dict.fromkeys(problems))
    more = f" ... and {len(shown) - limit} more" if len(shown) > limit else ""
    raise OpnsenseError("Nothing was written, because: " + "; ".join(shown[:limit]) + more, remedy)


class Item:
    """One entry: as it is wanted, or as the router has it."""

    def __init__(
        self,
        key: Key,
        value: str,
        fields: Fields,
        label: str,
        *,
        base: t.Optional[Fields] = None,
        line: str = "",
        owner: str = "",
        uuid: str = "",
        where: str = "",
        raw: t.Optional[Fields] = None,
        asked: t.Sequence[str] = (),
    ) -> None:
        self.key, self.value, self.fields, self.label = key, value, fields, label
        self.base: Fields = dict(base or {})
        self.line, self.owner, self.uuid, self.where = line or label, owner, uuid, where
        self.raw: Fields = dict(raw or {})
        self.asked = frozenset(asked)

    def __repr__(self) -> str:
        return f"<{self.label} {self.owner or 'foreign'}>"

    def differs(self, wanted: Item) -> Fields:
        """Return the fields to write so that this entry becomes the wanted one."""
        return {name: value for name, value in wanted.fields.items() if self.fields.get(name, "") != value}

    def satisfies(self, wanted: Item) -> bool:
        """Tell whether an entry of somebody else is as good as the wanted one: in all that was asked for explicitly."""
        return (
            self.value == wanted.value
            and self.fields.get("enabled", "1") == wanted.fields.get("enabled", "1")
            and all(self.fields.get(name, "") == wanted.fields.get(name, "") for name in wanted.asked)
        )

    def complete(self) -> Fields:
        """Return all fields of a new entry."""
        return {**self.base, **self.fields}


class Change:
    """An entry that is to become another one."""

    def __init__(self, old: Item, new: Item, fields: Fields) -> None:
        self.old, self.new, self.fields = old, new, fields


class Plan:
    """What has to be done; the one source of changed, diff and what is written."""

    def __init__(self) -> None:
        self.creates: t.List[Item] = []
        self.updates: t.List[Change] = []
        self.deletes: t.List[Item] = []
        self.unchanged: t.List[t.Tuple[Item, Item]] = []
        self.satisfied: t.List[t.Tuple[Item, Item]] = []
        self.skipped: t.List[Item] = []
        self.foreign: t.List[Item] = []
        self.conflicts: t.List[str] = []
        self.before: t.List[str] = []
        self.after: t.List[str] = []

    def __bool__(self) -> bool:
        return bool(self.creates or self.updates or self.deletes)

    def result(self, header: str = "records") -> t.Dict[str, t.Any]:
        """Return the part of the result that says what changes."""
        return {
            "changed": bool(self),
            "created": sorted(item.label for item in self.creates),
            "updated": sorted(change.new.label for change in self.updates),
            "deleted": sorted(item.label for item in self.deletes),
            "unchanged": sorted(wanted.label for wanted, _rest in self.unchanged),
            "foreign": sorted({item.label for item in self.foreign}),
            "diff": {
                "before_header": f"{header} on the router",
                "after_header": f"{header} as wanted",
                "before": "".join(f"{line}\n" for line in sorted(self.before)),
                "after": "".join(f"{line}\n" for line in sorted(self.after)),
            },
        }


def make_plan(
    wanted: t.Sequence[Item],
    existing: t.Sequence[Item],
    owner: str,
    state: str,
    conflict: str,
    purge: t.Callable[[Item], bool],
    reuse: t.Callable[[Item, Item], bool] = lambda old, new: False,
) -> Plan:
    """Compare what is wanted with what the router has.

    The value is no part of the key: an entry with another value is changed in place. Only entries of the owner are
    changed or deleted, and with adopt those of others that have the key of a wanted one.
    """
    plan = Plan()
    own = [item for item in existing if item.owner == owner]
    by_key: t.Dict[Key, t.List[Item]] = {}
    for item in existing:
        by_key.setdefault(item.key, []).append(item)
    groups: t.Dict[Key, t.List[Item]] = {}
    for item in wanted:
        groups.setdefault(item.key, []).append(item)

    leftovers: t.List[Item] = []
    if state == "absent":
        leftovers = [item for item in own if item.key in groups]
        plan.foreign = [item for key in groups for item in by_key.get(key, []) if item.owner != owner]
    else:
        for key, items in groups.items():
            leftovers += _plan_key(plan, items, by_key.get(key, []), owner, conflict)
        if state == "exact":
            leftovers += [item for item in own if item.key not in groups and purge(item)]

    # An entry that would be deleted may become one that would be created: then a value that has to be unique is free.
    for new in list(plan.creates):
        old = next((item for item in leftovers if reuse(item, new)), None)
        if old is not None:
            leftovers.remove(old)
            plan.creates.remove(new)
            plan.updates.append(Change(old, new, {**old.differs(new), **_other_base(old, new)}))
    plan.deletes = leftovers

    touched = {id(change.old) for change in plan.updates}
    ours = own + [item for item in existing if item.owner != owner and (id(item) in touched or item in plan.deletes)]
    plan.before = [item.line for item in ours]
    gone = touched | {id(item) for item in plan.deletes}
    plan.after = [item.line for item in ours if id(item) not in gone]
    plan.after += [change.new.line for change in plan.updates] + [item.line for item in plan.creates]
    return plan


def _other_base(old: Item, new: Item) -> Fields:
    return {name: value for name, value in new.base.items() if old.raw.get(name, "") != value}


def _plan_key(plan: Plan, wanted: t.List[Item], there: t.List[Item], owner: str, conflict: str) -> t.List[Item]:
    """Plan the entries of one key; return what the owner has too much of."""
    mine = [item for item in there if item.owner == owner]
    others = [item for item in there if item.owner != owner and item.fields.get("enabled", "1") == "1"]
    plan.foreign += others
    open_: t.List[Item] = []
    for new in wanted:
        twin = next((old for old in mine if old.value == new.value), None)
        if twin is not None:
            mine.remove(twin)
            _compare(plan, twin, new)
            continue
        foreign = next((old for old in others if old.satisfies(new)), None)
        if foreign is not None:
            others.remove(foreign)
            plan.satisfied.append((new, foreign))
        else:
            open_.append(new)
    # What is identical to a wanted entry that the owner has as well harms nobody.
    others = [old for old in others if not any(old.satisfies(new) for new in wanted)]
    if others and conflict == "adopt":
        plan.foreign = [item for item in plan.foreign if item not in others]
        mine += others
    elif others and conflict == "fail":
        for old in others:
            plan.conflicts.append(
                f"{(open_ or wanted)[0].where} {(open_ or wanted)[0].label}: the router has {old.label}"
                + (f" of the owner {old.owner!r}" if old.owner else ", which nobody owns")
            )
        return []
    elif others:
        plan.skipped += open_
        open_ = []
    for new in open_:
        if mine:
            _compare(plan, mine.pop(0), new)
        else:
            plan.creates.append(new)
    return mine


def _compare(plan: Plan, old: Item, new: Item) -> None:
    fields = old.differs(new)
    if fields:
        plan.updates.append(Change(old, new, fields))
    else:
        plan.unchanged.append((new, old))


def conflict_remedy(kind: str) -> str:
    """Return what to do about entries of others."""
    return (
        f"Delete or correct these {kind} on the router, or set unmanaged_conflict to adopt (they become yours) or to "
        "ignore (they stay, and yours are left out)."
    )


class Store:
    """A list of entries of the router: how it is written."""

    def __init__(
        self,
        api: Api,
        kind: str,
        *,
        delete: str,
        bulk: str = "",
        envelope: t.Sequence[str] = (),
        add: str = "",
        change: str = "",
        envelope_single: str = "",
        required: str = "",
    ) -> None:
        self.api, self.kind, self.delete_path = api, kind, delete
        self.bulk, self.envelope = bulk, tuple(envelope)
        self.add_path, self.change_path, self.envelope_single = add, change, envelope_single
        self.required = required
        self.revisions = 0

    def save(self, updates: t.Dict[str, Fields], creates: t.Sequence[Fields]) -> t.List[str]:
        """Write changes and new entries; return the uuids of the new ones, as far as the router tells them."""
        if not updates and not creates:
            return []
        if self.bulk:
            try:
                answer = self.api.post(self.bulk, self._wrap(updates, creates), repeatable=not creates)
            except Missing:
                if not self.add_path:
                    raise
                answer = {}
            if part_result(answer) == "saved" or validations(answer) or not self.add_path:
                self._expect_saved(answer)
                self.revisions += 1
                return []
            # A release without the bulk write: one request for each entry.
            self.bulk = ""
        uuids = []
        for uuid, fields in updates.items():
            # An unknown uuid would come into being again, so a partial change of a vanished entry has to fail.
            self._expect_saved(
                self.api.post(f"{self.change_path}/{uuid}", {self.envelope_single: fields}, repeatable=True), uuid
            )
            self.revisions += 1
        for number, fields in enumerate(creates):
            answer = self.api.post(self.add_path, {self.envelope_single: fields})
            self._expect_saved(answer, f"new{number}")
            self.revisions += 1
            uuids.append(str(answer.get("uuid", "")))
        return uuids

    def delete(self, uuids: t.Sequence[str], lists: t.Optional[bool]) -> None:
        """Delete entries; lists says whether the release takes comma lists, None that it is not known."""
        left = list(uuids)
        if len(left) > 1 and lists is not False:
            for start in range(0, len(left), DELETES_PER_REQUEST):
                chunk = left[start : start + DELETES_PER_REQUEST]
                answer = self.api.post(f"{self.delete_path}/{','.join(chunk)}", repeatable=True)
                if part_result(answer) == "deleted" or lists:
                    self.revisions += 1
                elif start == 0:
                    # A release without lists looks for an entry of that long name, and deletes nothing.
                    break
                lists = True
            else:
                return
        for uuid in left:
            answer = self.api.post(f"{self.delete_path}/{uuid}", repeatable=True)
            if part_result(answer) not in ("deleted", "not found"):
                raise OpnsenseError(
                    f"The router did not delete the {self.kind} {uuid}: {part_result(answer) or 'no result'}",
                    "Look at System: Log Files: Backend on the router.",
                )
            self.revisions += part_result(answer) == "deleted"

    def culprits(self, creates: t.Sequence[Fields], budget: int = 40) -> t.List[int]:
        """Return which new entries the router does not accept.

        It names them by uuids of its own. So parts of the list are offered together with an entry that is never valid:
        nothing can be saved, and the number of entries in the answer tells which part is bad.
        """
        if not self.required:
            # Without a field that must be there, nothing is sure never to be saved.
            return []
        found: t.List[int] = []
        poison = {"description": "-"}
        pending = [list(range(len(creates)))]
        while pending and budget > 0 and len(found) < 10:
            indexes = pending.pop()
            budget -= 1
            answer = self.api.post(self.bulk, self._wrap({}, [creates[index] for index in indexes] + [poison]))
            depth = len(self.envelope)
            if len({path.split(".")[depth] for path in validations(answer) if path.count(".") > depth}) <= 1:
                continue
            if len(indexes) == 1:
                found.append(indexes[0])
            else:
                middle = len(indexes) // 2
                pending += [indexes[middle:], indexes[:middle]]
        return sorted(found)

    def _wrap(self, updates: t.Dict[str, Fields], creates: t.Sequence[Fields]) -> Json:
        content: Json = {**updates, **{f"new{number}": fields for number, fields in enumerate(creates)}}
        for name in reversed(self.envelope):
            content = {name: content}
        return content

    def _expect_saved(self, answer: Json, entry: str = "") -> None:
        if part_result(answer) == "saved":
            return
        found = validations(answer)
        if found:
            named = {f"{entry}:{path}" if entry else path: texts for path, texts in found.items()}
            raise Invalid(
                f"The router does not accept these {self.kind}s: "
                + "; ".join(f"{path}: {' '.join(texts)}" for path, texts in sorted(found.items())),
                "Nothing was saved. Correct the values." if self.bulk else "Correct the values and run again.",
                named,
            )
        raise OpnsenseError(
            f"The router did not save the {self.kind}s: {part_result(answer) or 'it gave no result'}",
            "An entry may have been removed meanwhile: run again.",
        )


def take_back(
    error: OpnsenseError,
    restore: t.Callable[[], bool],
    place: str,
    sleep: t.Callable[[float], None] = time.sleep,
) -> bool:
    """Save the old state again after an error that came between writing and applying; tell whether that worked.

    A later run cannot see whether what is saved is active as well: it would find nothing to do, and the change would
    never take effect. With the old state saved, the next run does all of it. The error says what became of it.
    """
    head = str(error).rstrip(".")
    if isinstance(error, TooSlow):
        # Looked at too early, the router would seem to have done nothing.
        sleep(error.wait)
    try:
        if restore():
            error.args = (f"{head}. The old state was saved again, so nothing is left half done",)
            error.remedy = f"{error.remedy} Then run again.".strip() if "un again" not in error.remedy else error.remedy
        return True
    except OpnsenseError as other:
        reason = str(other).rstrip(".")
        error.args = (
            f"{head}. What was written may be saved and not active, and it could not be taken back ({reason})",
        )
        error.remedy = f"{error.remedy} {apply_by_hand(place)}"
        return False


def apply_by_hand(place: str) -> str:
    """Return what to do where something may be saved and not active, and stays so."""
    return f"Press Apply under {place} on the router: another run may see nothing to do."


def old_values(old: Item, now: Item, names: t.Iterable[str]) -> Fields:
    """Return the fields to write so that an entry is again as it was; nothing when it is."""
    return {name: old.raw.get(name, "") for name in names if now.raw.get(name, "") != old.raw.get(name, "")}


def part_result(answer: Json) -> str:
    """Return the result of an answer."""
    return str(answer.get("result", "")) if isinstance(answer, dict) else ""


def explain(error: Invalid, store: Store, updates: t.Sequence[Change], creates: t.Sequence[Item]) -> OpnsenseError:
    """Return the error with the names that the user gave instead of uuids."""
    depth = len(store.envelope)
    by_uuid = {change.old.uuid: change.new for change in updates}
    lines: t.List[str] = []
    strange: t.Dict[str, t.List[str]] = {}
    for path, texts in error.validations.items():
        entry, _rest, single = path.partition(":")
        steps = path.split(".")
        uuid = entry if single else (steps[depth] if len(steps) > depth + 1 else "")
        field = steps[-1]
        item = by_uuid.get(uuid)
        if item is None and uuid.startswith("new") and uuid[3:].isdigit():
            item = creates[int(uuid[3:])]
        if item is not None:
            lines.append(f"{item.where} {item.label}: {field}: {' '.join(texts)}")
        else:
            strange.setdefault(uuid, []).append(f"{field}: {' '.join(texts)}")
    if strange and store.bulk:
        indexes: t.List[int] = []
        if len(creates) == 1 and len(strange) == 1 and not updates:
            indexes = [0]
        elif creates:
            try:
                indexes = store.culprits([item.complete() for item in creates])
            except OpnsenseError:
                indexes = []
        messages = list(strange.values())
        for number, index in enumerate(indexes):
            reason = "; ".join(messages[number]) if number < len(messages) else "not accepted"
            lines.append(f"{creates[index].where} {creates[index].label}: {reason}")
        if len(indexes) < len(strange):
            changed = [f"{change.new.where} {change.new.label} (was {change.old.label})" for change in updates]
            others = [] if indexes else [f"{item.where} {item.label}" for item in creates]
            candidates = changed + others
            shown = "; ".join(candidates[:10]) + (f" and {len(candidates) - 10} more" if len(candidates) > 10 else "")
            reasons = "; ".join("; ".join(texts) for texts in messages[len(indexes) :][:5])
            lines.append(
                f"{len(strange) - len(indexes)} of these are not valid, or no longer there to be changed: {shown} ({reasons})"
            )
    elif strange:
        lines += ["; ".join(texts) for texts in strange.values()]
    return OpnsenseError(
        f"The router does not accept these {store.kind}s: " + "; ".join(lines),
        "Nothing was saved. Correct the values and run again."
        if store.bulk
        else "What came before them was saved. Correct the values and run again.",
    )


def save_explained(store: Store, plan: Plan, whole: bool = False) -> t.List[str]:
    """Write the changes and new entries of a plan; errors name what the user gave.

    An entry that vanished meanwhile must not come back with nothing but its changed fields. Where a required field
    makes that fail, only the changed fields are sent; where there is none, whole sends all that was asked for.
    """
    updates = {
        change.old.uuid: {**change.new.complete(), **change.fields} if whole else change.fields
        for change in plan.updates
    }
    try:
        return store.save(updates, [item.complete() for item in plan.creates])
    except Invalid as error:
        raise explain(error, store, plan.updates, plan.creates) from None
