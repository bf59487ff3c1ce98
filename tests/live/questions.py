"""What the fuzzer asks a host: random and mutated single writes, and whole restores, the same for the same seed.

A question is made from captures alone, the target's and those of other hosts, so that everything can be
predicted before the target is booted.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .edits import FIRMWARE_VALUES, other_nibble
from .probing import probe

Json = dict[str, Any]
SINGLE, RESTORE = "single", "restore"
STATES = ("fresh", "exited", "ran")
SVE_VLS = probe.SVE_VLS
PSTATE = 0x6030000000100042
# Every mode and mask bit that a saved PSTATE can have: AArch64 modes, AArch32 ones, with and without flags.
MODES = [0x0, 0x4, 0x5, 0x8, 0x9, 0xC, 0xD, 0x10, 0x11, 0x12, 0x13, 0x16, 0x17, 0x1A, 0x1B, 0x1F, 0x1, 0x14]
CORE_SIZES = (2, 3, 4)


@dataclass(frozen=True)
class Vcpu:
    """How a vCPU is made.  name: of the capture's vCPU, empty where the target need not have it."""

    name: str
    features: tuple[str, ...]
    vgic: bool
    pmu: bool
    enabled: tuple[str, ...]

    def plain(self) -> Json:
        return {
            "name": self.name,
            "features": list(self.features),
            "vgic": self.vgic,
            "pmu": self.pmu,
            "enabled": list(self.enabled),
        }

    @staticmethod
    def of(plain: Json) -> Vcpu:
        """As a capture or a register set tells it."""
        features = tuple(plain["features"])
        pmu = plain.get("pmu", plain.get("pmu_initialised", "pmu_v3" in features))
        enabled = tuple(plain.get("enabled") or ())
        return Vcpu(plain.get("name", ""), features, bool(plain.get("vgic")), bool(pmu), enabled)


@dataclass
class Case:
    """Writes to one machine: each by itself (single), or one after the other (restore)."""

    kind: str
    vcpu: Vcpu
    state: str
    # How many vCPUs the VM has; a single write goes through the last one, a restore is written to all.
    vcpus: int
    policy: str
    writes: list[tuple[int, int]] = field(default_factory=list)


@dataclass
class Material:
    """What questions are made of: the target's vCPUs, and what was seen of every register anywhere."""

    own: list[tuple[Vcpu, dict[int, int]]]
    others: list[tuple[Vcpu, dict[int, int]]]
    known: dict[int, list[int]]

    @staticmethod
    def of(target: Json, captures: list[Json], sets: list[Json]) -> Material:
        """From the target's capture, captures of other hosts, and saved register sets."""
        own = list(vcpus_of(target))
        others = [one for capture in captures for one in vcpus_of(capture)]
        others += [(Vcpu.of(one["vcpu"]), numbers(one["registers"])) for one in sets]
        seen: dict[int, set[int]] = {}
        for _, values in [*own, *others]:
            for register, value in values.items():
                seen.setdefault(register, set()).add(value)
        return Material(own, others, {register: sorted(seen[register]) for register in sorted(seen)})


def numbers(registers: dict[str, str]) -> dict[int, int]:
    return {int(register, 16): int(value, 16) for register, value in registers.items()}


def vcpus_of(capture: Json) -> Iterator[tuple[Vcpu, dict[int, int]]]:
    """Every vCPU of a capture that could be made, with its fresh values."""
    registers = [int(register, 16) for register in capture["registers"]]
    for vcpu in capture["vcpus"]:
        if "values" in vcpu:
            pairs = zip(registers, vcpu["values"], strict=True)
            yield Vcpu.of(vcpu), {register: int(value, 16) for register, value in pairs if value is not None}


def size_of(register: int) -> int:
    """Bytes that an access to this id moves: KVM looks at this field of any id."""
    return 1 << (register >> 52 & 15)


