"""ID registers: which setter must take what under every limit. The rules are the core's, as formulas over `value` and `limit`.

`limit` stands for what the register reads on a fresh VM: the functions that make it give the constant, so that it may be any that
the kernel's own table of fields has bits for. `hardware` stands for what all CPUs have there, which wrappers look at.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import claripy

from kvmfw.ids import SYSTEM, make_id, system_number
from kvmfw.kernels import Descriptor, Kernel
from kvmfw.kernels.structures import structures_of
from kvmfw.registers import named
from tests.prove.claim import Claim, rule_of
from tests.prove.machine import FREE, VALUE, VCPU, End, Machine, NotRunError, Returns
from tests.prove.proof import Told

FIRST, LAST = (make_id(SYSTEM, system_number(3, 0, 0, *last)) for last in ((1, 0), (7, 7)))
PFR0, PFR1, MMFR2, ZFR0, CTR = map(
    named, ("ID_AA64PFR0_EL1", "ID_AA64PFR1_EL1", "ID_AA64MMFR2_EL1", "ID_AA64ZFR0_EL1", "CTR_EL0")
)
LIMIT, HARDWARE = (claripy.BVS(name, 64, explicit_name=True) for name in ("limit", "hardware"))
# Since 6.0 setters are given the value, before a pointer to it.
BY_VALUE = (6, 0)
# Since 6.5 fields are compared, before whole values (semantics 3.2).
BY_FIELD = (6, 5)
# REG_RAZ of arch/arm64/kvm/sys_regs.h, 6.1 to 7.3.
READS_ZERO = 2
CSV2, CSV3 = 0xF << 56, 0xF << 60
# What the kernel hides, and the greatest number that the architecture has there (semantics 3.6).
HIDDEN = {PFR0: (40, 1), PFR1: (16, 1), MMFR2: (24, 2)}
MTE, MTE_FRAC = 0xF << 8, 0xF << 40


def is_identification(register: int) -> bool:
    """Whether the setter of a register is one of an ID register."""
    return FIRST <= register <= LAST or register == CTR


def claims(kernel: Kernel) -> Iterator[Claim]:
    """Give what is to be proved of the ID registers that a kernel's table has."""
    line = kernel.numbers[:2]
    # AArch32 at EL0: where there is none, writes to AArch32 registers are dropped before they come to a setter.
    values = {PFR0: 0x2} | {
        one: 0 for one in kernel.descriptors or {} if is_identification(one) and one != PFR0
    }
    for register, row in sorted((kernel.descriptors or {}).items()):
        if not is_identification(register) or row.set is None:
            continue
        told = rule_of(kernel.release, values, register, any_limit=True)
        rows = (kernel.fields or {}).get(register, ())
        is_hidden = row.visibility == "raz_visibility" or row.set == "set_raz_id_reg"
        states = [("hidden", True)] if is_hidden else [("shown", False)]
        if register == ZFR0:
            states = [("with SVE", False), ("without SVE", True)]
        for state, reads_zero in states:
            fields = sum(((1 << one.width) - 1) << one.shift for one in rows)
            given = list(_given(register, line, fields, reads_zero=reads_zero, told=told))
            run = partial(_ends, row, line, reads_zero)
            yield Claim(register, state, told, run, _bends, f"(and {' '.join(given)} true)")


def _given(
    register: int, line: tuple[int, int], fields: int, *, reads_zero: bool, told: Told | None
) -> Iterator[str]:
    if reads_zero:
        yield is_in("limit", (1 << 64) - 1, 0)
        return
    if line >= BY_FIELD:
        yield is_in("limit", ~fields, 0)
    elif register == PFR0:
        # Each is 1 where the host is not affected, else 0: what the functions that are asked for it answer, below.
        for mask in (CSV2, CSV3) if line > (5, 10) else (CSV2,):
            yield f"(bvule {bits('limit', mask)} {word_of(mask // 15)})"
    if told is not None and "hardware" in told.takes and register in HIDDEN:
        shift, greatest = HIDDEN[register]
        yield is_in("limit", 0xF << shift, 0)
        yield f"(bvule {bits('hardware', 0xF << shift)} {word_of(greatest << shift)})"
    if register == PFR1:
        # A VM with tags has what the hardware has; hardware that has tags and MTE_frac 0xf is left out for one without (3.6).
        both = MTE | MTE_FRAC
        asynchronous = f"(not {is_in('hardware', both, 2 << 8 | MTE_FRAC)})"
        without = f"(and {is_in('limit', both, 0)} {asynchronous})"
        yield f"(or (= {bits('limit', both)} {bits('hardware', both)}) {without})"


def _bends() -> Iterator[str]:
    """Values that differ from the limit in one field, where they are one greater; and the limit itself."""
    yield "(= value limit)"
    for shift in range(0, 64, 4):
        mask = 0xF << shift
        more = bits(f"(bvadd limit {word_of(1 << shift)})", mask)
        others = f"(= {bits('value', ~mask)} {bits('limit', ~mask)})"
        yield f"(and {others} (= {bits('value', mask)} {more}))"


def _ends(row: Descriptor, line: tuple[int, int], reads_zero: bool, machine: Machine) -> list[End]:
    """Run the setter of a register, as its descriptor in the image names it."""
    lies = structures_of(machine.code.image, line)["sys_reg_desc"].members
    here = machine.code.symbols.base + row.place

    def function(member: str) -> int:
        return machine.pointer(here + lies[member])

    machine.hook("read_sanitised_ftr_reg", Returns(given=partial(sanitised, row.register)))
    machine.hook("read_id_reg", Returns(given=LIMIT))
    machine.hook("arm64_get_spectre_v2_state", Returns(given=partial(_affected, CSV2)))
    machine.hook("arm64_get_meltdown_state", Returns(given=partial(_affected, CSV3)))
    if line >= BY_FIELD:
        if not function("reset"):
            raise NotRunError("nothing in the descriptor makes a limit")
        machine.hook_at(function("reset"), Returns(given=LIMIT))
    if function("visibility"):
        shown = claripy.BVV(READS_ZERO if reads_zero else 0, 64)
        machine.hook_at(function("visibility"), Returns(given=shown))
    arguments = (VALUE,) if line >= BY_VALUE else (FREE, FREE + 0x1000)
    return machine.ends(machine.state(function("set_user"), VCPU, here, *arguments))


def sanitised(register: int, state: Any, encoding: Any, _: Any) -> Any:
    """What all CPUs have, of this register."""
    is_own = state.solver.eval(encoding) & 0xFFFFFFFF == _encoding(register)
    return HARDWARE if is_own else claripy.BVS("other", 64)


def _affected(mask: int, *_: Any) -> Any:
    """SPECTRE_UNAFFECTED where the limit says so, else either of the two other states."""
    other = claripy.BVS("mitigation", 64) & 1
    return claripy.If(LIMIT & mask == mask // 15, claripy.BVV(0, 64), other + 1)


def _encoding(register: int) -> int:
    """Give what `sys_reg()` makes of a register (arch/arm64/include/asm/sysreg.h)."""
    number = register & 0xFFFF
    return (
        (number >> 14) << 19
        | (number >> 11 & 7) << 16
        | (number >> 7 & 15) << 12
        | (number >> 3 & 15) << 8
        | (number & 7) << 5
    )


def word_of(word: int) -> str:
    return f"#x{word & (1 << 64) - 1:016x}"


def bits(term: str, mask: int) -> str:
    return f"(bvand {term} {word_of(mask)})"


def is_in(term: str, mask: int, word: int) -> str:
    return f"(= {bits(term, mask)} {word_of(word)})"
