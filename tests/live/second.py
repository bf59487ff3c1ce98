"""The second judge of fuzzed answers: the oracle, which shares no code with the engine and sees no recorded answer."""

from __future__ import annotations

from functools import cache
from typing import Any

from tests.oracle import Facts, Vm
from tests.oracle.facts import Answer
from tests.oracle.making import made
from tests.support.golden_oracle import ENABLED, FEATURES

from .predict import Expected, Prediction
from .questions import SINGLE, SVE_VLS, Case, Vcpu, vcpus_of

Json = dict[str, Any]


class Oracle:
    """Answers the same questions about a capture as the engine does."""

    def __init__(self, capture: Json) -> None:
        self._host = capture["host"]
        self._vcpus = list(vcpus_of(capture))
        self._masks = {
            name: {int(register, 16): int(mask, 16) for register, mask in group["masks"].items()}
            for group in capture.get("writable_masks", ())
            for name in group["vcpus"]
        }
        self._uninitialised = {
            vcpu["name"]
            for vcpu in capture["vcpus"]
            if "pmu_v3" in vcpu["features"] and vcpu.get("pmu_initialised") is False
        }
        self.facts = cache(self._facts)

    def _facts(self, vcpu: Vcpu) -> Facts | None:
        """What is known of a vCPU; None where the host has none that is made so."""
        alike = [
            (one, values)
            for one, values in self._vcpus
            if (one.features, one.enabled) == (vcpu.features, vcpu.enabled)
        ]
        exact = [pair for pair in alike if pair[0].name == vcpu.name or pair[0].vgic == vcpu.vgic]
        if not exact:
            return None
        one, values = exact[0]
        return Facts(
            release=self._host["kernel"],
            features=sum(1 << FEATURES.index(name) for name in one.features),
            vgic=one.vgic,
            registers=values,
            masks=self._masks.get(one.name),
            caps=frozenset(ENABLED[name] for name in one.enabled),
            vulnerabilities=self._host.get("vulnerabilities", {}),
        )

    def _vm(self, facts: Facts, case: Case) -> Vm:
        vm = Vm(facts, finalized=case.kind == SINGLE or case.state != "fresh")
        if case.state != "fresh":
            vm.run(refused=case.vcpu.name in self._uninitialised)
        return vm

    def singles(self, case: Case) -> list[Expected]:
        """What each write by itself answers."""
        facts = self.facts(case.vcpu)
        assert facts is not None
        found = []
        for register, value in case.writes:
            answer = self._vm(facts, case).write(register, value)
            found.append(expected(answer, value, answer.read_back))
        return found

    def restore(self, case: Case) -> Prediction:
        """What a whole restore answers."""
        facts = self.facts(case.vcpu)
        if facts is None:
            return Prediction(vcpu=self._making(case.vcpu))
        vm = self._vm(facts, case)
        lengths = [one for one in case.writes if one[0] == SVE_VLS]
        said = {register: vm.write(register, value) for register, value in lengths}
        vm.finalize()
        said |= {
            register: vm.write(register, value) for register, value in case.writes if register != SVE_VLS
        }
        prediction = Prediction()
        for register, value in case.writes:
            reads = vm.read(register) if said[register].accepted else None
            prediction.registers[hex(register)] = expected(said[register], value, reads)
        return prediction

    def _making(self, vcpu: Vcpu) -> str:
        capabilities = {int(number) for number in self._host.get("capabilities", {})}
        word = sum(1 << FEATURES.index(name) for name in vcpu.features)
        enabled = frozenset(ENABLED[name] for name in vcpu.enabled)
        said = made(self._host["kernel"], capabilities, word, enabled)
        return "unknown" if said is None else "refused"


def expected(answer: Answer, value: int, reads: int | None) -> Expected:
    """In the words of a prediction."""
    if answer.unknown:
        return Expected("unknown")
    if answer.errno is not None:
        return Expected("refused", answer.errno)
    if reads is None:
        told = answer.moves or answer.altered or answer.read_back is not None
        return Expected("taken" if told else "unknown")
    return Expected("kept") if reads == value else Expected("changed", read_back=hex(reads))
