"""Readers of the conversation log: one that is cut off anywhere and resumes, and one that begins with the rows."""

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from delivery.history import place
from delivery.history.snapshot import Snapshot, SnapshotFold
from delivery.protocol.events import Logged
from schemas import position
from schemas.fold import ConversationFold
from schemas.frames import History
from schemas.turns import LogAddress
from tests.simulation.gate import CONVERSATION, LANE, LOG
from tests.simulation.promise import Broken, name_of

if TYPE_CHECKING:
    from tests.simulation.world import World


def look_back(world: "World", chance: random.Random) -> None:
    """Read the log as clients do. Raises Broken when they would see anything else than a reader from the beginning."""
    _resume(world, chance)
    _begin_with_rows(world)


def _resume(world: "World", chance: random.Random) -> None:
    """Cut off anywhere, and on from the position that was written there."""
    for log, told in ((LOG, world.watch.own), (LANE, world.watch.laned)):
        fold = ConversationFold()
        for offset, record in enumerate(world.broker.log(log.topic)):
            if fold.take(record) is not told.taken[offset]:
                raise Broken("shown", f"a reader that resumed differs about {record.type} at {offset}")
            if chance.random() < 0.2:
                fold = position.read(position.write(log, offset, fold), CONVERSATION).fold
        if fold != told.fold:
            raise Broken("shown", "a reader that resumed stands elsewhere")


def _begin_with_rows(world: "World") -> None:
    """Rows as far as they are stored, and the log from the place that they name: the same as the log alone."""
    if world.watch.is_deleted:
        return
    rows = world.store.newest_first()
    anchor = place.anchor(rows)
    here = LANE if world.watch.own.fold.is_closed else LOG
    start = place.start_of(anchor, here) or 0
    shown = SnapshotFold(rows, anchor)
    for offset, record in enumerate(world.broker.log(here.topic)[start:], start):
        shown.take(Logged(offset, record, b"{}"))
    short, full = shown.snapshot(), _whole(world, here)
    if here is LANE:
        full = replace(full, history=_behind(_whole(world, LOG).history, full.history))
    if _in_order(short.history) != _in_order(full.history):
        raise Broken("shown", f"rows and the log from {start} show {_told(short.history)}, not {_told(full.history)}")
    if short.fold.open_turns != full.fold.open_turns:
        raise Broken("shown", f"live events would go on from {short.fold.open_turns}, not {full.fold.open_turns}")


def _whole(world: "World", log: LogAddress) -> Snapshot:
    fold = SnapshotFold((), None)
    for offset, record in enumerate(world.broker.log(log.topic)):
        fold.take(Logged(offset, record, b"{}"))
    return fold.snapshot()


def _behind(before: History, after: History) -> History:
    """What both logs tell, one behind the other."""
    return replace(after, messages=(*before.messages, *after.messages))


def _in_order(history: History) -> tuple[Sequence[object], object]:
    """Of turns whose place nobody knows (`n` 0) the store tells no order."""
    return sorted(history.messages, key=lambda each: (each.n, each.turn, each.item[-1:] == "a")), history.open_turns


def _told(history: History) -> str:
    ended = [f"{name_of(each.turn)} {each.role} {each.text!r} {each.reason}" for each in history.messages]
    return str([*ended, *(f"{name_of(each.turn)} open {each.answer!r}" for each in history.open_turns)])
