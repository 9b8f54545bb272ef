"""An answer begun anew by an engine that can't go on behind shown text: what was shown is recognised and left out.

Pure. An answer that takes another way than the shown one can't be joined to it: the run has failed.
"""

from dataclasses import dataclass, replace

from inference_consumers.engines.port import Piece
from schemas.errors import EngineFailed


@dataclass(slots=True)
class Repetition:
    """What of the shown text the answer has still to repeat."""

    left: str

    def beyond(self, piece: Piece) -> Piece | None:
        """What the piece adds behind the shown text; None while it only repeats.

        Raises:
            EngineFailed: it says something else.
        """
        if not self.left:
            return piece
        same, added = piece.text[: len(self.left)], piece.text[len(self.left) :]
        if not self.left.startswith(same) or (piece.finish is not None and len(same) < len(self.left)):
            raise EngineFailed("the engine began another answer than the one that was shown")
        self.left = self.left[len(same) :]
        if self.left or (not added and piece.finish is None):
            return None
        return replace(piece, text=added)
