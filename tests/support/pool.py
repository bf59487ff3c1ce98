"""Targets and mutated register sets for property tests: hosts of golden vectors and of example captures."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

import kvmfw
from tests.oracle import Facts
from tests.support import golden
from tests.support.golden import Vcpu
from tests.support.golden_oracle import ENABLED, feature_word

EXAMPLES = Path(__file__).parents[2] / "examples" / "captures"
SIZE_SHIFT = 52
CORE, SVE = 0x10, 0x15
# ids that no host lists: another architecture, an unknown group, the future, a wrong size, a sixteenth cache
STRANGERS = (
    0x4030000000140000,
    0x6030000000170000,
    0x6030000000140009,
    0x6030000000160009,
    0x6020000000140000,
    0x602000000011000E,
    0x603000000013E208,
)


@dataclass(frozen=True)
class Target:
    """One vCPU configuration of a host: as a capture for the engine, as facts for the oracle."""

    label: str
    document: dict[str, Any] = field(repr=False)
    vcpu: Vcpu
    facts: Facts = field(repr=False)
    same_value_refused: frozenset[int] = field(default=frozenset(), repr=False)

    @cached_property
    def host(self) -> kvmfw.Host:
        return kvmfw.Host.from_json(json.dumps(self.document))

    @property
    def fresh(self) -> dict[int, int]:
        return self.facts.registers

    def register_set(self, registers: dict[int, int]) -> kvmfw.RegisterSet:
        vcpu = self.vcpu
        return kvmfw.RegisterSet.from_mapping(
            registers, features=vcpu.features, vgic=vcpu.vgic, enabled=vcpu.enabled, name="vm"
        )

    def verdict(self, registers: dict[int, int], **how: Any) -> kvmfw.Verdict:
        return kvmfw.validate(self.register_set(registers), self.host, **how)

    def with_document(self, **changed: Any) -> Target:
        return replace(self, document=self.document | changed)

    def __hash__(self) -> int:
        return hash(self.label)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: ARG002
        printer.text(f"<{self.label}>")  # hypothesis shows the whole document else


def targets_of(document: dict[str, Any], label: str) -> list[Target]:
    """The configurations of a capture that the host made."""
    ids = [int(register, 16) for register in document["registers"]]
    host = document["host"]
    masks = {
        name: {int(register, 16): int(mask, 16) for register, mask in group["masks"].items()}
        for group in document.get("writable_masks", [])
        for name in group["vcpus"]
    }
    found: list[Target] = []
    for made in document["vcpus"]:
        if "values" not in made:
            continue
        vcpu = Vcpu(tuple(made["features"]), made["vgic"], tuple(made.get("enabled", ())))
        values = zip(ids, made["values"], strict=True)
        facts = Facts(
            release=host["kernel"],
            features=feature_word(vcpu.features),
            vgic=vcpu.vgic,
            registers={register: int(value, 16) for register, value in values if value is not None},
            masks=masks.get(made["name"]),
            caps=frozenset(ENABLED[name] for name in vcpu.enabled),
            vulnerabilities=host.get("vulnerabilities") or {},
        )
        refused = frozenset(int(register, 16) for register in made.get("same_value_refused") or {})
        if any(vcpu == other.vcpu for other in found):
            continue  # the engine takes the first of two that are made alike
        found.append(Target(f"{label} {made['name']}", document, vcpu, facts, refused))
    return found


@cache
def vector_targets() -> tuple[Target, ...]:
    """The hosts of the golden vectors; no answers are known of them."""
    found: dict[str, Target] = {}
    for case in golden.cases():
        document = case.host.capture()
        # Of what is not known of a host its own vectors ask engine and oracle.
        is_known = not document["host"].get("cores") and not any(
            "unknown" in one for one in document["vcpus"]
        )
        if case.host.registers and is_known:
            found.setdefault(json.dumps(document), targets_of(document, case.label)[0])
    return tuple(found.values())


@cache
def example_targets() -> tuple[Target, ...]:
    """The configurations of real hosts in examples/captures, with their answers."""
    paths = sorted(EXAMPLES.glob("*.json"))
    return tuple(target for path in paths for target in targets_of(json.loads(path.read_text()), path.stem))


@cache
def values_seen() -> dict[int, list[int]]:
    """Values of each register that occur anywhere: in a vector or on a host."""
    seen: dict[int, set[int]] = defaultdict(set)
    for case in golden.cases():
        for registers in (case.registers, case.host.registers):
            for register, value in registers.items():
                seen[register].add(value)
    for target in example_targets():
        for register, value in target.fresh.items():
            seen[register].add(value)
    return {register: sorted(values) for register, values in seen.items()}


def judged(register: int) -> bool:
    """Whether KVM looks at the value: in the catalogue, an ID encoding, a cache, a general or an SVE register."""
    low = register & 0xFFFF
    group = register >> 16 & 0xFFF
    state = (group == CORE and low <= 0x40 and low != 0x3E) or group == SVE
    return register in catalogue() or group == 0x11 or (group == 0x13 and 0xC008 <= low < 0xC040) or state


@cache
def catalogue() -> frozenset[int]:
    return frozenset(register.id for register in kvmfw.registers())


@st.composite
def values(draw: st.DrawFn, register: int, fresh: int) -> int:
    """Another value: one that occurs somewhere, another digit, another bit, or an end of the range."""
    bits = 8 << (register >> SIZE_SHIFT & 0xF)
    how = draw(st.sampled_from(("seen", "digit", "digit", "bit", "end")))
    if how == "seen":
        return draw(st.sampled_from(values_seen().get(register, [0])))
    if how == "digit":
        shift = 4 * draw(st.integers(0, bits // 4 - 1))
        return fresh & ~(0xF << shift) | draw(st.integers(0, 15)) << shift
    if how == "bit":
        return fresh ^ 1 << draw(st.integers(0, bits - 1))
    return draw(st.sampled_from((0, 1, (1 << bits) - 1)))


@st.composite
def mutated(draw: st.DrawFn, target: Target, *, plain: bool = False) -> dict[int, int]:
    """What the target's fresh VM would save, with some registers changed, taken out or added."""
    registers = dict(target.fresh)
    candidates = [register for register in registers if plain or judged(register)]
    if candidates:
        for register in draw(st.lists(st.sampled_from(candidates), max_size=4, unique=True)):
            registers[register] = draw(values(register, registers[register]))
        for register in draw(st.lists(st.sampled_from(candidates), max_size=1)):
            del registers[register]
    missing = set(values_seen()) - set(target.fresh)
    # the lists of vectors leave out core and SVE state, which a real KVM has
    others = [register for register in sorted(missing) if register >> 16 & 0xFFF not in (CORE, SVE)]
    others += STRANGERS
    for register in draw(st.lists(st.sampled_from(others), max_size=1)):
        registers[register] = draw(values(register, 0))
    return registers


def any_target() -> st.SearchStrategy[Target]:
    """A host of the vectors or of the examples."""
    pools = [pool for pool in (vector_targets(), example_targets()) if pool]
    return st.one_of([st.sampled_from(pool) for pool in pools])


@st.composite
def pairs(draw: st.DrawFn, targets: st.SearchStrategy[Target] | None = None) -> tuple[Target, dict[int, int]]:
    """A target and a mutated register set."""
    target = draw(targets if targets is not None else any_target())
    return target, draw(mutated(target))
