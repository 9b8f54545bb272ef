"""A turn's plan: the pool from the fleet's snapshot, the prompt from the chain of its parents. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from schemas.ids import TurnId
from schemas.records import DeploymentSet
from schemas.turns import Failure, Message, TurnRequest
from stream_processors.enrichment.context import ContextEntry, chain
from stream_processors.enrichment.facts import Fits, Plan, Spoken, Unfit, Unloaded
from stream_processors.enrichment.prompt import Measure, Piece, Prompt, build, instructions_of
from stream_processors.enrichment.settings import FallbackSettings
from stream_processors.enrichment.state import OpenTurn
from stream_processors.routing.choice import choose, is_open_to
from stream_processors.routing.fleet import Fleet
from stream_processors.routing.waiting import ahead, eta_s

# A model that is gone can't be asked how it counts; a letter is never more than a token of ours.
GONE: Final = Measure(
    frame_tokens=16, framed_tokens=16, max_model_len=2048, count=lambda message: 8 + len(message.text) // 3
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Planner:
    """What plans are made from, apart from the turn.

    Args:
        look_up: the context table. measure: how a deployment's model counts; it may raise to have it fetched.
        tenant_instructions: by tenant. answer_tokens: room for an answer whose length nobody asked for.
        turn_s: how long a turn takes of late. dispatched: open turns of a pool.
    """

    fleet: Fleet
    look_up: Callable[[TurnId], ContextEntry | None]
    measure: Callable[[DeploymentSet], Measure]
    tenant_instructions: str | None
    answer_tokens: int
    turn_s: float | None
    dispatched: Callable[[str], int] = lambda _pool: 0

    def plan(self, turn: OpenTurn, request: TurnRequest) -> tuple[Plan, Prompt | None]:
        """Where the turn goes and what is read there; or why not."""
        pool = choose(self.fleet, model=request.model, tier=request.tier)
        if isinstance(pool, Failure):
            return Unfit(pool), None
        prompt = self.prompt(turn, request, pool.deployment)
        if isinstance(prompt, Unloaded):
            return prompt, None
        if isinstance(prompt, Failure):
            return Unfit(prompt), None
        deployment = pool.deployment
        before = ahead(pool, self.dispatched(deployment.pool))
        plan = Fits(
            pool=deployment.pool,
            deployment=deployment.deployment,
            tokens=prompt.tokens,
            ahead=before,
            eta_s=None if before is None else eta_s(pool, before, self.turn_s),
        )
        return plan, prompt

    def fall_back(
        self, turn: OpenTurn, request: TurnRequest, fallback: FallbackSettings | None
    ) -> tuple[Fits | Spoken | None, Prompt | None]:
        """Where a turn goes whose pool has failed it, once: to a pool that lives, is open to it and can take it.

        Args:
            fallback: of the pool that the turn was meant for.
        """
        if fallback is None:
            return None, None
        pool = None if turn.is_degraded or fallback.pool is None else self.fleet.pools.get(fallback.pool)
        if pool is not None and pool.workers and fallback.pool != turn.pool and is_open_to(pool, request.tier):
            prompt = self.prompt(turn, request, pool.deployment)
            if isinstance(prompt, Prompt):
                deployment = pool.deployment
                return Fits(pool=deployment.pool, deployment=deployment.deployment, tokens=prompt.tokens), prompt
        return (None if fallback.sentence is None else Spoken()), None

    def prompt(
        self, turn: OpenTurn, request: TurnRequest, deployment: DeploymentSet | None
    ) -> Prompt | Failure | Unloaded:
        """The prompt for one deployment; None: one that is gone, counted roughly."""
        parent = None if turn.parent is None else TurnId(turn.parent)
        entries = chain(parent, turn.epoch, self.look_up)
        if entries is None and parent is not None:
            return Unloaded(parent)
        measure = GONE if deployment is None else self.measure(deployment)
        version = "" if deployment is None else deployment.model_version
        return build(
            instructions=instructions_of(
                self.tenant_instructions, request.conversation_instructions, request.instructions
            ),
            turns=[_piece(entry, version, measure) for entry in entries or () if entry.turn.texts],
            history=request.history,
            text=request.text,
            max_tokens=request.options.max_tokens,
            answer_tokens=self.answer_tokens,
            measure=measure,
        )


def _piece(entry: ContextEntry, version: str, measure: Measure) -> Piece:
    counted = entry.counts.get(version)
    tokens = count_all(entry.turn.texts, measure) if counted is None else counted
    return Piece(messages=entry.turn.texts, tokens=tokens)


def count_all(messages: tuple[Message, ...], measure: Measure) -> int:
    """Tokens of several messages."""
    return sum(map(measure.count, messages))
