"""Which pages may open a socket: a browser names the page's origin, other clients name none. Pure.

A socket is no part of a cookie session, so a foreign page gains nothing without a ticket; the check keeps pages that
stole one from using it in their visitors' browsers.
"""

from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

ANY: Final = "*"
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


def is_allowed(origin: str | None, host: str | None, allowed: Sequence[str]) -> bool:
    """True for no origin, one that is listed, and one on the host that the request names, whatever its port.

    Args:
        origin: the Origin header. host: the Host header.
        allowed: origins as browsers spell them; ANY allows all.
    """
    if origin is None or ANY in allowed or origin in allowed:
        return True
    page, ours = _host(origin), _host(f"//{host}") if host else None
    if page is None or ours is None:
        return False
    return page == ours or (page in _LOOPBACK and ours in _LOOPBACK)


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
