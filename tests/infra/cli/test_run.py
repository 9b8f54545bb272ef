"""One service in the foreground."""

import inspect
from importlib import import_module

import pytest

from infra.cli.run import ROLES


@pytest.mark.parametrize("role", ROLES)
def test_each_role_is_a_coroutine_of_one_source(role: str) -> None:
    """What `parley run ROLE` starts is there, and takes the settings' source."""
    place = ROLES[role]
    function = getattr(import_module(place.module), place.function)
    assert inspect.iscoroutinefunction(function)
    assert list(inspect.signature(function).parameters) == ["source"]
