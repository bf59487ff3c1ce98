"""The forms of messages, each with who prints it. A new one is one row of `FORMS`; what is tried first stands first.

Sources: QEMU target/arm/kvm.c, machine.c, cpu64.c and accel/kvm/kvm-all.c (5.2 to 11.1), Firecracker arch/aarch64/vcpu.rs
(1.0 to 1.16), cloud-hypervisor hypervisor/src/cpu.rs (v37 to v53), crosvm aarch64/src/lib.rs, gem5 cpu/kvm/base.cc, kvmtool,
kernel tools/testing/selftests/kvm and arch/arm64/kvm/sys_regs.h: read; those of QEMU 10.0 and 11.1, Firecracker 1.12 and 1.16,
cloud-hypervisor 53.0, libvirt 9.0: run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from kvmfw.messages import parts
from kvmfw.messages.words import ENCODING

__all__ = ["FORMS", "About", "Form"]


class About(Enum):
    """What a message is about."""

    VALUE = "a register refuses its value"
    ABSENT = "a saved register is not on the target"
    EXTRA = "the target has a register that was not saved"
    COUNT = "more registers were saved than the target lists"
    VCPU = "the vCPU could not be made"
    MODEL = "the VMM has no such CPU under KVM"
    READ = "a register could not be read"
    SAVE = "some register could not be read, which is not said"
    GIC = "the interrupt controller refuses its state"
    BESIDE = "what the VM relies on beside registers is not on the target"
    MACHINE = "the two ends are not the same machine"
    WHOLE = "some register was refused, which is not said"
    LOAD = "the VM could not be loaded, and this line does not say why"
    MOVE = "the move failed, and this side does not say why"
    NAMED = "a register is named"
    TAKEN = "a write was taken that the test expects to be refused"
    PASSED = "nothing was refused"


Found = Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Form:
    """A form of message.

    Attributes
    ----------
    speaker : str
        Who prints it.
    about : About
        What it is about.
    pattern : re.Pattern
        The message itself; what stands around it in a line does not matter.
    read : callable
        Takes a match apart into attributes of `Told`; None where it is no such message after all.
    """

    speaker: str
    about: About
    pattern: re.Pattern[str]
    read: Callable[[re.Match[str]], Found]


_QEMU = rf"(?P<register>(?:system register )?{ENCODING}|fw (?:feat )?reg \d+|demuxed reg [0-9a-f]+|(?:0x)?[0-9a-f]{{16}})"
_ID = r"(?P<register>0x[0-9a-fA-F]{15,16}|\d{18,20})"
_MACRO = (
    r"(?:ARM64_SYS_REG\([\d, ]{5,40}\)|KVM_REG_ARM64 \|[^,\n(]{0,90}(?:\([^)\n]{0,40}\))?"
    r"|KVM_REG_ARM(?:64)?_\w+(?:\([\w., \[\]]{0,40}\))?)"
)
_VALUE = r"(?P<saved>0x[0-9a-fA-F]+|\d+)"
_WHY = r"(?P<why>[^\n]*)"
_DEBUG = r"(?P<why>[^()\n]*(?:\([^()\n]*\)[^()\n]*)*)"  # what Rust's Debug prints inside of its parentheses
_MARGIN = r"^[\s#>|]*"  # of a test's output in another's, and of letters
_CASE = r"\s+(?:\d+\s+)?(?:-\s+)?(?P<register>\w+?_EL[01])_(?P<field>\w+)\b(?![^\n]*#\s*SKIP)"
_SURELY_AN_ID = r"(?<!\w)(?P<register>(?:0x)?60[2-8]0_?0000_?001[0-6]_?[0-9a-fA-F]{4}|69[2-5]\d{16})(?!\w)"
_AS_PEOPLE_TYPE = (
    rf"(?P<register>{ENCODING}|fw (?:feat )?reg \d+|{_MACRO}|sys_reg\([\d, ]+\)"
    r"|(?:0x)?6[0-9a-fA-F_]{15,18}|\d{18,20}|[A-Za-z]\w+)"
)
_A_VALUE = r"0x[0-9a-fA-F]+|[0-9a-fA-F]{16}|\d+"

_ROWS: tuple[tuple[str, About, str, Callable[[re.Match[str]], Found]], ...] = (
    ("QEMU", About.ABSENT, rf"Could not set register {_QEMU}: unknown to KVM", parts.qemu_unknown),
    (
        "QEMU",
        About.VALUE,
        rf"Could not set register {_QEMU} to (?P<saved>[0-9a-f]+)(?: \(is (?P<own>[0-9a-f]+)\))?",
        parts.qemu,
    ),
    ("QEMU", About.VALUE, rf"Could not set register {_QEMU}: {_WHY}", parts.qemu),
    (
        "QEMU",
        About.ABSENT,
        rf"{_QEMU} in the incoming stream but unknown on the destination[^\n]*",
        parts.qemu,
    ),
    (
        "QEMU",
        About.EXTRA,
        rf"{_QEMU} expected by the destination but not in the incoming stream[^\n]*",
        parts.qemu,
    ),
    (
        "QEMU",
        About.ABSENT,
        rf"[Uu]nexpected register in input stream: (?:v=)?\d+ (?:index=)?{_ID}[^\n]*",
        parts.by_id,
    ),
    (
        "QEMU",
        About.EXTRA,
        rf"[Mm]issing register in input stream: (?:i=)?\d+ (?:index=)?{_ID}[^\n]*",
        parts.by_id,
    ),
    (
        "QEMU",
        About.COUNT,
        r"Invalid value (?P<saved>\d+) expecting positive value <= (?P<own>\d+)",
        parts.count,
    ),
    ("QEMU", About.COUNT, r"[Ff]ailed to load cpu:cpreg_vmstate_array_len", parts.nothing),
    ("QEMU", About.MACHINE, r"Machine type received is '[^'\n]*' and local is '[^'\n]*'", parts.nothing),
    (
        "QEMU",
        About.WHOLE,
        rf"Failed to put registers (?:after (?:init|reset)|before run): {_WHY}",
        parts.error,
    ),
    ("QEMU", About.SAVE, rf"Failed to get registers: {_WHY}", parts.error),
    ("QEMU", About.WHOLE, r"error while loading state for instance \w+ of ?device 'cpu'", parts.nothing),
    ("QEMU", About.GIC, r"error while loading state for instance \w+ of ?device 'arm_gic\w*'", parts.nothing),
    ("QEMU", About.LOAD, r"error while loading state for instance \w+ of ?device 'ram'", parts.nothing),
    # The machine of the target was made with another interrupt controller; where the host makes none of this kind it ends before.
    (
        "QEMU",
        About.BESIDE,
        r"Unknown savevm section or instance 'arm_gic' \d+[^\n]*",
        parts.beside("VGIC_V2"),
    ),
    ("QEMU", About.GIC, r"Unknown savevm section or instance 'arm_gicv3(?:_its)?' \d+[^\n]*", parts.nothing),
    ("QEMU", About.MACHINE, r"Unknown savevm section or instance '[^'\n]*' \d+[^\n]*", parts.nothing),
    (
        "QEMU",
        About.BESIDE,
        r"KVM(?: with kernel-irqchip=off)? does not support GICv2 emulation",
        parts.beside("VGIC_V2"),
    ),
    ("QEMU", About.GIC, r"KVM(?: with kernel-irqchip=off)? does not support GICv3 emulation", parts.nothing),
    ("QEMU", About.GIC, rf"error creating in-kernel (?:VGIC|ITS): {_WHY}", parts.error),
    (
        "QEMU",
        About.GIC,
        r"This operating system kernel does not support v(?:GICv[23]|ITS) migration",
        parts.nothing,
    ),
    (
        "QEMU",
        About.GIC,
        r"Multiple VGICv3 redistributor regions are not supported by this host kernel",
        parts.nothing,
    ),
    (
        "QEMU",
        About.BESIDE,
        r"Addressing limited to (?P<own>\d+) bits, but memory exceeds it by (?P<more>\d+) bytes",
        parts.addresses,
    ),
    (
        "QEMU",
        About.BESIDE,
        r"require an IPA range \((?P<saved>\d+) bits\) larger than the one supported by the host \((?P<own>\d+) bits\)",
        parts.addresses,
    ),
    # Lengths of blocks of RAM are rounded up to the pages of the host.
    (
        "QEMU",
        About.BESIDE,
        r"Size (?:mismatch|too large): (?:pvtime|/rom@etc/(?:acpi/rsdp|table-loader)): "
        r"(?P<saved>0x[0-9a-f]+) (?:!=|>) (?P<own>0x[0-9a-f]+)[^\n]*",
        parts.pages,
    ),
    (
        "QEMU",
        About.MACHINE,
        r"Size (?:mismatch|too large): [^\n:]+: 0x[0-9a-f]+ (?:!=|>) 0x[0-9a-f]+[^\n]*",
        parts.nothing,
    ),
    ("QEMU", About.BESIDE, r'Unknown ramblock "pvtime"[^\n]*', parts.beside("PVTIME_IPA")),
    ("QEMU", About.BESIDE, rf"PVTIME IPA: KVM_(?:HAS|SET)_DEVICE_ATTR: {_WHY}", parts.beside("PVTIME_IPA")),
    ("QEMU", About.BESIDE, r"'kvm-steal-time' cannot be enabled on this host", parts.beside("PVTIME_IPA")),
    ("QEMU", About.VALUE, r"Failed to set (?P<register>KVM_REG_ARM_TIMER_CNT)", parts.named),
    (
        "QEMU",
        About.GIC,
        rf"KVM_[SG]ET_DEVICE_ATTR failed: Group (?P<group>\d+) attr (?P<attr>0x[0-9a-f]+): {_WHY}",
        parts.interrupt_controller,
    ),
    ("QEMU", About.VCPU, rf"PMU: KVM_SET_DEVICE_ATTR: {_WHY}", parts.error),
    ("QEMU", About.VCPU, rf"kvm_arch_init_vcpu failed \(\d+\): {_WHY}", parts.error),
    ("QEMU", About.VCPU, r"Failed to retrieve host CPU features", parts.nothing),
    ("QEMU", About.VCPU, r"'\w+' feature not supported by KVM on this host", parts.nothing),
    ("QEMU", About.VCPU, r"cannot (?:enable|disable) sve\d+", parts.nothing),
    ("QEMU", About.MODEL, r"KVM is not supported for this guest CPU type", parts.nothing),
    ("Firecracker", About.VALUE, rf"Failed to set register {_ID} to value {_VALUE}: {_WHY}", parts.by_id),
    (
        "Firecracker",
        About.VALUE,
        rf'SetOneReg\({_ID}(?:, \\?"?{_VALUE}\\?"?)?, {_DEBUG}\)',
        parts.by_id,
    ),
    ("Firecracker", About.READ, rf"GetOneReg\({_ID}, {_DEBUG}\)", parts.by_id),
    ("gem5", About.VALUE, rf"Failed to set register \({_ID}\){_WHY}", parts.by_id),
    ("gem5", About.READ, rf"Failed to get register \({_ID}\){_WHY}", parts.by_id),
    ("gem5", About.VCPU, r"KVM: Failed to initialize vCPU", parts.nothing),
    ("Firecracker", About.VALUE, rf"Failed to set register {_ID}: {_WHY}", parts.by_id),
    ("Firecracker", About.READ, rf"Failed to get register {_ID}: {_WHY}", parts.by_id),
    ("Firecracker", About.VCPU, rf"Error initializing the vcpu: {_WHY}", parts.error),
    ("Firecracker", About.GIC, rf"setting or getting device attributes for the GIC: {_WHY}", parts.error),
    ("Firecracker", About.GIC, rf"DeviceAttribute\({_DEBUG}, (?:true|false), \d+\)", parts.error),
    (
        "Firecracker",
        About.GIC,
        rf"Error while calling KVM ioctl for setting up the global interrupt controller: {_WHY}",
        parts.error,
    ),
    (
        "Firecracker",
        About.GIC,
        r"ITS state is missing|MissingItsState|(?:The )?VgicSysRegsState is invalid|InvalidVgicSysRegState",
        parts.nothing,
    ),
    (
        "Firecracker",
        About.BESIDE,
        rf"Failed to set/get device attributes for vCPU: {_WHY}",
        parts.beside("PVTIME_IPA"),
    ),
    ("cloud-hypervisor", About.WHOLE, r"Failed to set extended register\W+(?P<why>[^\"\n]*)", parts.error),
    (
        "cloud-hypervisor",
        About.WHOLE,
        rf"Set(?:AarchCore|Sys|ExtendedSys|Extended)?Register\({_DEBUG}\)",
        parts.error,
    ),
    (
        "cloud-hypervisor",
        About.SAVE,
        rf"Get(?:AarchCore|Sys|ExtendedSys|Extended)?Register\({_DEBUG}\)",
        parts.error,
    ),
    (
        "cloud-hypervisor",
        About.WHOLE,
        rf"Failed to set (?:aarch64 core|system|one) reg(?:ister)?\b{_WHY}",
        parts.error,
    ),
    (
        "cloud-hypervisor",
        About.SAVE,
        rf"Failed to get (?:aarch64 core|system|one) reg(?:ister)?\b{_WHY}",
        parts.error,
    ),
    (
        "cloud-hypervisor",
        About.BESIDE,
        r"Saved counter frequency \((?P<saved>\d+) Hz\) != host \((?P<own>\d+) Hz\)",
        parts.frequency,
    ),
    (
        "cloud-hypervisor",
        About.BESIDE,
        r"CntfrqMismatch \{ saved: (?P<saved>\d+), host: (?P<own>\d+) \}",
        parts.frequency,
    ),
    ("cloud-hypervisor", About.VCPU, rf"Vcpu(?:Init|Finalize)\({_DEBUG}\)", parts.error),
    ("cloud-hypervisor", About.VCPU, rf"Failed to (?:init|finalize) vcpu\b{_WHY}", parts.error),
    ("cloud-hypervisor", About.GIC, rf"SetDeviceAttribute\({_DEBUG}\)", parts.error),
    ("crosvm", About.WHOLE, rf"failed to set (?:VCPU |one )?reg(?:ister)?: {_WHY}", parts.error),
    ("unidbg", About.ABSENT, rf"invalid register ID, or no such register: reg={_ID}", parts.by_id_unknown),
    ("a KVM log", About.VALUE, rf"write {_ID}\({_VALUE}\) to kvm failed{_WHY}", parts.by_id),
    (
        "strace",
        About.VALUE,
        rf"KVM_SET_ONE_REG, \{{\.?id={_ID}[^\n]*?\}}\)\s*=\s*-1 (?P<why>E\w+)",
        parts.by_id,
    ),
    (
        "strace",
        About.READ,
        rf"KVM_GET_ONE_REG, \{{\.?id={_ID}[^\n]*?\}}\)\s*=\s*-1 (?P<why>E\w+)",
        parts.by_id,
    ),
    (
        "strace",
        About.WHOLE,
        r"(?:KVM_SET_ONE_REG|0x4010aeac|_IOC\(_IOC_WRITE, 0xae, 0xac, 0x10\))[^\n=]{0,120}=\s*-1 (?P<why>E\w+)",
        parts.error,
    ),
    ("strace", About.VCPU, r"KVM_ARM_VCPU_(?:INIT|FINALIZE)[^\n=]{0,120}=\s*-1 (?P<why>E\w+)", parts.error),
    ("a KVM log", About.WHOLE, rf"KVM_SET_ONE_REG failed{_WHY}", parts.error),
    ("a KVM log", About.VCPU, rf"KVM_ARM_VCPU_(?:INIT|FINALIZE) failed{_WHY}", parts.error),
    (
        "get-reg-list",
        About.VALUE,
        rf"Failed to set[^\n]{{0,80}}?(?P<why>errno=\d+)?\)?\s*(?P<register>{_MACRO}),?",
        parts.by_symbol,
    ),
    (
        "get-reg-list",
        About.READ,
        rf"Failed to get[^\n]{{0,80}}?(?P<why>errno=\d+)?\)?\s*(?P<register>{_MACRO}),?",
        parts.by_symbol,
    ),
    (
        "get-reg-list",
        About.TAKEN,
        rf"Failed to reject[^\n]{{0,80}}?\s(?P<register>{_MACRO}),?",
        parts.by_symbol,
    ),
    ("set_id_regs", About.VALUE, rf"\bnot ok{_CASE}", parts.test_case),
    ("set_id_regs", About.PASSED, rf"(?<!not )\bok{_CASE}", parts.test_case),
    ("get-reg-list", About.ABSENT, rf"{_MARGIN}(?P<register>{_MACRO}),\s*(?:/\*[^\n]*)?$", parts.by_symbol),
    (
        "what was typed",
        About.VALUE,
        rf"^\W*(?:(?:reg(?:ister)?|id|addr)\W+)?{_AS_PEOPLE_TYPE}(?:\.(?P<field>[A-Za-z]\w*))?"
        rf"(?:\W+(?:(?:value|val|saved|data|to)\W+)?(?P<saved>{_A_VALUE}))?"
        rf"(?:\W+(?:is|host|target|own|vs|was|got|expected)\W+(?P<own>{_A_VALUE}))?(?:\W+(?P<why>E[A-Z0-9]{{2,}}|errno\W{{1,3}}\d+))?\W*$",
        parts.typed,
    ),
    ("a log", About.VALUE, rf"{_SURELY_AN_ID}(?:\W{{1,4}}(?P<saved>0x[0-9a-fA-F]+))?", parts.refused),
    ("a log", About.VALUE, rf"(?P<register>{ENCODING}|\b[A-Z][A-Z0-9_]+_EL[0-3]\b)", parts.refused),
    ("a log", About.NAMED, rf"{_SURELY_AN_ID}(?:\W{{1,4}}(?P<saved>0x[0-9a-fA-F]+))?", parts.named),
    ("a log", About.NAMED, rf"(?P<register>{ENCODING})", parts.named),
    ("QEMU", About.LOAD, rf"load of migration failed: {_WHY}", parts.error),
    ("libvirt", About.MOVE, r"job 'migration out' (?:unexpectedly )?failed", parts.nothing),
)
FORMS = tuple(
    Form(speaker, about, re.compile(pattern, re.ASCII), read) for speaker, about, pattern, read in _ROWS
)
