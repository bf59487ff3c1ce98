#!/usr/bin/env python3
"""Ask this host's KVM, once, what it accepts, and print the answers as a capture.

    python3 kvmfw_probe.py > host.json             everything (a capture, see docs/formats.md)
    python3 kvmfw_probe.py --quick -o host.json    lists and values only, no sweeps
    python3 kvmfw_probe.py save > sets.jsonl       register sets of throwaway VMs
    python3 kvmfw_probe.py validate --on-host sets.jsonl
                                                   really write saved register sets

One self-contained file: copy it to an arm64 host; it needs Python 3.6 or newer, access to
/dev/kvm and nothing else.  Every VM that it makes is its own, has one vCPU and is destroyed
again; it opens no other VM, no network and no file but those named on the command line and
a few facts under /proc and /sys.  What it prints is whole or nothing.
"""

import argparse
import contextlib
import ctypes
import errno
import json
import mmap
import os
import platform
import re
import select
import signal
import struct
import sys
import tempfile
import time
from array import array
from typing import Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, NoReturn, Optional, Set, Tuple

VERSION = 1
CAPTURE_VERSION = 3
# Of captures in which something is not known.
PARTLY_KNOWN_VERSION = 4
DEVICE = "/dev/kvm"
DEFAULT_TIME_LIMIT = 600

# ---------------------------------------------------------------- what KVM's interface says

GET_API_VERSION = 0xAE00
CREATE_VM = 0xAE01
CHECK_EXTENSION = 0xAE03
GET_VCPU_MMAP_SIZE = 0xAE04
CREATE_VCPU = 0xAE41
RUN = 0xAE80
SET_USER_MEMORY_REGION = 0x4020AE46
ENABLE_CAP = 0x4068AEA3
GET_ONE_REG = 0x4010AEAB
SET_ONE_REG = 0x4010AEAC
ARM_VCPU_INIT = 0x4020AEAE
ARM_PREFERRED_TARGET = 0x8020AEAF
GET_REG_LIST = 0xC008AEB0
ARM_GET_REG_WRITABLE_MASKS = 0x8040AEB6
ARM_VCPU_FINALIZE = 0x4004AEC2
CREATE_DEVICE = 0xC00CAEE0
SET_DEVICE_ATTR = 0x4018AEE1
GET_DEVICE_ATTR = 0x4018AEE2
HAS_DEVICE_ATTR = 0x4018AEE3

CAP_ARM_EL1_32BIT = 93
CAP_ARM_PMU_V3 = 126
CAP_ARM_VM_IPA_SIZE = 165
CAP_ARM_SVE = 170
CAP_ARM_PTRAUTH_ADDRESS = 171
CAP_ARM_PTRAUTH_GENERIC = 172
CAP_ARM_MTE = 205
CAP_ARM_WRITABLE_IMP_ID_REGS = 239
CAP_ARM_EL2 = 240
CAP_ARM_EL2_E2H0 = 241
CAP_ARM_PMU_V3_STRICT = 251
HIGHEST_CAPABILITY = 320

FEATURES = (
    "power_off",
    "el1_32bit",
    "psci_0_2",
    "pmu_v3",
    "sve",
    "ptrauth_address",
    "ptrauth_generic",
    "has_el2",
    "has_el2_e2h0",
    "pmu_v3_strict",
)
ENABLED = {"mte": CAP_ARM_MTE, "writable_imp_id_regs": CAP_ARM_WRITABLE_IMP_ID_REGS}
# A register set may say that its PMU is unsure: it is restored with what was inferred.
UNSURE = "pmu_v3_unsure"
FINALIZE_SVE = 4
EXIT_MMIO = 6

DEVICE_VGIC_V2 = 5
DEVICE_VGIC_V3 = 7
DEVICE_ITS = 8
ONLY_TEST = 1
VGIC_ADDRESS_GROUP = 0
VGIC_ADDRESS_DISTRIBUTOR = 2
VGIC_ADDRESS_REDISTRIBUTOR = 3
VGIC_DISTRIBUTOR_GROUP = 1
GICD_IIDR = 0x8
GICD_TYPER2 = 0xC
VGIC_CONTROL_GROUP = 4
VGIC_CONTROL_INIT = 0
VGIC_CPU_GROUP = 6
ICC_CTLR = 0xC664
ITS_ADDRESS = 4
ITS_REGISTER_GROUP = 8
GITS_IIDR = 4
STEAL_TIME_GROUP = 2
PMU_CONTROL_GROUP = 0
PMU_INTERRUPT = 0
PMU_INIT = 1

FIRMWARE_GROUP = 0x6030000000140000
BITMAP_GROUP = 0x6030000000160000
SVE_VLS = 0x606000000015FFFF
PROGRAM_COUNTER = 0x6030000000100040
PSTATE = 0x6030000000100042
MIDR = 0x603000000013C000

# Registers that change by themselves between a write and the next read: time does not stop
# for a throwaway VM.
COUNTERS = frozenset(
    (0x603000000013DF1A, 0x603000000013DF01, 0x603000000013DF19, 0x603000000013DF11)
    + (0x603000000013E711, 0x603000000013E719)  # CNTHP_CTL_EL2 and CNTHV_CTL_EL2
)


def system_register(op0: int, op1: int, crn: int, crm: int, op2: int) -> int:
    """Id of an 8-byte system register."""
    return 0x6030000000130000 | op0 << 14 | op1 << 11 | crn << 7 | crm << 3 | op2


ISAR2, MMFR3 = system_register(3, 0, 0, 6, 2), system_register(3, 0, 0, 7, 3)
S1PIE, TCRX, ATS1A = 15 << 8, 15, 15 << 60
# Registers of EL1 that have reserved bits in nested VMs, as many of EL2 have.
NESTED_EL1 = (system_register(3, 0, 1, 0, 0), system_register(3, 0, 1, 0, 3))
NESTED_VALUES = (0, 2**64 - 1, 0x5555555555555555, 0xAAAAAAAAAAAAAAAA)


def is_nested(register: int) -> bool:
    """A register that only a nested VM has, or has otherwise."""
    system = register >> 16 == 0x603000000013 and register >> 14 & 3 == 3
    return register in NESTED_EL1 or (
        system and register >> 11 & 7 in (4, 6) and register not in COUNTERS
    )


def size_of(register: int) -> int:
    """Bytes of a register, as its id says."""
    return 1 << (register >> 52 & 15)


# ---------------------------------------------------------------- what is asked

FRESH, EXITED, RAN = "fresh", "exited", "ran"


def firmware_values() -> List[int]:
    """Every value that is written to each firmware register."""
    values = list(range(32))
    values += [1 << bit for bit in range(64)]
    values += [(1 << bits) - 1 for bits in range(1, 64)]
    values += [2**64 - 1, 0xFFFFFFFE, 0xFFFFFFFF, 2**64 - 2, 0xFFFFFFFF00000000]
    values += [0xFFFFFFFFFFFF0000, 0xFFFFFFFFFFFFFFF0]
    # PSCI versions and their neighbours, also with a high half.
    values += [0x10000, 0x10001, 0x10002, 0x10003, 0x10004, 0x10005, 0x10006, 0x20000, 0x20001]
    values += [0x100010000, 0x100010001, 0x100000002, 0x100000001, 0x100000000, 0x10010000, 0x30000]
    # A known level with one more bit set.
    values += [0x32, 0x52, 0x92, 0x112, 1 << 60 | 2, 1 << 63 | 1, 1 << 63 | 2]
    return list(dict.fromkeys(values))


FIRMWARE_VALUES = firmware_values()
FIRMWARE_REGISTERS = [group + index for group in (FIRMWARE_GROUP, BITMAP_GROUP) for index in range(16)]
ID_REGISTERS = [
    system_register(3, op1, 0, crm, op2) for op1 in range(5) for crm in range(8) for op2 in range(8)
]
# Ids that no kernel should know, or not with this size: what an unknown id is told.
# fmt: off
STRANGE_REGISTERS = (
    0, 2**64 - 1, 1, 0x6030000000000000, 0x6020000000000000,
    0x6030000000120000, 0x6030000000170000, 0x6030000000180000, 0x60300000001F0000,
    0x60300000000F0000, 0x6030000000010000, 0x6030000010000000, 0x6030000000FF0000,
    0x6020000000140000, 0x6010000000140000, 0x6040000000140000, 0x6000000000140000,
    0x6020000000140001, 0x6040000000140001, 0x6020000000160000, 0x6040000000160000,
    0x603000000014FFFF, 0x603000000016FFFF, 0x6030000000140100, 0x6030000000160100,
    0x6020000000100000, 0x6030000000100001, 0x6030000000100100, 0x603000000010FFFF,
    0x6040000000100054, 0x6030000000100054, 0x60200000001000D4, 0x60300000001000D4,
    0x6020000000110000, 0x6020000000110001, 0x6020000000110FFF, 0x6030000000110000,
    0x602000000011FF00, 0x603000000013FFFF, 0x6030000000130000, 0x602000000013C000,
    0x604000000013C000, system_register(3, 7, 15, 15, 7), system_register(3, 3, 15, 0, 0),
    system_register(3, 0, 0, 8, 0), system_register(3, 0, 0, 15, 7), system_register(2, 0, 15, 15, 7),
    system_register(1, 0, 7, 8, 0), system_register(0, 0, 0, 0, 0), system_register(3, 0, 0, 0, 1),
    system_register(3, 0, 0, 0, 2), system_register(3, 0, 0, 0, 7), system_register(3, 2, 0, 0, 0),
    system_register(3, 2, 0, 0, 1), system_register(3, 4, 1, 1, 0), system_register(3, 5, 1, 0, 0),
    system_register(3, 6, 1, 1, 0), SVE_VLS, 0x6080000000150000, 0x6070000000150400,
    0x6070000000150600, 0x608000000015FFFF, 0x6030000000150000, 0x4030000000140000,
    0x4020000000100000, 0x2030000000000000, 0x8030000001000000, 0x1030000000140000,
    0x7030000000140000, 0xE030000000140000, 0x60B0000000140000, 0x60F0000000140000,
)
# fmt: on

# X0 to X30, SP and the PC; SP_EL1, ELR_EL1, the SPSRs; two V registers, FPSR and FPCR; of SVE two of each kind.
GENERAL_REGISTERS = [0x6030000000100000 + 2 * n for n in range(33)]
STATE_REGISTERS = [0x6030000000100044 + 2 * n for n in range(7)]
STATE_REGISTERS += [0x6040000000100054, 0x60400000001000D0, 0x60200000001000D4, 0x60200000001000D5]
STATE_REGISTERS += [0x6080000000150000, 0x60800000001503E0, 0x6050000000150400, 0x6050000000150600]


def state_values(register: int, original: int) -> List[int]:
    """What is written to a register of core or SVE state: every mode, both halves, all ones."""
    if register == PSTATE:
        return [original & ~31 | mode for mode in range(32)]
    if register in GENERAL_REGISTERS:
        return [0x5A5A5A5A00000000, 0xA5A5A5A55A5A5A5A, 0x5A5A5A5A]
    return [(1 << 8 * size_of(register)) - 1]


