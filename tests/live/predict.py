"""What the engine says, before a real KVM is asked: the only use of kvmfw in the live runs."""

from __future__ import annotations

import importlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .questions import Case

Json = dict[str, Any]

# The engine's outcomes, in words of the answers of "validate --on-host".
WORDS = {"ACCEPT": "kept", "CHANGE": "changed", "UNKNOWN": "unknown", "REFUSE": "refused"}


# What becomes of a register that was taken, when the VM runs: no answer to a write.
AFTERWARDS = ("KVMFW-FIRST-RUN", "KVMFW-COUNTER-OFFSET")


class EngineError(Exception):
    """kvmfw cannot be imported, or cannot judge what is asked of it."""


@dataclass
class Expected:
    """What one write is expected to answer; taken: whatever it reads afterwards."""

    outcome: str
    errno: str | None = None
    read_back: str | None = None


@dataclass
class Prediction:
    """What writing one register set is expected to answer; a register without entry is kept."""

    vcpu: str = "kept"
    # The VMM refuses such a VM itself and writes nothing, so there is nothing to ask KVM.
    by_vmm: bool = False
    registers: dict[str, Expected] = field(default_factory=dict)

    def expected(self, register: str) -> Expected:
        """What one write is expected to answer; nothing is, where nothing is known of the vCPU."""
        return (
            Expected("unknown") if self.vcpu == "unknown" else self.registers.get(register, Expected("kept"))
        )

    def plain(self) -> dict[str, Any]:
        return asdict(self)


class Engine:
    """kvmfw, asked for one target at a time."""

    def __init__(self) -> None:
        try:
            self._kvmfw: Any = importlib.import_module("kvmfw")
        except ImportError as error:
            raise EngineError(
                f"kvmfw cannot be imported ({error}): build it first, or give --no-predict"
            ) from None

    def predict(self, sets: list[dict[str, Any]], capture: Path, vmm: str) -> list[Prediction]:
        """One prediction per register set."""
        try:
            return self._predict(sets, capture, vmm)
        except self._kvmfw.KvmfwError as error:
            raise EngineError(f"no prediction for {capture.name}: {error}") from error

    def _predict(self, sets: list[dict[str, Any]], capture: Path, vmm: str) -> list[Prediction]:
        host = self._kvmfw.Host.load(capture)
        texts = (json.dumps(one).encode() for one in sets)
        loaded = (self._kvmfw.RegisterSet.from_json(text) for text in texts)
        return [self._translate(self._kvmfw.validate(one, host, vmm=vmm)) for one in loaded]

    def load(self, stream: Path, capture: Path, vmm: str) -> tuple[str, list[str]]:
        """(outcome, sentences) of a VM that a VMM saved in a file; the worst of its vCPUs counts."""
        try:
            host = self._kvmfw.Host.load(capture)
            verdicts = [
                self._kvmfw.validate(one, host, vmm=vmm) for one in self._kvmfw.readers.register_sets(stream)
            ]
        except self._kvmfw.KvmfwError as error:
            raise EngineError(f"no prediction for {stream.name} on {capture.name}: {error}") from error
        outcomes = [WORDS[verdict.outcome.name] for verdict in verdicts]
        worst = max(outcomes, key=list(WORDS.values()).index)
        findings = [finding for verdict in verdicts for finding in verdict.findings]
        return worst, [str(finding) for finding in findings if WORDS[finding.outcome.name] == worst]

    def host(self, capture: Json) -> Any:
        """A capture, ready for many questions."""
        return self._kvmfw.Host.from_json(json.dumps(capture))

    def singles(self, host: Any, case: Case, derive_only: bool) -> list[Expected]:
        """What each write by itself answers, on the capture's vCPU of this name."""
        values: dict[int, list[int]] = {}
        for register, value in case.writes:
            values.setdefault(register, []).append(value)
        said = {
            register: iter(
                host.ask(case.vcpu.name, register, asked, state=case.state, derive_only=derive_only)
            )
            for register, asked in values.items()
        }
        found = []
        for register, _ in case.writes:
            effect, errno, reads = next(said[register])
            outcome = effect if effect in ("kept", "refused", "unknown") else "changed"
            found.append(Expected(outcome, errno, None if reads is None else hex(reads)))
        return found

    def restore(self, host: Any, case: Case, derive_only: bool) -> Prediction:
        """What a whole restore answers."""
        vcpu = case.vcpu
        one = self._kvmfw.RegisterSet.from_mapping(
            dict(case.writes), features=vcpu.features, vgic=vcpu.vgic, enabled=vcpu.enabled
        )
        verdict = self._kvmfw.validate(one, host, vmm=case.policy, state=case.state, derive_only=derive_only)
        return self._translate(verdict)

    def _translate(self, verdict: Any) -> Prediction:
        prediction = Prediction()
        for finding in verdict.findings:
            outcome = WORDS[finding.outcome.name]
            if finding.register is None:
                # Several findings may be about the whole: the worst one counts.
                prediction.vcpu = max(prediction.vcpu, outcome, key=list(WORDS.values()).index)
                prediction.by_vmm |= finding.rule == "KVMFW-VMM"
                continue
            if finding.rule in AFTERWARDS:
                continue
            reads = None if finding.reads is None else hex(finding.reads)
            prediction.registers[hex(finding.register)] = Expected(outcome, finding.errno, reads)
        return prediction
