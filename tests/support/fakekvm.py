"""A small KVM made of Python, to test the probe where there is none.

It answers like the real one in what the probe depends on: errnos, read-backs, what is fixed once
the guest ran, vector lengths before and after finalizing.  It keeps count of everything that is
open, so that a test can see that all of it was closed.
"""

from __future__ import annotations

import errno
import sys
import time
from typing import Any

PSCI = 0x6030000000140000
WORKAROUND_1 = 0x6030000000140001
VENDOR_BITMAP = 0x6030000000160002
PFR0 = 0x603000000013C020
RESERVED_ID = 0x603000000013C01B
MIDR = 0x603000000013C000
SCTLR = 0x6030000000138080
X0 = 0x6030000000100000
PC = 0x6030000000100040
PSTATE = 0x6030000000100042
SVE_VLS = 0x606000000015FFFF
Z0 = 0x6080000000150000
PMCR = 0x603000000013DCE0
PMOVSCLR, PMOVSSET = 0x603000000013DCE3, 0x603000000013DCF3
COUNTER = 0x603000000013DF1A
ISAR2, MMFR3, PIR = 0x603000000013C032, 0x603000000013C03B, 0x603000000013C513
HCR_EL2, VBAR_EL2, VNCR_EL2 = 0x603000000013E088, 0x603000000013E600, 0x603000000013E110
# An ID register of EL2, which the sweep of all ID registers asks as well.
VPIDR_EL2 = 0x603000000013E000
HCR_ONES, HCR_ZEROS = 0x480000000, 0xFF00000000000000

SVE_FEATURE, PMU_FEATURE, EL2_FEATURE = 1 << 4, 1 << 3, 1 << 7
CAPABILITIES = {126: 1, 165: 44, 170: 1, 230: 1, 16: 1}
LENGTHS = 0b1011
CONTROL, ITS = 0x400, 0x4B00043B
DISTRIBUTOR = {0x8: 0x4B00343B, 0xC: 0}


def refusal(number: int) -> Exception:
    """The probe's own exception for a step that KVM refuses."""
    refused: Exception = sys.modules["kvmfw_probe_under_test"].Refused(number)
    return refused


class FakeKvm:
    """Stands in for probe.Kvm."""

    open_things = 0
    writes = 0
    vms = 0

    def __init__(self, path: str = "/dev/kvm", delay: float = 0, vgic: bool = True, **changes: Any) -> None:
        del path
        type(self).open_things += 1
        self.delay = delay
        self.vgic = vgic
        self.capabilities: dict[int, int] = {**CAPABILITIES, **changes.get("capabilities", {})}
        self.refuse_vm = changes.get("refuse_vm", 0)
        self.stubborn = changes.get("stubborn", False)
        self.indirection = changes.get("indirection", False)
        self.registers: dict[int, int] = changes.get("registers", {})

    def capability(self, number: int) -> int:
        return self.capabilities.get(number, 0)

    def address_bits(self) -> int:
        return self.capability(165)

    def create_vm(self, address_bits: int = 0) -> FakeVm:
        if self.refuse_vm:
            raise refusal(self.refuse_vm)
        if address_bits and not 32 <= address_bits <= self.address_bits():
            raise refusal(errno.EINVAL)
        FakeKvm.vms += 1
        return FakeVm(self)

    def close(self) -> None:
        FakeKvm.open_things -= 1