Json = Dict[str, Any]
Read = Callable[[], int]
Write = Callable[[int], int]


class Configuration(NamedTuple):
    """One kind of vCPU.  deep: ID registers are also swept after it has run."""

    name: str
    features: List[str]
    vgic: bool
    pmu: bool
    enabled: List[str]
    deep: bool


def feature_word(names: Iterable[str]) -> int:
    """The bits of KVM_ARM_VCPU_INIT."""
    word = 0
    for name in names:
        word |= 1 << FEATURES.index(name)
    return word


def configurations(kvm: "Kvm") -> List[Tuple[Configuration, bool]]:
    """(vCPU configuration, whether this host says that it has it), in the order of asking."""
    sve = kvm.capability(CAP_ARM_SVE) > 0
    address = kvm.capability(CAP_ARM_PTRAUTH_ADDRESS) > 0
    ptrauth = address and kvm.capability(CAP_ARM_PTRAUTH_GENERIC) > 0
    pmu = kvm.capability(CAP_ARM_PMU_V3) > 0
    psci = ["psci_0_2"]
    pointer = ["ptrauth_address", "ptrauth_generic"]
    full = psci + ["pmu_v3"] * pmu + ["sve"] * sve + pointer * ptrauth

    def known(capability: int) -> bool:
        return kvm.capability(capability) > 0

    return [
        (Configuration("psci02", psci, False, False, [], True), True),
        (Configuration("nopsci", [], False, False, [], False), True),
        (Configuration("gic3", psci, True, False, [], False), True),
        (Configuration("pmu", [*psci, "pmu_v3"], True, True, [], False), pmu),
        (Configuration("pmu_noinit", [*psci, "pmu_v3"], False, False, [], False), pmu),
        (Configuration("sve", [*psci, "sve"], False, False, [], False), sve),
        # What cloud-hypervisor makes on a host with SVE, whose vGIC comes after the registers; and crosvm.
        (Configuration("pmu_sve", [*psci, "pmu_v3", "sve"], False, False, [], False), pmu and sve),
        (Configuration("pmu_ptrauth", [*psci, "pmu_v3", *pointer], True, True, [], False), pmu and ptrauth and sve),
        (Configuration("ptrauth", psci + pointer, False, False, [], False), ptrauth),
        # Asked for even where KVM does not offer it: the errno tells.
        (Configuration("el32", ["el1_32bit", *psci], False, False, [], False), True),
        (Configuration("el2", [*psci, "has_el2"], True, False, [], True), known(CAP_ARM_EL2)),
        (
            Configuration("el2_e2h0", [*psci, "has_el2", "has_el2_e2h0"], True, False, [], True),
            known(CAP_ARM_EL2_E2H0),
        ),
        (Configuration("full", full, True, pmu, [], True), sve + ptrauth + pmu > 1),
        (
            Configuration("impid", psci, False, False, ["writable_imp_id_regs"], True),
            known(CAP_ARM_WRITABLE_IMP_ID_REGS),
        ),
        (Configuration("mte", psci, False, False, ["mte"], True), known(CAP_ARM_MTE)),
        (
            Configuration("pmu_strict", [*psci, "pmu_v3", "pmu_v3_strict"], True, False, [], True),
            known(CAP_ARM_PMU_V3_STRICT),
        ),
    ]


# ---------------------------------------------------------------- errors


class ProbeError(Exception):
    """Why nothing can be printed: one sentence for the operator."""


class Refused(Exception):
    """KVM refused a step; ``number`` is its errno."""

    def __init__(self, number: int) -> None:
        super().__init__(errno_name(number))
        self.number = number


ERRNO_NAMES = dict(errno.errorcode)
# Python prefers other names for two of them.
ERRNO_NAMES.update({errno.EOPNOTSUPP: "EOPNOTSUPP", errno.EAGAIN: "EAGAIN"})
CODES = {
    errno.EINVAL: "i",
    errno.ENOENT: "n",
    errno.EBUSY: "b",
    errno.EPERM: "p",
    errno.ENXIO: "x",
    errno.E2BIG: "B",
    errno.EACCES: "a",
    errno.EFAULT: "f",
    errno.EOPNOTSUPP: "o",
}


# The errors that a capture can hold by name; a test compares them with the core's.
CAPTURED = frozenset(
    "EPERM ENOENT ENXIO E2BIG ENOEXEC ENOMEM EACCES EFAULT EBUSY ENODEV EINVAL EOPNOTSUPP".split()
)


def errno_name(number: int) -> str:
    return ERRNO_NAMES.get(number, "E{}".format(number))


def captured_errno(number: int) -> str:
    """The error as a capture has it."""
    name = errno_name(number)
    return name if name in CAPTURED else "EOTHER"


# ---------------------------------------------------------------- the only code that talks to KVM


class Kvm:
    """/dev/kvm.  Everything below is written against this class and Vm and Vcpu."""

    def __init__(self, path: str = DEVICE) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self.ioctl = libc.ioctl
        self.ioctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p]
        self.ioctl.restype = ctypes.c_int
        self._fd = open_device(path)
        # The widest register that an id can name has 2^15 bytes.
        self._memory = ctypes.create_string_buffer(1 << 15)
        self.buffer = memoryview(self._memory).cast("B")
        self.buffer_address = ctypes.addressof(self._memory)
        version = self.call(self._fd, GET_API_VERSION)
        if version != 12:
            os.close(self._fd)
            raise ProbeError("{} is not KVM: it answers {} to KVM_GET_API_VERSION.".format(path, version))

    def call(self, fd: int, request: int, argument: int = 0) -> int:
        """One ioctl: what it returns, or -errno."""
        result = self.ioctl(fd, request, argument)
        return -ctypes.get_errno() if result < 0 else result

    def call_with(self, fd: int, request: int, packed: bytes) -> Tuple[int, bytes]:
        """One ioctl on a structure: (what it returns or -errno, the structure afterwards)."""
        memory = ctypes.create_string_buffer(packed, len(packed))
        return self.call(fd, request, ctypes.addressof(memory)), memory.raw

    def capability(self, number: int) -> int:
        return self.call(self._fd, CHECK_EXTENSION, number)

    def address_bits(self) -> int:
        """The most bits of guest addresses that a VM may have; 0 where all have 40."""
        return max(self.capability(CAP_ARM_VM_IPA_SIZE), 0)

    def create_vm(self, address_bits: int = 0) -> "Vm":
        """A new VM, by default of 40 bits; raises Refused."""
        # Hosts with a small physical address space (36 bits) refuse the default of 40.
        limit = self.address_bits()
        fd = self.call(self._fd, CREATE_VM, address_bits or (limit if 0 < limit < 40 else 0))
        if fd < 0:
            raise Refused(-fd)
        return Vm(self, fd)

    def run_size(self) -> int:
        return self.call(self._fd, GET_VCPU_MMAP_SIZE)

    def close(self) -> None:
        os.close(self._fd)


class Vm:
    """A throwaway VM."""

    def __init__(self, kvm: Kvm, fd: int) -> None:
        self.kvm = kvm
        self._fd = fd
        self._opened: List[Any] = []
        self._guest_memory: Optional[mmap.mmap] = None

    def capability(self, number: int) -> int:
        return self.kvm.call(self._fd, CHECK_EXTENSION, number)

    def enable(self, number: int) -> int:
        """KVM_ENABLE_CAP: 0 or errno."""
        return -self.kvm.call_with(self._fd, ENABLE_CAP, struct.pack("=II4Q64x", number, 0, 0, 0, 0, 0))[0]

    def preferred_target(self) -> int:
        result, packed = self.kvm.call_with(self._fd, ARM_PREFERRED_TARGET, bytes(32))
        if result < 0:
            raise Refused(-result)
        return int(struct.unpack_from("=I", packed)[0])

    def create_vcpu(self) -> "Vcpu":
        fd = self.kvm.call(self._fd, CREATE_VCPU, 0)
        if fd < 0:
            raise Refused(-fd)
        vcpu = Vcpu(self.kvm, fd)
        self._opened.append(vcpu)
        return vcpu

    def create_vgic(self) -> "Device":
        """A GICv3 with its addresses set, not yet initialised; raises Refused."""
        vgic = self._create_device(DEVICE_VGIC_V3)
        vgic.place(VGIC_ADDRESS_DISTRIBUTOR, 0x08000000)
        vgic.place(VGIC_ADDRESS_REDISTRIBUTOR, 0x080A0000)
        return vgic

    def create_its(self) -> "Device":
        """An ITS, initialised; raises Refused."""
        its = self._create_device(DEVICE_ITS)
        its.place(ITS_ADDRESS, 0x08080000)
        its.initialise()
        return its

    def _create_device(self, kind: int) -> "Device":
        result, packed = self.kvm.call_with(self._fd, CREATE_DEVICE, struct.pack("=III", kind, 0, 0))
        if result < 0:
            raise Refused(-result)
        device = Device(self.kvm, struct.unpack("=III", packed)[1])
        self._opened.append(device)
        return device

    def makes_device(self, kind: int) -> int:
        """Whether KVM would make such a device: 0 or errno; nothing is made."""
        return -self.kvm.call_with(self._fd, CREATE_DEVICE, struct.pack("=III", kind, 0, ONLY_TEST))[0]

    def writable_masks(self) -> Optional[Dict[int, int]]:
        """{register: mask} of KVM_ARM_GET_REG_WRITABLE_MASKS, None where there is no such call."""
        masks = array("Q", bytes(8 * 192))
        result = self.kvm.call_with(
            self._fd, ARM_GET_REG_WRITABLE_MASKS, struct.pack("=Q56x", masks.buffer_info()[0])
        )
        if result[0] < 0:
            return None
        found = {}
        for index, mask in enumerate(masks):
            if mask:
                op1 = (0, 1, 3)[index >> 6]
                found[system_register(3, op1, 0, index >> 3 & 7, index & 7)] = mask
        return found

    def add_code(self, address: int, code: bytes) -> None:
        """Give the guest 64 KiB of memory at ``address`` that starts with ``code``."""
        size = 1 << 16
        # Private: a VM with MTE takes no shared memory.
        self._guest_memory = memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        memory[: len(code)] = code
        anchor = ctypes.c_char.from_buffer(memory)
        packed = struct.pack("=IIQQQ", 0, 0, address, size, ctypes.addressof(anchor))
        del anchor
        result = self.kvm.call_with(self._fd, SET_USER_MEMORY_REGION, packed)[0]
        if result < 0:
            raise Refused(-result)

    def close(self) -> None:
        for opened in reversed(self._opened):
            opened.close()
        os.close(self._fd)
        if self._guest_memory is not None:
            self._guest_memory.close()


