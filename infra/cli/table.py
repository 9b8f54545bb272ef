"""Rows of text under a heading, for a person's eyes."""

from collections.abc import Sequence


def render(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return the table, columns as wide as their widest cell, no blanks at line ends."""
    lines = [heading, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(heading))]
    return "".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() + "\n" for line in lines)
