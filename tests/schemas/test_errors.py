"""Every code has one row, and every error of ours leads to one."""

from collections.abc import Iterator

import pytest

from schemas.errors import ERRORS, ErrorCode, ParleyError


def family(kind: type[ParleyError]) -> Iterator[type[ParleyError]]:
    """An error class and all below it."""
    yield kind
    for child in kind.__subclasses__():
        yield from family(child)


@pytest.mark.parametrize("code", ErrorCode)
def test_every_code_has_its_row(code: ErrorCode) -> None:
    """A code that a user can see says its status and whether a repeat may help."""
    assert 200 <= ERRORS[code].status < 600


@pytest.mark.parametrize("kind", list(family(ParleyError)), ids=lambda kind: kind.__name__)
def test_every_error_has_a_code(kind: type[ParleyError]) -> None:
    """Whatever error of ours reaches a user has a code of the table."""
    assert kind.code in ERRORS