class Device:
    """The GICv3 of a throwaway VM, or its ITS."""

    def __init__(self, kvm: Kvm, fd: int) -> None:
        self._kvm = kvm
        self._fd = fd

    def _set(self, group: int, attribute: int, value: bytes = b"") -> None:
        error = set_attribute(self._kvm, self._fd, group, attribute, value)
        if error:
            raise Refused(error)

    def place(self, attribute: int, address: int) -> None:
        self._set(VGIC_ADDRESS_GROUP, attribute, struct.pack("=Q", address))

    def initialise(self) -> None:
        self._set(VGIC_CONTROL_GROUP, VGIC_CONTROL_INIT)

    def read(self, group: int, attribute: int) -> int:
        """A word; raises Refused."""
        cell = array("Q", [0])
        request = struct.pack("=IIQQ", 0, group, attribute, cell.buffer_info()[0])
        result = self._kvm.call_with(self._fd, GET_DEVICE_ATTR, request)[0]
        if result < 0:
            raise Refused(-result)
        return cell[0]

    def write(self, group: int, attribute: int, value: int) -> int:
        """0 or errno."""
        return set_attribute(self._kvm, self._fd, group, attribute, struct.pack("=Q", value))

    def close(self) -> None:
        os.close(self._fd)


class Vcpu:
    """The vCPU of a throwaway VM."""

    def __init__(self, kvm: Kvm, fd: int) -> None:
        self._kvm = kvm
        self._fd = fd
        self._run: Optional[mmap.mmap] = None

    def init(self, target: int, features: int) -> int:
        """KVM_ARM_VCPU_INIT: 0 or errno."""
        return -self._kvm.call_with(self._fd, ARM_VCPU_INIT, struct.pack("=II24x", target, features))[0]

    def finalize_sve(self) -> int:
        return -self._kvm.call_with(self._fd, ARM_VCPU_FINALIZE, struct.pack("=i", FINALIZE_SVE))[0]

    def initialise_pmu(self) -> int:
        """0 or errno; needs the VM's GIC."""
        interrupt = struct.pack("=i", 23)
        error = set_attribute(self._kvm, self._fd, PMU_CONTROL_GROUP, PMU_INTERRUPT, interrupt)
        return error or set_attribute(self._kvm, self._fd, PMU_CONTROL_GROUP, PMU_INIT)

    def register_list(self) -> List[int]:
        """Ids in KVM's order."""
        result, packed = self._kvm.call_with(self._fd, GET_REG_LIST, struct.pack("=Q", 0))
        if result == -errno.E2BIG:
            count = struct.unpack("=Q", packed)[0]
            result, packed = self._kvm.call_with(
                self._fd, GET_REG_LIST, struct.pack("=Q", count) + bytes(8 * count)
            )
        if result < 0:
            raise Refused(-result)
        count = struct.unpack_from("=Q", packed)[0]
        return list(struct.unpack_from("={}Q".format(count), packed, 8))

    def read(self, register: int) -> int:
        """Its value, or -errno."""
        size = size_of(register)
        self._kvm.buffer[:size] = bytes(size)
        request = struct.pack("=QQ", register, self._kvm.buffer_address)
        result = self._kvm.call_with(self._fd, GET_ONE_REG, request)[0]
        return result if result < 0 else int.from_bytes(self._kvm.buffer[:size], "little")

    def write(self, register: int, value: int) -> int:
        """0 or errno."""
        size = size_of(register)
        self._kvm.buffer[:size] = value.to_bytes(size, "little")
        request = struct.pack("=QQ", register, self._kvm.buffer_address)
        return -self._kvm.call_with(self._fd, SET_ONE_REG, request)[0]

    def accessors(self, register: int) -> Tuple[Read, Write]:
        """(read, write) of one register, for sweeps: of 8 bytes nothing is packed anew per call."""
        if size_of(register) != 8:
            return (lambda: self.read(register)), (lambda value: self.write(register, value))
        fd, ioctl, get_errno = self._fd, self._kvm.ioctl, ctypes.get_errno
        cell = array("Q", [0])
        request = array("Q", [register, cell.buffer_info()[0]])
        address = request.buffer_info()[0]

        def read(_alive: Any = request) -> int:
            return -get_errno() if ioctl(fd, GET_ONE_REG, address) else cell[0]

        def write(value: int, _alive: Any = request) -> int:
            cell[0] = value
            return get_errno() if ioctl(fd, SET_ONE_REG, address) else 0

        return read, write

    def has_steal_time(self) -> int:
        """0 or errno."""
        return -self._kvm.call_with(self._fd, HAS_DEVICE_ATTR, struct.pack("=IIQQ", 0, STEAL_TIME_GROUP, 0, 0))[0]

    def stored_word(self) -> int:
        """What the guest stored where nothing is; raises Refused where it left for another reason."""
        assert self._run is not None
        reason = struct.unpack_from("=I", self._run, 8)[0]
        if reason != EXIT_MMIO:
            raise Refused(0)
        return int(struct.unpack_from("=Q", self._run, 40)[0])

    def run(self, immediate_exit: bool) -> int:
        """KVM_RUN: 0 or errno."""
        if self._run is None:
            self._run = mmap.mmap(self._fd, self._kvm.run_size(), mmap.MAP_SHARED)
        self._run[1:2] = b"\x01" if immediate_exit else b"\x00"
        return -self._kvm.call(self._fd, RUN)

    def close(self) -> None:
        if self._run is not None:
            self._run.close()
        os.close(self._fd)


def open_device(path: str) -> int:
    """A descriptor of /dev/kvm, or one sentence why not."""
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        raise ProbeError("There is no {}: this host's kernel offers no KVM.".format(path)) from None
    except PermissionError:
        words = "{} may not be opened by this user: run as root or as a member of the group that owns it."
        raise ProbeError(words.format(path)) from None
    except OSError as error:
        raise ProbeError("{} cannot be opened: {}.".format(path, error.strerror)) from None


def set_attribute(kvm: Kvm, fd: int, group: int, attribute: int, value: bytes = b"") -> int:
    """KVM_SET_DEVICE_ATTR: 0 or errno."""
    memory = ctypes.create_string_buffer(value, max(len(value), 1))
    address = ctypes.addressof(memory) if value else 0
    return -kvm.call_with(fd, SET_DEVICE_ATTR, struct.pack("=IIQQ", 0, group, attribute, address))[0]


# ---------------------------------------------------------------- a throwaway machine

GUEST_CODE = 0x40000000
# One store to an address that nothing answers at, then a loop: x0 = 0x0a000000; str wzr, [x0]; b .
CODE_64 = struct.pack("<3I", 0xD2A14000, 0xB900001F, 0x14000000)
# The same with the frequency of the counter: mrs x1, cntfrq_el0; x0 = 0x0a000000; str x1, [x0]; b .
CODE_COUNTER = struct.pack("<4I", 0xD53BE001, 0xD2A14000, 0xF9000001, 0x14000000)
CODE_32 = struct.pack("<3I", 0xE3A0040A, 0xE5801000, 0xEAFFFFFE)


class Machine:
    """A VM with one vCPU of a configuration, in a state; ``renew`` makes the same again."""

    def __init__(
        self, kvm: Kvm, configuration: Configuration, state: str = FRESH, finalize: bool = True
    ) -> None:
        self._kvm = kvm
        self._configuration = configuration
        self._state = state
        self._finalize = finalize
        self._vm: Optional[Vm] = None
        self.vgic = self.pmu_initialised = False
        self.renew()

    def __enter__(self) -> "Machine":
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    @property
    def vm(self) -> Vm:
        assert self._vm is not None
        return self._vm

    def close(self) -> None:
        if self._vm is not None:
            vm, self._vm = self._vm, None
            vm.close()

    def renew(self) -> None:
        """Raises Refused with the errno of the step that KVM refused."""
        self.close()
        self._vm = self._kvm.create_vm()
        try:
            self._build(self._vm)
            self._reach(self._vm)
        except BaseException:
            self.close()
            raise

    def _build(self, vm: Vm) -> None:
        configuration = self._configuration
        for name in configuration.enabled:
            must(vm.enable(ENABLED[name]))
        target = vm.preferred_target()
        self.vcpu = vm.create_vcpu()
        must(self.vcpu.init(target, feature_word(configuration.features)))
        vgic = self._create_vgic(vm) if configuration.vgic else None
        if self._finalize and "sve" in configuration.features:
            must(self.vcpu.finalize_sve())
        if vgic is not None:
            vgic.initialise()
        self.vgic = vgic is not None
        self.pmu_initialised = configuration.pmu and self.vcpu.initialise_pmu() == 0

    def _create_vgic(self, vm: Vm) -> Optional[Device]:
        try:
            return vm.create_vgic()
        except Refused:
            # A host without GICv3: the capture says that this vCPU has no vgic.
            return None

    def _reach(self, vm: Vm) -> None:
        if self._state == EXITED:
            # KVM counts an immediate exit as having run; any other errno says that it did not.
            error = self.vcpu.run(immediate_exit=True)
            if error != errno.EINTR:
                raise Refused(error)
        elif self._state == RAN:
            vm.add_code(GUEST_CODE, CODE_32 if "el1_32bit" in self._configuration.features else CODE_64)
            must(self.vcpu.write(PROGRAM_COUNTER, GUEST_CODE))
            must(self.vcpu.run(immediate_exit=False))


def must(error: int) -> None:
    if error:
        raise Refused(error)


# ---------------------------------------------------------------- sweeps of one register


def hexadecimal(value: int) -> str:
    return hex(value)


def put_back(
    machine: Machine, register: int, access: Tuple[Read, Write], original: int
) -> Tuple[Read, Write]:
    """Undo an accepted write; a new machine where KVM does not let it be undone."""
    read, write = access
    if write(original) == 0 and read() == original:
        return access
    machine.renew()
    return machine.vcpu.accessors(register)


def firmware_answer(machine: Machine, register: int) -> Optional[Json]:
    """What KVM says to every value of the firmware sweep; None for a register that it has not."""
    record: Json = {"register": hexadecimal(register)}
    original = machine.vcpu.accessors(register)[0]()
    if original < 0:
        return None
    record["value"] = hexadecimal(original)
    record["sweep"] = "firmware"
    refused = ask_values(machine, register, original, FIRMWARE_VALUES, record)
    name_the_rest(record, refused)
    return record


def state_answer(machine: Machine, register: int) -> Optional[Json]:
    """What KVM says to some values of core or SVE state; None for a register that the vCPU has not."""
    record: Json = {"register": hexadecimal(register)}
    original = machine.vcpu.read(register)
    if original < 0:
        return None
    record["value"] = hexadecimal(original)
    refused = ask_values(machine, register, original, state_values(register, original), record)
    if refused:
        record["refused"] = refused
    return record


