"""Each route and each call of Flight, asked in this process: what the fleet itself says."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import flight

import kvmfw
from kvmfw.serve.app import make_app
from kvmfw.serve.flight import FlightService
from kvmfw.serve.state import Service

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def service() -> Service:
    return Service.of(EXAMPLES, vmm="kvm", every=3600)


@pytest.fixture(scope="module")
def fleet() -> kvmfw.Fleet:
    return kvmfw.Fleet.load(EXAMPLES)


def ask(service: Service, path: str, *, query: str = "", body: object = None) -> tuple[int, Any]:
    """One request over ASGI, as a server gives it."""
    sent: list[dict[str, Any]] = []
    text = b"" if body is None else json.dumps(body).encode()
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http", "root_path": "",
        "method": "GET" if body is None else "POST", "path": path, "raw_path": path.encode(),
        "query_string": query.encode(), "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2), "state": {},
        "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(text)).encode())],
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": text, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(make_app(service)(scope, receive, send))  # type: ignore[arg-type]
    said = b"".join(one.get("body", b"") for one in sent[1:])
    is_json = any(
        value.startswith(b"application/json") for name, value in sent[0]["headers"] if name == b"content-type"
    )
    return sent[0]["status"], json.loads(said) if is_json else said.decode()


def test_the_fleet_tells_of_itself(service: Service, fleet: kvmfw.Fleet) -> None:
    status, found = ask(service, "/v1/fleet")
    assert (status, found["vms"], found["hosts"], found["loads"], found["problem"]) == (
        200,
        *fleet.shape,
        1,
        None,
    )
    status, classes = ask(service, "/v1/host-classes")
    assert status == 200
    assert sorted(name for one in classes for name in one["hosts"]) == sorted(fleet.host_names)
    assert ask(service, "/healthz") == (200, "ok\n")
    assert ask(service, "/readyz") == (200, "ok\n")
    status, text = ask(service, "/metrics")
    assert (status, "kvmfw_" in text) == (200, True)


def test_candidates_of_many_are_those_of_each(service: Service, fleet: kvmfw.Fleet) -> None:
    vms = list(fleet.vm_names)[:5]
    body = {"vms": vms, "unknown": "refuse", "change": "accept", "shape": "names"}
    status, found = ask(service, "/v1/candidates/batch", body=body)
    assert status == 200
    for at, vm in enumerate(vms):
        outcomes = fleet.snapshot().class_row(vm)[fleet.snapshot().host_classes]
        wanted = [name for name, said in zip(fleet.host_names, outcomes.tolist(), strict=True) if said < 2]
        assert sorted(found["vms"][at]["hosts"]) == sorted(wanted)


def test_a_planner_is_told_who_passes_and_why_not(service: Service, fleet: kvmfw.Fleet) -> None:
    vm, hosts = str(fleet.vm_names[0]), list(fleet.host_names)
    for host in hosts[:4]:
        status, found = ask(service, "/v1/restore-compat", query=f"vm={vm}&target_node={host}")
        outcome = fleet.validate_pairs([0], [hosts.index(host)])[0]
        assert (status, found["outcome"]) == (200, kvmfw.Outcome(outcome).name)
    status, found = ask(service, "/v1/restore-compat", query="vm=nobody&target_node=nowhere")
    assert (status, found["status_code"]) == (404, 404)
    pod = {"metadata": {"name": "p", "namespace": "n", "annotations": {}, "labels": {}}}
    status, found = ask(service, "/kubernetes/filter", body={"Pod": pod, "NodeNames": hosts})
    assert (status, found["NodeNames"]) == (200, hosts), "who is no migration passes"
    status, found = ask(service, "/kubernetes/prioritize", body={"Pod": pod, "NodeNames": hosts})
    assert (status, len(found)) == (200, len(hosts))
    status, found = ask(service, "/kubernetes/filter", body={"Pod": 7})
    assert (status, found["status_code"]) == (400, 400)


def test_a_folder_that_cannot_be_read_is_not_ready(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.watched, "problem", "gone")
    status, found = ask(service, "/readyz")
    assert (status, found["detail"]) == (503, "the fleet folder cannot be read; an older fleet answers")
    assert ask(service, "/healthz") == (200, "ok\n")


class Written(list[pa.RecordBatch]):
    """Keeps what is written to it."""

    def begin(self, schema: pa.Schema) -> None:
        assert schema.names == ["outcome"]

    def write_batch(self, batch: pa.RecordBatch) -> None:
        self.append(batch)


def test_flight_judges_batch_by_batch_and_gives_candidates(service: Service, fleet: kvmfw.Fleet) -> None:
    bulk = FlightService(service, "grpc://127.0.0.1:0")
    try:
        pairs = [pa.record_batch([pa.array([0, 1]), pa.array([2, 0])], ["vm", "host"]), None]
        written = Written()
        bulk.do_exchange(None, None, [SimpleNamespace(data=one) for one in pairs], written)
        (one,) = written
        assert one.column(0).to_pylist() == fleet.validate_pairs([0, 1], [2, 0]).tolist()
        for wrong, words in (
            (pa.record_batch([pa.array([0])], ["vm"]), "expected two columns"),
            (pa.record_batch([pa.array([1 << 30]), pa.array([0])], ["vm", "host"]), "1073741824"),
        ):
            with pytest.raises(flight.FlightServerError, match=words):
                bulk.do_exchange(None, None, [SimpleNamespace(data=wrong)], Written())
        vms = list(fleet.vm_names)[:3]
        asked = json.dumps({"vms": vms, "unknown": "refuse", "change": "accept"}).encode()
        assert bulk.do_get(None, flight.Ticket(asked)) is not None
        for ticket in (b"{", b'{"vms": ["nobody"], "unknown": "refuse", "change": "accept"}', b"[" * 5000):
            with pytest.raises(flight.FlightServerError):
                bulk.do_get(None, flight.Ticket(ticket))
    finally:
        bulk.shutdown()
