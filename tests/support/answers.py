"""Answers that run while something breaks: each read over a stream and a socket, and held against the words due."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

from tests.support.contract import words
from tests.support.pipeline import Pipeline
from tests.support.readers import Seen, SocketReader, StreamReader
from tests.support.waiting import until

# Longer than any fault of a test and what comes behind it.
_END_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class Running:
    """One answer that is being read twice."""

    stream: StreamReader
    socket: SocketReader
    count: int

    @property
    def turn(self) -> str:
        """Its id."""
        return self.stream.turn

    @property
    def both(self) -> tuple[Seen, Seen]:
        """What the stream's and the socket's reader have."""
        return self.stream.seen, self.socket.seen

    async def shown(self, count: int) -> None:
        """Wait until both readers have so many words."""

        async def ask() -> bool:
            return all(len(seen.text.split()) >= count for seen in self.both)

        await until(ask, limit_s=_END_S)

    def check(self) -> None:
        """Both readers have exactly the words due."""
        for seen in self.both:
            assert seen.text == words(self.count)


@asynccontextmanager
async def running(pipeline: Pipeline, answers: int, count: int) -> AsyncIterator[list[Running]]:
    """So many answers of so many words each, begun within the block; read to their ends, and checked, behind it."""
    streams = [StreamReader(pipeline, f"tokens: {count}") for _ in range(answers)]
    async with asyncio.TaskGroup() as reading:
        for stream in streams:
            reading.create_task(stream.run())
        begun = []
        for stream in streams:
            await asyncio.wait_for(stream.known.wait(), _END_S)
            socket = SocketReader(pipeline, stream.conversation, stream.turn)
            reading.create_task(asyncio.wait_for(socket.run(), _END_S + count))
            begun.append(Running(stream, socket, count))
        await asyncio.gather(*map(partial(Running.shown, count=5), begun))
        yield begun
    for each in begun:
        each.check()