def ask_values(
    machine: Machine, register: int, original: int, values: Iterable[int], record: Json
) -> Dict[str, List[str]]:
    """Write each value and undo it; what was accepted goes into the record, what was not is given back."""
    access = machine.vcpu.accessors(register)
    kept: List[str] = []
    changed: Dict[str, str] = {}
    refused: Dict[str, List[str]] = {}
    for value in values:
        error = access[1](value)
        if error:
            refused.setdefault(captured_errno(error), []).append(hexadecimal(value))
            continue
        after = access[0]()
        if after == value or after < 0:
            kept.append(hexadecimal(value))
        else:
            changed[hexadecimal(value)] = hexadecimal(after)
        if after != original:
            access = put_back(machine, register, access, original)
    record["kept"] = kept
    if changed:
        record["changed"] = changed
    return refused


def name_the_rest(record: Json, refused: Dict[str, List[str]]) -> None:
    """Give the largest group of refused values as the errno of everything else."""
    if not refused:
        return
    largest = max(refused, key=lambda name: len(refused[name]))
    if len(refused[largest]) > 12:
        record["otherwise"] = largest
        del refused[largest]
    if refused:
        record["refused"] = refused


class NibbleSweep:
    """All 16 values of all 16 nibbles of one ID register, 0 and all ones."""

    LIMIT = 40

    def __init__(self, machine: Machine, register: int, original: int) -> None:
        self._machine = machine
        self._register = register
        self._original = original
        self._access = machine.vcpu.accessors(register)
        self.changed: Dict[str, str] = {}

    def code(self, value: int) -> str:
        """Write ``value``, undo it, and say in one letter what happened."""
        error = self._access[1](value)
        if error:
            return CODES.get(error, "?")
        after = self._access[0]()
        if after != self._original:
            self._access = put_back(self._machine, self._register, self._access, self._original)
        if after == value:
            return "."
        if after >= 0 and len(self.changed) < self.LIMIT:
            self.changed[hexadecimal(value)] = hexadecimal(after)
        return "!"

    def record(self) -> Json:
        original, code = self._original, self.code
        error = self._access[1](original)
        same = CODES.get(error, "?") if error else "."
        own = code(original)
        rows = []
        for shift in range(0, 64, 4):
            rest = original & ~(15 << shift)
            now = original >> shift & 15
            rows.append("".join([own if n == now else code(rest | n << shift) for n in range(16)]))
        other = most_frequent(rows, original)
        nibbles = {}
        for index, row in enumerate(rows):
            now = original >> 4 * index & 15
            if row != other * now + same + other * (15 - now):
                nibbles[str(4 * index)] = row
        record: Json = {"register": hexadecimal(self._register)}
        record["value"] = hexadecimal(original)
        record["nibbles"] = nibbles
        record["same"] = same
        record["other"] = other
        record["zero"] = code(0)
        record["ones"] = code(2**64 - 1)
        if self.changed:
            record["changed"] = self.changed
        return record


def most_frequent(rows: List[str], original: int) -> str:
    """The code that most values other than the present one got; 'i' where several are as frequent."""
    counts = {"i": 0}
    for index, row in enumerate(rows):
        now = original >> 4 * index & 15
        for code in row[:now] + row[now + 1 :]:
            counts[code] = counts.get(code, 0) + 1
    return max(sorted(counts, key=lambda code: (code != "i", code)), key=lambda code: counts[code])


def vector_length_sets(default: int) -> List[int]:
    """The SVE_VLS values to write: small subsets, prefixes, single bits, default less or plus one bit."""
    highest = default.bit_length()
    values = list(range(512 if highest >= 8 else 1 << (highest + 1)))
    values += [(1 << bits) - 1 for bits in range(33)]
    values += [1 << bit for bit in range(64)] + [1 << 64, 1 << 511]
    values += [default & ~(1 << bit) for bit in range(highest)]
    values += [default | 1 << bit for bit in range(64)]
    return list(dict.fromkeys(values))


def vector_length_answer(vcpu: Vcpu) -> Optional[Json]:
    """What SVE_VLS takes before the vCPU is finalized."""
    default = vcpu.read(SVE_VLS)
    if default < 0:
        return None
    record: Json = {"register": hexadecimal(SVE_VLS)}
    record["value"] = hexadecimal(default)
    kept: List[str] = []
    changed: Dict[str, str] = {}
    refused: Dict[str, List[str]] = {}
    for value in vector_length_sets(default):
        error = vcpu.write(SVE_VLS, value)
        if error:
            refused.setdefault(captured_errno(error), []).append(hexadecimal(value))
            continue
        after = vcpu.read(SVE_VLS)
        if after == value:
            kept.append(hexadecimal(value))
        else:
            changed[hexadecimal(value)] = hexadecimal(after)
    record["kept"] = kept
    if changed:
        record["changed"] = changed
    record["refused"] = refused
    return record


# ---------------------------------------------------------------- the capture


class Answers:
    """Collects answers: one record for all vCPUs and states that answered alike."""

    def __init__(self) -> None:
        self._records: Dict[str, Tuple[Json, Dict[str, List[str]]]] = {}

    def add(self, record: Json, vcpu: str, state: str) -> None:
        key = json.dumps(record, sort_keys=True)
        where = self._records.setdefault(key, (record, {}))[1]
        where.setdefault(vcpu, []).append(state)

    def records(self) -> List[Json]:
        found = []
        for record, where in self._records.values():
            by_states: Dict[Tuple[str, ...], List[str]] = {}
            for vcpu, states in where.items():
                by_states.setdefault(tuple(states), []).append(vcpu)
            asked = [{"vcpus": vcpus, "states": list(states)} for states, vcpus in by_states.items()]
            whole = {"register": record["register"], "asked_on": asked}
            whole.update(record)
            found.append(whole)
        return sorted(found, key=lambda record: int(record["register"], 16))


class Groups:
    """Collects what several vCPUs have in common under one key."""

    def __init__(self) -> None:
        self._groups: Dict[str, Tuple[Json, List[str]]] = {}

    def add(self, content: Json, vcpu: str) -> None:
        key = json.dumps(content, sort_keys=True)
        self._groups.setdefault(key, (content, []))[1].append(vcpu)

    def rows(self, name: str) -> List[Json]:
        return [{"vcpus": vcpus, name: content} for content, vcpus in self._groups.values()]

    def merged_rows(self) -> List[Json]:
        """Rows whose content is the keys of an object."""
        return [dict(content, vcpus=vcpus) for content, vcpus in self._groups.values()]


class Probe:
    """Asks one host and keeps what it said."""

    def __init__(
        self,
        kvm: Kvm,
        quick: bool = False,
        only: Optional[List[str]] = None,
        say: Optional[Callable[[str], None]] = None,
    ) -> None:
        self._kvm = kvm
        self._quick = quick
        self._only = only
        self._say = say or (lambda words: None)
        self._answers = Answers()
        self._absent = Groups()
        self._masks = Groups()
        self._first_run = Groups()
        self._vcpus: List[Json] = []
        self._lists: List[Tuple[Json, List[int], Dict[int, str]]] = []

    def capture(self, facts: Json) -> Json:
        """The whole capture; ``facts`` are the host's (see host_facts)."""
        for configuration, offered in configurations(self._kvm):
            if self._only and configuration.name not in self._only:
                continue
            started = time.monotonic()
            if offered:
                self._ask(configuration)
            else:
                self._ask_anyway(configuration)
            self._say("{}: {:.1f} s".format(configuration.name, time.monotonic() - started))
        registers = merge_orders([registers for _, registers, _ in self._lists])
        for vcpu, _, values in self._lists:
            vcpu["values"] = [values.get(register) for register in registers]
            # Last, after the values that it is about.
            vcpu["same_value_refused"] = vcpu.pop("same_value_refused")
        facts["capabilities"] = self._capabilities()
        document = {"format": "kvmfw-capture", "version": CAPTURE_VERSION, "host": facts}
        document["registers"] = [hexadecimal(register) for register in registers]
        document["vcpus"] = self._vcpus
        document["sweeps"] = {"firmware": [hexadecimal(value) for value in FIRMWARE_VALUES]}
        document["answers"] = self._answers.records()
        document["absent"] = self._absent.rows("refused")
        document["writable_masks"] = self._masks.rows("masks")
        document["first_run"] = self._first_run.merged_rows()
        started = time.monotonic()
        document["surroundings"] = surroundings(self._kvm, self._quick)
        self._say("surroundings: {:.1f} s".format(time.monotonic() - started))
        return document

    def _capabilities(self) -> Dict[str, int]:
        vm = self._kvm.create_vm()
        try:
            values = [(number, vm.capability(number)) for number in range(HIGHEST_CAPABILITY)]
        finally:
            vm.close()
        return {str(number): value for number, value in values if value}

    def _described(self, configuration: Configuration) -> Json:
        vcpu = {"name": configuration.name, "features": configuration.features}
        if configuration.enabled:
            vcpu["enabled"] = configuration.enabled
        return vcpu

    def _ask_anyway(self, configuration: Configuration) -> None:
        """With what errno a vCPU is refused that the host does not offer."""
        plain = configuration._replace(vgic=False, pmu=False)
        try:
            Machine(self._kvm, plain).close()
        except Refused as refused:
            vcpu = self._described(configuration)
            vcpu["refused"] = captured_errno(refused.number)
            self._vcpus.append(vcpu)

    def _ask(self, configuration: Configuration) -> None:
        vcpu = self._described(configuration)
        self._vcpus.append(vcpu)
        try:
            machine = Machine(self._kvm, configuration)
        except Refused as refused:
            vcpu["refused"] = captured_errno(refused.number)
            return
        with machine:
            self._ask_list(machine, vcpu)
        with Machine(self._kvm, configuration) as machine:
            self._ask_fresh(machine, configuration)
        self._ask_first_run(configuration)
        if self._quick:
            return
        for state in (EXITED, RAN):
            try:
                machine = Machine(self._kvm, configuration, state)
            except Refused:
                # A vCPU that does not run has no answers of a vCPU that ran.
                continue
            with machine:
                self._sweep_firmware(machine, configuration, state)
                self._sweep_state(machine, configuration, state)
                if configuration.deep:
                    self._sweep_identification(machine, configuration, state)
                if state == EXITED:
                    self._sweep_nested(machine, configuration, state)
        if "sve" in configuration.features:
            with Machine(self._kvm, configuration, finalize=False) as machine:
                record = vector_length_answer(machine.vcpu)
            if record:
                self._answers.add(record, configuration.name, FRESH)

    def _ask_list(self, machine: Machine, vcpu: Json) -> None:
        """List, fresh values, and whether each register takes its own value."""
        vcpu["vgic"] = machine.vgic
        vcpu["pmu_initialised"] = machine.pmu_initialised
        registers = machine.vcpu.register_list()
        # All are read before any is written: writing a register can change what another reads (6.7 to 6.12:
        # PMOVSCLR_EL0 clears PMOVSSET_EL0).
        read = [(register, machine.vcpu.read(register)) for register in registers]
        values = {register: value for register, value in read if value >= 0}
        same = {}
        for register, value in values.items():
            error = machine.vcpu.write(register, value)
            if error:
                same[hexadecimal(register)] = captured_errno(error)
        vcpu["same_value_refused"] = same
        self._lists.append((vcpu, registers, {register: hexadecimal(values[register]) for register in values}))

    def _ask_fresh(self, machine: Machine, configuration: Configuration) -> None:
        """Firmware and ID registers, masks, and ids that are not there."""
        absent: Dict[str, Dict[str, bool]] = {}
        if not self._quick:
            self._sweep_firmware(machine, configuration, FRESH)
            self._sweep_state(machine, configuration, FRESH)
            self._sweep_identification(machine, configuration, FRESH)
            self._sweep_nested(machine, configuration, FRESH)
        for register in FIRMWARE_REGISTERS + ID_REGISTERS + list(STRANGE_REGISTERS):
            if machine.vcpu.read(register) >= 0:
                continue
            error = machine.vcpu.write(register, 0)
            # An id that can be written although it cannot be read is not absent.
            if error:
                absent.setdefault(captured_errno(error), {})[hexadecimal(register)] = True
        if absent:
            lists = {name: list(ids) for name, ids in absent.items()}
            self._absent.add(lists, configuration.name)
        masks = machine.vm.writable_masks()
        if masks is not None:
            texts = {hexadecimal(register): hexadecimal(mask) for register, mask in masks.items()}
            self._masks.add(texts, configuration.name)

    def _sweep_firmware(self, machine: Machine, configuration: Configuration, state: str) -> None:
        for register in FIRMWARE_REGISTERS:
            record = firmware_answer(machine, register)
            if record:
                self._answers.add(record, configuration.name, state)

    def _sweep_state(self, machine: Machine, configuration: Configuration, state: str) -> None:
        for register in [PSTATE] + GENERAL_REGISTERS + STATE_REGISTERS:
            record = state_answer(machine, register)
            if record:
                self._answers.add(record, configuration.name, state)

    def _sweep_identification(self, machine: Machine, configuration: Configuration, state: str) -> None:
        originals = [(register, machine.vcpu.accessors(register)[0]()) for register in ID_REGISTERS]
        for register, original in originals:
            if original >= 0:
                record = NibbleSweep(machine, register, original).record()
                self._answers.add(record, configuration.name, state)


    def _sweep_nested(self, machine: Machine, configuration: Configuration, state: str) -> None:
        """EL2 registers: stored as written before the VM runs, later without their reserved bits."""
        if "has_el2" not in configuration.features:
            return
        for register in machine.vcpu.register_list():
            # The sweep of all ID registers has asked some of these already.
            if is_nested(register) and register not in ID_REGISTERS:
                record = nested_answer(machine, register)
                if record:
                    self._answers.add(record, configuration.name, state)

    def _ask_first_run(self, configuration: Configuration) -> None:
        """What the first KVM_RUN does to the registers, and to some that were written before it."""
        with Machine(self._kvm, configuration) as machine:
            indirection = max(machine.vcpu.read(MMFR3), 0)
            needed = max(machine.vcpu.read(ISAR2), 0)
            if not self._first_run_of(machine, configuration, {}):
                return
        if not indirection & S1PIE:
            return
        for register, value, field in ((ISAR2, needed, ATS1A), (MMFR3, indirection, TCRX)):
            if value & field:
                with Machine(self._kvm, configuration) as machine:
                    self._first_run_of(machine, configuration, {register: value & ~field})

    def _first_run_of(
        self, machine: Machine, configuration: Configuration, written: Dict[int, int]
    ) -> bool:
        """Record one first run; False where it did not take place."""
        vcpu = machine.vcpu
        if any(vcpu.write(register, value) for register, value in written.items()):
            return False
        before = readings(vcpu)
        if vcpu.run(immediate_exit=True) != errno.EINTR:
            return False
        after = readings(vcpu)
        changed: Json = {}
        for register, value in before.items():
            if register not in COUNTERS and after.get(register) != value:
                changed[hexadecimal(register)] = (
                    hexadecimal(after[register]) if register in after else None
                )
        content = {
            "written": {hexadecimal(register): hexadecimal(value) for register, value in written.items()},
            "changed": changed,
        }
        self._first_run.add(content, configuration.name)
        return True


