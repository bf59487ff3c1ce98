"""The routes over HTTP/JSON."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Litestar, MediaType, Request, Response, get, post
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.exceptions import HTTPException, NotAuthorizedException, ServiceUnavailableException
from litestar.handlers import BaseRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Components, SecurityScheme
from litestar.params import FromQuery, JSONBody, QueryParameter

import kvmfw
from kvmfw.errors import InputError, MissingError
from kvmfw.planners.extender import filtered, prioritized
from kvmfw.planners.factors import Compatibility, why_not
from kvmfw.serve.documents import (
    Batch,
    Candidates,
    CandidatesOf,
    FleetDocument,
    HostClass,
    Problem,
    Shape,
    Word,
)
from kvmfw.serve.extender_schema import ExtenderOperation
from kvmfw.serve.metrics import Metrics
from kvmfw.serve.often import CANDIDATES, LONGEST_NAME, Often
from kvmfw.serve.state import Service, taking

__all__ = ["BODY_LIMIT", "make_app"]

BODY_LIMIT = 4 << 20
"""The longest request, in bytes: a question of the scheduler about 10,000 nodes by name has 128 kB."""

_Name = Annotated[str, QueryParameter(min_length=1, max_length=LONGEST_NAME)]
_PROBLEMS = {
    400: ResponseSpec(Problem, description="The question is malformed."),
    401: ResponseSpec(Problem, description="The token is missing or wrong."),
    404: ResponseSpec(Problem, description="There is no such VM or host."),
    413: ResponseSpec(Problem, description="The question is too long."),
}


def _service(state: State) -> Service:
    service: Service = state.service
    return service


@get("/v1/fleet", responses=_PROBLEMS, sync_to_thread=False)
def fleet(state: State) -> FleetDocument:
    """Tell which fleet answers."""
    service = _service(state)
    now, load = service.watched.loaded()
    return FleetDocument(
        now.generation,
        load,
        now.vmm,
        *now.shape,
        *now.used_classes,
        service.watched.problem,
    )


@get("/v1/host-classes", responses=_PROBLEMS, sync_to_thread=False)
def host_classes(state: State) -> list[HostClass]:
    """Give the hosts of each host class; their numbers hold for one load of the fleet."""
    now = _service(state).snapshot()
    members: dict[int, list[str]] = {}
    for number, name in zip(now.host_classes.tolist(), now.host_names, strict=True):
        members.setdefault(number, []).append(name)
    return [HostClass(number, names) for number, names in sorted(members.items())]


@get(CANDIDATES, responses=_PROBLEMS, sync_to_thread=False)
def candidates(
    state: State,
    vm: _Name,
    unknown: FromQuery[Word],
    change: FromQuery[Word],
    shape: FromQuery[Shape] = "classes",
) -> Candidates:
    """Give the hosts that take a VM: host classes by number, or hosts by name."""
    return taking(_service(state).names(unknown, change), vm, shape)


@post("/v1/candidates/batch", responses=_PROBLEMS, status_code=200, sync_to_thread=False)
def candidates_of(state: State, data: JSONBody[Batch]) -> CandidatesOf:
    """Give the hosts that take each of up to 1,000 VMs."""
    now = _service(state).names(data.unknown, data.change)
    return CandidatesOf(now[1], [taking(now, vm, data.shape) for vm in data.vms])


@get("/v1/restore-compat", responses=_PROBLEMS, sync_to_thread=False)
def restore_compat(state: State, vm: _Name, target_node: _Name) -> Compatibility:
    """Tell whether a node takes a snapshot, and why not, factor by factor."""
    return why_not(_service(state).snapshot(), vm, target_node)


@post(
    "/kubernetes/filter",
    operation_class=ExtenderOperation,
    responses=_PROBLEMS,
    status_code=200,
    sync_to_thread=False,
)
def kubernetes_filter(state: State, data: JSONBody[dict[str, Any]]) -> dict[str, Any]:
    """Answer the scheduler's Filter; UNKNOWN is refused."""
    return filtered(_service(state).names("refuse", "accept")[0], data)


@post(
    "/kubernetes/prioritize",
    operation_class=ExtenderOperation,
    responses=_PROBLEMS,
    status_code=200,
    sync_to_thread=False,
)
def kubernetes_prioritize(state: State, data: JSONBody[dict[str, Any]]) -> list[dict[str, Any]]:
    """Answer the scheduler's Prioritize."""
    return prioritized(_service(state).names("refuse", "accept")[0], data)


@get("/healthz", media_type=MediaType.TEXT, opt={"open": True}, sync_to_thread=False)
def healthz() -> str:
    """Tell that the service lives."""
    return "ok\n"


@get(
    "/readyz",
    media_type=MediaType.TEXT,
    opt={"open": True},
    responses={
        503: ResponseSpec(Problem, description="The folder cannot be read; the fleet is an older one.")
    },
    sync_to_thread=False,
)
def readyz(state: State) -> str:
    """Tell that the fleet is the one of the folder."""
    service = _service(state)
    service.snapshot()
    if service.watched.problem is not None:
        raise ServiceUnavailableException("the fleet folder cannot be read; an older fleet answers")
    return "ok\n"


@get("/metrics", media_type=MediaType.TEXT, responses={401: _PROBLEMS[401]}, sync_to_thread=False)
def metrics(state: State) -> Response[bytes]:
    """Give the metrics, as Prometheus reads them."""
    found: Metrics = state.metrics
    return Response(found.text(_service(state)), media_type="text/plain; version=0.0.4; charset=utf-8")


async def _guard(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    if handler.opt.get("open"):
        return
    if not _service(connection.app.state).allows(connection.headers.get("authorization")):
        raise NotAuthorizedException("a token is asked for")


def _missing(_: Request[Any, Any, Any], error: MissingError) -> Response[Problem]:
    return _said(404, str(error))


def _wrong(_: Request[Any, Any, Any], error: InputError) -> Response[Problem]:
    return _said(400, str(error))


def _deep(_: Request[Any, Any, Any], __: RecursionError) -> Response[Problem]:
    return _said(400, "the document is nested too deeply")


def _http(_: Request[Any, Any, Any], error: HTTPException) -> Response[Problem]:
    return _said(error.status_code, error.detail, error.headers)


def _said(status: int, detail: str, headers: dict[str, str] | None = None) -> Response[Problem]:
    return Response(Problem(status, detail), status_code=status, media_type=MediaType.JSON, headers=headers)


def make_app(service: Service) -> Often:
    """Make the application of a service."""
    found = Metrics()
    return Often(_framework(service, found), service, found)


def _framework(service: Service, found: Metrics) -> Litestar:
    security: list[dict[str, list[str]]] = [{"token": []}] if service.token is not None else []
    return Litestar(
        route_handlers=[
            fleet,
            host_classes,
            candidates,
            candidates_of,
            restore_compat,
            kubernetes_filter,
            kubernetes_prioritize,
            healthz,
            readyz,
            metrics,
        ],
        guards=[_guard],
        before_request=found.begin,
        after_response=found.end,
        exception_handlers={
            MissingError: _missing,
            InputError: _wrong,
            RecursionError: _deep,
            HTTPException: _http,
        },
        request_max_body_size=BODY_LIMIT,
        state=State({"service": service, "metrics": found}),
        openapi_config=OpenAPIConfig(
            title="kvmfw",
            version=kvmfw.__version__,
            description="Which hosts take a VM's saved registers, and why not.",
            path="/schema",
            security=security,
            components=Components(security_schemes={"token": SecurityScheme(type="http", scheme="bearer")}),
        ),
        logging_config=None,
        debug=False,
    )
