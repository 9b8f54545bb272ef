"""Coroutines of the product carried on by hand, one await at a time, with no event loop and no time.

What they await is either a `Pause`, a place where the scheduler may let others go first, or an `Ack`, which somebody
else's step decides. Everything between two awaits is one step.
"""

from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar

from schemas.errors import InvariantBroken

T = TypeVar("T")


class Pause:
    """A place between two steps of one process.

    Args:
        verb: what the process does when it goes on, as a schedule names it.
    """

    __slots__ = ("verb",)

    def __init__(self, verb: str) -> None:
        self.verb = verb

    def __await__(self) -> Generator[Any, None, None]:
        yield self


class Ack:
    """What becomes of something that was sent: a future without a loop."""

    __slots__ = ("_error", "_is_done", "_result", "_told", "run")

    def __init__(self) -> None:
        self._is_done = False
        self._result: Any = None
        self._error: BaseException | None = None
        self._told: list[Callable[[Any], object]] = []
        self.run: Run[Any] | None = None

    def __await__(self) -> Generator[Any, None, Any]:
        if not self._is_done:
            yield self
        return self.result()

    def add_done_callback(self, told: Callable[[Any], object], /) -> None:
        """Call `told` with this, once it is decided."""
        if self._is_done:
            told(self)
        else:
            self._told.append(told)

    def done(self) -> bool:
        """Whether it is decided."""
        return self._is_done

    def cancelled(self) -> bool:
        """Never: what is cancelled here is dropped with whoever waits."""
        return False

    def exception(self) -> BaseException | None:
        """Why it failed."""
        return self._error

    def result(self) -> Any:
        """What it came to. Raises the error that it failed with."""
        if self._error is not None:
            raise self._error
        return self._result

    def cancel(self) -> None:
        """Nobody waits for it any more."""
        self._is_done, self.run = True, None

    def set_result(self, result: Any) -> None:
        """It has come to this; whoever waits goes on at once."""
        self._result = result
        self._settle()

    def set_exception(self, error: BaseException) -> None:
        """It has failed; whoever waits goes on at once."""
        self._error = error
        self._settle()

    def _settle(self) -> None:
        if self._is_done:
            return
        self._is_done = True
        for told in self._told:
            told(self)
        if self.run is not None:
            run, self.run = self.run, None
            run.go()


class Run(Generic[T]):
    """One coroutine on its way.

    Args:
        on_end: called with what it returned.
    """

    __slots__ = ("_coroutine", "_on_end", "waits")

    def __init__(self, coroutine: Coroutine[Any, Any, T], on_end: Callable[[T], object] = lambda _result: None) -> None:
        self._coroutine = coroutine
        self._on_end = on_end
        self.waits: Pause | Ack | None = None

    def go(self) -> None:
        """Carry it on to its next await."""
        try:
            waits = self._coroutine.send(None)
        except StopIteration as end:
            self.waits = None
            self._on_end(end.value)
            return
        self.waits = waits
        if isinstance(waits, Ack):
            waits.run = self

    @property
    def verb(self) -> str | None:
        """What it does next when the scheduler lets it; None while it waits for somebody else."""
        return self.waits.verb if isinstance(self.waits, Pause) else None

    def close(self) -> None:
        """Drop it where it stands, as a cancelled task is dropped."""
        if isinstance(self.waits, Ack):
            self.waits.run = None
        self.waits = None
        self._coroutine.close()


def at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that waits for nobody."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    raise InvariantBroken("a step waits in its middle")
