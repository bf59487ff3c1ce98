"""Traits of accept sets in the real placement service: its own WSGI application with SQLite."""

from __future__ import annotations

import json
import os
import sqlite3
import statistics
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webob
from benches.fleets import Shape, Synthetic

import kvmfw
from kvmfw.planners.accept_sets import AcceptSets, accept_sets
from kvmfw.planners.generations import Difference, Generation, generation_of
from kvmfw.planners.openstack import trait
from kvmfw.questions import Treat

EXAMPLES = Path(__file__).parents[2] / "examples"
TREATS: tuple[Treat, ...] = ("refuse", "accept")
HEADERS = {"x-auth-token": "admin", "openstack-api-version": "placement 1.39", "accept": "application/json"}


@dataclass
class Placement:
    """The service, and what it is asked."""

    application: Any
    database: Path

    def call(self, method: str, path: str, body: object = None) -> Any:
        request = webob.Request.blank(path, method=method, headers=HEADERS)
        if body is not None:
            request.body, request.content_type = json.dumps(body).encode(), "application/json"
        response = request.get_response(self.application)
        assert response.status_int < 300, (method, path, response.text)
        return json.loads(response.text) if response.text else None

    def provider(self, name: str) -> str:
        made = str(uuid.uuid5(uuid.NAMESPACE_DNS, name))
        self.call("POST", "/resource_providers", {"uuid": made, "name": name})
        inventory = {"VCPU": {"total": 1000}}
        body = {"resource_provider_generation": 0, "inventories": inventory}
        self.call("PUT", f"/resource_providers/{made}/inventories", body)
        return made

    def told(self, difference: Difference, unknown: Treat) -> None:
        """Do what `emit` prints."""
        for name in difference.create:
            self.call("PUT", f"/traits/{trait(name, unknown)}")
        for host in {*difference.add, *difference.remove}:
            place = f"/resource_providers/{uuid.uuid5(uuid.NAMESPACE_DNS, host)}/traits"
            now = self.call("GET", place)
            lost = {trait(name, unknown) for name in difference.remove.get(host, [])}
            more = {trait(name, unknown) for name in difference.add.get(host, [])}
            body = {**now, "traits": sorted(set(now["traits"]) - lost | more)}
            self.call("PUT", place, body)
        for name in difference.delete:
            self.call("DELETE", f"/traits/{trait(name, unknown)}")

    def candidates(self, asked: str | None, limit: int = 100_000) -> set[str]:
        required = f"&required={asked}" if asked else ""
        path = f"/allocation_candidates?resources=VCPU:1&limit={limit}{required}"
        return set(self.call("GET", path)["provider_summaries"])


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Placement:
    folder = tmp_path_factory.mktemp("placement")
    database = folder / "placement.db"
    (folder / "placement.conf").write_text(
        "[api]\nauth_strategy = noauth2\n"
        f"[placement_database]\nconnection = sqlite:///{database}\nsync_on_startup = True\n"
        "[placement]\nmax_allocation_candidates = -1\nrandomize_allocation_candidates = False\n"
    )
    os.environ["OS_PLACEMENT_CONFIG_DIR"] = str(folder)
    from placement import wsgi

    return Placement(wsgi.init_application(), database)


def uncertain(path: Path, number: int) -> kvmfw.Host:
    """Take answers and release from a third of the hosts, and all vCPU configurations but one from another third."""
    document = json.loads(path.read_text())
    if number % 3 < 2:
        document |= {"answers": [], "writable_masks": [], "absent": []}
    if number % 3 == 0:
        document["host"]["kernel"] = "of somebody"
    elif number % 3 == 1:
        document["vcpus"] = document["vcpus"][:1]
    return kvmfw.Host.from_json(json.dumps(document))


def fleets() -> list[kvmfw.Fleet]:
    examples = kvmfw.Fleet.load(EXAMPLES)
    paths = sorted((EXAMPLES / "captures").glob("*.json"))
    hosts = [uncertain(path, number).renamed(f"u{number}") for number, path in enumerate(paths)]
    return [examples, kvmfw.Fleet(EXAMPLES / "vms.jsonl", hosts)]


