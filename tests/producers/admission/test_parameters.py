import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.admission import limits
from producers.admission.parameters import Parameters, any_flag, any_text, empty, one_of, parsed
from schemas.errors import CallerError, TooLarge, UnsupportedParameter, UnsupportedValue
from schemas.turns import OnBusy

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)


def test_null_asks_for_nothing() -> None:
    """A parameter that is null is not there, known or not."""
    Parameters({"anything": None}).refuse_others(frozenset(), {}, frozenset())


def test_refusals_name_the_parameter() -> None:
    """A stranger is an unsupported parameter, a known one at another value an unsupported value."""
    neutral = {"n": one_of(1), "tools": empty}
    partly = frozenset({"n"})
    Parameters({"n": 1, "tools": []}).refuse_others(frozenset(), neutral, partly)
    for body, kind, name in (
        ({"n": 2}, UnsupportedValue, "n"),
        ({"n": True}, UnsupportedValue, "n"),
        ({"tools": [{}]}, UnsupportedParameter, "tools"),
        ({"top_k": 1}, UnsupportedParameter, "top_k"),
    ):
        with pytest.raises(kind) as refused:
            Parameters(body).refuse_others(frozenset(), neutral, partly)
        assert refused.value.param == name


def test_neutral_values() -> None:
    """What is neutral is told by type as well: true is not 1."""
    assert one_of(1)(1)
    assert not one_of(1)(True)
    assert empty({})
    assert not empty([1])
    assert any_text("hint")
    assert any_flag(False)


@given(st.dictionaries(st.sampled_from(["user", "stream", "temperature", "seed", "metadata", "stop", "on_busy"]), JSON))
def test_any_value_is_read_or_refused(body: dict[str, Any]) -> None:
    """Whatever stands in a parameter, it is read or refused as the caller's fault."""
    parameters = Parameters(body)
    for read in (
        parameters.user,
        lambda: parameters.flag("stream", default=False),
        lambda: parameters.number("temperature", 0, 2),
        lambda: parameters.whole("seed", -(2**63), 2**63 - 1),
        parameters.metadata,
        parameters.stops,
        parameters.on_busy,
    ):
        with contextlib.suppress(CallerError):
            read()


@given(st.binary(max_size=200))
def test_any_bytes_are_an_object_or_refused(raw: bytes) -> None:
    """A body is a JSON object or the caller's fault."""
    with contextlib.suppress(CallerError):
        parsed(raw)


def test_limits_of_metadata_and_stops() -> None:
    """Sixteen pairs and four texts are taken, one more is refused."""
    pairs = {f"k{number}": "v" for number in range(16)}
    assert Parameters({"metadata": pairs}).metadata() == pairs
    assert Parameters({"stop": "x"}).stops() == ("x",)
    assert Parameters({"stop": ["", "x"]}).stops() == ("x",)
    assert Parameters({"stop": ""}).stops() == ()
    assert Parameters({}).on_busy() is OnBusy.QUEUE
    for body, read in (
        ({"metadata": {**pairs, "more": "v"}}, "metadata"),
        ({"metadata": {"k": "v" * 513}}, "metadata"),
        ({"stop": ["x"] * 5}, "stops"),
        ({"stop": "x" * 257}, "stops"),
    ):
        with pytest.raises(CallerError):
            getattr(Parameters(body), read)()


def test_stream_options_need_a_stream() -> None:
    """Options of a stream are refused without one, and those that aren't served by name."""
    options = Parameters({"stream_options": {"include_usage": True, "include_obfuscation": False}})
    assert options.stream_options(frozenset({"include_usage"}), is_stream=True) == {"include_usage": True}
    with pytest.raises(CallerError):
        options.stream_options(frozenset({"include_usage"}), is_stream=False)
    with pytest.raises(UnsupportedParameter) as refused:
        options.stream_options(frozenset(), is_stream=True)
    assert refused.value.param == "stream_options.include_usage"


def test_a_body_over_the_limit() -> None:
    """A body of one byte more than the limit is too large."""
    with pytest.raises(TooLarge):
        parsed(b'"' + b"x" * (limits.MAX_BODY_BYTES - 1) + b'"')
