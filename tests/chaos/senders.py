"""An HTTP client of the contract (section 5), on `aiohttp` alone: sends a turn until it is accepted, reads its answer.

Every request bears an Idempotency-Key, so that it may be sent again whatever became of the first.
"""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from tests.chaos.plan import TurnPlan, Way

_OK: Final = 200
_NOT_FOUND: Final = 404
_BUSY: Final = (429, 503)
_LONGEST_BACKOFF_S: Final = 2.0
_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=45)
# Who goes away from a turn that isn't stored stops it; a whole answer is silent until it is there.
_PATIENT: Final = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=600)
_ENDS: Final = {"response.completed", "response.incomplete", "response.failed"}

Lost = (aiohttp.ClientError, OSError, TimeoutError)


class Unexpected(Exception):
    """An answer that the contract doesn't foresee here: asking again would only bring it again."""


@dataclass
class Counts:
    """What happened to all requests together."""

    requests: int = 0
    broken: int = 0
    refused: int = 0
    without_retry_after: int = 0
    resumed: int = 0
    repeats: int = 0
    surprises: list[str] = field(default_factory=list)


@dataclass
class Answer:
    """What one client was shown of one turn.

    Args:
        text: None: this client only learnt that the turn was accepted.
    """

    turn: str
    text: str | None = None
    status: str | None = None


class Accepted(asyncio.Event):
    """Set once the turn's id is known."""

    turn: str = ""

    def told(self, turn: str) -> None:
        """The turn was accepted under this id."""
        self.turn = turn
        self.set()


