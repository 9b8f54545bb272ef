"""The `openai` engine: any server that speaks OpenAI's dialect of streaming chat completions.

Its token ids stay with it: a piece's ids are places (0, 1, 2 ...), one a delta of the server, and mean nothing to other
engines. Prompt tokens are estimated first and told truly at the end, from the server's usage.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, Final

import aiohttp

from inference_consumers.engines.port import Answer, EngineInfo, EngineLoad, GenerationRequest, Piece, Started
from inference_consumers.engines.settings import OpenAISettings
from infra.runtime.word_model import WordModel
from schemas.errors import ContextTooLarge, EngineDead, EngineFailed
from schemas.turns import Message, Reason, Role

_FALLBACK_LEN: Final = 8192  # tokens, where the server's list of models says nothing
_LINE_BYTES: Final = 1 << 20  # longest line of an answer
_FATAL: Final = frozenset({401, 403, 404})  # the key or the model is wrong: no attempt can succeed
_FINISH: Final = {"stop": Reason.STOP, "length": Reason.LENGTH}


class OpenAIEngine:
    """See `port.Engine`."""

    def __init__(self, settings: OpenAISettings) -> None:
        self._settings = settings
        self._counter = WordModel()
        self._session: aiohttp.ClientSession | None = None
        self._gate = asyncio.Semaphore(settings.slots)
        self._model = settings.model
        self._running = 0
        self._waiting = 0

    async def start(self) -> EngineInfo:
        """Ask the server for its models."""
        settings = self._settings
        self._session = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {settings.api_key}"} if settings.api_key else {},
            timeout=aiohttp.ClientTimeout(total=None, connect=settings.connect_s, sock_read=settings.silence_s),
            connector=aiohttp.TCPConnector(limit=0),
            read_bufsize=_LINE_BYTES,
        )
        listed = await self._models()
        self._model = settings.model or next(iter(listed), "")
        if not self._model:
            raise EngineDead(f"{settings.base_url} lists no model: set [openai] model")
        length = settings.max_model_len or listed.get(self._model, {}).get("max_model_len") or _FALLBACK_LEN
        return EngineInfo(
            engine="openai",
            model=self._model,
            version=str(listed.get(self._model, {}).get("created", "")),
            max_model_len=int(length),
            slots=settings.slots,
            can_continue=settings.continues,
        )

    def prompt_tokens(self, messages: Sequence[Message]) -> int:
        """An estimate: the server's tokenizer is out of reach, and words come near it."""
        return len(self._counter.prompt_ids(messages))

    async def generate(self, request: GenerationRequest) -> Answer:
        """See `port.Engine.generate`."""
        if request.max_tokens == 0:
            yield Started(prompt_tokens=self.prompt_tokens(request.messages), cached_tokens=0)
            yield Piece(text="", token_ids=(), finish=Reason.LENGTH)
            return
        self._waiting += 1
        try:
            await self._gate.acquire()
        finally:
            self._waiting -= 1
        self._running += 1
        try:
            yield Started(prompt_tokens=self.prompt_tokens(request.messages), cached_tokens=0)
            made = len(request.emitted_token_ids)
            finish: Reason | None = None
            # Closed on every way out: that closes the connection, by which servers know to stop.
            async with aclosing(self._chunks(request)) as chunks:
                async for chunk in chunks:
                    text, ended = _choice(chunk)
                    finish = ended or finish
                    if text:
                        yield Piece(text=text, token_ids=(made,))
                        made += 1
                    if chunk.get("usage"):
                        yield _counts(chunk["usage"])
            if finish is None:
                raise EngineFailed("the server's answer broke off")
            yield Piece(text="", token_ids=(), finish=finish)
        finally:
            self._running -= 1
            self._gate.release()

    def load(self) -> EngineLoad:
        """Requests under way, and those that wait for one to end."""
        slots = self._settings.slots
        return EngineLoad(slots=slots, running=self._running, waiting=self._waiting, kv_usage=self._running / slots)

    async def stop(self) -> None:
        """Close all connections; readers see EngineFailed."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _models(self) -> dict[str, dict[str, Any]]:
        try:
            async with self._open().get(f"{self._settings.base_url.rstrip('/')}/models") as response:
                await _check(response)
                listed = await response.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise EngineDead(f"no OpenAI server answers at {self._settings.base_url}: {error}") from error
        return {model["id"]: model for model in listed.get("data", [])}

    async def _chunks(self, request: GenerationRequest) -> AsyncGenerator[dict[str, Any], None]:
        url = f"{self._settings.base_url.rstrip('/')}/chat/completions"
        try:
            async with self._open().post(url, json=self._body(request)) as response:
                await _check(response)
                async for line in response.content:
                    chunk = _event(line)
                    if chunk is None:
                        continue
                    if "error" in chunk:
                        raise EngineFailed(f"the server failed: {_message(chunk)}")
                    yield chunk
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise EngineFailed(f"the connection to {self._settings.base_url} failed: {error!r}") from error

    def _body(self, request: GenerationRequest) -> dict[str, Any]:
        messages = [{"role": message.role.value, "content": message.text} for message in request.messages]
        body: dict[str, Any] = {
            "model": self._model,
            "messages": messages,
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": request.temperature,
            "top_p": request.top_p,
        }
        optional = {
            "max_tokens": request.max_tokens,
            "stop": list(request.stop),
            "seed": request.seed,
            "presence_penalty": request.presence_penalty,
            "frequency_penalty": request.frequency_penalty,
        }
        body.update({key: value for key, value in optional.items() if value})
        if request.seed is not None:
            body["seed"] = request.seed
        if request.emitted_text and self._settings.continues:
            messages.append({"role": Role.ASSISTANT.value, "content": request.emitted_text})
            body.update(add_generation_prompt=False, continue_final_message=True)
        return body

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise EngineFailed("the engine is not running")
        return self._session


def _event(line: bytes) -> dict[str, Any] | None:
    """The chunk in a line of a server-sent event stream; None for all other lines and the end mark."""
    if not line.startswith(b"data:"):
        return None
    data = line[5:].strip()
    if not data or data == b"[DONE]":
        return None
    chunk = json.loads(data)
    return chunk if isinstance(chunk, dict) else None


def _choice(chunk: dict[str, Any]) -> tuple[str, Reason | None]:
    """The text that a chunk adds, and how the answer ended if it did."""
    for choice in chunk.get("choices") or ():
        ended = choice.get("finish_reason")
        text = (choice.get("delta") or {}).get("content") or ""
        return text, _FINISH.get(ended, Reason.STOP) if ended else None
    return "", None


def _counts(usage: dict[str, Any]) -> Started:
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    return Started(prompt_tokens=usage.get("prompt_tokens") or 0, cached_tokens=cached)


async def _check(response: aiohttp.ClientResponse) -> None:
    """Pass a good answer; translate a refusal by what another attempt could change."""
    if response.status < 400:  # noqa: PLR2004 - HTTP's own bound
        return
    said = await response.text()
    try:
        message, code = _message(json.loads(said)), (json.loads(said).get("error") or {}).get("code")
    except (ValueError, AttributeError):
        message, code = said[:200], None
    if code == "context_length_exceeded" or "maximum context length" in message:
        raise ContextTooLarge(f"the server's model can't read so much: {message}")
    if response.status in _FATAL:
        raise EngineDead(f"the server refuses us with {response.status}: {message}")
    raise EngineFailed(f"the server answered {response.status}: {message}")


def _message(said: dict[str, Any]) -> str:
    error = said.get("error")
    return str(error.get("message", error)) if isinstance(error, dict) else str(error or said)
