"""One value out of TOML or text, by its type."""

import math
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.runtime.setting_values import Refused, converted, described


class Layout(StrEnum):
    LANES = "lanes"
    DEDICATED = "dedicated"


@given(st.integers())
def test_whole_numbers_are_the_same_from_both(number: int) -> None:
    """A whole number reads alike out of TOML and out of text."""
    assert converted(int, number, is_text=False) == converted(int, str(number), is_text=True) == number


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_are_the_same_from_both(number: float) -> None:
    """A number reads alike out of TOML and out of text, to the last bit."""
    assert converted(float, number, is_text=False) == converted(float, repr(number), is_text=True) == number


@given(st.lists(st.text(st.characters(exclude_characters=",", exclude_categories=["Cs", "Zs", "Cc"]), min_size=1)))
def test_lists_are_the_same_from_both(parts: list[str]) -> None:
    """A list reads alike out of TOML and out of text with commas."""
    parts = [part.strip() for part in parts if part.strip()]
    from_text = converted(tuple[str, ...], " , ".join(parts), is_text=True)
    assert converted(tuple[str, ...], parts, is_text=False) == from_text == tuple(parts)


@pytest.mark.parametrize(
    ("hint", "value", "is_text", "wanted"),
    [
        (bool, True, False, True),
        (bool, "off", True, False),
        (bool, "YES", True, True),
        (float, 3, False, 3.0),
        (Path, "/a/b", True, Path("/a/b")),
        (Layout, "lanes", True, Layout.LANES),
        (Literal["a", "b"], "b", False, "b"),
        (str | None, "", True, None),
        (int | None, "5", True, 5),
        (tuple[int, ...], "1,2", True, (1, 2)),
        (tuple[str, ...], "", True, ()),
        (tuple[str, ...], "a,b", False, ("a", "b")),
    ],
)
def test_values_fit(hint: Any, value: Any, is_text: bool, wanted: Any) -> None:
    """Every type that a setting may have takes what a person would write for it."""
    assert converted(hint, value, is_text=is_text) == wanted


@pytest.mark.parametrize(
    ("hint", "value", "is_text"),
    [
        (bool, 1, False),
        (bool, "maybe", True),
        (int, True, False),
        (int, 1.5, False),
        (int, "1.5", True),
        (int, "5", False),
        (float, math.nan, False),
        (float, "inf", True),
        (str, 5, False),
        (Path, 5, False),
        (Layout, "other", True),
        (Literal["a", "b"], "c", True),
        (tuple[str, ...], 5, False),
        (tuple[int, ...], "1,x", True),
    ],
)
def test_misfits_are_refused(hint: Any, value: Any, is_text: bool) -> None:
    """What doesn't fit is refused with a reason, never bent until it does."""
    with pytest.raises(Refused) as refused:
        converted(hint, value, is_text=is_text)
    assert str(refused.value)


def test_types_are_told_in_words() -> None:
    """The documentation names types as a person would."""
    assert described(tuple[str, ...]) == "list of text"
    assert described(int | None) == "whole number, or none"
    assert described(Layout) == "lanes or dedicated"
    assert described(Literal["a", "b"]) == "a or b"


def test_a_type_nobody_can_write_is_a_bug() -> None:
    """A settings class with a field that no file could fill fails in its first test, not at a user's."""
    for hint in (dict[str, str], int | str | None):
        with pytest.raises(TypeError):
            converted(hint, "x", is_text=True)