class Sender:
    """One tenant's HTTP client.

    Args:
        counts: shared by all senders of a run.
    """

    def __init__(self, base_url: str, key: str, counts: Counts, chance: random.Random) -> None:
        self._http = aiohttp.ClientSession(
            base_url,
            headers={"Authorization": f"Bearer {key}"},
            timeout=_TIMEOUT,
            connector=aiohttp.TCPConnector(limit=0, force_close=True),
        )
        self._counts = counts
        self._chance = chance

    async def close(self) -> None:
        """Let go of the connections."""
        await self._http.close()

    async def make_conversation(self) -> str:
        """A conversation made ahead of its first turn."""
        made = await self._until_answered("POST", "/v1/conversations", {}, {})
        return str(made["id"])

    async def send(self, plan: TurnPlan, conversation: str | None, accepted: Accepted) -> Answer:
        """Send the turn and read its answer to the end, however often that breaks off.

        Raises Unexpected, as every request does, for a status that is neither 200 nor a request to come back.
        """
        headers = {"Idempotency-Key": plan.key}
        if plan.way is Way.UNSTORED:
            return await self._unstored(plan, headers, accepted)
        body: dict[str, Any] = {"model": "simulated", "input": plan.text}
        if conversation is not None:
            body["conversation"] = conversation
        if plan.way is Way.STREAM:
            return await self.streamed(body, plan.key, accepted)
        if plan.way is Way.BACKGROUND:
            made = await self._until_answered("POST", "/v1/responses", {**body, "background": True}, headers)
            accepted.told(made["id"])
            return Answer(made["id"])
        whole = await self._until_answered("POST", "/v1/responses", body, headers)
        accepted.told(whole["id"])
        return Answer(whole["id"], _text_of(whole), whole["status"])

    async def streamed(self, body: dict[str, Any], key: str, accepted: Accepted) -> Answer:
        """Send a body of `/v1/responses` under the key and read its stream to the end, on any gateway that answers."""
        headers, asked = {"Idempotency-Key": key}, {**body, "stream": True}
        answer = Answer("", "")
        last, tries = -1, 0
        while True:
            tries += 1
            is_resumed = bool(answer.turn)
            path = f"/v1/responses/{answer.turn}?stream=true" if is_resumed else "/v1/responses"
            if is_resumed and last >= 0:
                path += f"&starting_after={last}"
            self._counts.resumed += is_resumed
            method, given = ("GET", None) if is_resumed else ("POST", asked)
            try:
                async with self._http.request(method, path, json=given, headers=headers) as got:
                    if got.status != _OK:
                        await self._refused(got, path)
                    else:
                        async for event in _events(got):
                            number = event["sequence_number"]
                            self._counts.repeats += number <= last
                            last = max(last, number)
                            if _take(answer, event, accepted):
                                return answer
            except Lost:
                self._counts.broken += 1
            await self._pause(tries)

    async def stop(self, turn: str) -> None:
        """Ask for the turn's stop."""
        await self._until_answered("POST", f"/v1/responses/{turn}/cancel", None, {})

    async def reset(self, conversation: str) -> None:
        """Begin the conversation's context anew."""
        await self._until_answered("POST", f"/v1/conversations/{conversation}/reset", None, {})

    async def delete(self, conversation: str) -> None:
        """Delete the conversation: asked again until somebody says that it is gone."""
        await self._until_answered("DELETE", f"/v1/conversations/{conversation}", None, {}, gone=True)

    # --- ways ---------------------------------------------------------------------------------------------------------

    async def _unstored(self, plan: TurnPlan, headers: dict[str, str], accepted: Accepted) -> Answer:
        body = {"model": "simulated", "messages": [{"role": "user", "content": plan.text}]}
        whole = await self._until_answered("POST", "/v1/chat/completions", body, headers, _PATIENT)
        turn = whole["id"].replace("chatcmpl-", "resp_")
        accepted.told(turn)
        choice = whole["choices"][0]
        return Answer(turn, choice["message"]["content"], choice["finish_reason"])

    async def _until_answered(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None,
        headers: dict[str, str],
        timeout: aiohttp.ClientTimeout = _TIMEOUT,
        *,
        gone: bool = False,
    ) -> dict[str, Any]:
        tries = 0
        while True:
            tries += 1
            self._counts.requests += 1
            try:
                async with self._http.request(method, path, json=body, headers=headers, timeout=timeout) as got:
                    if got.status == _OK:
                        found: dict[str, Any] = await got.json()
                        return found
                    if gone and got.status == _NOT_FOUND:
                        return {}
                    await self._refused(got, path)
            except Lost:
                self._counts.broken += 1
            await self._pause(tries)

    async def _refused(self, got: aiohttp.ClientResponse, path: str) -> None:
        if got.status not in _BUSY:
            surprise = f"{path}: {got.status} {(await got.text())[:300]}"
            self._counts.surprises.append(surprise)
            raise Unexpected(surprise)
        self._counts.refused += 1
        self._counts.without_retry_after += "Retry-After" not in got.headers

    async def _pause(self, tries: int) -> None:
        await asyncio.sleep(self._chance.uniform(0.1, min(_LONGEST_BACKOFF_S, 0.1 * 2 ** min(tries, 6))))


async def _events(got: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
    """The stream's events; an error in it ends it like a broken connection."""
    async for line in got.content:
        if not line.startswith(b"data: {"):
            continue
        event = json.loads(line[6:])
        if "error" in event and "type" not in event:
            raise OSError(str(event["error"].get("message")))
        yield event
    raise OSError("the stream broke off")


def _take(answer: Answer, event: dict[str, Any], accepted: Accepted) -> bool:
    """Take the next event in; True when it was the last."""
    kind = event["type"]
    if "response" in event:
        answer.turn = event["response"]["id"]
        answer.status = event["response"]["status"]
        if not accepted.is_set():
            accepted.told(answer.turn)
    if kind == "response.output_text.delta":
        answer.text = (answer.text or "") + event["delta"]
    return kind in _ENDS


def _text_of(response: dict[str, Any]) -> str:
    return "".join(
        part.get("text", "") for item in response["output"] for part in item.get("content", ()) if "text" in part
    )
