"""The engine against real loads of QEMU: outcome, and which registers KVM refused first."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import kvmfw
from tests.agreement.hosts import features_of, host_of
from tests.agreement.kvm import recordings
from tests.oracle.check_qemu import (
    Folder,
    Predictor,
    describe,
    named_in,
    policy,
    refusals,
)
from tests.oracle.facts import Facts
from tests.oracle.recordings import Recording
from tests.realkvm.convert import convert


@dataclass
class QemuTally:
    """Counts of loads by policy, and every disagreement."""

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    @property
    def total(self) -> Counter[str]:
        """All counts together."""
        return sum(self.counts.values(), Counter())


class Captures:
    """Captures of the hosts that loads went to, where such a host was recorded."""

    def __init__(self, folders: list[Path]) -> None:
        self.hosts: dict[tuple[str, str, str, str], kvmfw.Host] = {}
        for path in (path for folder in folders for path in recordings(folder)):
            recording = Recording(path)
            host = recording.raw["host"]
            if not recording.configs or "meta" not in recording.raw:
                continue
            extra = " ".join(host["append"].split()[2:])
            el3 = list((host["el3_arch_features"] or {}).values())
            kernel = recording.release.removesuffix("-arm64")
            key = (kernel, host["cpu"], extra, str(el3[:3]))
            capture = convert(recording.raw, recording.name)
            self.hosts.setdefault(key, kvmfw.Host.from_json(json.dumps(capture)))

    def find(self, target: Any) -> kvmfw.Host | None:
        """The capture of this target, whatever vCPUs it was asked for."""
        el3 = target.get("el3_arch_features") or []
        el3 = list(el3.values()) if isinstance(el3, dict) else el3
        return self.hosts.get((target["kernel"], target["cpu"], target["cmdline"], str(list(el3)[:3])))

    def host(self, target: Any, facts: Facts) -> kvmfw.Host | None:
        """The capture of this target, if it was asked for such a vCPU and lists the same registers."""
        found = self.find(target)
        fresh = found.fresh_set(features=features_of(facts)) if found else None
        return found if fresh is not None and set(facts.registers) <= set(fresh) else None

    def features(self, target: Any) -> list[str] | None:
        """What QEMU's ``-cpu host`` gives on this target, for targets of which there is no stream."""
        found = self.find(target)
        wanted = ["psci_0_2", "pmu_v3", "sve", "ptrauth_address", "ptrauth_generic"]
        off = {"pmu_v3": "pmu=off", "sve": "sve=off"}
        wanted = [feature for feature in wanted if off.get(feature, "-") not in target["variant"]]
        for missing in ([], ["sve"], ["ptrauth_address", "ptrauth_generic"], wanted[2:]):
            features = [feature for feature in wanted if feature not in missing]
            if found is not None and found.fresh_set(features=features) is not None:
                return features
        return None


def check(folder: Path, captured: list[Path], others: Iterable[Path] = ()) -> QemuTally:
    """Predict every load of a folder and compare; ``others`` are folders that tell more about the hosts."""
    loads, captures = Folder(folder), Captures(captured)
    for other in others:
        loads.learn(Folder(other))
    predictor = Predictor(loads, captured)
    tally = QemuTally()
    for load in loads.loads:
        saved, own = loads.streams.get(load["source"]["stream"]), loads.own(load["target"])
        if "Machine type received is" in load["stderr"]:
            tally.skipped["the machine type was refused before any register"] += 1
            continue
        if saved is None:
            tally.skipped["no registers of the stream"] += 1
            continue
        if own is not None:
            facts = predictor(load, own[0]).facts
            host = captures.host(load["target"], facts)
            features, evidence = features_of(facts), "measured" if host else "derived"
            host = host or host_of(facts)
        else:
            known = captures.features(load["target"])
            host, features, evidence = captures.find(load["target"]), known or [], "measured"
            if host is None or known is None:
                tally.skipped["nothing known of such a target"] += 1
                continue
        vmm = policy(load["target"])
        vm = kvmfw.RegisterSet.from_mapping(saved, features=features, vgic=True)
        verdict = kvmfw.validate(vm, host, vmm=vmm)
        counts = tally.counts.setdefault(vmm, Counter())
        counts["loads"] += 1
        counts[evidence] += 1
        if verdict.outcome == kvmfw.Outcome.UNKNOWN:
            counts["unknown"] += 1
            continue
        refused = verdict.outcome == kvmfw.Outcome.REFUSE
        if refused != (load["outcome"] == "failed"):
            tally.wrong.append(f"outcome: {describe(load)}: real {load['outcome']}, engine {verdict.outcome}")
            continue
        counts["outcome agreed"] += 1
        if refused:
            compare_registers(load, verdict, counts, tally)
    return tally


def compare_registers(load: Any, verdict: kvmfw.Verdict, counts: Counter[str], tally: QemuTally) -> None:
    """Compare the registers that made the load fail, in their order, as far as anyone named them."""
    by_list = [f for f in verdict.findings if f.rule.startswith("KVMFW-QEMU") and f.effect == "refused"]
    if by_list:
        # The list was refused before KVM was asked; QEMU 11.1 names the registers of the stream alone.
        named = named_in(load["stderr"], "fail migration")
        if named:
            counts["registers compared"] += 1
            wanted = [f.register for f in by_list if f.register is not None]
            if wanted == named:
                counts["registers agreed"] += 1
            else:
                tally.wrong.append(f"list: {describe(load)}: real {hexed(named)}, engine {hexed(wanted)}")
        return
    real = list(dict.fromkeys(register for register, _ in refusals(load)))
    said = sorted(f.register for f in verdict.findings if f.effect == "refused" and f.register is not None)
    if not real:
        return
    counts["registers compared"] += 1
    if real == said:
        counts["registers agreed"] += 1
    else:
        tally.wrong.append(f"registers: {describe(load)}: real {hexed(real)}, engine {hexed(said)}")


def hexed(registers: list[int]) -> str:
    """Write ids as hexadecimal."""
    return "[" + " ".join(f"{register:#x}" for register in registers) + "]"
