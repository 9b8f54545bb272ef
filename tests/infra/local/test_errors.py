"""Who must act on each error of this room."""

import pytest

from infra.local import errors
from schemas.errors import CallerError, DependencyError, ParleyError

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ParleyError)]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.__module__ == errors.__name__])
def test_each_belongs_to_one_family(kind: type[ParleyError]) -> None:
    """The caller changes what was asked, or the machine gives what it lacked: never both."""
    assert issubclass(kind, CallerError) != issubclass(kind, DependencyError)
