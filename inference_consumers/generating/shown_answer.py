"""What one attempt at a turn has shown: its deltas on their way to the log, and the screen before them."""

from collections.abc import Callable

from inference_consumers.generating.coalescer import Delta
from inference_consumers.generating.delta_stream import DeltaStream, spelled_bytes
from inference_consumers.generating.generation import Generation
from inference_consumers.generating.releaser import Releaser
from inference_consumers.generating.tools import Tools
from inference_consumers.publishing.attempt_log import AttemptLog
from schemas import instants
from schemas.fold import TurnFold
from schemas.records import TurnDelta, TurnDispatched


class ShownAnswer:
    """What one attempt shows, behind the released text of all before it.

    Args:
        fold: of the log up to our claim, which bears `attempt`.
        on_lost: called once, when an append has failed.
    """

    def __init__(
        self, dispatched: TurnDispatched, fold: TurnFold, attempt: int, tools: Tools, *, on_lost: Callable[[], None]
    ) -> None:
        self._dispatched = dispatched
        self._tools = tools
        self._attempt = attempt
        self._fold_text, self._fold_ids = fold.text, list(fold.token_ids)
        self.log = AttemptLog(
            tools.log, dispatched.log, on_lost=on_lost, on_acked=self._on_acked, trace=dispatched.traceparent
        )
        self.stream = DeltaStream(
            self.log,
            self._delta,
            seq=fold.cursor.seq,
            merge_ms=tools.merge_ms,
            shown_bytes=spelled_bytes(fold.text),
        )

    @property
    def text(self) -> str:
        """All that is released, by this attempt and those before."""
        return self._fold_text + "".join(self.stream.texts)

    @property
    def token_ids(self) -> list[int]:
        """Its tokens."""
        return self._fold_ids + self.stream.token_ids

    def open(self, generation: Generation) -> Releaser:
        """Let the run speak, through a screen that stands behind the released text."""
        releaser = Releaser(self._tools.screens.screen(self._dispatched.tenant or "", self._dispatched.tier, self.text))
        generation.open(releaser, self.stream)
        return releaser

    async def close(self) -> None:
        """Send nothing more."""
        self.stream.close()
        await self.log.close()

    def _on_acked(self) -> None:
        self.stream.pump()

    def _delta(self, seq: int, delta: Delta) -> TurnDelta:
        dispatched = self._dispatched
        return TurnDelta(
            id=f"{dispatched.turn}.{self._attempt}.{seq}",
            at=instants.from_ms(self._tools.now_ms()),
            tenant=dispatched.tenant,
            conversation=dispatched.conversation,
            turn=dispatched.turn,
            attempt=self._attempt,
            seq=seq,
            text=delta.text,
            token_ids=delta.token_ids,
            tokens=len(delta.token_ids),
        )