class FakeVm:
    def __init__(self, kvm: FakeKvm) -> None:
        self.kvm = kvm
        self.ran = False
        self.has_vgic = False
        self.memory = False
        self.enabled: list[int] = []
        self.control = CONTROL
        self.distributor = {**DISTRIBUTOR}
        FakeKvm.open_things += 1

    def capability(self, number: int) -> int:
        return self.kvm.capability(number)

    def enable(self, number: int) -> int:
        if not self.kvm.capability(number):
            return errno.EINVAL
        self.enabled.append(number)
        return 0

    def preferred_target(self) -> int:
        return 5

    def create_vcpu(self) -> FakeVcpu:
        return FakeVcpu(self)

    def create_vgic(self) -> FakeVm:
        if not self.kvm.vgic:
            raise refusal(errno.ENODEV)
        self.has_vgic = True
        return self

    def initialise(self) -> None:
        """The vgic is this object itself."""

    def create_its(self) -> FakeIts:
        assert self.has_vgic
        return FakeIts()

    def makes_device(self, kind: int) -> int:
        assert kind == 5
        return errno.ENODEV

    def read(self, group: int, attribute: int) -> int:
        if group == 1:
            return self.distributor[attribute]
        assert (group, attribute) == (6, 0xC664)
        return self.control

    def write(self, group: int, attribute: int, value: int) -> int:
        """ICC_CTLR_EL1, of which what is refused leaves priority bits behind, as of the real one; GICD_IIDR and GICD_TYPER2."""
        FakeKvm.writes += 1
        if (group, attribute) == (1, 0x8):
            if (value ^ DISTRIBUTOR[attribute]) & ~0xF000 or value >> 12 & 15 not in {2, 3}:
                return errno.EINVAL
            self.distributor[attribute] = value
            return 0
        if (group, attribute) == (1, 0xC):
            return 0 if value == self.distributor[attribute] else errno.EBUSY
        assert (group, attribute) == (6, 0xC664)
        priorities = value & 0x700
        if priorities > self.control & 0x700:
            return errno.EINVAL
        self.control = self.control & ~0x700 | priorities
        if value & 0x3800 > self.control & 0x3800 or value & 0xC000:
            return errno.EINVAL
        self.control = value & 0x3F03
        return 0

    def writable_masks(self) -> dict[int, int] | None:
        return {PFR0: 0xFF} if self.kvm.capability(230) else None

    def add_code(self, address: int, code: bytes) -> None:
        assert len(code) in (12, 16)
        assert address == 0x40000000
        self.memory = True

    def close(self) -> None:
        FakeKvm.open_things -= 1


class FakeIts:
    """An ITS, whose revision is looked at and nothing is kept of the rest."""

    def read(self, group: int, attribute: int) -> int:
        assert (group, attribute) == (8, 4)
        return ITS

    def write(self, group: int, attribute: int, value: int) -> int:
        assert (group, attribute) == (8, 4)
        return errno.EINVAL if value & 0xF000 else 0


