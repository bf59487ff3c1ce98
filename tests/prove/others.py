"""MIDR_EL1 and its like, caches, OSLSR_EL1, PMCR_EL0, SVE_VLS: through the function that is behind KVM_SET_ONE_REG.

`limit` stands for what the register reads on a fresh VM, `hardware` for CTR_EL0 of all CPUs. Rules that look at a part of CTR_EL0
are asked of the core once for each number that may stand there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import product
from typing import Any

import claripy

from kvmfw.ids import DEMUX, make_id
from kvmfw.kernels import Kernel
from kvmfw.kernels.structures import CODE, Structure, structures_of
from kvmfw.registers import named
from tests.prove.claim import Claim, by_case, rule_of
from tests.prove.identification import CTR, LIMIT, is_in, sanitised, word_of
from tests.prove.machine import FREE, VALUE, VCPU, VM, End, Machine, NotRunError, Returns
from tests.prove.proof import Told
from tests.support.kernel_image import code_of

SETTER, ENABLES, INITIALISES = "kvm_arm_sys_reg_set_reg", "kvm_vm_ioctl_enable_cap", "kvm_sys_reg_table_init"
MIDR, REVIDR, AIDR, CLIDR, OSLSR, PMCR, LENGTHS = map(
    named, ("MIDR_EL1", "REVIDR_EL1", "AIDR_EL1", "CLIDR_EL1", "OSLSR_EL1", "PMCR_EL0", "SVE_VLS")
)
CACHES = tuple(make_id(DEMUX, number, 4) for number in range(14))
Prepare = Callable[[Machine], Any] | None
KNOWN = (MIDR, REVIDR, AIDR, CLIDR, *CACHES, OSLSR, PMCR, LENGTHS)
USER = FREE + 0x1000
# KVM_CAP_ARM_WRITABLE_IMP_ID_REGS (include/uapi/linux/kvm.h).
WRITABLE = 239
# CTR_EL0: IDC, and the shortest lines of instructions and of data.
IDC, INSTRUCTIONS, DATA = 28, 0, 16
# CLIDR_EL1 with caches for instructions and for data on all seven levels.
ALL_CACHES = sum(3 << 3 * level for level in range(7))
# LoUIS, LoC and LoUU of CLIDR_EL1.
LEVELS = 21, 24, 27
# Bits at which something ends: of the lock, of lines, of halves, of CLIDR_EL1, of words.
EDGES = 0, 1, 2, 3, 31, 32, 46, 47, 63
WORD = (1 << 64) - 1


def is_one(register: int) -> bool:
    """Whether the register is one of these."""
    return register in KNOWN


def claims(kernel: Kernel) -> Iterator[Claim]:
    """Give what is to be proved of these registers of a kernel."""
    rows = kernel.descriptors or {}

    def is_set(register: int) -> bool:
        return register in rows and rows[register].set is not None

    def claim(
        register: int, state: str, told: Told | None, given: str = "true", prepare: Prepare = None
    ) -> Claim:
        return Claim(
            register, state, told, partial(_ends, kernel, register, prepare), partial(_bends, register), given
        )

    for register in (MIDR, REVIDR, AIDR):
        yield claim(register, "without the capability", _rule(kernel, register))
        if is_set(register):
            told = _rule(kernel, register, enabled=("writable_imp_id_regs",))
            yield claim(register, "with the capability", told, prepare=_enabled)
    # Kernels whose CLIDR_EL1 has no setter have none for caches either: they are the host's.
    if is_set(CLIDR):
        yield claim(CLIDR, "any that fits the host's", _by_part(kernel, CLIDR, IDC, 1, {}))
    else:
        yield claim(CLIDR, "the host's", _rule(kernel, CLIDR))
    # Up to 5.10 KVM knows six levels of caches (CSSELR_MAX, arch/arm64/kvm/sys_regs.c; read), of later ones it lists none.
    for register in CACHES[: 12 if kernel.numbers[:2] < (5, 11) else None]:
        shift = INSTRUCTIONS if register & 1 else DATA
        halves = f"(and {is_in('value', WORD << 32, 0)} {is_in('limit', WORD << 32, 0)})"
        if is_set(CLIDR):
            told = _by_part(kernel, register, shift, 0xF, dict.fromkeys(CACHES, 0))
            yield claim(register, "any that fits the host's", told, halves)
        else:
            yield claim(register, "the host's", _rule(kernel, register), halves, _initialised)
    if is_set(OSLSR):
        yield claim(OSLSR, "shown", _rule(kernel, OSLSR), is_in("limit", WORD, rows[OSLSR].mask))
    if PMCR in rows:
        yield claim(PMCR, "with a PMU", _rule(kernel, PMCR, features=("psci_0_2", "pmu_v3")))
    unable = "its value has 512 bits, and formulas are about 64"
    yield Claim(LENGTHS, "with SVE", None, _not_run, lambda: iter(()), unable=unable)


def _rule(
    kernel: Kernel,
    register: int,
    values: Mapping[int, int] | None = None,
    *,
    features: tuple[str, ...] = ("psci_0_2",),
    enabled: tuple[str, ...] = (),
) -> Told | None:
    shown = {register: 0} | dict(values or {})
    return rule_of(kernel.release, shown, register, features, enabled, any_limit=True)


def _by_part(
    kernel: Kernel, register: int, shift: int, greatest: int, beside: Mapping[int, int]
) -> Told | None:
    """The rule for each number in a part of CTR_EL0, on a vCPU that has these registers beside."""
    return by_case(
        (
            is_in("hardware", greatest << shift, part << shift),
            _rule(kernel, register, {**beside, CTR: part << shift}),
        )
        for part in range(greatest + 1)
    )


def _bends(register: int) -> Iterator[str]:
    """The limit and what differs from it in one bit; small numbers and single bits; which levels a CLIDR_EL1 has."""
    yield "(= value limit)"
    for bit in EDGES:
        yield f"(= value (bvxor limit {word_of(1 << bit)}))"
    levels = (
        [sum(chosen) for chosen in product(*((0, 1 << shift) for shift in LEVELS))]
        if register == CLIDR
        else []
    )
    for word in (*range(9), *(1 << bit for bit in EDGES), *levels):
        yield f"(= value {word_of(word)})"


def _not_run(_: Machine) -> list[End]:
    raise NotRunError("it has no formula")


def _ends(kernel: Kernel, register: int, prepare: Prepare, machine: Machine) -> list[End]:
    """Run the setter `(vcpu, reg)` on a vCPU that has every register, of a VM that has not run."""
    setter = machine.code.address(SETTER)
    if setter is None:
        raise NotRunError(f"the image has no {SETTER}")
    base = machine.code.symbols.base
    lies = structures_of(machine.code.image, kernel.numbers[:2])["sys_reg_desc"]
    row = (kernel.descriptors or {}).get(register)
    machine.holds["ccsidr_el1"] = LIMIT
    machine.hook("read_sanitised_ftr_reg", Returns(given=partial(sanitised, CTR)))
    machine.hook("read_id_reg", Returns(given=LIMIT))
    machine.hook("kvm_arm_pmu_get_max_counters", Returns(given=claripy.BVS("counters", 64) & 0x1F))
    # Memory for the caches of a vCPU that has its own.
    for name in ("__kmalloc", "__kmalloc_noprof", "__kmalloc_cache_noprof", "kmalloc_trace"):
        machine.hook(name, Returns(given=claripy.BVV(USER + 0x4000, 64)))
    shown = row and machine.pointer(base + row.place + lies.members["visibility"])
    if shown:
        machine.hook_at(shown, Returns())
    state = machine.state(setter, VCPU, FREE, after=prepare(machine) if prepare else None)
    for at, content in ((FREE, register), (FREE + 8, USER)):
        state.memory.store(at, claripy.BVV(content, 64), endness="Iend_LE")
    state.memory.store(USER, VALUE, endness="Iend_LE")
    if register in (kernel.invariants or ()):
        place = _invariant(machine, kernel, register, lies) + lies.members["val"]
        state.memory.store(base + place, LIMIT, endness="Iend_LE")
    return machine.ends(state)


def _invariant(machine: Machine, kernel: Kernel, register: int, lies: Structure) -> int:
    """Where the table of registers that are the host's, which the boot fills, has this one."""
    data, size = machine.code.image.data, lies.size
    known = kernel.invariants or ()
    codes = [bytes(code_of(one)) for one in known]
    at = data.find(codes[0])
    while at >= 0:
        rows = range(at, at + len(codes) * size, size)
        if [data[row : row + len(code)] for row, code in zip(rows, codes, strict=True)] == codes:
            return at - lies.members[CODE[0]] + known.index(register) * size
        at = data.find(codes[0], at + 1)
    raise NotRunError("the table of registers that are the host's was not found")


def _enabled(machine: Machine) -> Any:
    """A VM for which the capability was enabled, as the kernel does it where there is no vCPU yet."""
    return machine.after(ENABLES, VM, USER, words={USER: WRITABLE})


def _initialised(machine: Machine) -> Any:
    """A kernel that has looked at the caches of a host with all that there can be."""
    machine.holds["clidr_el1"] = claripy.BVV(ALL_CACHES, 64)
    return machine.after(INITIALISES, words={})
