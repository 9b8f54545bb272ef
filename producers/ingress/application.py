"""The public port: routes, and what every answer has in common."""

import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

from aiohttp import web

from infra.runtime.clock import Clock
from infra.runtime.logs import bound
from infra.runtime.metrics import Metrics
from infra.runtime.service import Readiness
from producers.ingress import callers, errors
from producers.ingress.callers import BROKEN, ID, TRACEPARENT
from schemas.errors import ErrorCode, ParleyError, UnknownUrl

_TRACE_BYTES: Final = 24
_NOT_ALLOWED: Final = 405
_UNAVAILABLE: Final = 503

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

log = logging.getLogger(__name__)


def application(
    routes: Iterable[web.RouteDef],
    readiness: Callable[[], Readiness],
    clock: Clock,
    metrics: Metrics,
    *,
    is_draining: Callable[[], bool] = lambda: False,
) -> web.Application:
    """The application of the public port.

    Args:
        routes: of all resources.
        readiness: what /readyz tells.
        is_draining: True once clients are to go elsewhere: answers then end their connections.
    """

    async def healthz(_request: web.Request) -> web.Response:
        return errors.json_answer({"status": "ok", "role": "gateway"})

    async def readyz(_request: web.Request) -> web.Response:
        now = readiness()
        status = "unavailable" if not now.ok else "degraded" if now.degraded else "ok"
        body = {"status": status, "role": "gateway", "degraded": list(now.degraded)}
        return errors.json_answer(body, 200 if now.ok else _UNAVAILABLE)

    app = web.Application(middlewares=[_answering(clock, metrics)])
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_routes(routes)
    app.on_response_prepare.append(_heading(is_draining))
    return app


def _answering(clock: Clock, metrics: Metrics) -> Any:
    requests = metrics.counter("parley_http_requests_total")
    seconds = metrics.histogram("parley_http_seconds")
    streams = metrics.gauge("parley_http_open")

    @web.middleware
    async def answering(request: web.Request, handler: Handler) -> web.StreamResponse:
        entropy = clock.entropy(_TRACE_BYTES)
        request[ID] = callers.request_id(request, entropy)
        request[TRACEPARENT] = trace = callers.traceparent(request, entropy)
        started = time.monotonic()
        route = _route(request)
        status = "gone"
        with bound(trace_id=trace[3:35]), streams.track_inprogress():
            try:
                response = await _answered(request, handler)
                status = str(response.status)
                return response
            finally:
                requests.labels(route, request.method, status).inc()
                seconds.labels(route).observe(time.monotonic() - started)

    return answering


async def _answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except ParleyError as error:
        if error.row.status >= _UNAVAILABLE:
            log.warning("%s %s: %s", request.method, _route(request), error)
        return errors.answer(error, request)
    except web.HTTPMethodNotAllowed as error:
        refused = UnknownUrl(f"{request.method} is not served at {request.path[:100]}")
        response = errors.answer(refused, request, status=_NOT_ALLOWED)
        response.headers["Allow"] = ", ".join(sorted(error.allowed_methods))
        return response
    except web.HTTPNotFound:
        return errors.answer(UnknownUrl(f"there is nothing at {request.path[:100]}"), request)
    except web.HTTPException as error:
        kind = errors.body(error.reason, "invalid_request_error", ErrorCode.INVALID_REQUEST)
        return errors.json_answer(kind, error.status)
    except ConnectionError:
        raise
    except Exception:
        # The server would answer in its own form otherwise; the line names the error and its trace.
        log.exception("%s %s has failed", request.method, _route(request))
        return errors.internal(request)


def _heading(is_draining: Callable[[], bool]) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """What stands in the head of every answer; while draining, that the connection ends with it."""

    async def head(request: web.Request, response: web.StreamResponse) -> None:
        if ID in request:
            response.headers["x-request-id"] = request[ID]
        if is_draining() or request.get(BROKEN, False):
            response.force_close()
            # aiohttp has written its own headers by now; a client must not send its next request here.
            response.headers["Connection"] = "close"

    return head


def _route(request: web.Request) -> str:
    """The route's pattern: a label must not hold anybody's id."""
    resource: Any = request.match_info.route.resource
    return "unknown" if resource is None else str(resource.canonical)