def readings(vcpu: Vcpu) -> Dict[int, int]:
    """What every listed register of at most 8 bytes reads."""
    read = [(register, vcpu.read(register)) for register in vcpu.register_list() if size_of(register) <= 8]
    return {register: value for register, value in read if value >= 0}


def nested_answer(machine: Machine, register: int) -> Optional[Json]:
    """What KVM makes of some values of a register of a nested VM."""
    access = machine.vcpu.accessors(register)
    original = access[0]()
    if original < 0:
        return None
    kept: List[str] = []
    changed: Dict[str, str] = {}
    refused: Dict[str, List[str]] = {}
    for value in NESTED_VALUES:
        error = access[1](value)
        if error:
            refused.setdefault(captured_errno(error), []).append(hexadecimal(value))
            continue
        after = access[0]()
        if after == value or after < 0:
            kept.append(hexadecimal(value))
        else:
            changed[hexadecimal(value)] = hexadecimal(after)
    put_back(machine, register, access, original)
    record: Json = {"register": hexadecimal(register), "value": hexadecimal(original), "kept": kept}
    if changed:
        record["changed"] = changed
    if refused:
        record["refused"] = refused
    return record


# ---------------------------------------------------------------- what stands beside registers

NO_STEAL_TIME = 2**64 - 1
ADDRESS_BITS = range(31, 55)


class Beside(NamedTuple):
    """One attribute of a device of a throwaway VM, and the values to write, given its own."""

    name: str
    make: Callable[[Vm, Device], Device]
    group: int
    attribute: int
    values: Callable[[int], Iterable[int]]


def control_values(own: int) -> Iterable[int]:
    """ICC_CTLR_EL1: each number of priority bits and of ID bits, then every bit that there is turned over."""
    numbers = [(own & ~(7 << shift)) | number << shift for shift in (8, 11) for number in range(8)]
    return [*numbers, *(own ^ 1 << bit for bit in (0, 1, 6, 14, 15, 18, 19)), own ^ 3 << 14, 0, 2**32 - 1]


def revisions(own: int) -> List[int]:
    """A value with each revision, which IIDRs have in bits 15:12."""
    return [(own & ~(15 << 12)) | number << 12 for number in range(16)]


def distributor_values(own: int) -> Iterable[int]:
    """GICD_IIDR: each revision, another variant, product and implementer."""
    return [*revisions(own), *(own ^ 1 << bit for bit in (0, 11, 16, 24, 31)), 0, 2**32 - 1]


def feature_values(own: int) -> Iterable[int]:
    """GICD_TYPER2: VID, VIL and nASSGIcap turned over, and bits that nobody has."""
    return [*(own ^ 1 << bit for bit in (0, 4, 7, 8, 9, 31)), own ^ 0x180, 0, 2**32 - 1]


def revision_values(own: int) -> Iterable[int]:
    """GITS_IIDR: each revision of its tables, another product, another implementer."""
    return [*revisions(own), own ^ 1 << 24, own ^ 1, 0, 2**32 - 1]


ATTRIBUTES = (
    Beside("ICC_CTLR_EL1", lambda vm, vgic: vgic, VGIC_CPU_GROUP, ICC_CTLR, control_values),
    Beside("GICD_IIDR", lambda vm, vgic: vgic, VGIC_DISTRIBUTOR_GROUP, GICD_IIDR, distributor_values),
    Beside("GICD_TYPER2", lambda vm, vgic: vgic, VGIC_DISTRIBUTOR_GROUP, GICD_TYPER2, feature_values),
    Beside("GITS_IIDR", lambda vm, vgic: vm.create_its(), ITS_REGISTER_GROUP, GITS_IIDR, revision_values),
)


@contextlib.contextmanager
def device_of(kvm: Kvm, attribute: Beside) -> Iterator[Device]:
    """The device of a VM made for one question: a write that is refused may have left something behind."""
    vm = kvm.create_vm()
    try:
        vcpu = vm.create_vcpu()
        must(vcpu.init(vm.preferred_target(), feature_word(["psci_0_2"])))
        vgic = vm.create_vgic()
        vgic.initialise()
        yield attribute.make(vm, vgic)
    finally:
        vm.close()


def attribute_answer(kvm: Kvm, attribute: Beside, quick: bool) -> Json:
    """Its own value, and what is said to others."""
    with device_of(kvm, attribute) as device:
        own = device.read(attribute.group, attribute.attribute)
    record: Json = {"value": hexadecimal(own)}
    kept: List[str] = []
    changed: Dict[str, str] = {}
    refused: Dict[str, List[str]] = {}
    for value in [] if quick else sorted({own, *attribute.values(own)}):
        with device_of(kvm, attribute) as device:
            error = device.write(attribute.group, attribute.attribute, value)
            now = 0 if error else device.read(attribute.group, attribute.attribute)
        if error:
            refused.setdefault(captured_errno(error), []).append(hexadecimal(value))
        elif now == value:
            kept.append(hexadecimal(value))
        else:
            changed[hexadecimal(value)] = hexadecimal(now)
    answers = (("kept", kept), ("changed", changed), ("refused", refused))
    record.update({key: said for key, said in answers if said})
    return record


def counter_frequency(kvm: Kvm) -> int:
    """CNTFRQ_EL0 as a guest sees it: KVM does not change it."""
    with Machine(kvm, Configuration("counter", ["psci_0_2"], False, False, [], False)) as machine:
        machine.vm.add_code(GUEST_CODE, CODE_COUNTER)
        must(machine.vcpu.write(PROGRAM_COUNTER, GUEST_CODE))
        must(machine.vcpu.run(immediate_exit=False))
        return machine.vcpu.stored_word()


def address_bits_answer(kvm: Kvm, quick: bool) -> Json:
    """The most bits of guest addresses, and of which sizes VMs are made."""
    most = kvm.address_bits()
    kept: List[str] = []
    refused: Dict[str, List[str]] = {}
    for bits in [] if quick else ADDRESS_BITS:
        try:
            kvm.create_vm(bits).close()
            kept.append(hexadecimal(bits))
        except Refused as error:
            refused.setdefault(captured_errno(error.number), []).append(hexadecimal(bits))
    answers = (("kept", kept), ("refused", refused))
    return {"value": hexadecimal(most), **{key: said for key, said in answers if said}}


def there_or_errno(error: int, value: int) -> Json:
    return {"errno": captured_errno(error)} if error else {"value": hexadecimal(value)}


