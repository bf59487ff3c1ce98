"""Whole audits with their page, and what an auditor would write instead: SQL in DuckDB, tables compared first.

``python -m benches.audits [small] [large] [hostile]`` prints a row for each fleet; ``sql`` adds the race at `small`. Where VMs
run is left to chance. CPU time stands beside the clock: on a busy machine only it means something.
"""

from __future__ import annotations

import resource
import sys
import time
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

import kvmfw
from benches.fleets import FIRMWARE_UNITS, REGISTERS, SHAPES, Synthetic
from kvmfw.analysis import Report, examine, make_frame
from kvmfw.report.html import html_report

FEW, ZONES = 3, 7
EVEN, HIGH = 0x0F0F0F0F0F0F0F0F, 0x8080808080808080


def columns_of(made: Synthetic) -> dict[str, list[str]]:
    """Give the columns of hosts: a capture for each class, one CPU and kernel, room for a quarter more VMs."""
    kinds = made.host_class.tolist()
    count = len(kinds)
    return {
        "capture": [f"host{kind:05}" for kind in kinds],
        "kernel": ["6.12.8"] * count,
        "cpu": ["same"] * count,
        "capacity": [str(made.shape.vms * 5 // (count * 4))] * count,
        "zone": [f"zone-{row % ZONES}" for row in range(count)],
    }


def homes_of(made: Synthetic) -> npt.NDArray[np.int64]:
    """Give each VM a home by chance."""
    return np.random.default_rng(3).integers(0, made.shape.hosts, made.shape.vms)


def whole(fleet: kvmfw.Fleet, made: Synthetic, columns: dict[str, list[str]]) -> tuple[Report, str]:
    """Audit a fleet, and make its page."""
    frame = make_frame(fleet, homes=homes_of(made), columns=columns)
    report = examine(frame, columns=columns, few=FEW, group_by="zone")
    return report, html_report(report, (), title=made.shape.name)


# --- by hand ---------------------------------------------------------------------------------------


def _refused(unit: int) -> str:
    vm, host = f"v.r{unit}", f"h.r{unit}"
    if unit < 4:
        return f"{vm} > {host}"
    if unit < FIRMWARE_UNITS:
        return f"({vm} & ~{host}) <> 0"
    even = f"(((({host} & {EVEN}) | {HIGH}) - ({vm} & {EVEN})) & {HIGH})"
    odd = f"((((({host} >> 4) & {EVEN}) | {HIGH}) - (({vm} >> 4) & {EVEN})) & {HIGH})"
    return f"({even} & {odd}) <> {HIGH}"


class ByHand:
    """The tables of an audit by SQL; captures are judged once for each distinct register set, as one would."""

    def __init__(self, made: Synthetic) -> None:
        self.base = duckdb.connect()
        names = [f"r{unit}" for unit in range(len(REGISTERS))]
        vms = dict(zip(names, made.vm_values[made.vm_class].T, strict=True))
        kinds = dict(zip(names, made.host_values.T, strict=True))
        every = np.arange(len(made.vm_class))
        tables = {
            "vm": {"vm": every, "home": homes_of(made), **vms},
            "capture": {"kind": np.arange(len(made.host_values)), **kinds},
            "host": {"host": np.arange(len(made.host_class)), "kind": made.host_class},
        }
        for name, columns in tables.items():
            self.base.register(f"{name}_rows", pa.table(columns))
            self.base.execute(f"create table {name} as select * from {name}_rows")

    def audit(self) -> dict[str, Any]:
        """Make the tables: totals, stranded and few, drain, blockers, what host classes take, the best upgrade."""
        names = ", ".join(f"r{unit}" for unit in range(len(REGISTERS)))
        refused = ", ".join(f"{_refused(unit)} as u{unit}" for unit in range(len(REGISTERS)))
        units = [f"u{unit}" for unit in range(len(REGISTERS))]
        changed = " or ".join(f"v.r{unit} < h.r{unit}" for unit in range(1, 4))
        run = self.base.execute
        run(
            f"create or replace temp table s as select {names}, row_number() over () as s from (select"
            f" distinct {names} from vm)"
        )
        run(f"create or replace temp table v as select vm, home, s from vm join s using ({names})")
        run(
            f"create or replace temp table j as select v.s, h.kind, {refused}, {changed} as changed from s"
            f" v, capture h"
        )
        count = " + ".join(f"{unit}::int" for unit in units)
        run(f"create or replace temp table p as select *, {count} as refusing from j")
        run("create or replace temp table n as select kind, count(*) as hosts from host group by kind")
        # Groups of VMs that share their set and their home's capture, and for each capture its other hosts.
        run(
            "create or replace temp table g as select s, kind as home, count(*) as vms from v join host on"
            " home = host group by s, kind"
        )
        run(
            "create or replace temp table x as select g.s, g.home, g.vms, p.*exclude (s), n.hosts - (p.kind"
            " = g.home)::int as others"
            " from g join p using (s) join n using (kind)"
        )
        totals = run(
            "select case when refusing > 0 then 3 when changed then 1 else 0 end as o, sum(vms *"
            " others)::bigint from x group by o"
        ).fetchall()
        run(
            "create or replace temp table t as select s, home, any_value(vms) as vms, sum(case when"
            " refusing = 0 then others else 0 end) as targets"
            " from x group by s, home"
        )
        listed = run(
            "select v.vm, targets::bigint from v join host on v.home = host join t on t.s = v.s and t.home"
            " = host.kind"
            f" where targets < {FEW} order by v.vm"
        ).fetchall()
        drain = run(
            "select count(*), sum((targets = 0)::int)::bigint from v join host on v.home = host join t on"
            " t.s = v.s and t.home = host.kind"
            " group by v.home order by 1, 2"
        ).fetchall()
        sums = ", ".join(
            f"sum(vms * others * {unit}::int)::bigint, sum(vms * others * ({unit} and refusing = 1)::int)::bigint"
            for unit in units
        )
        blocked = run(f"select {sums} from x").fetchone()
        takes = run(
            "select kind, sum(vms * (refusing = 0)::int)::bigint from x group by kind order by kind"
        ).fetchall()
        upgrade = run(
            "with a as (select old.kind as old, new.kind as new, t.s, t.home, t.vms,"
            " t.targets + (n.hosts - (old.kind = t.home)::int) * ((p.refusing = 0)::int - (q.refusing ="
            " 0)::int) as after"
            " from t join n on true join capture old on old.kind = n.kind join capture new on new.kind <> old.kind"
            " join p on p.s = t.s and p.kind = new.kind join p q on q.s = t.s and q.kind = old.kind)"
            " select sum(case when after = 0 then vms else 0 end)::bigint as stranded from a group by old,"
            " new order by stranded limit 1"
        ).fetchone()
        assert blocked is not None
        assert upgrade is not None
        return {
            "totals": {outcome: int(pairs) for outcome, pairs in totals},
            "listed": listed,
            "drain": drain,
            "blocked": [pair for pair in zip(blocked[::2], blocked[1::2], strict=True) if pair[0]],
            "takes": [count for _, count in takes],
            "upgrade": upgrade[0],
        }


def compare(report: Report, by_hand: dict[str, Any], made: Synthetic) -> None:
    """Check that both give the same tables."""
    tables = report.tables
    totals = {kvmfw.Outcome[row["outcome"]].value: row["pairs"] for row in tables["totals"] if row["pairs"]}
    assert by_hand["totals"] == totals
    row_of = {name: row for row, name in enumerate(report.frame.fleet.vm_names)}
    rows = [*tables["stranded"], *tables["few_targets"]]
    assert by_hand["listed"] == sorted((row_of[row["vm"]], row["targets"]) for row in rows)
    assert by_hand["drain"] == sorted((row["residents"], row["stranded"]) for row in tables["drain"])
    assert sorted(by_hand["blocked"]) == sorted(
        (row["pairs"], row["sole_pairs"]) for row in tables["blockers"]
    )
    takes = {row["class"]: row["takes"] for row in tables["host_classes"]}
    first = [int(np.flatnonzero(made.host_class == kind)[0]) for kind in range(len(made.host_values))]
    assert by_hand["takes"] == [takes[int(report.frame.host_class[row])] for row in first]
    today = len(tables["stranded"])
    best = tables["upgrades"][0]["stranded"] if tables["upgrades"] else today
    assert min(by_hand["upgrade"], today) == best


def main(names: list[str]) -> None:
    """Print a row for each fleet."""
    print("| fleet | classes | CPU time | clock | page | peak | by SQL, CPU time | times |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for shape in SHAPES["full"]:
        if shape.name not in names:
            continue
        made = Synthetic.make(shape)
        fleet, columns = made.fleet(), columns_of(made)
        is_raced = shape.name == "small" and "sql" in names
        by_hand = ByHand(made) if is_raced else None
        ours, theirs = [], []
        # In turn: the speed of a virtual machine changes by half within minutes.
        for _ in range(7 if shape.name == "small" else 1):
            cpu, clock = time.process_time(), time.perf_counter()
            report, page = whole(fleet, made, columns)
            ours.append((time.process_time() - cpu, time.perf_counter() - clock))
            if by_hand is not None:
                cpu = time.process_time()
                tables = by_hand.audit()
                theirs.append(time.process_time() - cpu)
                compare(report, tables, made)
        cpu, clock = sorted(ours)[len(ours) // 2]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        row = [shape.name, "{} x {}".format(*fleet.class_shape), f"{cpu:.2f} s", f"{clock:.2f} s"]
        row += [f"{len(page) / 1e6:.1f} MB", f"{peak:.2f} GiB", "", ""]
        if theirs:
            taken = sorted(theirs)[len(theirs) // 2]
            row[-2:] = [f"{taken:.2f} s", f"{taken / cpu:.1f}"]
        print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:] or ["small", "sql"])
