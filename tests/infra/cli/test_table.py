"""Rows under a heading."""

from infra.cli.table import render


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    """No blanks at line ends, whatever is in the last column."""
    assert render(("A", "LONG"), [("abc", "x"), ("d", "")]) == "A    LONG\nabc  x\nd\n"
