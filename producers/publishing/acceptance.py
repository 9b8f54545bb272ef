"""Accepting a turn: look up what it refers to, place it, and make it durable. Admission lives here and nowhere else."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from infra.runtime.clock import Clock
from producers.admission import turns
from producers.admission.asks import Ask, Dialect, Opening
from producers.directory.following import Directory
from producers.publishing.births import Birth, Births, new_conversation
from producers.publishing.port import OutgoingLog
from producers.relay.turn_reader import Found, TurnReader
from schemas import identity, ids, instants, topics
from schemas.errors import CassandraUnavailable, Forbidden, IdempotencyMismatch, NotFound
from schemas.identity import Principal
from schemas.ids import ConversationId, TurnId
from schemas.records import (
    ConversationChanged,
    ConversationDeleted,
    ConversationReset,
    TurnRequested,
    TurnStopRequested,
)
from schemas.turns import LogAddress

_ENTROPY_BYTES: Final = 10

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """A turn that may be accepted: everything is decided, nothing is durable.

    Args:
        model: who will answer, as far as is known.
        made: the conversation that is made with it, None for an existing one or for a turn that isn't stored.
        birth: where that conversation's log is.
        found: the same turn, when its idempotency key was used before with the same body.
    """

    requested: TurnRequested
    turn: TurnId
    conversation: ConversationId
    log: LogAddress
    model: str
    made: ConversationChanged | None = None
    birth: Birth | None = None
    found: Found | None = None

    @property
    def is_keyed(self) -> bool:
        """True when a repeat of the request would be this same turn."""
        return self.requested.request.client_key is not None


class Acceptance:
    """The gateway's writing side.

    Args:
        deadline_s: of turns that name none, by their tier.
        lanes: partitions of the lane topics.
    """

    def __init__(
        self,
        directory: Directory,
        births: Births,
        outgoing: OutgoingLog,
        reader: TurnReader,
        clock: Clock,
        *,
        deadline_s: Callable[[str], float],
        lanes: int,
    ) -> None:
        self._directory = directory
        self._births = births
        self._outgoing = outgoing
        self._reader = reader
        self._clock = clock
        self._deadline_s = deadline_s
        self._lanes = lanes

    async def admit(self, ask: Ask, principal: Principal, key: str | None, traceparent: str | None) -> Admission:
        """Decide everything about the turn.

        Raises:
            CallerError: and its kinds: nothing was made.
            DependencyError: what it refers to couldn't be looked up; it may be tried again.
        """
        if principal.user is not None and ask.user not in (None, principal.user):
            raise Forbidden("the credentials are another user's", param="user")
        # Whoever speaks for one user names it in every request: the fingerprint tells two users' bodies apart.
        ask = replace(ask, user=ask.user or principal.user)
        model = await self._model(ask.model, principal.tier)
        now_ms = self._clock.wall_ms()
        own = turns.own_ids(principal.tenant, key, now_ms, self._clock.entropy(_ENTROPY_BYTES))
        deadline_s = self._deadline_s(principal.tier)
        arrival = turns.Arrival(at_ms=now_ms, deadline_s=deadline_s, client_key=key, traceparent=traceparent)
        named = ask.conversation or (ids.conversation_of(ask.previous) if ask.previous is not None else None)
        if named is not None:
            return await self._continued(ask, principal, own, arrival, named, model)
        return await self._begun(ask, principal, own, arrival, model)

    async def commit(self, admission: Admission) -> None:
        """Make the turn durable: from the return on it will end, visibly. Idempotent.

        Raises:
            KafkaUnavailable: whether it was accepted is unknown.
        """
        if admission.found is not None:
            return
        if admission.made is not None:
            await self.change(admission.made)
        await self._outgoing.accept(admission.requested)
        self._directory.conversations.touch(admission.conversation, admission.requested.at)
        log.info("accepted", extra={"turn": admission.turn, "conversation": admission.conversation})

    def ended(self, conversation: ConversationId, at: str) -> None:
        """A turn of the conversation was seen to end."""
        self._directory.conversations.touch(conversation, at)

    def drop(self, admission: Admission) -> None:
        """The turn is not to be: nothing of it was made durable."""
        if admission.birth is not None:
            self._births.give_back(admission.birth)

    async def visible(
        self, principal: Principal, conversation: ConversationId, user: str | None
    ) -> ConversationChanged:
        """The conversation, if it exists for this principal.

        Args:
            user: whose it must be, where a request says so.

        Raises:
            NotFound: there is none, or it is another tenant's or user's.
            KafkaUnavailable: it isn't known here, and nobody could be asked.
        """
        known = await self._directory.conversation(conversation)
        if known is None or known.deleted or known.tenant is None:
            raise NotFound(f"there is no conversation {conversation}")
        if not principal.reaches(conversation, tenant=known.tenant, user=known.user) or user not in (None, known.user):
            raise NotFound(f"there is no conversation {conversation}")
        return known

    async def begin(self, opening: Opening, principal: Principal, key: str | None) -> ConversationChanged:
        """A conversation without a turn; under a key that was used, the one it made, as it is now.

        Raises:
            Forbidden, IdempotencyMismatch, NotFound: it is another user's, the key was used otherwise, it was deleted.
            KafkaUnavailable: whether it was made is unknown.
        """
        if principal.user is not None and opening.user not in (None, principal.user):
            raise Forbidden("the credentials are another user's", param="user")
        opening = replace(opening, user=opening.user or principal.user)
        now_ms = self._clock.wall_ms()
        own = turns.own_ids(principal.tenant, key, now_ms, self._clock.entropy(_ENTROPY_BYTES))
        if own.conversation_hex is not None:
            again = await self._again(own.conversation_hex, principal, opening.user, opening.fingerprint)
            if again is not None and again.fingerprint is None:
                # A turn made it, by a gateway that didn't say so yet.
                raise mismatch()
            if again is not None:
                return again
        birth = await self._births.birth(own.conversation_hex)
        made = self._made(birth, principal, opening.user or identity.DEFAULT_USER, now_ms)
        changed = replace(
            made,
            metadata=opening.metadata,
            instructions=opening.instructions,
            fingerprint=None if key is None else opening.fingerprint,
        )
        await self.change(changed)
        return changed

    async def recheck(self, admission: Admission) -> None:
        """Look for the turn of a key where its other kind would be: one key may have come stored and unstored at once.

        Raises:
            IdempotencyMismatch: it is there, so it never will be where this request looks for it.
        """
        if not admission.is_keyed:
            return
        if not admission.requested.request.stored:
            if await self._directory.conversation(admission.conversation) is not None:
                raise mismatch()
            return
        await self._unstored(admission.requested)

    async def change(self, changed: ConversationChanged) -> None:
        """Make the change durable, and known here at once. Raises KafkaUnavailable."""
        await self._outgoing.change(changed)
        self._directory.conversations.put(changed)

    async def describe(self, known: ConversationChanged, described: Mapping[str, Any]) -> ConversationChanged:
        """Give the conversation other metadata or instructions; what isn't named stays. Raises KafkaUnavailable."""
        await self._directory.refresh_conversations()
        newest = self._directory.conversations.get(_id(known)) or known
        changed_id, at = self._stamp(newest)
        changed = replace(newest, **described, id=changed_id, at=at)
        await self.change(changed)
        return changed

    async def reset(self, known: ConversationChanged) -> None:
        """Let the conversation's context begin anew, behind the turns accepted so far. Raises KafkaUnavailable."""
        conversation, at_ms = _id(known), self._clock.wall_ms()
        await self._outgoing.pass_on(
            ConversationReset(
                id=f"{conversation}.reset.{at_ms}",
                at=instants.from_ms(at_ms),
                tenant=known.tenant,
                conversation=conversation,
                user=known.user,
                log=self._reader.address(known),
            )
        )

    async def delete(self, known: ConversationChanged) -> None:
        """Let the conversation and all its turns be gone: for readers at once. Raises KafkaUnavailable."""
        conversation = _id(known)
        await self._outgoing.pass_on(
            ConversationDeleted(
                id=f"{conversation}.deleted",
                at=instants.from_ms(self._clock.wall_ms()),
                tenant=known.tenant,
                conversation=conversation,
                user=known.user,
                log=self._reader.address(known),
            )
        )
        gone_id, at = self._stamp(known)
        await self.change(replace(known, metadata={}, instructions=None, deleted=True, id=gone_id, at=at))

    async def stop(self, tenant: str, conversation: ConversationId, turn: TurnId | None) -> None:
        """Ask for the turn's end, or that of whichever is active. Raises KafkaUnavailable."""
        at_ms = self._clock.wall_ms()
        await self._outgoing.stop(
            TurnStopRequested(
                id=ids.uuid7_hex(at_ms, self._clock.entropy(_ENTROPY_BYTES)),
                at=instants.from_ms(at_ms),
                tenant=tenant,
                conversation=conversation,
                turn=turn,
            )
        )

    # --- inside -------------------------------------------------------------------------------------------------------

    async def _model(self, name: str | None, tier: str) -> str:
        """The name of the model that will answer."""
        served = self._directory.deployments
        if name is None:
            if not served.models(tier):
                await self._directory.refresh_deployments()
            return served.default(tier).model
        found = served.find(name, tier)
        if found is None:
            await self._directory.refresh_deployments()
            found = served.find(name, tier)
        if found is None:
            raise NotFound(f"there is no model {name!r}: GET /v1/models lists those there are", param="model")
        return found.model

    async def _continued(
        self,
        ask: Ask,
        principal: Principal,
        own: turns.OwnIds,
        arrival: turns.Arrival,
        conversation: ConversationId,
        model: str,
    ) -> Admission:
        param = "conversation" if ask.previous is None else "previous_response_id"
        try:
            known = await self.visible(principal, conversation, ask.user)
        except NotFound as error:
            what = conversation if ask.previous is None else ask.previous
            raise NotFound(f"there is no {param} {what}", param=param) from error
        if ask.previous is not None and ask.dialect is not Dialect.STREAM:
            await self._check_previous(known, ask.previous)
        place = turns.Placing(
            turn=ids.turn_id(conversation, own.turn_hex),
            conversation=conversation,
            log=self._reader.address(known),
            user=known.user,
            is_new=False,
            instructions=known.instructions,
            created_at=known.created_at,
        )
        requested = turns.requested(ask, principal, place, arrival)
        return Admission(
            requested=requested,
            turn=place.turn,
            conversation=conversation,
            log=place.log,
            model=model,
            found=await self._earlier(known, requested),
        )

    async def _begun(
        self, ask: Ask, principal: Principal, own: turns.OwnIds, arrival: turns.Arrival, model: str
    ) -> Admission:
        if own.conversation_hex is not None:
            again = await self._again(own.conversation_hex, principal, ask.user, ask.fingerprint)
            if again is not None:
                return await self._begun_again(ask, principal, own, arrival, again, model)
        birth = await self._birth(ask, own)
        user = ask.user or identity.DEFAULT_USER
        place = turns.Placing(
            turn=ids.turn_id(birth.conversation, own.turn_hex),
            conversation=birth.conversation,
            log=topics.address(birth.conversation, retired=birth.retired, stored=ask.stored, lanes=self._lanes),
            user=user,
            is_new=True,
        )
        requested = turns.requested(ask, principal, place, arrival)
        made = self._made(birth, principal, user, arrival.at_ms) if ask.stored else None
        if made is not None and own.conversation_hex is not None:
            made = replace(made, fingerprint=ask.fingerprint)
        return Admission(
            requested=requested,
            turn=place.turn,
            conversation=birth.conversation,
            log=place.log,
            model=model,
            made=made,
            birth=birth if ask.stored and own.conversation_hex is None else None,
            found=None if own.conversation_hex is None else await self._unstored(requested),
        )

    async def _again(
        self, own_hex: str, principal: Principal, user: str | None, fingerprint: str
    ) -> ConversationChanged | None:
        """The conversation that the key has made, if it has. Raises IdempotencyMismatch, NotFound."""
        known = await self._directory.conversation(ids.conversation_id(own_hex))
        if known is None:
            return None
        is_reached = principal.reaches(_id(known), tenant=str(known.tenant), user=known.user)
        is_same = known.fingerprint in (None, fingerprint)
        if not is_reached or user not in (None, known.user) or not is_same:
            raise mismatch()
        if known.deleted:
            raise NotFound(f"the conversation of this Idempotency-Key was deleted: {_id(known)}")
        return known

    async def _unstored(self, requested: TurnRequested) -> Found | None:
        """The same turn among those that aren't stored, if its key was used there. Raises IdempotencyMismatch."""
        if requested.turn is None:
            return None
        return _same(await self._reader.unstored(requested.turn), requested)

    async def _begun_again(
        self,
        ask: Ask,
        principal: Principal,
        own: turns.OwnIds,
        arrival: turns.Arrival,
        known: ConversationChanged,
        model: str,
    ) -> Admission:
        """The same key once more: the same conversation, and the same turn in it unless the body is another."""
        if not ask.stored:
            raise mismatch()
        conversation = _id(known)
        place = turns.Placing(
            turn=ids.turn_id(conversation, own.turn_hex),
            conversation=conversation,
            log=self._reader.address(known),
            user=known.user,
            is_new=True,
            instructions=known.instructions,
        )
        requested = turns.requested(ask, principal, place, arrival)
        return Admission(
            # The conversation may have lived on since: whoever doesn't know it any more has to look.
            requested=replace(requested, request=replace(requested.request, new=False)),
            turn=place.turn,
            conversation=conversation,
            log=place.log,
            model=model,
            found=await self._earlier(known, requested),
        )

    async def _birth(self, ask: Ask, own: turns.OwnIds) -> Birth:
        if ask.stored:
            return await self._births.birth(own.conversation_hex)
        return Birth(new_conversation(own.conversation_hex, self._clock), retired=True)

    async def _earlier(self, known: ConversationChanged, requested: TurnRequested) -> Found | None:
        """The same turn, if its key was used before. Raises IdempotencyMismatch when that was for another body."""
        if requested.request.client_key is None or requested.turn is None:
            return None
        return _same(await self._reader.find(known, requested.turn), requested)

    async def _check_previous(self, known: ConversationChanged, previous: TurnId) -> None:
        try:
            found = await self._reader.find(known, previous)
        except CassandraUnavailable:
            # The gate judges it again, from its own state.
            return
        if found is None:
            raise NotFound(f"there is no response {previous}", param="previous_response_id")

    def _made(self, birth: Birth, principal: Principal, user: str, at_ms: int) -> ConversationChanged:
        at = instants.from_ms(at_ms)
        return ConversationChanged(
            id=f"{birth.conversation}.changed.{at_ms}",
            at=at,
            tenant=principal.tenant,
            conversation=birth.conversation,
            user=user,
            created_at=at,
            retired=birth.retired,
        )

    def _stamp(self, known: ConversationChanged) -> tuple[str, str]:
        """A new record's id and time: later than the one before, whatever the clocks say."""
        at_ms = max(self._clock.wall_ms(), instants.to_ms(known.at) + 1)
        return f"{known.conversation}.changed.{at_ms}", instants.from_ms(at_ms)


def mismatch() -> IdempotencyMismatch:
    """The error for a key that was used with another body."""
    return IdempotencyMismatch("the Idempotency-Key was used with another body: use a new key", param="Idempotency-Key")


def _same(found: Found | None, requested: TurnRequested) -> Found | None:
    """What was found, if the same body made it. Raises IdempotencyMismatch."""
    if found is not None and found.fingerprint not in (None, requested.request.fingerprint):
        raise mismatch()
    return found


def _id(known: ConversationChanged) -> ConversationId:
    if known.conversation is None:
        raise ValueError("a conversation has its id")
    return known.conversation
