"""Tokens of one answer to pieces: characters whole, stop texts cut away, cut only between tokens.

Pure. Engines that make token ids (torch, vllm, simulated) push them here and yield what comes out.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence

from inference_consumers.engines.detokenizer import Detokenizer, Unit, decode
from inference_consumers.engines.port import GenerationRequest, Piece
from inference_consumers.engines.stopping import StopMatcher
from schemas.turns import Reason


def prior_end(request: GenerationRequest, token_bytes: Callable[[int], bytes]) -> Reason | None:
    """How the answer had ended before this attempt, if it had: its worker died between the last text and the end.

    The last piece of an answer cut by a stop text holds that text's ids: behind them nothing may be generated.
    """
    if request.stop and StopMatcher(request.stop).push(decode(request.emitted_token_ids, token_bytes)) is not None:
        return Reason.STOP
    return Reason.LENGTH if request.max_tokens == 0 else None


class AnswerText:
    """What of one answer may be shown.

    Args:
        token_bytes: the bytes that an id adds.
        stop: texts that end the answer.
        room: tokens after which the answer ends by LENGTH; None = the engine says when.
    """

    def __init__(self, token_bytes: Callable[[int], bytes], stop: Sequence[str], room: int | None = None) -> None:
        self._detokenizer = Detokenizer(token_bytes)
        self._matcher = StopMatcher(stop)
        self._units: deque[Unit] = deque()  # held back: they may be the beginning of a stop text
        self._shown = 0  # characters released
        self._room = room
        self.finish: Reason | None = None

    def push(self, token_ids: Iterable[int]) -> Piece | None:
        """Take tokens in; those behind the end are not looked at.

        Returns:
            What may be shown now, with `finish` if the answer has ended; None if nothing may.
        """
        for token_id in token_ids:
            cut = self._take(token_id)
            if cut is not None:
                return self._last(Reason.STOP, cut)
            if self._room is not None and self._room <= 0:
                return self.end(Reason.LENGTH)
        return self._release()

    def end(self, reason: Reason) -> Piece:
        """The model has ended the answer: everything held is shown, but for half a character."""
        cut = self._matcher.push(self._detokenizer.held_text)
        return self._last(reason if cut is None else Reason.STOP, cut)

    def _take(self, token_id: int) -> int | None:
        if self._room is not None:
            self._room -= 1
        unit = self._detokenizer.push(token_id)
        if unit is None:
            return None
        self._units.append(unit)
        return self._matcher.push(unit.text)

    def _release(self) -> Piece | None:
        safe = self._matcher.safe
        texts: list[str] = []
        ids: list[int] = []
        while self._units and self._shown + len(self._units[0].text) <= safe:
            unit = self._units.popleft()
            self._shown += len(unit.text)
            texts.append(unit.text)
            ids.extend(unit.token_ids)
        return Piece(text="".join(texts), token_ids=tuple(ids)) if ids else None

    def _last(self, reason: Reason, cut: int | None) -> Piece:
        self.finish = reason
        text = "".join(unit.text for unit in self._units) + self._detokenizer.held_text
        ids = [token_id for unit in self._units for token_id in unit.token_ids]
        ids.extend(self._detokenizer.held_ids)
        self._units.clear()
        if cut is not None:
            text = text[: cut - self._shown]
        return Piece(text=text, token_ids=tuple(ids), finish=reason)
