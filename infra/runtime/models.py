"""A model's files as everybody but its engine needs them: the prompt, its tokens, their count, and tokens back to text.

Only `tokenizers` and `jinja2`, no torch: enrichment counts with the very tokenizer that the engine reads by.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from tokenizers import Tokenizer

from infra.runtime.chat_template import ChatTemplate
from infra.runtime.token_bytes import read_token_bytes
from infra.runtime.word_model import SIMULATED, WordModel
from schemas.errors import SettingsError
from schemas.turns import Message, Role

_JOINER = "\u2060"  # a word joiner: adds nothing that is seen


class PromptModel(Protocol):
    """What counts, renders and decodes for one model."""

    name: str
    version: str
    max_model_len: int

    def render(self, messages: Sequence[Message], *, add_generation_prompt: bool = True) -> str:
        """The text that the model reads."""
        ...

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """The tokens of the prompt, up to where the answer begins."""
        ...

    def count_message(self, message: Message) -> int:
        """How many tokens this message adds to a prompt that already has one."""
        ...

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that a token adds to a text."""
        ...


def open_model(place: str | Path) -> PromptModel:
    """The model in a directory, or the simulated one by its name.

    Raises:
        SettingsError: no model is there, or one whose files can't be read.
    """
    return WordModel() if str(place) == SIMULATED else ModelFiles(Path(place))


class ModelFiles:
    """A directory with `config.json`, `tokenizer.json` and a chat template, as Hugging Face lays models out.

    Args:
        directory: its last part is the model's name.

    Raises:
        SettingsError: a file is missing or broken.
    """

    def __init__(self, directory: Path) -> None:
        config = _read_json(directory / "config.json")
        tokens = _read_json(directory / "tokenizer.json")
        described = _read_json(directory / "tokenizer_config.json", required=False)
        generation = _read_json(directory / "generation_config.json", required=False)
        special = _special_tokens(described)
        self.name = directory.name
        self.version = _version(directory)
        self.max_model_len = _max_model_len(config, described)
        self.eos_ids = _eos_ids(config, generation, special, tokens)
        self._template = ChatTemplate(_template_source(directory, described), special)
        self._tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        self._bytes = read_token_bytes(tokens)
        self._control = _control_pattern(tokens)
        self._one = [Message(Role.SYSTEM, "."), Message(Role.USER, ".")]
        self._one_tokens = len(self.encode(self.render(self._one, add_generation_prompt=False)))

    def render(self, messages: Sequence[Message], *, add_generation_prompt: bool = True) -> str:
        """The text that the model reads, as `transformers.apply_chat_template` gives it."""
        return self._template.render(messages, add_generation_prompt=add_generation_prompt)

    def encode(self, text: str) -> list[int]:
        """The tokens of a text; special tokens are read as such."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """The tokens of the prompt, up to where the answer begins.

        A message can't forge the marks between messages: where its text spells one, a word joiner breaks it.
        """
        return self.encode(self.render([self._defused(message) for message in messages]))

    def count_message(self, message: Message) -> int:
        """How many tokens this message adds to a prompt that already has one."""
        longer = self.render([*self._one, self._defused(message)], add_generation_prompt=False)
        return len(self.encode(longer)) - self._one_tokens

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of tokens; special ones add none, broken bytes show as U+FFFD."""
        return b"".join(map(self.token_bytes, token_ids)).decode(errors="replace")

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that a token adds to a text; none for an id that the tokenizer doesn't know."""
        return self._bytes[token_id] if 0 <= token_id < len(self._bytes) else b""

    def _defused(self, message: Message) -> Message:
        if self._control is None or not self._control.search(message.text):
            return message
        return Message(message.role, self._control.sub(lambda mark: mark[0][0] + _JOINER + mark[0][1:], message.text))


def _read_json(path: Path, *, required: bool = True) -> dict[str, Any]:
    if not required and not path.exists():
        return {}
    try:
        read: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise SettingsError(f"{path.parent} holds no model: {path.name} is missing") from error
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} can't be read: {error}") from error
    return read


def _special_tokens(described: dict[str, Any]) -> dict[str, str]:
    """`bos_token` and the like; a value is a text, or a description with its `content`."""
    named = {key: value for key, value in described.items() if key.endswith("_token")}
    contents = {key: value.get("content") if isinstance(value, dict) else value for key, value in named.items()}
    return {key: content for key, content in contents.items() if isinstance(content, str)}


def _template_source(directory: Path, described: dict[str, Any]) -> str:
    beside = directory / "chat_template.jinja"
    if beside.exists():
        return beside.read_text(encoding="utf-8")
    given = described.get("chat_template")
    if isinstance(given, list):  # several, by name
        given = {one["name"]: one["template"] for one in given}.get("default")
    if not isinstance(given, str):
        raise SettingsError(f"the model in {directory} has no chat template: it was not made to chat")
    return given


def _max_model_len(config: dict[str, Any], described: dict[str, Any]) -> int:
    inner = config.get("text_config", {})
    length = config.get("max_position_embeddings") or inner.get("max_position_embeddings")
    if not isinstance(length, int):
        raise SettingsError("the model's config.json has no max_position_embeddings")
    stated = described.get("model_max_length")
    return min(length, int(stated)) if isinstance(stated, int | float) else length


def _eos_ids(
    config: dict[str, Any], generation: dict[str, Any], special: dict[str, str], tokens: dict[str, Any]
) -> frozenset[int]:
    """All ids that end an answer: the generation config's, the config's, and the tokenizer's own."""
    found: set[int] = set()
    for source in (generation, config):
        given = source.get("eos_token_id")
        found.update([given] if isinstance(given, int) else given or [])
    by_content = {token["content"]: token["id"] for token in tokens.get("added_tokens", [])}
    if special.get("eos_token") in by_content:
        found.add(by_content[special["eos_token"]])
    return frozenset(found)


def _control_pattern(tokens: dict[str, Any]) -> re.Pattern[str] | None:
    """Finds the special tokens spelled out in a text, the longest first."""
    marks = [token["content"] for token in tokens.get("added_tokens", []) if token["special"]]
    return re.compile("|".join(map(re.escape, sorted(marks, key=len, reverse=True)))) if marks else None


def _version(directory: Path) -> str:
    """Changes with any file that the answers depend on; weights count by name and size."""
    digest = hashlib.sha256()
    for path in sorted(directory.iterdir()):
        if path.suffix in {".json", ".jinja"}:
            digest.update(path.name.encode() + path.read_bytes())
        elif path.suffix in {".safetensors", ".bin", ".gguf"}:
            digest.update(f"{path.name} {path.stat().st_size}".encode())
    return digest.hexdigest()[:12]
