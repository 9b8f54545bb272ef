"""How models count tokens: each deployment's own tokenizer, opened once; each message counted once."""

import asyncio
import logging
from functools import lru_cache

from infra.runtime.models import PromptModel, open_model
from infra.runtime.word_model import WordModel
from schemas.errors import SettingsError
from schemas.records import DeploymentSet
from schemas.turns import Message, Role
from stream_processors.enrichment.prompt import Measure
from stream_processors.enrichment.requests import NotAtHand

log = logging.getLogger(__name__)

_USER = Message(Role.USER, ".")
_SYSTEM = Message(Role.SYSTEM, ".")
# Message texts whose counts are remembered: those of a prompt are asked for again when the turn has ended.
_REMEMBERED = 512


class Measures:
    """Measures by model path and length; a new one is opened off the event loop."""

    def __init__(self) -> None:
        self._open: dict[tuple[str | None, int], Measure] = {}
        self._opening: dict[tuple[str | None, int], asyncio.Task[None]] = {}

    def of(self, deployment: DeploymentSet) -> Measure:
        """How the deployment's model counts. Raises NotAtHand while its files aren't open."""
        key = (deployment.model_path, deployment.max_model_len)
        found = self._open.get(key)
        if found is None:
            raise NotAtHand(lambda: self.ready(deployment))
        return found

    async def ready(self, deployment: DeploymentSet) -> None:
        """Returns when `of` has an answer. A model whose files can't be read here is counted roughly."""
        key = (deployment.model_path, deployment.max_model_len)
        if key in self._open:
            return
        if key not in self._opening:
            self._opening[key] = asyncio.create_task(self._read(key), name=f"open {deployment.model}")
        await asyncio.shield(self._opening[key])

    async def _read(self, key: tuple[str | None, int]) -> None:
        path, max_model_len = key
        self._open[key] = await asyncio.to_thread(measure_of, path, max_model_len)
        self._opening.pop(key, None)


def measure_of(path: str | None, max_model_len: int) -> Measure:
    """The measure of the model in that directory; of the simulated one without a path."""
    model: PromptModel
    try:
        model = WordModel(max_model_len) if path is None else open_model(path)
    except SettingsError as error:
        log.warning("counting tokens roughly: %s", error)
        model = WordModel(max_model_len)
    alone = len(model.prompt_ids([_USER]))
    led = len(model.prompt_ids([_SYSTEM, _USER]))
    user, system = model.count_message(_USER), model.count_message(_SYSTEM)
    return Measure(
        frame_tokens=max(0, alone - user),
        framed_tokens=max(0, led - user - system),
        max_model_len=min(max_model_len, model.max_model_len) if path is not None else max_model_len,
        count=lru_cache(maxsize=_REMEMBERED)(model.count_message),
    )
