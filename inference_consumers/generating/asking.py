"""What the engine is asked for: the rest of a dispatched turn's answer, behind what the turn has shown."""

from collections.abc import Sequence

from inference_consumers.engines.port import GenerationRequest
from inference_consumers.generating.tools import Tools
from schemas.ids import TurnId
from schemas.records import TurnDispatched


def asked(
    dispatched: TurnDispatched, turn: TurnId, request_id: str, token_ids: Sequence[int], text: str, tools: Tools
) -> GenerationRequest:
    """The request behind the shown tokens and their text; an engine that can't continue is asked for all of it.

    Raises:
        CallerError: the options are out of their range.
    """
    options, continues = dispatched.options, tools.can_continue
    made = len(token_ids) if continues else 0
    return GenerationRequest(
        id=request_id,
        messages=dispatched.messages,
        emitted_token_ids=tuple(token_ids) if continues else (),
        emitted_text=text if continues else "",
        max_tokens=None if options.max_tokens is None else max(0, options.max_tokens - made),
        temperature=tools.temperature if options.temperature is None else options.temperature,
        top_p=tools.top_p if options.top_p is None else options.top_p,
        stop=options.stop,
        # Without a seed of the client's, one of the turn's: a successor draws what its predecessor would have.
        seed=int(turn[-7:], 16) if options.seed is None else options.seed,
        presence_penalty=options.presence_penalty,
        frequency_penalty=options.frequency_penalty,
        priority=dispatched.priority,
    )
