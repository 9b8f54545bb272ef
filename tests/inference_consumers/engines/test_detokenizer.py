from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from inference_consumers.engines.detokenizer import Detokenizer, decode


def _cut(text: str, places: list[int]) -> list[bytes]:
    spelled = text.encode()
    ends = sorted({place % (len(spelled) + 1) for place in places} | {0, len(spelled)})
    return [spelled[start:end] for start, end in pairwise(ends)]


@given(st.text(), st.lists(st.integers(0, 1000)))
def test_any_text_under_any_cutting_comes_out_whole(text: str, places: list[int]) -> None:
    """However a text's bytes are cut into tokens, its units join to it and none holds half a character."""
    parts = _cut(text, places)
    detokenizer = Detokenizer(parts.__getitem__)
    units = [unit for place in range(len(parts)) if (unit := detokenizer.push(place))]
    assert "".join(unit.text for unit in units) == text
    assert [token for unit in units for token in unit.token_ids] == list(range(len(parts)))
    assert detokenizer.held_ids == ()
    for unit in units:
        assert b"".join(parts[token] for token in unit.token_ids) == unit.text.encode()


@given(st.lists(st.binary(max_size=5)))
def test_any_bytes_at_all_read_as_they_do_in_one_go(parts: list[bytes]) -> None:
    """Broken bytes show as U+FFFD at the same places as when all is decoded at once; only an unfinished end is held."""
    detokenizer = Detokenizer(parts.__getitem__)
    shown = "".join(unit.text for place in range(len(parts)) if (unit := detokenizer.push(place)))
    whole = decode(tuple(range(len(parts))), parts.__getitem__)
    assert shown + detokenizer.held_text == whole


def test_a_character_of_four_tokens_comes_with_its_last() -> None:
    """An emoji spelled by four tokens is one unit with four ids; whole text before it in a held token waits with it."""
    parts = [b"a\xf0", b"\x9f", b"\x98", b"\x80", b"b"]
    detokenizer = Detokenizer(parts.__getitem__)
    assert [detokenizer.push(place) for place in range(3)] == [None, None, None]
    assert (detokenizer.held_text, detokenizer.held_ids) == ("a", (0, 1, 2))
    unit = detokenizer.push(3)
    assert unit is not None
    assert (unit.text, unit.token_ids) == ("a\N{GRINNING FACE}", (0, 1, 2, 3))
