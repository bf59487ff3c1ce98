"""The service gives the fleet's answers, refuses what is malformed, and stops without dropping a request."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner
from pyarrow import flight

import kvmfw
from kvmfw.cli import main
from tests.serve.hostile import answers_to_hostile
from tests.serve.running import Running, running

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def service() -> Iterator[Running]:
    with running(EXAMPLES) as one:
        yield one


@pytest.fixture(scope="module")
def fleet() -> kvmfw.Fleet:
    return kvmfw.Fleet.load(EXAMPLES)


@pytest.mark.parametrize("unknown", ["refuse", "accept"])
def test_candidates_are_those_of_the_fleet(service: Running, fleet: kvmfw.Fleet, unknown: Any) -> None:
    classes = {one["number"]: one["hosts"] for one in service.get("/v1/host-classes")[1]}
    vms = list(fleet.vm_names)
    wanted = {
        vm: [fleet.host_names[row] for row in fleet.candidates(vm, unknown=unknown, change="accept")]
        for vm in vms
    }
    batch = {"vms": vms, "unknown": unknown, "change": "accept"}
    status, found = service.post("/v1/candidates/batch", batch | {"shape": "names"})
    assert status == 200
    assert {one["vm"]: sorted(one["hosts"]) for one in found["vms"]} == {
        vm: sorted(names) for vm, names in wanted.items()
    }
    status, found = service.post("/v1/candidates/batch", batch)
    for one in found["vms"]:
        assert "hosts" not in one
        expanded = sorted(host for number in one["classes"] for host in classes[number])
        assert expanded == sorted(wanted[one["vm"]])
    status, one = service.get("/v1/candidates", vm=vms[0], unknown=unknown, change="accept", shape="names")
    assert (status, sorted(one["hosts"])) == (200, sorted(wanted[vms[0]]))


def test_why_not_is_told_factor_by_factor(service: Running, fleet: kvmfw.Fleet) -> None:
    vm, host = fleet.vm_names[0], fleet.host_names[-1]
    status, found = service.get("/v1/restore-compat", vm=vm, target_node=host)
    assert status == 200
    assert found["outcome"] == fleet.explain(vm, host).outcome.name
    findings = fleet.explain_units(vm, host).findings
    assert [one["name"] for one in found["factors"]] == [one.name for one in findings]
    for factor in found["factors"]:
        assert {"name", "match", "required", "saved", "host"} <= factor.keys()
        assert factor["match"] is (factor["outcome"] == "ACCEPT")


def test_it_tells_of_itself(service: Running, fleet: kvmfw.Fleet) -> None:
    assert service.get("/healthz") == (200, b"ok\n")
    assert service.get("/readyz") == (200, b"ok\n")
    status, found = service.get("/v1/fleet")
    assert (status, found["vms"], found["hosts"], found["problem"]) == (200, *fleet.shape, None)
    status, text = service.get("/metrics")
    assert b'kvmfw_requests_total{route="/v1/fleet"}' in text
    assert b"kvmfw_fleet_stale 0.0" in text
    assert fleet.vm_names[0].encode() not in text
    status, schema = service.get("/schema/openapi.json")
    assert "/v1/candidates/batch" in schema["paths"]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"vm": "nobody", "unknown": "refuse", "change": "accept"}, 404),
        ({"vm": "n1-510-a.gic3.fresh"}, 400),
        ({"vm": "n1-510-a.gic3.fresh", "unknown": "refuse"}, 400),
        ({"vm": "n1-510-a.gic3.fresh", "unknown": "maybe", "change": "accept"}, 400),
        ({"unknown": "refuse", "change": "accept"}, 400),
        ({"vm": "x" * 2000, "unknown": "refuse", "change": "accept"}, 400),
    ],
)
def test_a_question_that_is_none_gets_a_problem(service: Running, query: dict[str, str], status: int) -> None:
    found, body = service.get("/v1/candidates", **query)
    assert (found, body["status_code"]) == (status, status)
    assert body["detail"]


def test_what_is_malformed_or_too_long_is_refused(service: Running) -> None:
    assert sum(answers_to_hostile(service, 300).values()) == 300
    assert service.get("/healthz")[0] == 200


def test_flight_gives_the_same(service: Running, fleet: kvmfw.Fleet) -> None:
    client = flight.connect(f"grpc://127.0.0.1:{service.flight}")
    rng = np.random.default_rng(0)
    vms, hosts = (rng.integers(0, count, 10_000, dtype=np.uint32) for count in fleet.shape)
    schema = pa.schema([("vm", pa.uint32()), ("host", pa.uint32())])
    writer, reader = client.do_exchange(flight.FlightDescriptor.for_command(b"pairs"))
    writer.begin(schema)
    with writer:
        for start in range(0, 10_000, 3_000):
            part = slice(start, start + 3_000)
            writer.write_batch(pa.record_batch([pa.array(vms[part]), pa.array(hosts[part])], schema=schema))
        writer.done_writing()
        found = reader.read_all()["outcome"].to_numpy()
    np.testing.assert_array_equal(found, fleet.validate_pairs(vms, hosts))
    asked = list(fleet.vm_names)[:20]
    ticket = flight.Ticket(json.dumps({"vms": asked, "unknown": "refuse", "change": "accept"}).encode())
    rows = client.do_get(ticket).read_all().to_pylist()
    wanted = {
        (vm, fleet.host_names[row])
        for vm in asked
        for row in fleet.candidates(vm, unknown="refuse", change="accept")
    }
    assert {(row["vm"], row["host"]) for row in rows} == wanted
    for wrong in (b"{", b'{"vms": ["nobody"], "unknown": "refuse", "change": "accept"}'):
        with pytest.raises(flight.FlightServerError):
            client.do_get(flight.Ticket(wrong)).read_all()


def test_a_token_is_asked_for_and_never_told(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("s3cret-of-the-test\n")
    with running(EXAMPLES, "--token-file", secret) as one:
        query = {"vm": "n1-510-a.gic3.fresh", "unknown": "refuse", "change": "accept"}
        assert one.get("/v1/candidates", **query)[0] == 401
        assert one.get("/metrics")[0] == 401
        assert one.get("/healthz")[0] == 200
        one.headers = {"Authorization": "Bearer wrong"}
        assert one.get("/v1/candidates", **query)[0] == 401
        one.headers = {"Authorization": "Bearer s3cret-of-the-test"}
        assert one.get("/v1/candidates", **query)[0] == 200
        one.call("POST", "/v1/candidates/batch", b"{")
        ticket = flight.Ticket(
            json.dumps({"vms": [query["vm"]], "unknown": "refuse", "change": "accept"}).encode()
        )
        client = flight.connect(f"grpc://127.0.0.1:{one.flight}")
        with pytest.raises(flight.FlightUnauthenticatedError):
            client.do_get(ticket).read_all()
        options = flight.FlightCallOptions(headers=[(b"authorization", b"Bearer s3cret-of-the-test")])
        assert client.do_get(ticket, options).read_all().num_rows > 0
        assert "s3cret" not in one.stop()


def test_only_loopback_is_listened_at_without_a_token() -> None:
    result = CliRunner().invoke(main, ["serve", str(EXAMPLES), "--host", "0.0.0.0"])
    assert result.exit_code == 1
    assert "`0.0.0.0` can be reached from elsewhere" in result.stderr


def test_a_folder_that_changes_is_read_anew_and_a_broken_one_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "fleet"
    shutil.copytree(EXAMPLES, folder)
    with running(folder, "--every", "0.05") as one:
        assert one.get("/v1/fleet")[1]["loads"] == 1
        lines = (folder / "vms.jsonl").read_text().splitlines()
        (folder / "vms.jsonl").write_text("\n".join(lines[:9]) + "\n")
        wait_for(lambda: one.get("/v1/fleet")[1]["vms"] == 9)
        (folder / "vms.jsonl").write_text("{\n")
        wait_for(lambda: one.get("/readyz")[0] == 503)
        assert one.get("/v1/fleet")[1]["vms"] == 9
        (folder / "vms.jsonl").write_text("\n".join(lines) + "\n")
        wait_for(lambda: one.get("/readyz")[0] == 200)
        assert one.get("/v1/fleet")[1]["vms"] == len(lines)


def wait_for(is_so: Any) -> None:
    until = time.monotonic() + 40
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.1)


def test_what_is_asked_before_the_end_is_answered(fleet: kvmfw.Fleet) -> None:
    """SIGTERM comes while a request is half sent: it is answered, nobody else is let in, and the service ends."""
    body = json.dumps(
        {"vms": list(fleet.vm_names), "unknown": "refuse", "change": "accept", "shape": "names"}
    ).encode()
    head = f"POST /v1/candidates/batch HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
    with running(EXAMPLES) as one:
        wait_for(lambda: one.get("/healthz")[0] == 200)
        with socket.create_connection(("127.0.0.1", one.port), timeout=30) as asking:
            asking.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode() + body[:100])
            time.sleep(0.5)
            one.process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            assert one.process.poll() is None
            asking.sendall(body[100:])
            answer = b""
            while part := asking.recv(1 << 16):
                answer += part
        assert answer.startswith(b"HTTP/1.1 200")
        assert len(json.loads(answer.partition(b"\r\n\r\n")[2])["vms"]) == fleet.shape[0]
        assert one.process.wait(30) in (0, -signal.SIGTERM)