class FakeVcpu:
    def __init__(self, vm: FakeVm) -> None:
        self.vm = vm
        self.features = 0
        self.finalized = False
        self.lengths = LENGTHS
        self.stored: dict[int, int] = {}

    def init(self, target: int, features: int) -> int:
        assert target == 5
        self.features = features
        offered = (
            0b101 | self.vm.kvm.capability(126) * PMU_FEATURE | self.vm.kvm.capability(170) * SVE_FEATURE
        )
        if features & EL2_FEATURE and not self.vm.kvm.capability(240):
            return errno.ENOENT
        if features & ~offered & ~EL2_FEATURE:
            return errno.EINVAL
        self.stored = {X0: 0, PC: 0, PSTATE: 0x3C5, PSCI: 0x10001 if features & 4 else 1, VENDOR_BITMAP: 3}
        self.stored |= {
            WORKAROUND_1: 1,
            MIDR: 0x410FD0C0,
            PFR0: 0x12,
            RESERVED_ID: 0,
            SCTLR: 0xC50078,
            COUNTER: 7,
        }
        self.stored |= self.vm.kvm.registers
        if self.vm.kvm.indirection:
            self.stored |= {ISAR2: 0x1120000000110012, MMFR3: 0x111, PIR: 0}
        if features & EL2_FEATURE:
            self.stored |= {HCR_EL2: 0, VBAR_EL2: 0, VNCR_EL2: 0, VPIDR_EL2: 0x1DE7EC7EDBADC0DE}
        if features & PMU_FEATURE:
            self.stored |= {PMCR: 0x3000, PMOVSCLR: 0x8000001E, PMOVSSET: 0x8000001E}
        return 0

    def has_steal_time(self) -> int:
        return errno.ENXIO

    def stored_word(self) -> int:
        assert self.vm.ran
        return 62_500_000

    def finalize_sve(self) -> int:
        self.finalized = True
        self.stored |= {SVE_VLS: self.lengths, Z0: 0}
        return 0

    def initialise_pmu(self) -> int:
        return 0 if self.vm.has_vgic else errno.ENODEV

    def register_list(self) -> list[int]:
        order = [
            X0,
            PC,
            PSTATE,
            SVE_VLS,
            Z0,
            PSCI,
            WORKAROUND_1,
            VENDOR_BITMAP,
            COUNTER,
            MIDR,
            RESERVED_ID,
            PFR0,
            SCTLR,
            PMCR,
            PMOVSCLR,
            PMOVSSET,
            ISAR2,
            MMFR3,
            PIR,
            VPIDR_EL2,
            HCR_EL2,
            VNCR_EL2,
            VBAR_EL2,
        ]
        return [register for register in order if register in self.stored]

    def read(self, register: int) -> int:
        if register == SVE_VLS and self.features & SVE_FEATURE and not self.finalized:
            return self.lengths
        if register == COUNTER:
            self.stored[COUNTER] += 1
        return self.stored.get(register, -errno.ENOENT)

    def write(self, register: int, value: int) -> int:
        FakeKvm.writes += 1
        if self.vm.kvm.delay:
            time.sleep(self.vm.kvm.delay)
        if register == SVE_VLS and self.features & SVE_FEATURE:
            return self._write_lengths(value)
        if register not in self.stored:
            return errno.ENOENT
        error = self._refusal(register, value)
        if not error:
            self._store(register, value)
        return error

    def _write_lengths(self, value: int) -> int:
        if self.finalized:
            return errno.EPERM
        if not value or value & ~LENGTHS:
            return errno.EINVAL
        self.lengths = value
        return 0

    def _refusal(self, register: int, value: int) -> int:
        allowed = {
            PSCI: value in ((2, 0x10000, 0x10001) if self.features & 4 else (1,)),
            WORKAROUND_1: value <= 1,
            VENDOR_BITMAP: not value & ~3,
            MIDR: value == self.stored[MIDR],
            PSTATE: value & 0x1F in (0, 4, 5),
            RESERVED_ID: value == 0,
            PFR0: not value & ~0xF0FF and value & 0xF <= 2,
        }
        if not allowed.get(register, True):
            return errno.EINVAL
        changes = value != self.stored[register]
        return errno.EBUSY if self.vm.ran and changes and register in (VENDOR_BITMAP, PFR0) else 0

    def _store(self, register: int, value: int) -> None:
        if register in (PMOVSCLR, PMOVSSET):  # two names of one register
            now = self.stored[PMOVSSET]
            now = now & ~value if register == PMOVSCLR else now | value
            self.stored |= {PMOVSCLR: now, PMOVSSET: now}
            return
        if register == WORKAROUND_1:
            return  # checked, never stored
        if register == HCR_EL2 and self.vm.ran:
            value = value & ~HCR_ZEROS | HCR_ONES
        if register == PFR0:
            value &= 0xFF  # a field that is taken and dropped
            if self.vm.kvm.stubborn and value >> 4 > self.stored[PFR0] >> 4:
                self.stored[PFR0] = value
                return
            if self.vm.kvm.stubborn and value != self.stored[PFR0]:
                return  # cannot be lowered again: the machine has to be made anew
        self.stored[register] = value

    def accessors(self, register: int) -> tuple[Any, Any]:
        return (lambda: self.read(register)), (lambda value: self.write(register, value))

    def run(self, immediate_exit: bool) -> int:
        if self.features & PMU_FEATURE and not self.vm.has_vgic:
            return errno.EINVAL
        if not immediate_exit:
            assert self.vm.memory
            assert self.stored[PC] == 0x40000000
        if not self.vm.ran:
            self._first_run()
        self.vm.ran = True
        return errno.EINTR if immediate_exit else 0

    def _first_run(self) -> None:
        """As 7.3: permission indirection goes where the VM lacks what it needs; reserved bits of EL2 go."""
        if self.stored.get(PIR) is not None and not (self.stored[ISAR2] >> 60 and self.stored[MMFR3] & 15):
            self.stored[MMFR3] &= ~0xF00
            del self.stored[PIR]
        if HCR_EL2 in self.stored:
            self.stored[HCR_EL2] = self.stored[HCR_EL2] & ~HCR_ZEROS | HCR_ONES

    def close(self) -> None:
        """Belongs to its VM."""