def surroundings(kvm: Kvm, quick: bool) -> Json:
    """What stands beside registers; what could not be asked is left out."""
    found: Json = {}
    for attribute in ATTRIBUTES:
        try:
            found[attribute.name] = attribute_answer(kvm, attribute, quick)
        except Refused as refused:
            found[attribute.name] = {"errno": captured_errno(refused.number)}
    with contextlib.suppress(Refused), Machine(
        kvm, Configuration("beside", ["psci_0_2"], False, False, [], False)
    ) as machine:
        found["PVTIME_IPA"] = there_or_errno(machine.vcpu.has_steal_time(), NO_STEAL_TIME)
        found["VGIC_V2"] = there_or_errno(machine.vm.makes_device(DEVICE_VGIC_V2), 1)
    with contextlib.suppress(Refused):
        found["CNTFRQ_EL0"] = {"value": hexadecimal(counter_frequency(kvm))}
    if kvm.address_bits():
        found["IPA_BITS"] = address_bits_answer(kvm, quick)
    found["PAGE_SIZE"] = {"value": hexadecimal(mmap.PAGESIZE)}
    return found


def merge_orders(orders: Iterable[List[int]]) -> List[int]:
    """One order that every given order is a part of."""
    merged: List[int] = []
    for order in orders:
        position = {register: index for index, register in enumerate(merged)}
        result, at = [], 0
        for register in order:
            if register in position:
                if position[register] < at:
                    raise ProbeError(
                        "KVM lists register {} in two different orders.".format(hexadecimal(register))
                    )
                result += merged[at : position[register]]
                at = position[register] + 1
            result.append(register)
        merged = result + merged[at:]
    return merged


def dump(document: Json) -> str:
    """The document as text: one line per vCPU, answer and group, the same for the same answers."""
    parts = []
    for key, value in document.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            rows = ",\n".join("  " + json.dumps(row, separators=(",", ":")) for row in value)
            parts.append(" {}: [\n{}\n ]".format(json.dumps(key), rows))
        else:
            parts.append(" {}: {}".format(json.dumps(key), json.dumps(value, separators=(",", ":"))))
    return "{\n" + ",\n".join(parts) + "\n}\n"


# ---------------------------------------------------------------- facts of the host


def text_of(path: str) -> str:
    """A small text file without its line end; empty where it cannot be read."""
    try:
        with open(path, "rb") as stream:
            return stream.read(65536).decode("utf-8", "replace").strip("\n \0")
    except OSError:
        return ""


def vulnerabilities(root: str = "/sys/devices/system/cpu/vulnerabilities") -> Dict[str, str]:
    try:
        names = sorted(os.listdir(root))
    except OSError:
        return {}
    return {name: text_of(os.path.join(root, name)) for name in names}


def machine_text() -> str:
    """What the firmware calls this machine; never a serial number."""
    found = text_of("/proc/device-tree/model")
    if found:
        return found
    parts = [text_of("/sys/class/dmi/id/" + name) for name in ("sys_vendor", "product_name")]
    return " ".join(part for part in parts if part)


def kernel_text(release: str, built: str) -> str:
    """`uname -r`, which for Bottlerocket is a bare number (6.1.79): its kernel is Amazon Linux's, and only its compiler tells."""
    vendor = "-bottlerocket"
    return release + vendor if vendor + "-linux-" in built and vendor not in release else release


IDENTIFICATION = "/sys/devices/system/cpu/cpu{}/regs/identification/{}"


def host_facts(kvm: Kvm, name: Optional[str], processor: int) -> Json:
    """The "host" part of a capture.  ``processor``: number of the CPU that the probe runs on."""
    system = os.uname()
    facts: Json = {"name": name or system.nodename}
    facts["kernel"] = kernel_text(system.release, text_of("/proc/version"))
    facts["kernel_build"] = system.version
    machine = machine_text()
    if machine:
        facts["machine"] = machine
    facts["midr"] = text_of(IDENTIFICATION.format(processor, "midr_el1")) or midr_of_vcpu(kvm)
    revision = text_of(IDENTIFICATION.format(processor, "revidr_el1"))
    if revision:
        facts["revidr"] = revision
    facts["boot_options"] = text_of("/proc/cmdline")
    facts["vulnerabilities"] = vulnerabilities()
    return facts


def midr_of_vcpu(kvm: Kvm) -> str:
    """MIDR as a plain vCPU sees it, for kernels that do not show it in /sys."""
    with Machine(kvm, Configuration("midr", [], False, False, [], False)) as machine:
        return "0x{:016x}".format(max(machine.vcpu.read(MIDR), 0))


def identity_of(processor: int) -> Tuple[str, str]:
    """MIDR_EL1 and REVIDR_EL1 of a CPU."""
    midr, revidr = (text_of(IDENTIFICATION.format(processor, name)) for name in ("midr_el1", "revidr_el1"))
    return midr, revidr


def kinds_of_processors() -> List[List[int]]:
    """The CPUs that this process may use (taskset), those alike together: a host may have several kinds (big.LITTLE)."""
    kinds: Dict[Tuple[str, str], List[int]] = {}
    for processor in sorted(os.sched_getaffinity(0)):
        kinds.setdefault(identity_of(processor), []).append(processor)
    return list(kinds.values())


def settle_on_one_processor() -> int:
    """Stay on one CPU: on a host with unlike CPUs the facts and the answers are then of the same one."""
    processor = min(os.sched_getaffinity(0))
    with contextlib.suppress(OSError):
        os.sched_setaffinity(0, {processor})
    return processor


def settle_on(processor: int) -> int:
    """Go to a CPU of a host with unlike CPUs, and stay there."""
    try:
        os.sched_setaffinity(0, {processor})
    except OSError as error:
        raise ProbeError("CPU {} cannot be chosen: {}.".format(processor, error.strerror)) from None
    return processor


# ---------------------------------------------------------------- hosts with unlike CPUs


class Spoken:
    """One capture by vCPU and register: everything that was said there, as text that can be compared."""

    def __init__(self, document: Json) -> None:
        self.vcpus: Dict[str, Json] = {vcpu["name"]: vcpu for vcpu in document["vcpus"]}
        self.values: Dict[str, Dict[str, str]] = {}
        for name, vcpu in self.vcpus.items():
            told = zip(document["registers"], vcpu.get("values", ()))
            self.values[name] = {register: value for register, value in told if value is not None}
        self.said: Dict[Tuple[str, str], List[str]] = {}
        self.runs: Dict[str, List[str]] = {}
        for answer in document["answers"]:
            content = json.dumps(without(answer, "asked_on"), sort_keys=True)
            for asked in answer["asked_on"]:
                for name in asked["vcpus"]:
                    words = ["{} {}".format(state, content) for state in asked["states"]]
                    self.said.setdefault((name, answer["register"]), []).extend(words)
        for group in document["absent"]:
            for number, registers in group["refused"].items():
                self._note(group["vcpus"], dict.fromkeys(registers, number), "absent")
        for group in document["writable_masks"]:
            self._note(group["vcpus"], group["masks"], "mask")
        for name, vcpu in self.vcpus.items():
            self._note([name], vcpu.get("same_value_refused") or {}, "same")
        for run in document["first_run"]:
            for name in run["vcpus"]:
                self.runs.setdefault(name, []).append(json.dumps(without(run, "vcpus"), sort_keys=True))

    def _note(self, vcpus: List[str], words: Dict[str, str], what: str) -> None:
        for name in vcpus:
            for register, word in words.items():
                self.said.setdefault((name, register), []).append("{} {}".format(what, word))

    def of(self, vcpu: str, register: str) -> List[str]:
        return sorted(self.said.get((vcpu, register), []))


def without(content: Json, key: str) -> Json:
    return {name: value for name, value in content.items() if name != key}


def join_cores(captures: List[Json]) -> Json:
    """One capture of a host with unlike CPUs, of one of each kind: what they say alike, and what depends on the CPU as not known.

    A VM may be made and run on any of them.
    """
    parts = [Spoken(capture) for capture in captures]
    whole: Json = json.loads(json.dumps(captures[0]))
    whole["version"] = PARTLY_KNOWN_VERSION
    capabilities = [capture["host"]["capabilities"] for capture in captures]
    shared = {number: min(one.get(number, 0) for one in capabilities) for number in capabilities[0]}
    whole["host"]["capabilities"] = {number: value for number, value in shared.items() if value}
    order = merge_orders([[int(text, 16) for text in capture["registers"]] for capture in captures])
    whole["registers"] = [hexadecimal(register) for register in order]
    alike: Dict[str, Set[str]] = {}
    whole["vcpus"] = []
    for name in parts[0].vcpus:
        vcpu, alike[name] = join_vcpus(name, parts, whole["registers"])
        if vcpu is not None:
            whole["vcpus"].append(vcpu)
    names = [vcpu["name"] for vcpu in whole["vcpus"]]
    whole["answers"] = [
        dict(answer, asked_on=asked)
        for answer, asked in (
            (answer, asked_alike(answer, names, alike)) for answer in whole["answers"]
        )
        if asked
    ]
    for key, content in (("absent", "refused"), ("writable_masks", "masks"), ("first_run", "")):
        whole[key] = [
            row
            for group in whole[key]
            for name in group["vcpus"]
            if name in names
            for row in kept_rows(dict(group, vcpus=[name]), content, alike[name], parts)
        ]
    beside = [capture["surroundings"] for capture in captures]
    whole["surroundings"] = {
        name: said for name, said in beside[0].items() if all(one.get(name) == said for one in beside)
    }
    return whole


MADE_HOW = ("name", "features", "enabled", "refused", "vgic", "pmu_initialised")


def join_vcpus(name: str, parts: List[Spoken], registers: List[str]) -> Tuple[Optional[Json], Set[str]]:
    """One vCPU configuration of all kinds of CPU, and the registers of which all say the same; None where some make it and some do not."""
    vcpus = [part.vcpus.get(name) for part in parts]
    made = [{key: (one or {}).get(key) for key in MADE_HOW} for one in vcpus]
    if any(one != made[0] for one in made):
        return None, set()
    vcpu = dict(vcpus[0] or {})
    if "refused" in vcpu:
        return vcpu, set()
    alike: Set[str] = set()
    listed: List[str] = []
    bits: Dict[str, str] = {}
    values: List[Optional[str]] = []
    told = [part.values[name] for part in parts]
    for register in sorted({*registers, *(one for part in parts for vm, one in part.said if vm == name)}):
        found = [values.get(register) for values in told]
        same = found.count(found[0]) == len(found) or int(register, 16) in COUNTERS
        if same and all(part.of(name, register) == parts[0].of(name, register) for part in parts):
            alike.add(register)
    for register in registers:
        numbers = [int(text, 16) for text in (one.get(register) for one in told) if text is not None]
        if register in alike or not numbers:
            values.append(told[0].get(register))
        elif len(numbers) == len(parts) and len(set(numbers)) > 1 and size_of(int(register, 16)) <= 8:
            least, mask = depending_bits(numbers)
            bits[register] = hexadecimal(mask)
            values.append(hexadecimal(least))
        else:
            listed.append(register)
            values.append(None)
    vcpu["values"] = values
    vcpu["same_value_refused"] = {
        register: number for register, number in vcpu["same_value_refused"].items() if register in alike
    }
    if listed or bits:
        vcpu["unknown"] = {"listed": listed, "bits": bits}
    return vcpu, alike


