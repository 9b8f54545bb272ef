"""What was said in a conversation, item by item: rows of the store, then what the log knows beyond them."""

from typing import Any

from producers.ingress import turn_answers
from producers.ingress.callers import Page
from producers.ingress.turn_answers import Shown
from producers.relay.response_view import input_item, listed, output_item
from producers.relay.turn_reader import TurnReader
from schemas import ids
from schemas.errors import CallerError, ContractError, NotFound
from schemas.ids import ConversationId, ItemId
from schemas.records import ConversationChanged

_UNPLACED = 2**62  # a turn that has no place yet comes behind all that have


class Items:
    """Reads the items of conversations. A turn has two: the user's message, and the answer once there is any of it."""

    def __init__(self, reader: TurnReader) -> None:
        self._reader = reader

    async def page(self, known: ConversationChanged, page: Page) -> dict[str, Any]:
        """A part of the list.

        Raises:
            CallerError: `after` names no item of this conversation.
            CassandraUnavailable: the list can't be told without a hole.
        """
        cursor, bound = None, None
        if page.after is not None:
            cursor = await self._cursor(known, page.after)
            place = await self._place(known, cursor)
            # The item's own turn once more: its other item may come behind it.
            bound = place + 1 if page.newest_first else place - 1
        turns, has_more_turns = await self._turns(known, page, bound)
        items = [item for turn in turns for item in _items(turn, newest_first=page.newest_first)]
        if cursor is not None:
            names = [item["id"] for item in items]
            items = items[names.index(cursor) + 1 :] if cursor in names else items
        return listed(items[: page.limit], has_more=has_more_turns or len(items) > page.limit)

    async def one(self, known: ConversationChanged, text: str) -> dict[str, Any]:
        """One item. Raises NotFound."""
        try:
            item = await self._cursor(known, text)
        except CallerError:
            raise NotFound(f"there is no item {text[:100]}") from None
        found = await self._reader.find(known, ids.turn_of_item(item))
        if found is not None:
            for each in _items(turn_answers.of_found(found, ""), newest_first=False):
                if each["id"] == item:
                    return each
        raise NotFound(f"there is no item {item}")

    async def _cursor(self, known: ConversationChanged, text: str) -> ItemId:
        try:
            item = ids.parse_item(text)
        except ContractError:
            raise CallerError(f"{text[:100]} is no item's id", param="after") from None
        if ids.conversation_of(ids.turn_of_item(item)) != known.conversation:
            raise CallerError(f"{text[:100]} is no item of this conversation", param="after")
        return item

    async def _place(self, known: ConversationChanged, item: ItemId) -> int:
        found = await self._reader.find(known, ids.turn_of_item(item))
        if found is None:
            raise CallerError(f"{item} is no item of this conversation", param="after")
        place = turn_answers.of_found(found, "").n
        return _UNPLACED if place is None else place

    async def _turns(self, known: ConversationChanged, page: Page, bound: int | None) -> tuple[list[Shown], bool]:
        """The turns that the page's items are of, in its order; True when more follow behind them."""
        # One more than can fill the page: a turn has at least one item, and the cursor's own may have none left.
        most = page.limit + 2
        rows = await self._reader.rows(_id(known), most, newest_first=page.newest_first, bound=bound)
        stored = {row.turn: turn_answers.of_row(row, "") for row in rows}
        fresh = [
            turn_answers.of_progress(progress, "")
            for turn, progress in (await self._reader.tail(known)).items()
            if turn not in stored
        ]
        turns = sorted(
            [*stored.values(), *(each for each in fresh if _is_within(each, page, bound))],
            key=_n,
            reverse=page.newest_first,
        )
        if len(rows) == most:
            # What the log has beyond the last row that was read belongs to a later page.
            turns = turns[: turns.index(stored[rows[-1].turn]) + 1]
        return turns, len(rows) == most


def _is_within(turn: Shown, page: Page, bound: int | None) -> bool:
    return bound is None or (_n(turn) < bound if page.newest_first else _n(turn) > bound)


def _n(turn: Shown) -> int:
    return _UNPLACED if turn.n is None else turn.n


def _items(turn: Shown, *, newest_first: bool) -> list[dict[str, Any]]:
    items = [input_item(turn.particulars, turn.question)]
    if turn.outcome is not None or turn.pieces:
        items.append(output_item(turn.particulars, turn.text, turn.outcome))
    return items[::-1] if newest_first else items


def _id(known: ConversationChanged) -> ConversationId:
    if known.conversation is None:
        raise ValueError("a conversation has its id")
    return known.conversation
