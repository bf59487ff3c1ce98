"""One VM with one vCPU: registers are written in any order, and each write gets KVM's answer."""

from __future__ import annotations

from . import aftermath, core, firmware, id_registers, other_registers, pmu, vendors, younger
from .facts import EINVAL, ENOENT, Answer, Facts, unknown
from .fields import ID, field
from .state import State

NEWEST_KNOWN = (7, 3)
SIZE_MASK = 0x00F0000000000000
_GIC_FIELDS = (("ID_AA64PFR0", "GIC"), ("ID_PFR1", "GIC"))


class Vm:
    """A VM made like ``facts``, as far as writes can tell.

    ``finalized`` says whether KVM_ARM_VCPU_FINALIZE was called (SVE only); a restore starts without it.
    """

    def __init__(self, facts: Facts, has_run: bool = False, *, finalized: bool = True) -> None:
        self.facts = facts
        self.state = State(facts)
        self.state.sve_finalized = finalized
        # a vendor's kernel answers what all that it may be like answer
        alike = vendors.likenesses(facts) if vendors.is_vendors(facts.release) else []
        self.alike = [Vm(one, finalized=finalized) for one in alike]
        if has_run:
            self.run()

    def run(self, refused: bool = False) -> None:
        """The first KVM_RUN; ``refused`` when it failed before the vCPU was entered (section 12.11)."""
        for one in self.alike:
            one.run(refused)
        pfr0_mask = (self.facts.masks or {}).get(ID["ID_AA64PFR0"], 0)
        gic = field("ID_AA64PFR0", "GIC").mask
        if not self.state.has_run and not self.facts.vgic and pfr0_mask & gic:
            # semantics 12.10, 6.12 and later (where PFR0.GIC is in the mask): without a vGIC the
            # first run takes the GIC fields away, and a refused one does so as well
            for holder, name in _GIC_FIELDS:
                value = self.state.values.get(ID[holder])
                if value is not None:
                    self.state.values[ID[holder]] = field(holder, name).put(value, 0)
        self.state.has_run = self.state.has_run or not refused

    def first_run(self, vgic: bool, *, late: bool = False, v2: bool = False) -> dict[int, aftermath.Fate]:
        """What the first run would make of the registers as they are now, but for what is in doubt.

        ``late``: the vGIC is made after the registers were written; ``v2``: it is a GICv2.
        """
        if self.alike:
            said = aftermath.joined([one.first_run(vgic, late=late, v2=v2) for one in self.alike])
            kept = aftermath.kept_by_vendors(self.facts, self.state, vgic, late=late)
            return {register: fate for register, fate in said.items() if register not in kept}
        return aftermath.first_run(self.facts, self.state, vgic, late=late, v2=v2)

    def finalize(self) -> None:
        """KVM_ARM_VCPU_FINALIZE for SVE."""
        self.state.sve_finalized = True
        for one in self.alike:
            one.finalize()

    def read(self, register: int) -> int | None:
        """The value that KVM_GET_ONE_REG returns now; None when there is none or it cannot be told."""
        if self.alike:
            values = {one.read(register) for one in self.alike}
            return values.pop() if len(values) == 1 else None
        if register == firmware.WORKAROUND_2 and self.facts.at_least(5, 10):
            return (
                firmware.workaround_2_level(self.facts, self.state)
                if register in self.facts.registers
                else None
            )
        if register in pmu.OTHER_NAME:
            return pmu.read(self.facts, self.state, register)
        if other_registers.is_visible(self.facts, self.state, register) is False:
            return None  # hidden by the VM's own ID registers: ENOENT for reads too (semantics 3.1)
        return self.state.current(register)

    def doubts(self, register: int) -> bool:
        """Is it not known what a write left there?"""
        return register in self.state.doubtful or any(one.doubts(register) for one in self.alike)

    def write(self, register: int, value: int) -> Answer:
        """KVM_SET_ONE_REG."""
        if self.facts.version[:2] > NEWEST_KNOWN and not self._is_state(register):
            # semantics 3.2: of a younger kernel only this is known
            own = self.facts.registers.get(register)
            if own is not None and not self.state.has_run and younger.alike(register, value, own):
                return self.state.store(register, value)
            return unknown("the rules of kernels after 7.3")
        if self.alike:
            answers = [one.write(register, value) for one in self.alike]
            listed = register in self.facts.registers
            if listed:
                self.state.values[register] = value  # what its own VMs have is told by what was saved
            follows = register == firmware.WORKAROUND_2 and any(one.hides_ssbs() for one in self.alike)
            if follows and not self.facts.at_least(6, 12) and any(answer.accepted for answer in answers):
                return unknown("whether this vendor's kernel lets the level follow the VM's SSBS")
            if listed and vendors.own_bits(register, value):
                return unknown("which bits of this bitmap the vendor's kernel knows")
            return vendors.joined(answers, value)
        answer = self._answer(register, value)
        if answer.unknown:
            self.state.doubtful.add(register)
        return answer

    def hides_ssbs(self) -> bool:
        """Does the VM's own ID register hide SSBS of a host that shows it?"""
        own, now = self.facts.fresh(firmware.ID_AA64PFR1), self.state.current(firmware.ID_AA64PFR1)
        return bool(own >> 4 & 0xF) and now is not None and not now >> 4 & 0xF

    def _is_state(self, register: int) -> bool:
        """Is it stored (or not there) on every kernel that is known, in the same way?"""
        if register >> 16 & 0xFFF in (0x010, 0x015):
            return True
        if register >> 16 != 0x603000000013 or id_registers.handles(register):
            return False
        return register not in self.facts.registers or not other_registers.is_looked_at(register)

    def _answer(self, register: int, value: int) -> Answer:
        # semantics 1.3: bits 63:32 without the size
        if (register & ~SIZE_MASK) >> 32 != 0x60000000:
            return EINVAL
        facts, state = self.facts, self.state
        match (register >> 16) & 0xFFF:
            case 0x010:
                return core.write_core(facts, state, register, value)
            case 0x014:
                return firmware.write(facts, state, register, value)
            case 0x016 if facts.at_least(5, 19) or firmware.BITMAPS in facts.registers:
                return firmware.write(facts, state, register, value)
            case 0x015:
                return core.write_sve(facts, state, register, value)
            case 0x011:
                return core.write_demux(facts, state, register, value)
            case 0x013 if register in facts.registers and id_registers.handles(register):
                return id_registers.write(facts, state, register, value)
            case 0x013:
                return other_registers.write(facts, state, register, value)
        # semantics 3.1: any other group falls through to the system registers
        return ENOENT
