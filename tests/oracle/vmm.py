"""What each VMM does with a saved register set: an obvious model of its restore as a sequence of writes.

A policy gets the saved set (id -> value, in the order in which it was saved: KVM's list order of the source),
the target's own list (id -> fresh value, in KVM's list order) and a VM that answers writes; it knows nothing
of what KVM accepts.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

from tests.oracle.restoring import (
    CORE,
    DEMUX,
    ELR_EL1,
    FPCR,
    FPSR,
    FW,
    PC,
    PIR_EL1,
    PIRE0_EL1,
    PSTATE,
    SP,
    SP_EL1,
    SPSRS,
    SVE,
    SVE_VLS,
    SYSREG,
    TCR2_EL1,
    VENDOR_HYP_BMAP_2,
    VS,
    XS,
    Finding,
    Outcome,
    Registers,
    Restore,
    Vm,
    group,
    in_groups,
)

# --- kvm: no VMM's particularities ----------------------------------------------------------------


def kvm(saved: Registers, own: Registers, vm: Vm) -> Restore:
    """Every saved register is written: SVE_VLS first (final afterwards), then ascending. No error stops."""
    run = Restore(vm)
    if SVE_VLS in saved:
        run.write(SVE_VLS, saved[SVE_VLS])
    vm.finalize()
    for register in sorted(set(saved) - {SVE_VLS}):
        run.write(register, saved[register])
    run.compare(saved)
    run.own_only(saved, own)
    return run


# --- QEMU -----------------------------------------------------------------------------------------

QEMU_CORE = (*XS, SP, SP_EL1, PSTATE, PC, ELR_EL1, *SPSRS, *VS)
QEMU_FP = (FPSR, FPCR)


def tolerated_by_11_1(register: int, value: int) -> bool:
    """May this register be in the stream only?"""
    if register in (TCR2_EL1, PIRE0_EL1, PIR_EL1):
        return True
    return register == VENDOR_HYP_BMAP_2 and value == 0


def merge_10(run: Restore, stream: Registers, mine: dict[int, int]) -> bool:
    """QEMU up to 10.2: length test, then a walk that ends as soon as either list does."""
    if len(stream) > len(mine):
        run.find(Finding(None, "list"))
        return False
    theirs = list(stream)
    for register in mine:
        if not theirs:
            break
        if theirs[0] < register:
            run.find(Finding(theirs[0], "list", stream[theirs[0]]))
            return False
        if theirs[0] == register:
            mine[register] = stream[theirs.pop(0)]
    for register in theirs:  # all above the largest own id: lost without a word
        run.find(Finding(register, "dropped", stream[register]))
    return True


def merge_11_1(run: Restore, stream: Registers, mine: dict[int, int]) -> bool:
    """QEMU 11.1: both lists to the end; the last register that is only in the stream decides."""
    fail = False
    for register, value in stream.items():
        if register in mine:
            mine[register] = value
        else:
            fail = not tolerated_by_11_1(register, value)
    for register, value in stream.items():
        if register not in mine:
            named = fail and not tolerated_by_11_1(register, value)
            run.find(Finding(register, "list" if named else "dropped", value))
    return not fail


def qemu(
    saved: Registers,
    own: Registers,
    vm: Vm,
    merge: Callable[[Restore, Registers, dict[int, int]], bool],
    put_after_failed_merge: bool,
) -> Restore:
    """List test, then the whole own list is written, ascending: in post_load, and again after the core."""
    run = Restore(vm)
    vm.finalize()  # long before, with the vector lengths of its own -cpu line
    stream = {r: saved[r] for r in sorted(saved) if group(r) not in (CORE, SVE)}
    mine = {r: own[r] for r in sorted(own) if group(r) not in (CORE, SVE)}
    merged = merge(run, stream, mine)
    if merged:
        run.passes.append([r for r, value in mine.items() if not run.write(r, value)])
    if merged or put_after_failed_merge:
        if merged:
            zs = [r for r in in_groups(saved, SVE) if r != SVE_VLS]
            for register in (*QEMU_CORE, *sorted(zs), *QEMU_FP):
                if register in saved and register in own and not run.write(register, saved[register]):
                    return run
        run.passes.append([r for r, value in mine.items() if not run.write(r, value)])
    if not merged:
        return run
    run.compare(saved)
    if SVE_VLS in saved and own.get(SVE_VLS) != saved[SVE_VLS]:
        # not in the stream: the target's own -cpu line decides
        run.find(Finding(SVE_VLS, "dropped", saved[SVE_VLS], now=own.get(SVE_VLS)))
    for register in mine:
        if register not in stream and register not in run.of("refused"):
            run.find(Finding(register, "defaulted", now=own[register]))
    return run


def qemu_makes_none(release: str, features: Collection[str], enabled: Collection[str]) -> bool:
    """Is there no such VM under KVM that could be saved? (arm/virt.c, arm/kvm.c: EL2 after 10.0, MTE blocks migrations)"""
    before_el2 = release in ("qemu-7.2", "qemu-8.2", "qemu-9.2", "qemu-10.0")
    return "mte" in enabled or "has_el2_e2h0" in features or ("has_el2" in features and before_el2)


def qemu_7_2(saved: Registers, own: Registers, vm: Vm) -> Restore:
    return qemu(saved, own, vm, merge_10, put_after_failed_merge=False)


def qemu_10(saved: Registers, own: Registers, vm: Vm) -> Restore:
    return qemu(saved, own, vm, merge_10, put_after_failed_merge=True)


def qemu_11_1(saved: Registers, own: Registers, vm: Vm) -> Restore:
    return qemu(saved, own, vm, merge_11_1, put_after_failed_merge=True)


# --- Firecracker, cloud-hypervisor, crosvm: the first error ends the restore ----------------------


def in_order(saved: Registers, vm: Vm, order: list[int], go_on: bool) -> Restore:
    """`go_on` shows what else would have been refused: the outcome is the same."""
    run = Restore(vm)
    if SVE_VLS not in order:
        vm.finalize()
    for register in order:
        accepted = run.write(register, saved[register])
        if not accepted and not go_on:
            return run
        if register == SVE_VLS:
            vm.finalize()
    run.compare({r: saved[r] for r in order})
    return run


def firecracker(saved: Registers, own: Registers, vm: Vm, go_on: bool = False) -> Restore:
    """SVE_VLS, then the saved order: firmware before system registers. The vGIC is there already."""
    order = sorted(saved, key=lambda r: r != SVE_VLS)
    run = in_order(saved, vm, order, go_on)
    if go_on or run.outcome < Outcome.REFUSE:
        run.own_only(saved, own)
    return run


CH_LIST_MAX: Final = 500


def cloud_hypervisor(saved: Registers, own: Registers, vm: Vm, go_on: bool = False) -> Restore:
    """SVE_VLS, core, SVE (or V) registers, then the saved order: firmware first. No vGIC yet."""
    if len(saved) > CH_LIST_MAX:
        run = Restore(vm)
        run.find(Finding(None, "unsaveable"))
        return run
    sve = [r for r in in_groups(saved, SVE) if r != SVE_VLS]
    general = [r for r in (*XS, SP, PC, PSTATE, SP_EL1, ELR_EL1, *SPSRS) if r in saved]
    vector = [] if SVE_VLS in saved or sve else [r for r in (*VS, FPSR, FPCR) if r in saved]
    first = [SVE_VLS] if SVE_VLS in saved else []
    rest = [r for r in saved if group(r) not in (CORE, SVE)]
    run = in_order(saved, vm, [*first, *general, *sve, *vector, *rest], go_on)
    if go_on or run.outcome < Outcome.REFUSE:
        run.own_only(saved, own)
    return run


CROSVM_LIST_MAX: Final = 1024
TIMER_CNT, TIMER_CVAL = 0x6030_0000_0013_DF1A, 0x6030_0000_0013_DF02
CROSVM_ENCODING: Final = {  # where crosvm sorts what KVM does not number by the architecture
    TIMER_CNT: 0xDF02,
    TIMER_CVAL: 0xDF1A,
    FPCR: 0xDA20,
    FPSR: 0xDA21,
    SP_EL1: 0xE208,
    ELR_EL1: 0xC201,
    **dict(zip(SPSRS, (0xC200, 0xE219, 0xE21A, 0xE218, 0xE21B), strict=True)),
}


def crosvm(saved: Registers, own: Registers, vm: Vm, go_on: bool = False) -> Restore:
    """SP, PC, PSTATE, X, V, system registers by encoding, CCSIDR, firmware; nothing else is saved."""
    if len(saved) > CROSVM_LIST_MAX or in_groups(saved, SVE):  # V registers of an SVE vCPU cannot be read
        run = Restore(vm)
        run.find(Finding(None, "unsaveable"))
        return run
    system = [r for r in saved if group(r) == SYSREG or r in CROSVM_ENCODING]
    system.sort(key=lambda r: CROSVM_ENCODING.get(r, r & 0xFFFF))
    core = [r for r in (SP, PC, PSTATE, *XS, *VS) if r in saved]
    order = [*core, *system, *sorted(in_groups(saved, DEMUX)), *sorted(in_groups(saved, FW))]
    run = in_order(saved, vm, order, go_on)
    if go_on or run.outcome < Outcome.REFUSE:
        written = set(order)
        for register, value in saved.items():
            if register not in written and (now := vm.read(register)) != value:
                run.find(Finding(register, "dropped", value, now=now))
        run.own_only(saved, own)
    return run


def cloud_hypervisor_52(saved: Registers, own: Registers, vm: Vm, go_on: bool = False) -> Restore:
    """As 53, but it cannot read registers wider than 8 bytes of the list: no VM with SVE was ever saved."""
    if in_groups(saved, SVE):
        run = Restore(vm)
        run.find(Finding(None, "unsaveable"))
        return run
    return cloud_hypervisor(saved, own, vm, go_on)


POLICIES: Final[dict[str, Callable[[Registers, Registers, Vm], Restore]]] = {
    "kvm": kvm,
    "qemu-7.2": qemu_7_2,
    "qemu-8.2": qemu_10,
    "qemu-9.2": qemu_10,
    "qemu-10.0": qemu_10,
    "qemu-10.1": qemu_10,
    "qemu-10.2": qemu_10,
    "qemu-11.1": qemu_11_1,
    "firecracker-1.12": firecracker,
    "firecracker-1.13": firecracker,
    "firecracker-1.14": firecracker,
    "firecracker-1.15": firecracker,
    "firecracker-1.16": firecracker,
    "firecracker-1.17": firecracker,
    "cloud-hypervisor-52": cloud_hypervisor_52,
    "cloud-hypervisor-53": cloud_hypervisor,
    "crosvm": crosvm,
}

FAMILIES: Final[dict[str, tuple[str, ...]]] = {
    "qemu": ("qemu-10.0", "qemu-10.2", "qemu-11.1"),
    "qemu-11.0": ("qemu-10.2", "qemu-11.1"),
    "firecracker": ("firecracker-1.12", "firecracker-1.16", "firecracker-1.17"),
    "cloud-hypervisor": ("cloud-hypervisor-52", "cloud-hypervisor-53"),
}
"""Names without a release, or of one that was not read: as each of these, unknown where they differ."""

VGIC_COMES_AFTER: Final = frozenset(
    {"cloud-hypervisor-52", "cloud-hypervisor-53"}
)  # every other VMM creates the vGIC before it writes registers

ENABLES: Final[dict[str, frozenset[int]]] = {
    "firecracker-1.12": frozenset(),
    "firecracker-1.13": frozenset(),
    "firecracker-1.14": frozenset(),
    "firecracker-1.15": frozenset(),
    "firecracker-1.16": frozenset(),
    "firecracker-1.17": frozenset({239}),  # KVM_CAP_ARM_WRITABLE_IMP_ID_REGS, where the target reports it
    "cloud-hypervisor-52": frozenset(),
    "cloud-hypervisor-53": frozenset(),
}
"""Capabilities that a VMM enables on every VM where they are offered; those not named here: as it was configured."""


def may_have_made(policy: str, enabled: frozenset[int]) -> bool:
    """Can a VM with these capabilities be of this release? Snapshots of one are not loaded by another."""
    return policy not in ENABLES or enabled <= ENABLES[policy]


def releases(policy: str, enabled: frozenset[int]) -> tuple[str, ...]:
    """The releases as which a name is judged."""
    named = FAMILIES.get(policy, (policy,))
    return tuple(one for one in named if may_have_made(one, enabled)) or named


def restore(policy: str, saved: Registers, own: Registers, vm: Vm) -> Restore:
    return POLICIES[policy](saved, own, vm)
