from hypothesis import given
from hypothesis import strategies as st

from inference_consumers.engines.stopping import StopMatcher

_FEW = st.text(alphabet="ab", max_size=30)
_STOPS = st.lists(st.text(alphabet="ab", min_size=1, max_size=5), max_size=3)


def _cut_at(stops: list[str], pieces: list[str]) -> tuple[int | None, list[int]]:
    matcher = StopMatcher(stops)
    safe: list[int] = []
    for piece in pieces:
        cut = matcher.push(piece)
        if cut is not None:
            return cut, safe
        safe.append(matcher.safe)
    return None, safe


def _by_definition(stops: list[str], text: str) -> int | None:
    """The first end of a stop text, and of those that end there the longest."""
    for end in range(1, len(text) + 1):
        starts = [end - len(stop) for stop in stops if text[:end].endswith(stop)]
        if starts:
            return min(starts)
    return None


@given(_STOPS, st.lists(_FEW))
def test_the_cut_does_not_depend_on_how_the_text_came(stops: list[str], pieces: list[str]) -> None:
    """Pieces, single characters and the whole text give the same end, which is the one that the rule names."""
    text = "".join(pieces)
    expected = _by_definition(stops, text)
    assert _cut_at(stops, pieces)[0] == expected
    assert _cut_at(stops, list(text))[0] == expected
    assert _cut_at(stops, [text])[0] == expected


@given(_STOPS, st.lists(_FEW))
def test_what_is_safe_is_never_taken_back(stops: list[str], pieces: list[str]) -> None:
    """No end lies before a place that was called safe, and no more is held back than a stop text's beginning."""
    cut, safe = _cut_at(stops, pieces)
    assert safe == sorted(safe)
    if cut is not None:
        assert all(place <= cut for place in safe)
    read = 0
    for piece, place in zip(pieces, safe, strict=False):
        read += len(piece)
        held = "".join(pieces)[place:read]
        assert held == "" or any(stop.startswith(held) for stop in stops)


def test_without_stop_texts_all_is_safe() -> None:
    """No stop text: everything read may be shown."""
    matcher = StopMatcher(())
    assert matcher.push("abc") is None
    assert matcher.safe == 3
