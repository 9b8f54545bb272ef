"""Knows what turns are planned and dispatched from: requests, fleet, models, terms, how long turns take of late.

The gate asks it for the `Facts` of a step, the hands ask it for their `Words`; it sends nothing itself. A prompt is
built when its turn is planned and kept until it is dispatched.
"""

import logging
from collections.abc import Callable, Container, Sequence

from infra.runtime.clock import Clock
from schemas import topics
from schemas.ids import TurnId
from schemas.records import DeploymentSet, TurnCompleted, TurnDispatched
from schemas.turns import ContextTurn, Failure, Message, Role, Trimmed
from stream_processors.enrichment import composing
from stream_processors.enrichment.composing import Request, Scene
from stream_processors.enrichment.context import ContextEntry
from stream_processors.enrichment.contexts import Contexts
from stream_processors.enrichment.counting import Measures
from stream_processors.enrichment.facts import Facts, Fits, InLine, Limits, Passed, Plan, Spoken
from stream_processors.enrichment.fleet_view import FleetView
from stream_processors.enrichment.inputs import Owner
from stream_processors.enrichment.planning import Planner
from stream_processors.enrichment.prompt import Prompt
from stream_processors.enrichment.requests import NotAtHand, Requests
from stream_processors.enrichment.state import OpenTurn
from stream_processors.enrichment.terms import Terms
from stream_processors.enrichment.waiting import QueueGauges
from stream_processors.routing.elsewhere import partition_elsewhere
from stream_processors.routing.fleet import Fleet
from stream_processors.routing.waiting import ahead, eta_s

log = logging.getLogger(__name__)