class Questions:
    """Everything that is asked of one host with one seed."""

    def __init__(self, material: Material, seed: str) -> None:
        self._material = material
        self._chance = random.Random(seed)
        self._registers = list(material.known)

    def cases(self, singles: int, restores: int) -> list[Case]:
        """About as many single writes, and as many whole restores."""
        return [*self._singles(singles), *self._restores(restores)]

    # ---------------------------------------------------------------- single writes

    def _singles(self, count: int) -> Iterator[Case]:
        """Every vCPU in every state, one vCPU and two."""
        kinds = [
            (vcpu, values, state, vcpus)
            for vcpu, values in self._material.own
            for state in STATES
            for vcpus in (1, 2)
        ]
        # Two vCPUs answer as one does nearly everywhere: fewer questions.
        weights = [3 if vcpus == 1 else 1 for *_, vcpus in kinds]
        for (vcpu, values, state, vcpus), weight in zip(kinds, weights, strict=True):
            writes = [self._write(values) for _ in range(max(1, count * weight // max(1, sum(weights))))]
            lengths = [one for one in writes if one[0] == SVE_VLS]
            for wide in (False, True):
                chosen = [one for one in writes if one[0] != SVE_VLS and (size_of(one[0]) > 8) == wide]
                if chosen:
                    yield Case(SINGLE, vcpu, state, vcpus, "kvm", chosen)
            # Vector lengths are asked of a vCPU that is not finalised yet: a machine each.
            for one in lengths:
                yield Case(RESTORE, vcpu, state, vcpus, "kvm", [one])

    def _write(self, values: dict[int, int]) -> tuple[int, int]:
        register = self._register(values)
        return register, self._value(register, values.get(register))

    def _register(self, values: dict[int, int]) -> int:
        chance = self._chance
        kind = chance.random()
        if kind < 0.45 and values:
            return chance.choice(list(values))
        if kind < 0.62:
            return int(chance.choice(probe.ID_REGISTERS))
        if kind < 0.80:
            return chance.choice(self._registers)
        if kind < 0.86:
            return int(chance.choice(probe.FIRMWARE_REGISTERS))
        if kind < 0.90:
            return PSTATE
        if kind < 0.92:
            return self._core()
        if kind < 0.96:
            return self._encoding()
        return int(chance.choice([one for one in probe.STRANGE_REGISTERS if size_of(one) <= 256]))

    def _core(self) -> int:
        """A core register's place, or one beside it, of any size."""
        return 0x6000000000100000 | self._chance.choice(CORE_SIZES) << 52 | self._chance.randrange(0, 224)

    def _encoding(self) -> int:
        """Any system register's place; EL2 and the debug registers more often."""
        chance = self._chance
        op0, op1 = chance.choice([(3, 4), (3, 4), (3, 0), (3, 3), (2, 0), (3, 5), (3, 1), (3, 7), (2, 3)])
        place = (chance.randrange(16), chance.choice([0, 0, 1, 2, chance.randrange(16)]), chance.randrange(8))
        return int(probe.system_register(op0, op1, *place))

    # ---------------------------------------------------------------- values

    def _value(self, register: int, own: int | None) -> int:
        chance = self._chance
        bits = 8 * size_of(register)
        known = self._material.known.get(register, [])
        near = own if own is not None and (not known or chance.random() < 0.6) else None
        if near is None:
            near = chance.choice(known) if known else 0
        if register == PSTATE:
            return chance.choice(MODES) | chance.choice(
                [0, 0x3C0, 0x1C0, 0xF0000000, chance.getrandbits(32) & ~0x1F]
            )
        if register in FIRMWARE_VALUES and chance.random() < 0.6:
            return chance.choice(FIRMWARE_VALUES[register])
        kind = chance.random()
        if kind < 0.08:
            value = near
        elif kind < 0.26 and known:
            value = chance.choice(known)
        elif kind < 0.50:
            value = near
            for _ in range(chance.choice([1, 1, 1, 2, 3])):
                value ^= 1 << chance.randrange(bits)
        elif kind < 0.74 and bits <= 64:
            value = other_nibble(near, chance)
        elif kind < 0.80:
            # A neighbour's value: of a register whose id is close by.
            at = self._registers.index(register) if known else chance.randrange(len(self._registers))
            other = self._registers[min(max(at + chance.randrange(-3, 4), 0), len(self._registers) - 1)]
            value = chance.choice(self._material.known[other])
        elif kind < 0.85:
            value = 1 << chance.randrange(bits)
        elif kind < 0.93:
            value = chance.choice([0, 1, 2, 3, (1 << bits) - 1, (1 << min(bits, 32)) - 1, 1 << bits - 1])
        else:
            value = chance.getrandbits(bits)
        return value & (1 << bits) - 1

    # ---------------------------------------------------------------- restores

    def _restores(self, count: int) -> Iterator[Case]:
        chance, material = self._chance, self._material
        for _ in range(count):
            fits = [vcpu for vcpu, _ in material.own]
            vcpu, values = chance.choice(
                material.own if chance.random() < 0.5 else material.others or material.own
            )
            # Mostly a VM that this host can make; a set of another kind of vCPU is refused as a whole.
            like = [one for one in fits if (one.features, one.enabled) == (vcpu.features, vcpu.enabled)]
            if like:
                vcpu = like[0]
            elif chance.random() < 0.9:
                vcpu = chance.choice(fits)
            else:
                vcpu = Vcpu("", vcpu.features, vcpu.vgic, vcpu.pmu, vcpu.enabled)
            vcpus = 2 if chance.random() < 0.15 else 1
            state = chance.choice(STATES) if vcpus == 1 and chance.random() < 0.3 else "fresh"
            policy = chance.choice(["kvm", "firecracker"])
            yield Case(RESTORE, vcpu, state, vcpus, policy, self._mutated(values, policy))

    def _mutated(self, values: dict[int, int], policy: str) -> list[tuple[int, int]]:
        """A set with some values changed, some registers left out and some added, in the policy's order."""
        chance = self._chance
        changed = dict(values)
        for register in chance.sample(
            sorted(changed), min(len(changed), chance.choice([0, 1, 2, 5, 10, 30]))
        ):
            changed[register] = self._value(register, changed[register])
        for register in chance.sample(sorted(changed), min(len(changed), chance.choice([0, 0, 1, 3, 20]))):
            del changed[register]
        for _ in range(chance.choice([0, 0, 1, 2, 5])):
            register = chance.choice(self._registers)
            changed[register] = self._value(register, changed.get(register))
        order = probe.POLICIES[policy](sorted(changed))
        return [(register, changed[register]) for register in order]