@pytest.mark.parametrize("unknown", TREATS)
def test_placement_gives_the_candidates_of_every_vm(service: Placement, unknown: Treat) -> None:
    queries, unknowns = 0, 0
    for fleet in fleets():
        last = Generation(vmm="kvm", scheme="kvm", unknown=unknown)
        providers = {}
        for name in fleet.host_names:
            try:
                providers[name] = service.provider(name)
            except AssertionError:  # it is there since the other meaning of UNKNOWN was asked
                providers[name] = str(uuid.uuid5(uuid.NAMESPACE_DNS, name))
        # Told in two generations: of all but one host, then of all.
        most = np.arange(fleet.shape[1] - 1)
        for sets in (
            accept_sets(fleet, unknown=unknown, change="accept", host_rows=most),
            accept_sets(fleet, unknown=unknown, change="accept"),
        ):
            generation = generation_of(sets)
            service.told(Difference.between(last, generation), unknown)
            last = generation
        for number in np.unique(fleet.vm_classes).tolist():
            row = int(np.flatnonzero(fleet.vm_classes == number)[0])
            takers = {
                providers[fleet.host_names[at]]
                for at in fleet.candidates(row, unknown=unknown, change="accept")
            }
            found = service.candidates(trait(sets.name_of(row), unknown)) & set(providers.values())
            assert found == takers
            queries += 1
        unknowns += int(fleet.counts("vm")[:, 2].sum())
        service.told(Difference.between(last, Generation(vmm="kvm", scheme="kvm", unknown=unknown)), unknown)
    assert unknowns > 0
    print(f"{queries} queries with unknown={unknown}: 0 mismatches")


def fill(service: Placement, fleet: kvmfw.Fleet, sets: AcceptSets) -> dict[str, int]:
    """Put 10,000 providers with their traits into the database: one by one the API takes minutes."""
    names = [f"h{row}" for row in range(fleet.shape[1])]
    for name in sets.names:
        service.call("PUT", f"/traits/{trait(name, sets.unknown)}")
    base = sqlite3.connect(service.database)
    traits = dict(base.execute("SELECT name, id FROM traits").fetchall())
    first = 1 + (base.execute("SELECT max(id) FROM resource_providers").fetchone()[0] or 0)
    ids = [str(uuid.uuid5(uuid.NAMESPACE_DNS, f"large {name}")) for name in names]
    base.executemany(
        "INSERT INTO resource_providers (id, uuid, name, generation, root_provider_id) VALUES (?, ?, ?, 1, ?)",
        [(first + row, ids[row], name, first + row) for row, name in enumerate(names)],
    )
    vcpu = base.execute("SELECT id FROM resource_classes WHERE name = 'VCPU'").fetchone()[0]
    base.executemany(
        "INSERT INTO inventories (resource_provider_id, resource_class_id, total, reserved, min_unit, max_unit,"
        " step_size, allocation_ratio) VALUES (?, ?, 64, 0, 1, 64, 1, 4.0)",
        [(first + row, vcpu) for row in range(len(names))],
    )
    classes = fleet.host_classes
    base.executemany(
        "INSERT INTO resource_provider_traits (trait_id, resource_provider_id) VALUES (?, ?)",
        [
            (traits[trait(name, sets.unknown)], first + row)
            for place, name in enumerate(sets.names)
            for row in np.flatnonzero(sets.takers[place][classes]).tolist()
        ],
    )
    base.commit()
    return {name: row for row, name in enumerate(ids)}


def test_ten_thousand_providers(service: Placement) -> None:
    fleet = Synthetic.make(Shape("placement", 20_000, 10_000, 500, 60)).fleet()
    sets = accept_sets(fleet, unknown="refuse", change="accept")
    row_of = fill(service, fleet, sets)
    for row in range(0, fleet.shape[0], 977):
        found = {row_of[one] for one in service.candidates(trait(sets.name_of(row), "refuse"))}
        assert found == set(fleet.candidates(row, unknown="refuse", change="accept").tolist())

    def cost(asked: list[str | None]) -> float:
        taken = []
        for one in asked:
            started = time.process_time()
            service.candidates(one, limit=1000)
            taken.append(time.process_time() - started)
        return statistics.median(taken)

    rows = range(0, fleet.shape[0], 977)
    with_trait = cost([trait(sets.name_of(row), "refuse") for row in rows])
    without = cost([None] * 5)
    print(f"10,000 providers: {with_trait:.3f} s of CPU with a trait, {without:.3f} s without")
    assert with_trait < without