class Dispatcher:
    """See the module.

    Args:
        gauges: who was dispatched to a pool before whom.
        limits: handed on with the facts.
    """

    def __init__(
        self,
        *,
        contexts: Contexts,
        requests: Requests,
        measures: Measures,
        fleet: FleetView,
        gauges: QueueGauges,
        clock: Clock,
        limits: Limits,
        terms: Terms,
    ) -> None:
        self._contexts = contexts
        self._requests = requests
        self._measures = measures
        self._fleet = fleet
        self._gauges = gauges
        self._clock = clock
        self._limits = limits
        self._terms = terms
        self._prompts: dict[TurnId, Prompt] = {}
        self._turn_s: float | None = None

    def learn(self, record: TurnCompleted) -> None:
        """How long turns take of late: a tenth of each new one. A prompt that was planned for it is let go."""
        turn_s = record.duration_ms / 1000
        self._turn_s = turn_s if self._turn_s is None else 0.9 * self._turn_s + 0.1 * turn_s
        if record.turn is not None:
            self._prompts.pop(record.turn, None)

    def closed(self) -> None:
        """What is planned and not dispatched is somebody else's."""
        self._prompts.clear()

    # --- facts for the reducer ----------------------------------------------------------------------------------------

    def facts(
        self,
        partition: int,
        brought: Sequence[ContextEntry],
        *,
        said: Container[TurnId],
        passed: Passed,
        held_ms: int = 0,
        owner: Owner | None = None,
    ) -> Facts:
        """The moment. What it is asked raises NotAtHand; nothing in it awaits.

        Args:
            brought: what the input itself adds to the context, kept only behind the reduction.
            said: turns whose `turn.accepted` this life of the gate has decided.
            passed, held_ms, owner: see Facts.
        """
        now_ms = self._clock.wall_ms()
        fleet = self._fleet.at(now_ms)
        look_up = self._look_up(partition, brought)

        def ended(turn: TurnId) -> ContextTurn | None:
            entry = look_up(turn)
            return None if entry is None else entry.turn

        return Facts(
            now_ms=now_ms,
            plan=lambda turn: self._plan(partition, brought, turn),
            is_alive=fleet.is_alive,
            has_ended=lambda turn: (
                any(entry.turn.turn == turn for entry in brought) or self._contexts.holds(partition, turn)
            ),
            ended=ended,
            was_said=said.__contains__,
            attempts=lambda turn: self._attempts(partition, turn),
            fallback=lambda turn: self._fall_back(partition, brought, turn),
            in_line=lambda turn: self._in_line(fleet, turn),
            passed=passed,
            held_ms=held_ms,
            owner=owner,
            turn_s=self._turn_s,
            limits=self._limits,
        )

    def _plan(self, partition: int, brought: Sequence[ContextEntry], turn: OpenTurn) -> Plan:
        request = self._requests.at_hand(partition, turn.order)
        plan, prompt = self._planner(partition, request.tenant, brought).plan(turn, request.request)
        self._keep(turn, prompt)
        return plan

    def _attempts(self, partition: int, turn: OpenTurn) -> int:
        return self._terms.band(self._requests.at_hand(partition, turn.order).request.tier).max_attempts

    def _fall_back(self, partition: int, brought: Sequence[ContextEntry], turn: OpenTurn) -> Fits | Spoken | None:
        request = self._requests.at_hand(partition, turn.order)
        planner = self._planner(partition, request.tenant, brought)
        found, prompt = planner.fall_back(turn, request.request, self._terms.fallback(turn))
        self._keep(turn, prompt)
        return found

    def _in_line(self, fleet: Fleet, turn: OpenTurn) -> InLine | None:
        pool = fleet.pools.get(turn.pool or "")
        before = None if pool is None else ahead(pool, self._gauges.before(turn))
        if pool is None or before is None or turn.pool == topics.CLOSING_POOL:
            return None
        return InLine(before, eta_s(pool, before, self._turn_s))

    def _keep(self, turn: OpenTurn, prompt: Prompt | None) -> None:
        if prompt is not None:
            self._prompts[turn.turn] = prompt

    def _planner(self, partition: int, tenant: str | None, brought: Sequence[ContextEntry] = ()) -> Planner:
        return Planner(
            fleet=self._fleet.at(self._clock.wall_ms()),
            look_up=self._look_up(partition, brought),
            measure=self._measures.of,
            tenant_instructions=None if tenant is None else self._terms.instructions.get(tenant),
            answer_tokens=self._terms.answer_tokens,
            turn_s=self._turn_s,
            dispatched=self._gauges.dispatched,
        )

    def _look_up(self, partition: int, brought: Sequence[ContextEntry]) -> Callable[[TurnId], ContextEntry | None]:
        """A turn's entry: what the input brings of it, else what the table holds."""
        overlay = {entry.turn.turn: entry for entry in brought}
        return lambda turn: overlay.get(turn) or self._contexts.look_up(partition, turn)

    # --- words for the hands ------------------------------------------------------------------------------------------

    async def request(self, partition: int, turn: OpenTurn) -> Request:
        """The turn's request. Raises KafkaUnavailable."""
        return await self._requests.fetch(partition, turn.order)

    async def dispatched(self, here: Scene, partition: int, turn: OpenTurn, request: Request) -> TurnDispatched:
        """The turn for its worker; its prompt is the planned one, once, or built again for the same pool."""
        deployment = self._fleet.deployment(turn.pool)
        prompt = self._prompts.pop(turn.turn, None)
        if prompt is None and turn.pool != topics.CLOSING_POOL:
            prompt = await self._built_again(partition, turn, request, deployment)
        fallback = self._terms.fallback(turn)
        return composing.dispatched(
            here,
            turn,
            request,
            prompt=prompt,
            deployment=deployment,
            band=self._terms.band(request.request.tier),
            fallback_sentence=None if fallback is None else fallback.sentence,
        )

    def elsewhere(self, turn: OpenTurn, worker: str) -> int | None:
        """The partition for a turn that this worker's engine has failed; None: wherever its key says."""
        pool = self._fleet.at(self._clock.wall_ms()).pools.get(turn.pool or "")
        return None if pool is None else partition_elsewhere(pool, worker, turn.turn)

    async def _built_again(
        self, partition: int, turn: OpenTurn, request: Request, deployment: DeploymentSet | None
    ) -> Prompt:
        while True:
            try:
                return self._built(partition, turn, request, deployment)
            except NotAtHand as missing:
                await missing.fetched()

    def _built(self, partition: int, turn: OpenTurn, request: Request, deployment: DeploymentSet | None) -> Prompt:
        built = self._planner(partition, request.tenant).prompt(turn, request.request, deployment)
        if isinstance(built, Prompt):
            return built
        if isinstance(built, Failure):
            log.warning("a planned turn doesn't fit any more: %s", built.message, extra={"turn": turn.turn})
        return _least(request, turn)


def _least(request: Request, turn: OpenTurn) -> Prompt:
    """Only the message: what is left when the context of a turn that was planned once is gone."""
    message = Message(Role.USER, request.request.text)
    limit = request.request.options.max_tokens
    return Prompt(messages=(message,), tokens=turn.tokens, max_tokens=limit or 512, trimmed=Trimmed())
