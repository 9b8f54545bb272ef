"""What every engine owes a worker, as checks that run on any started engine (its tests, and vLLM's journey)."""

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, replace
from itertools import count

from inference_consumers.engines.port import Engine, GenerationRequest, Piece, Started
from schemas.turns import Message, Reason, Role
from tests.support.waiting import until

# Enough to cut, join and stop in, and few for a model that shares two cores with every other test.
ANSWER_TOKENS = 10
COMPANY_TOKENS = 16

_numbers = count()


@dataclass(frozen=True, slots=True)
class Answered:
    started: Started
    text: str
    token_ids: tuple[int, ...]
    finish: Reason
    pieces: tuple[Piece, ...]


def asking(text: str, **options: object) -> GenerationRequest:
    """A request of its own id."""
    request = GenerationRequest(id=f"request-{next(_numbers)}", messages=(Message(Role.USER, text),))
    return replace(request, **options)  # type: ignore[arg-type]


async def answered(engine: Engine, request: GenerationRequest) -> Answered:
    """The whole answer; fails if its items are not in the order that the port promises."""
    items = [item async for item in engine.generate(request)]
    started = items[0]
    assert isinstance(started, Started)
    pieces = tuple(item for item in items if isinstance(item, Piece))
    assert isinstance(items[-1], Piece)
    finish = pieces[-1].finish
    assert finish is not None
    assert all(piece.finish is None for piece in pieces[:-1])
    ids = tuple(token_id for piece in pieces for token_id in piece.token_ids)
    return Answered(started, "".join(piece.text for piece in pieces), ids, finish, pieces)


async def check_length(engine: Engine, text: str) -> None:
    """`max_tokens` ends an answer by length, after exactly so many tokens."""
    short = await answered(engine, asking(text, max_tokens=5))
    assert (len(short.token_ids), short.finish) == (5, Reason.LENGTH)
    assert short.started.prompt_tokens == engine.prompt_tokens(asking(text).messages)


async def check_stop(engine: Engine, text: str) -> None:
    """A stop text ends the answer before itself, wherever tokens cut it, and no piece shows a part of it."""
    whole = await answered(engine, asking(text, max_tokens=ANSWER_TOKENS))
    stop = whole.text[len(whole.text) // 2 :][:4]
    cut = await answered(engine, asking(text, max_tokens=ANSWER_TOKENS, stop=("never said", stop)))
    assert cut.text == whole.text[: whole.text.index(stop)]
    assert cut.finish is Reason.STOP


async def check_company(engine: Engine, texts: list[str]) -> None:
    """Turns that join each other at different times say what they say alone."""
    alone = [await answered(engine, asking(text, max_tokens=COMPANY_TOKENS)) for text in texts]

    async def joining(place: int) -> Answered:
        if place:
            await begun[place - 1].wait()
        items = []
        async with aclosing(engine.generate(asking(texts[place], max_tokens=COMPANY_TOKENS))) as answer:
            async for item in answer:
                items.append(item)
                if len(items) > place + 1:
                    begun[place].set()
        begun[place].set()
        pieces = tuple(item for item in items if isinstance(item, Piece))
        text = "".join(piece.text for piece in pieces)
        return Answered(alone[0].started, text, (), pieces[-1].finish or Reason.FAILED, pieces)

    begun = [asyncio.Event() for _ in texts]
    together = await asyncio.gather(*(joining(place) for place in range(len(texts))))
    assert [one.text for one in together] == [one.text for one in alone]


async def check_continuing(engine: Engine, text: str) -> None:
    """From any emitted tokens the greedy answer goes on as if it had never been cut."""
    whole = await answered(engine, asking(text, max_tokens=ANSWER_TOKENS))
    for cut in (1, ANSWER_TOKENS // 2, ANSWER_TOKENS - 1):
        emitted = "".join(piece.text for piece in whole.pieces[:cut])
        ids = tuple(token_id for piece in whole.pieces[:cut] for token_id in piece.token_ids)
        left = ANSWER_TOKENS - len(ids)
        rest = await answered(engine, asking(text, emitted_token_ids=ids, emitted_text=emitted, max_tokens=left))
        assert ids + rest.token_ids == whole.token_ids
        assert emitted + rest.text == whole.text


async def check_ended_before(engine: Engine, text: str) -> None:
    """An answer whose end alone was lost with its worker only ends: behind a stop text, and with no tokens left."""
    whole = await answered(engine, asking(text, max_tokens=ANSWER_TOKENS))
    stop = whole.text[len(whole.text) // 2 :][:4]
    cut = await answered(engine, asking(text, max_tokens=ANSWER_TOKENS, stop=(stop,)))
    emitted = {"emitted_token_ids": cut.token_ids, "emitted_text": cut.text}
    again = await answered(engine, asking(text, max_tokens=8, stop=(stop,), **emitted))
    assert (again.text, again.token_ids, again.finish) == ("", (), Reason.STOP)
    none = await answered(engine, asking(text, max_tokens=0, emitted_token_ids=whole.token_ids))
    assert (none.text, none.token_ids, none.finish) == ("", (), Reason.LENGTH)


async def check_closing(engine: Engine, text: str) -> None:
    """Closing the iterator frees the slot: nothing runs any more, and the next answer is whole."""
    async with aclosing(engine.generate(asking(text, max_tokens=200))) as answer:
        async for item in answer:
            if isinstance(item, Piece):
                break

    async def is_idle() -> bool:
        return engine.load().running == 0

    await until(is_idle, limit_s=60, every_s=0.01)
    assert (await answered(engine, asking(text, max_tokens=3))).finish is Reason.LENGTH
