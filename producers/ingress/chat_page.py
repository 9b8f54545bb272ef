"""`GET /`: the chat page, files of `producers/page/` and nothing else."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from schemas.errors import UnknownUrl

FOLDER: Final = Path(__file__).parent.parent / "page"
_TYPES: Final = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".ts": "text/plain",  # the client's types, for whoever takes the client from here
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}
_TEXTUAL: Final = frozenset({".html", ".js", ".ts", ".css", ".svg", ".webmanifest"})
_INDEX: Final = "index.html"


class ChatPage:
    """Serves the page. Browsers ask again each time and are told when nothing has changed.

    Args:
        stream_url: where this caller finds delivery: the page may speak to it and to its own origin alone.
    """

    def __init__(self, stream_url: Callable[[web.Request], str], folder: Path = FOLDER) -> None:
        self._stream_url = stream_url
        self._folder = folder.resolve()

    @property
    def routes(self) -> Sequence[web.RouteDef]:
        """What is served: the index, and files by name."""
        suffixes = "|".join(suffix.removeprefix(".") for suffix in _TYPES)
        return (web.get("/", self.index), web.get(rf"/{{path:[A-Za-z0-9_/-]+(?:\.d)?\.(?:{suffixes})}}", self.file))

    async def index(self, request: web.Request) -> web.StreamResponse:
        """The page itself."""
        return self._served(request, _INDEX)

    async def file(self, request: web.Request) -> web.StreamResponse:
        """A file that it needs."""
        return self._served(request, request.match_info["path"])

    def _served(self, request: web.Request, name: str) -> web.Response:
        path = (self._folder / name).resolve()
        if not path.is_relative_to(self._folder) or not path.is_file():
            raise UnknownUrl(f"there is nothing at {request.path[:100]}")
        raw = path.read_bytes()
        headers = self._headers(request, raw)
        if request.headers.get("If-None-Match") == headers["ETag"]:
            return web.Response(status=304, headers=headers)
        charset = "utf-8" if path.suffix in _TEXTUAL else None
        return web.Response(body=raw, headers=headers, content_type=_TYPES[path.suffix], charset=charset)

    def _headers(self, request: web.Request, raw: bytes) -> dict[str, str]:
        url = urlsplit(self._stream_url(request))
        stream = f"{url.scheme}://{url.netloc}"
        return {
            "ETag": f'"{hashlib.sha256(raw).hexdigest()[:32]}"',
            "Cache-Control": "no-cache",
            # Nothing from elsewhere, no inline script, in nobody's frame.
            "Content-Security-Policy": (
                "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
                f"manifest-src 'self'; connect-src 'self' {stream}; base-uri 'none'; form-action 'none'; "
                "frame-ancestors 'none'"
            ),
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
        }