def depending_bits(numbers: List[int]) -> Tuple[int, int]:
    """The least that every field may have, and the nibbles that are not the same in all."""
    least, differing = numbers[0], 0
    for number in numbers[1:]:
        differing |= number ^ numbers[0]
        least &= number
    nibbles = sum(15 << 4 * at for at in range(16) if differing >> 4 * at & 15)
    return least, nibbles


def asked_alike(answer: Json, names: List[str], alike: Dict[str, Set[str]]) -> List[Json]:
    """Where an answer was given on every kind of CPU."""
    kept = []
    for asked in answer["asked_on"]:
        vcpus = [name for name in asked["vcpus"] if name in names and answer["register"] in alike[name]]
        if vcpus:
            kept.append(dict(asked, vcpus=vcpus))
    return kept


def kept_rows(row: Json, content: str, alike: Set[str], parts: List[Spoken]) -> List[Json]:
    """A row of one vCPU, with what was said on every kind of CPU; a first run is kept as a whole or not at all."""
    name = row["vcpus"][0]
    if not content:
        return [row] if all(part.runs.get(name) == parts[0].runs.get(name) for part in parts) else []
    said = row[content]
    if content == "masks":
        return [dict(row, masks={register: mask for register, mask in said.items() if register in alike})]
    return [
        dict(
            row,
            refused={
                number: kept
                for number, kept in ((n, [one for one in ids if one in alike]) for n, ids in said.items())
                if kept
            },
        )
    ]


# ---------------------------------------------------------------- register sets


def save_sets(kvm: Kvm, name: str, only: Optional[List[str]] = None, state: str = RAN) -> Iterator[Json]:
    """Register sets of throwaway VMs: what a VMM would have saved of a VM on this host."""
    for configuration, offered in configurations(kvm):
        if not offered or (only and configuration.name not in only):
            continue
        try:
            machine = Machine(kvm, configuration, state)
        except Refused:
            continue
        with machine:
            registers = machine.vcpu.register_list()
            values = [(register, machine.vcpu.read(register)) for register in registers]
            vgic = machine.vgic
        document = {"format": "kvmfw-register-set", "version": VERSION}
        document["id"] = "{}/{}".format(name, configuration.name)
        document["host"] = name
        document["vcpu"] = {
            "features": configuration.features,
            "vgic": vgic,
            "enabled": configuration.enabled,
        }
        document["note"] = "a throwaway VM, state {}".format(state)
        document["registers"] = {hexadecimal(r): hexadecimal(v) for r, v in values if v >= 0}
        yield document


RegisterSet = Tuple[str, Configuration, Dict[int, int]]
# Sets of the second have what stands beside registers too, of which a restore of registers asks nothing.
SET_VERSIONS = (1, 2)


def no_duplicates(pairs: List[Tuple[str, Any]]) -> Json:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ProbeError("the key {} is there twice".format(twice[0]))
    return found


def parse_set(text: str, place: str) -> RegisterSet:
    """(name, Configuration, {register: value}) of one register set; ProbeError names ``place``."""
    try:
        document = json.loads(text, object_pairs_hook=no_duplicates)
        return check_set(document)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        words = "the key {} is missing".format(error) if isinstance(error, KeyError) else str(error)
        raise ProbeError("{}: not a register set: {}.".format(place, words)) from None
    except ProbeError as error:
        raise ProbeError("{}: not a register set: {}.".format(place, error)) from None


def number_of(text: str) -> int:
    """A number as formats write it: 0x and hexadecimal digits, which `int` does not insist on."""
    if not isinstance(text, str) or not re.fullmatch("0x[0-9a-fA-F]+", text):
        raise ProbeError("{!r} is not 0x and hexadecimal digits".format(text))
    return int(text, 16)


def check_set(document: Json) -> RegisterSet:
    if document["format"] != "kvmfw-register-set":
        raise ProbeError("format is {!r}, expected 'kvmfw-register-set'".format(document["format"]))
    if document["version"] not in SET_VERSIONS:
        raise ProbeError("version is {!r}, expected {}".format(document["version"], " or ".join(map(str, SET_VERSIONS))))
    vcpu = document["vcpu"]
    features = list(vcpu["features"])
    enabled = list(vcpu.get("enabled", []))
    for name in features:
        if name not in FEATURES:
            raise ProbeError("unknown vCPU feature {!r}".format(name))
    for name in enabled:
        if name not in ENABLED and name != UNSURE:
            raise ProbeError("unknown capability {!r}".format(name))
    registers = {}
    for name, text in document["registers"].items():
        register, value = (number_of(part) for part in (name, text))
        if register in registers:
            raise ProbeError("register {} is there twice".format(name))
        if value < 0 or value.bit_length() > 8 * size_of(register):
            raise ProbeError("value {} is wider than register {}".format(text, name))
        registers[register] = value
    vgic = vcpu["vgic"]
    if not isinstance(vgic, bool):
        raise ProbeError("vgic is {!r}, expected true or false".format(vgic))
    name = str(document.get("id", ""))
    enabled = [word for word in enabled if word != UNSURE]
    return name, Configuration(name, features, vgic, "pmu_v3" in features, enabled, False), registers


def read_sets(paths: Iterable[str]) -> Iterator[RegisterSet]:
    """Every register set of the files; a .jsonl file holds one per line."""
    for path in paths:
        try:
            with sys.stdin if path == "-" else open(path) as stream:
                text = stream.read()
        except (OSError, UnicodeDecodeError) as error:
            raise ProbeError("{} cannot be read: {}.".format(path, error)) from None
        if path.endswith(".jsonl") or path == "-":
            for number, line in enumerate(text.splitlines(), 1):
                if line.strip():
                    yield parse_set(line, "{}, line {}".format(path, number))
        else:
            yield parse_set(text, path)


# What a VMM writes and in which order; a test compares it with the core's, which this file cannot import.
# Coprocessor number (bits 16..27 of an id) in the order in which KVM lists the groups.
CORE, SYSTEM, SVE = 0x10, 0x13, 0x15
KVM_LIST_GROUPS = (CORE, SVE, 0x14, 0x16, SYSTEM, 0x11)
CROSVM_GROUPS = (CORE, SYSTEM, 0x11, 0x14)
TIMER_CNT, TIMER_CVAL = system_register(3, 3, 14, 3, 2), system_register(3, 3, 14, 0, 2)
# What kernels up to 6.14 list before all other system registers.
LISTED_FIRST = (
    system_register(3, 3, 14, 3, 1), TIMER_CNT, TIMER_CVAL, system_register(3, 3, 14, 2, 1),
    system_register(3, 3, 14, 0, 1), system_register(3, 3, 14, 2, 2), system_register(3, 0, 0, 0, 0),
    system_register(3, 0, 0, 0, 6), system_register(3, 1, 0, 0, 1), system_register(3, 1, 0, 0, 7),
    system_register(3, 3, 0, 0, 1),
)
VENDOR_HYP_BMAP_2 = 0x6030000000160003


def group_of(register: int) -> int:
    group = register >> 16 & 0xFFF
    return group if group in KVM_LIST_GROUPS else SYSTEM


def as_saved(registers: Iterable[int]) -> List[int]:
    """Order of a file that is not ascending, which is its kernel's list; else as such a kernel lists them."""
    given = list(registers)
    if given != sorted(given):
        return given
    is_new = VENDOR_HYP_BMAP_2 in given

    def place(register: int) -> Tuple[int, int]:
        rank = KVM_LIST_GROUPS.index(group_of(register))
        if rank == 0:
            return rank, register & 0xFFFF
        if not is_new and register in LISTED_FIRST:
            return rank, LISTED_FIRST.index(register)
        return rank, {TIMER_CNT: TIMER_CVAL, TIMER_CVAL: TIMER_CNT}.get(register, register) if is_new else register

    return sorted(given, key=place)


def core_then_saved(registers: Iterable[int]) -> List[int]:
    """Order of cloud-hypervisor: core registers, SVE state, then the others as saved."""
    order = as_saved(registers)
    core = sorted((register for register in order if group_of(register) == CORE), key=lambda one: one & 0xFFFF)
    sve = sorted(register for register in order if group_of(register) == SVE)
    return core + sve + [register for register in order if group_of(register) not in (CORE, SVE)]


def by_crosvm(registers: Iterable[int]) -> List[int]:
    """Order of crosvm, which saves neither SVE state nor bitmap registers."""
    carried = [register for register in registers if register >> 16 & 0xFFF in CROSVM_GROUPS]
    return sorted(carried, key=lambda register: (CROSVM_GROUPS.index(group_of(register)), register))


def lengths_first(order: List[int]) -> List[int]:
    """Vector lengths can only be chosen before the vCPU is finalized."""
    return sorted(order, key=lambda register: register != SVE_VLS)


POLICIES: Dict[str, Callable[[Iterable[int]], List[int]]] = {
    "kvm": lambda registers: lengths_first(sorted(registers)),
    "firecracker": lambda registers: lengths_first(as_saved(registers)),
    "cloud-hypervisor": lambda registers: lengths_first(core_then_saved(registers)),
    "crosvm": by_crosvm,
}


class Restore:
    """Writes register sets into fresh vCPUs and keeps every answer."""

    def __init__(self, kvm: Kvm, vmm: str) -> None:
        self._kvm = kvm
        self._order = POLICIES[vmm]

    def one(self, name: str, configuration: Configuration, registers: Dict[int, int]) -> Json:
        """What KVM said to one register set."""
        report: Json = {"id": name}
        report["vcpu"] = {
            "features": configuration.features,
            "vgic": configuration.vgic,
            "enabled": configuration.enabled,
        }
        try:
            machine = Machine(self._kvm, configuration, finalize=False)
        except Refused as refused:
            report["refused"] = errno_name(refused.number)
            report["answers"] = []
            return report
        with machine:
            if machine.vgic != configuration.vgic:
                report["refused"] = "ENODEV"
                report["answers"] = []
                return report
            report["answers"] = self._write(machine.vcpu, configuration, registers)
        return report

    def _write(self, vcpu: Vcpu, configuration: Configuration, registers: Dict[int, int]) -> List[Json]:
        """Write all, going on after a refusal, then read all: a later write may change an earlier register."""
        order = self._order(registers)
        errors: List[Tuple[int, int]] = []
        answers: List[Json] = []
        if "sve" in configuration.features:
            if SVE_VLS in order:
                order.remove(SVE_VLS)
                errors.append((SVE_VLS, vcpu.write(SVE_VLS, registers[SVE_VLS])))
            error = vcpu.finalize_sve()
            if error:
                answers.append({"register": "finalize", "outcome": "refused", "errno": errno_name(error)})
        errors += [(register, vcpu.write(register, registers[register])) for register in order]
        return answers + [
            self._answer(vcpu, register, registers[register], error) for register, error in errors
        ]

    def _answer(self, vcpu: Vcpu, register: int, value: int, error: int) -> Json:
        after = vcpu.read(register)
        answer: Json = {"register": hexadecimal(register), "written": hexadecimal(value)}
        if error:
            answer["outcome"] = "refused"
            answer["errno"] = errno_name(error)
        else:
            kept = after == value or register in COUNTERS
            answer["outcome"] = "kept" if kept else "changed"
        answer["read_back"] = hexadecimal(after) if after >= 0 else None
        return answer


