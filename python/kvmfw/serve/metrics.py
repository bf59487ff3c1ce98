"""How often what was asked, how long it took, and how old the fleet is; as Prometheus reads it."""

from __future__ import annotations

import time
from typing import Any

from litestar import Request
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from kvmfw.serve.state import Service

__all__ = ["Metrics"]

_STARTED = "kvmfw_started"
_SECONDS = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 1.0)


class Metrics:
    """The metrics of one service. Routes are labels, names of VMs are not."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter("kvmfw_requests", "Requests.", ["route"], registry=self._registry)
        self._seconds = Histogram(
            "kvmfw_request_seconds", "How long answers took.", buckets=_SECONDS, registry=self._registry
        )
        self._fleet = {
            name: Gauge(f"kvmfw_fleet_{name}", f"The fleet's {name}.", registry=self._registry)
            for name in ("vms", "hosts", "loads", "stale")
        }

    async def begin(self, request: Request[Any, Any, Any]) -> None:
        """Take note of a request."""
        request.scope["state"][_STARTED] = time.perf_counter()

    async def end(self, request: Request[Any, Any, Any]) -> None:
        """Take note of an answer."""
        started = request.scope["state"].get(_STARTED)
        if started is not None:
            self.note(request.scope["path_template"], time.perf_counter() - started)

    def note(self, route: str, seconds: float) -> None:
        """Count an answer."""
        self._seconds.observe(seconds)
        self._requests.labels(route).inc()

    def text(self, service: Service) -> bytes:
        """Give all of them."""
        now, load = service.watched.loaded()
        vms, hosts = now.shape
        told = {"vms": vms, "hosts": hosts, "loads": load}
        for name, value in (told | {"stale": int(service.watched.problem is not None)}).items():
            self._fleet[name].set(value)
        return generate_latest(self._registry)
