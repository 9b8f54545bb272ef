"""`/v1/conversations` and below."""

from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from producers.admission.asks import Opening
from producers.admission.parameters import Parameters
from producers.admission.turns import checked_key
from producers.directory.following import Directory
from producers.ingress import callers, errors
from producers.ingress.callers import Callers, Page
from producers.ingress.items import Items
from producers.publishing.acceptance import Acceptance
from producers.relay.response_view import listed
from producers.relay.turn_reader import TurnReader
from schemas import identity, ids, instants
from schemas.errors import CallerError, ContractError, NotFound
from schemas.identity import Principal
from schemas.ids import ConversationId
from schemas.records import ConversationChanged

_DESCRIBED_BY = frozenset({"metadata", "instructions"})
_CREATED_BY = _DESCRIBED_BY | {"user", "safety_identifier"}


class Conversations:
    """Makes, lists, describes, resets and deletes conversations."""

    def __init__(
        self, who: Callers, acceptance: Acceptance, directory: Directory, reader: TurnReader, items: Items
    ) -> None:
        self._callers = who
        self._acceptance = acceptance
        self._directory = directory
        self._reader = reader
        self._items = items

    @property
    def routes(self) -> Sequence[web.RouteDef]:
        """What is served."""
        one = "/v1/conversations/{conversation_id}"
        return (
            web.post("/v1/conversations", self.create),
            web.get("/v1/conversations", self.list_all),
            web.get(one, self.retrieve),
            web.post(one, self.update),
            web.delete(one, self.delete),
            web.post(f"{one}/reset", self.reset),
            web.get(f"{one}/items", self.list_items),
            web.get(f"{one}/items/{{item_id}}", self.retrieve_item),
        )

    async def create(self, request: web.Request) -> web.StreamResponse:
        """Make a conversation without a turn."""
        principal = await self._callers.principal(request, identity.WRITE)
        parameters = await callers.body(request)
        parameters.refuse_others(_CREATED_BY, {"items": lambda given: given == []}, frozenset())
        key = checked_key(request.headers.get("Idempotency-Key"))
        opening = Opening(
            user=parameters.user(), metadata=parameters.metadata(), instructions=parameters.instructions()
        )
        made = await self._acceptance.begin(opening, principal, key)
        return errors.json_answer(_shown(made, made.created_at))

    async def list_all(self, request: web.Request) -> web.StreamResponse:
        """List conversations, the one with the newest activity first unless the order says otherwise."""
        principal = await self._callers.principal(request, identity.READ)
        page, user = callers.page(request), callers.user(request)
        if principal.user is not None and user not in (None, principal.user):
            raise NotFound(f"there is no user {user}")
        ordered = await self._by_activity(principal, user or principal.user, newest_first=page.newest_first)
        part, has_more = _part(ordered, page)
        return errors.json_answer(listed((_shown(known, at) for at, known in part), has_more=has_more))

    async def retrieve(self, request: web.Request) -> web.StreamResponse:
        """Show a conversation."""
        _, known = await self._named(request, identity.READ)
        activity = await self._reader.activity(str(known.tenant), known.user)
        return errors.json_answer(_shown(known, self._active_at(known, activity)))

    async def update(self, request: web.Request) -> web.StreamResponse:
        """Give a conversation other metadata or instructions; what isn't given stays."""
        _, known = await self._named(request, identity.WRITE)
        parameters = await callers.body(request)
        parameters.refuse_others(_DESCRIBED_BY, {}, frozenset())
        changed = await self._acceptance.describe(known, _described(parameters))
        return errors.json_answer(_shown(changed, None))

    async def delete(self, request: web.Request) -> web.StreamResponse:
        """Let a conversation and all its turns be gone."""
        _, known = await self._named(request, identity.WRITE)
        await self._acceptance.delete(known)
        return errors.json_answer({"id": _id(known), "object": "conversation.deleted", "deleted": True})

    async def reset(self, request: web.Request) -> web.StreamResponse:
        """Let a conversation's context begin anew; what was said stays readable."""
        _, known = await self._named(request, identity.WRITE)
        await self._acceptance.reset(known)
        return errors.json_answer(_shown(known, None))

    async def list_items(self, request: web.Request) -> web.StreamResponse:
        """List what was said, the newest first unless the order says otherwise."""
        _, known = await self._named(request, identity.READ)
        return errors.json_answer(await self._items.page(known, callers.page(request)))

    async def retrieve_item(self, request: web.Request) -> web.StreamResponse:
        """Show one item."""
        _, known = await self._named(request, identity.READ)
        return errors.json_answer(await self._items.one(known, request.match_info["item_id"]))

    async def _named(self, request: web.Request, scope: str) -> tuple[Principal, ConversationChanged]:
        principal = await self._callers.principal(request, scope)
        text = request.match_info["conversation_id"]
        try:
            conversation = ids.parse_conversation(text)
        except ContractError:
            raise NotFound(f"there is no conversation {text[:100]}") from None
        return principal, await self._acceptance.visible(principal, conversation, callers.user(request))

    def _active_at(self, known: ConversationChanged, stored: Mapping[ConversationId, str]) -> str:
        return self._directory.conversations.active_at(known, stored.get(_id(known)))

    async def _by_activity(
        self, principal: Principal, user: str | None, *, newest_first: bool
    ) -> list[tuple[str, ConversationChanged]]:
        known = self._directory.conversations
        activity: dict[ConversationId, str] = {}
        for each in known.users(principal.tenant) if user is None else (user,):
            activity |= await self._reader.activity(principal.tenant, each)
        found = [
            (self._active_at(each, activity), each)
            for each in known.owned(principal.tenant, user)
            if principal.reaches(_id(each), tenant=str(each.tenant), user=each.user)
        ]
        return sorted(found, key=lambda pair: (pair[0], _id(pair[1])), reverse=newest_first)


def _part(
    ordered: list[tuple[str, ConversationChanged]], page: Page
) -> tuple[list[tuple[str, ConversationChanged]], bool]:
    start = 0
    if page.after is not None:
        places = [place for place, (_, known) in enumerate(ordered) if known.conversation == page.after]
        if not places:
            raise CallerError(f"after names no conversation of this list: {page.after[:100]}", param="after")
        start = places[0] + 1
    return ordered[start : start + page.limit], len(ordered) > start + page.limit


def _described(parameters: Parameters) -> dict[str, Any]:
    """The fields that are to change. Raises CallerError when there is none."""
    described: dict[str, Any] = {}
    if "metadata" in parameters.given:
        described["metadata"] = parameters.metadata()
    if "instructions" in parameters.given:
        described["instructions"] = parameters.instructions()
    if not described:
        raise CallerError("nothing is to be changed: give metadata or instructions", param="metadata")
    return described


def _shown(known: ConversationChanged, active_at: str | None) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": known.conversation,
        "object": "conversation",
        "created_at": instants.to_ms(known.created_at) // 1000,
        "metadata": dict(known.metadata),
        "user": known.user,
        "instructions": known.instructions,
    }
    if active_at is not None:
        shown["last_active_at"] = instants.to_ms(active_at) // 1000
    return shown


def _id(known: ConversationChanged) -> ConversationId:
    if known.conversation is None:
        raise ValueError("a conversation has its id")
    return known.conversation