def count_outcomes(reports: List[Json]) -> Dict[str, int]:
    counts = {"sets": len(reports), "kept": 0, "changed": 0, "refused": 0}
    for report in reports:
        counts["refused"] += "refused" in report
        for answer in report["answers"]:
            counts[answer["outcome"]] += 1
    return counts


# ---------------------------------------------------------------- command line


def write_whole(text: str, path: Optional[str]) -> None:
    """Put the text at ``path`` (or on standard output), whole or not at all."""
    if path is None:
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    folder = os.path.dirname(os.path.abspath(path))
    temporary: Optional[str] = None
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=".kvmfw-", dir=folder)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.rename(temporary, path)
        temporary = None
    except OSError as error:
        raise ProbeError("{} cannot be written: {}.".format(path, error.strerror)) from None
    finally:
        if temporary is not None:
            os.unlink(temporary)


def say(words: str) -> None:
    print("kvmfw probe: " + words, file=sys.stderr)


def check_host() -> None:
    machine = platform.machine()
    if machine not in ("aarch64", "arm64"):
        raise ProbeError("This machine is {}: only the KVM of an arm64 host can be asked.".format(machine))


def run_probe(arguments: argparse.Namespace) -> int:
    kinds = kinds_of_processors()
    captures = []
    for processors in kinds:
        processor = settle_on(processors[0]) if len(kinds) > 1 else settle_on_one_processor()
        kvm = Kvm(arguments.device)
        try:
            facts = host_facts(kvm, arguments.name, processor)
            if len(kinds) > 1:
                facts["cores"] = [core_facts(alike) for alike in kinds]
            probe = Probe(kvm, arguments.quick, arguments.only, say if arguments.verbose else None)
            captures.append(probe.capture(facts))
        finally:
            kvm.close()
    write_whole(dump(join_cores(captures) if len(kinds) > 1 else captures[0]), arguments.output)
    return 0


def core_facts(processors: List[int]) -> Json:
    """One kind of CPU of a host that has several."""
    midr, revidr = identity_of(processors[0])
    return {"midr": midr, "revidr": revidr, "processors": processors}


def run_save(arguments: argparse.Namespace) -> int:
    settle_on_one_processor()
    kvm = Kvm(arguments.device)
    try:
        name = arguments.name or os.uname().nodename
        sets = list(save_sets(kvm, name, arguments.only, arguments.state))
    finally:
        kvm.close()
    write_whole("".join(json.dumps(one, separators=(",", ":")) + "\n" for one in sets), arguments.output)
    return 0


def run_validate(arguments: argparse.Namespace) -> int:
    sets = list(read_sets(arguments.sets))
    settle_on_one_processor()
    kvm = Kvm(arguments.device)
    try:
        restore = Restore(kvm, arguments.vmm)
        reports = [restore.one(*one) for one in sets]
    finally:
        kvm.close()
    counts = count_outcomes(reports)
    document = {"format": "kvmfw-restore", "version": VERSION}
    document["host"] = arguments.name or os.uname().nodename
    document["kernel"] = os.uname().release
    document["vmm"] = arguments.vmm
    document["summary"] = counts
    document["sets"] = reports
    write_whole(dump(document), arguments.output)
    say(
        "{sets} register sets written under policy {vmm}: "
        "{kept} values kept, {changed} changed, {refused} refused".format(vmm=arguments.vmm, **counts)
    )
    return 2 if counts["refused"] else 0


NAMES = (
    *("psci02", "nopsci", "gic3", "pmu", "pmu_noinit", "sve", "pmu_sve", "pmu_ptrauth"),
    *("ptrauth", "el32", "el2", "el2_e2h0", "full", "impid", "mte", "pmu_strict"),
)


def names(text: str) -> List[str]:
    """The configurations of --only."""
    found = [name for name in text.split(",") if name]
    for name in found:
        if name not in NAMES:
            raise argparse.ArgumentTypeError("{} is none of {}".format(name, ", ".join(NAMES)))
    return found


def positive(text: str) -> float:
    value = float(text)
    if value <= 0:
        raise argparse.ArgumentTypeError("must be more than 0 seconds")
    return value


class Parser(argparse.ArgumentParser):
    """Usage errors exit with 1: 2 says that something was refused."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(1, "{}: {}\n".format(self.prog, message))


def make_parser() -> argparse.ArgumentParser:
    common = Parser(add_help=False)
    common.add_argument(
        "-o", "--output", metavar="FILE", help="write there (whole or not at all), not to stdout"
    )
    common.add_argument("--name", help="the host's name in the document (default: its node name)")
    common.add_argument(
        "--time-limit",
        type=positive,
        default=DEFAULT_TIME_LIMIT,
        metavar="SECONDS",
        help="give up, and write nothing, after so long (default: %(default)s)",
    )
    common.add_argument("--device", default=DEVICE, help=argparse.SUPPRESS)
    common.add_argument(
        "-v", "--verbose", action="store_true", help="say on standard error how long each part took"
    )
    choice = Parser(add_help=False)
    choice.add_argument("--only", type=names, metavar="VCPU,...", help="only these vCPU configurations")
    parser = Parser(
        prog="kvmfw probe", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", parser_class=Parser)
    probe = verbs.add_parser(
        "probe", parents=[common, choice], help="print a capture of this host (the default)"
    )
    probe.add_argument(
        "--quick", action="store_true", help="no sweeps: lists, fresh values and absent ids only"
    )
    probe.set_defaults(work=run_probe)
    save = verbs.add_parser("save", parents=[common, choice], help="print register sets of throwaway VMs")
    save.add_argument(
        "--state", choices=(FRESH, EXITED, RAN), default=RAN, help="when they are saved (default: ran)"
    )
    save.set_defaults(work=run_save)
    validate = verbs.add_parser(
        "validate", parents=[common], help="really write register sets into fresh vCPUs"
    )
    validate.add_argument(
        "--on-host",
        dest="sets",
        nargs="+",
        required=True,
        metavar="SETS",
        help="register sets: .json, .jsonl, or - for lines on standard input",
    )
    validate.add_argument(
        "--vmm", choices=list(POLICIES), default="kvm", help="order of writing (default: kvm)"
    )
    validate.set_defaults(work=run_validate)
    return parser


def on_terminate(*unused: object) -> NoReturn:
    raise KeyboardInterrupt


def arguments_of(argv: Optional[List[str]]) -> argparse.Namespace:
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or (argv[0].startswith("-") and argv[0] not in ("-h", "--help")):
        argv.insert(0, "probe")
    return make_parser().parse_args(argv)


def attempt(arguments: argparse.Namespace) -> int:
    """Exit code: 0 done, 1 nothing could be done (one sentence on standard error), 2 something was refused."""
    previous = signal.signal(signal.SIGTERM, on_terminate)
    try:
        check_host()
        return int(arguments.work(arguments))
    except ProbeError as error:
        say(str(error))
    except Refused as refused:
        say("KVM refused to make a VM: {}.".format(refused))
    except BrokenPipeError:
        say("Standard output was closed before everything was written.")
    except KeyboardInterrupt:
        say("Interrupted; nothing was written.")
    except MemoryError:
        say("There is not enough memory; nothing was written.")
    finally:
        signal.signal(signal.SIGTERM, previous)
    return 1


def main(argv: Optional[List[str]] = None) -> int:
    """Do what the words ask for in this process: without a time limit."""
    return attempt(arguments_of(argv))


# ---------------------------------------------------------------- watchdog


class Worker:
    """The process that asks KVM. A call into the kernel may never return, and then only another process can say so.

    What it prints comes through pipes: it holds nothing that somebody outside waits for.
    """

    def __init__(self, arguments: argparse.Namespace) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        self.is_gone = False
        ends = [os.pipe(), os.pipe()]
        self.process = os.fork()
        if self.process == 0:
            code = 1
            try:
                for (_, write), standard in zip(ends, (1, 2)):
                    os.dup2(write, standard)
                for pair in ends:
                    os.close(pair[0])
                    os.close(pair[1])
                code = attempt(arguments)
                sys.stdout.flush()
                sys.stderr.flush()
            finally:
                os._exit(code)
        for _, write in ends:
            os.close(write)
        self.document, self.words = (read for read, _ in ends)

    def read(self, end: float) -> Optional[bytes]:
        """What the worker printed; None where it was not done at this time. Its words are passed on at once."""
        parts: List[bytes] = []
        unread = [self.document, self.words]
        while unread:
            ready, _, _ = select.select(unread, [], [], max(0.0, end - time.monotonic()))
            if not ready:
                return None
            for pipe in ready:
                part = os.read(pipe, 1 << 16)
                if not part:
                    unread.remove(pipe)
                elif pipe == self.document:
                    parts.append(part)
                else:
                    sys.stderr.write(part.decode("utf-8", "replace"))
                    sys.stderr.flush()
        return b"".join(parts)

    def wait(self, end: float) -> Optional[int]:
        """Its exit code; None where it has none at this time."""
        while True:
            process, status = os.waitpid(self.process, os.WNOHANG)
            if process:
                self.is_gone = True
                return os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)
            if time.monotonic() >= end:
                return None
            time.sleep(0.005)

    def leave(self) -> None:
        """Kill it, without waiting for long: what hangs in the kernel dies when its call returns."""
        if not self.is_gone:
            os.kill(self.process, signal.SIGKILL)
            self.wait(time.monotonic() + 1)


def guarded(argv: Optional[List[str]] = None) -> int:
    """Do what the words ask for in a process of its own, and leave it when the time limit is over."""
    arguments = arguments_of(argv)
    path, arguments.output = arguments.output, None
    previous = signal.signal(signal.SIGTERM, on_terminate)
    worker = Worker(arguments)
    end = time.monotonic() + arguments.time_limit
    try:
        document = worker.read(end)
        code = None if document is None else worker.wait(end)
        if document is None or code is None:
            worker.leave()
            words = (
                "The time limit of {:g} s is over and nothing was written: give --time-limit more, or --quick."
            )
            say(words.format(arguments.time_limit))
            return 1
        if code < 0:
            say("The process that asked KVM was killed by signal {}; nothing was written.".format(-code))
            return 1
        if code != 1:
            write_whole(document.decode("utf-8"), path)
        return code
    except ProbeError as error:
        say(str(error))
    except BrokenPipeError:
        say("Standard output was closed before everything was written.")
    except KeyboardInterrupt:
        worker.leave()
        say("Interrupted; nothing was written.")
    finally:
        signal.signal(signal.SIGTERM, previous)
        os.close(worker.document)
        os.close(worker.words)
    return 1


if __name__ == "__main__":
    sys.exit(guarded())
