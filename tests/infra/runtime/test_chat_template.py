import pytest

from infra.runtime.chat_template import ChatTemplate
from schemas.errors import SettingsError
from schemas.turns import Message, Role

HELLO = [Message(Role.USER, "hello <b>")]


def _rendered(source: str, **special: str) -> str:
    return ChatTemplate(source, special).render(HELLO, add_generation_prompt=True)


def test_templates_see_messages_special_tokens_and_the_question() -> None:
    """What transformers gives a template, ours gets too."""
    source = (
        "{{ bos_token }}{% for m in messages %}{{ m['role'] }}={{ m.content }};{% endfor %}{{ add_generation_prompt }}"
    )
    assert _rendered(source, bos_token="<s>") == "<s>user=hello <b>;True"


def test_a_block_for_training_renders_what_is_inside() -> None:
    """`generation` blocks and loop controls are understood."""
    source = "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% break %}{% endfor %}"
    assert _rendered(source) == "hello <b>"


def test_json_is_not_written_for_browsers() -> None:
    """`tojson` escapes no HTML."""
    assert _rendered("{{ messages[0].content | tojson }}") == '"hello <b>"'


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{% if %}", "can't be read"),
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
        ("{{ messages.append(1) }}", "refuses these messages"),
        ("{{ ''.__class__.__mro__ }}", "refuses these messages"),
    ],
)
def test_a_broken_or_prying_template_is_one_sentence(source: str, said: str) -> None:
    """Bad syntax, a template's own refusal, a change of its input and a reach beyond it each raise SettingsError."""
    with pytest.raises(SettingsError, match=said):
        _rendered(source)
