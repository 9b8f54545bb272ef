"""A conversation's past for a reader: rows of the store, then the fold of its log, joined without a seam.

`place` and `snapshot` are pure; `past` reads through the ports.
"""
