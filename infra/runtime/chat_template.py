"""A model's chat template: messages to the one text that the model reads.

Renders as `transformers.apply_chat_template` does, without that library. A template comes with a model from elsewhere,
so it runs in jinja's sandbox, where it can neither change what it is given nor reach anything else.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from schemas.errors import SettingsError
from schemas.turns import Message


class _GenerationBlock(Extension):
    """`{% generation %}` marks the assistant's own text for training; serving renders what is inside."""

    tags = {"generation"}  # noqa: RUF012 - jinja's own way to name an extension's tags

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """The statements of the block, in its place."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _refuse(message: str) -> None:
    raise TemplateError(message)


def _to_json(value: object, *, ensure_ascii: bool = False, indent: int | None = None, sort_keys: bool = False) -> str:
    # jinja's own filter escapes HTML, which a model has never seen in its training.
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, sort_keys=sort_keys)


def _now(layout: str) -> str:
    return datetime.now().astimezone().strftime(layout)


class ChatTemplate:
    """One compiled template.

    Args:
        source: jinja text.
        special_tokens: `bos_token` and the like, which templates name.

    Raises:
        SettingsError: the template isn't valid jinja.
    """

    def __init__(self, source: str, special_tokens: Mapping[str, str]) -> None:
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationBlock, loopcontrols]
        )
        environment.filters["tojson"] = _to_json
        functions: dict[str, Callable[[str], object]] = {"raise_exception": _refuse, "strftime_now": _now}
        environment.globals.update(functions)
        try:
            self._template = environment.from_string(source)
        except TemplateError as error:
            raise SettingsError(f"the model's chat template can't be read: {error}") from error
        self._special_tokens = dict(special_tokens)

    def render(self, messages: Sequence[Message], *, add_generation_prompt: bool) -> str:
        """The text of the messages, with the words that make the model answer behind it if asked for.

        Raises:
            SettingsError: the template refuses these messages.
        """
        given = [{"role": message.role.value, "content": message.text} for message in messages]
        try:
            return self._template.render(
                messages=given,
                tools=None,
                documents=None,
                add_generation_prompt=add_generation_prompt,
                **self._special_tokens,
            )
        except TemplateError as error:
            raise SettingsError(f"the model's chat template refuses these messages: {error}") from error
