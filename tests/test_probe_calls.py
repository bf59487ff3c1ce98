"""The calls of the probe, byte by byte, against a kernel of a few lines that reads structures as KVM's header lays them out.

Numbers and layouts are those of `include/uapi/linux/kvm.h` and `arch/arm64/include/uapi/asm/kvm.h` (read, 6.12); that real
kernels take these calls was run on arm64 under emulation (tests/live), which this machine's tests cannot do.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.probing import probe

NONE, WRITES, READS, BOTH = 0, 1, 2, 3
# number: (direction, bytes of the structure), as _IO, _IOW, _IOR and _IOWR say it.
CALLS = {
    0x00: ("version", NONE, 0),
    0x01: ("create_vm", NONE, 0),
    0x03: ("check", NONE, 0),
    0x04: ("run_size", NONE, 0),
    0x41: ("create_vcpu", NONE, 0),
    0x46: ("memory", WRITES, 32),
    0x80: ("run", NONE, 0),
    0xA3: ("enable", WRITES, 104),
    0xAB: ("get", WRITES, 16),
    0xAC: ("set", WRITES, 16),
    0xAE: ("init", WRITES, 32),
    0xAF: ("target", READS, 32),
    0xB0: ("list", BOTH, 8),
    0xB6: ("masks", READS, 64),
    0xC2: ("finalize", WRITES, 4),
    0xE0: ("device", BOTH, 12),
    0xE1: ("set_attribute", WRITES, 24),
    0xE2: ("get_attribute", WRITES, 24),
    0xE3: ("has_attribute", WRITES, 24),
}
X0, Z0, PFR0 = 0x6030000000100000, 0x6080000000150000, 0x603000000013C020
PAGE = os.sysconf("SC_PAGE_SIZE")


class Kernel:
    """Keeps what it was told, and refuses the calls that `refuse` names."""

    argtypes: Any = None
    restype: Any = None

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.refuse: dict[str, int] = {}
        self.registers = {X0: bytes(range(8)), Z0: bytes(256), PFR0: b"\x11" * 8}
        self.answer = 12
        self.code = b""

    def __call__(self, fd: int, request: int, argument: int) -> int:
        os.fstat(fd)  # it is open
        assert request >> 8 & 0xFF == 0xAE
        name, direction, size = CALLS[request & 0xFF]
        assert (request >> 30, request >> 16 & 0x3FFF) == (direction, size), name
        if name in self.refuse:
            ctypes.set_errno(self.refuse[name])
            return -1
        given = ctypes.string_at(argument, size) if direction else argument
        if direction == NONE:
            self.told.append((name, given))
        result = getattr(self, f"_{name}")(given, argument)
        return int(result or 0)

    def last(self) -> tuple[Any, ...]:
        return self.told[-1]

    def _version(self, *_: Any) -> int:
        return self.answer

    def _create_vm(self, *_: Any) -> int:
        return os.open(os.devnull, os.O_RDWR)

    def _check(self, number: int, _: int) -> int:
        return {165: 36, 126: 1}.get(number, 0)

    def _run_size(self, *_: Any) -> int:
        return PAGE

    def _create_vcpu(self, number: int, _: int) -> int:
        assert number == 0
        fd = os.memfd_create("vcpu")
        os.truncate(fd, PAGE)
        self.vcpu = fd
        return fd

    def _memory(self, given: bytes, _: int) -> None:
        slot, flags, address, size, here = struct.unpack("=IIQQQ", given)
        self.told.append(("memory", slot, flags, address, size))
        self.code = ctypes.string_at(here, 8)

    def _run(self, *_: Any) -> int | None:
        kept = os.pread(self.vcpu, 2, 0)
        self.told.append(("immediate_exit", kept[1]))
        os.pwrite(self.vcpu, struct.pack("=I", 6), 8)
        os.pwrite(self.vcpu, struct.pack("=Q8s", 0x1000, (77).to_bytes(8, "little")), 32)
        return None

    def _enable(self, given: bytes, _: int) -> None:
        self.told.append(("enable", *struct.unpack("=II4Q64x", given)))

    def _get(self, given: bytes, _: int) -> int | None:
        register, address = struct.unpack("=QQ", given)
        if register not in self.registers:
            ctypes.set_errno(errno.ENOENT)
            return -1
        ctypes.memmove(address, self.registers[register], len(self.registers[register]))
        return None

    def _set(self, given: bytes, _: int) -> int | None:
        register, address = struct.unpack("=QQ", given)
        if register == PFR0:
            ctypes.set_errno(errno.EINVAL)
            return -1
        self.registers[register] = ctypes.string_at(address, 1 << (register >> 52 & 0xF))
        return None

    def _init(self, given: bytes, _: int) -> None:
        self.told.append(("init", *struct.unpack("=I7I", given)))

    def _target(self, _: bytes, address: int) -> None:
        ctypes.memmove(address, struct.pack("=I7I", 5, *[0] * 7), 32)

    def _list(self, given: bytes, address: int) -> int | None:
        (room,) = struct.unpack("=Q", given)
        count = len(self.registers)
        ctypes.memmove(address, struct.pack("=Q", count), 8)
        if room < count:
            ctypes.set_errno(errno.E2BIG)
            return -1
        ctypes.memmove(address + 8, struct.pack(f"={count}Q", *self.registers), 8 * count)
        return None

    def _masks(self, given: bytes, _: int) -> None:
        address, first, *reserved = struct.unpack("=QI13I", given[:8] + given[8:64])
        assert (first, any(reserved)) == (0, False)
        # Of op1 0, CRm 4, op2 0, and of op1 3, CRm 0, op2 1.
        for place, mask in ((4 << 3, 0xFF), (2 << 6 | 1, 0xF0)):
            ctypes.memmove(address + 8 * place, mask.to_bytes(8, "little"), 8)

    def _finalize(self, given: bytes, _: int) -> None:
        self.told.append(("finalize", *struct.unpack("=i", given)))

    def _device(self, given: bytes, address: int) -> None:
        kind, _, flags = struct.unpack("=III", given)
        self.told.append(("device", kind, flags))
        if not flags & 1:
            made = struct.pack("=III", kind, os.open(os.devnull, os.O_RDWR), flags)
            ctypes.memmove(address, made, 12)

    def _set_attribute(self, given: bytes, _: int) -> None:
        flags, group, attribute, address = struct.unpack("=IIQQ", given)
        value = None if address == 0 else ctypes.string_at(address, 4 if group == 0 and attribute == 0 else 8)
        self.told.append(("attribute", flags, group, attribute, value))

    def _get_attribute(self, given: bytes, _: int) -> None:
        ctypes.memmove(struct.unpack("=IIQQ", given)[3], (99).to_bytes(8, "little"), 8)

    def _has_attribute(self, given: bytes, _: int) -> None:
        self.told.append(("has", *struct.unpack("=IIQQ", given)))


def _open() -> int:
    return len([*Path("/proc/self/fd").iterdir()])


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kernel]:
    found = Kernel()

    class Libc:
        ioctl = found

    monkeypatch.setattr(probe.ctypes, "CDLL", lambda *_, **__: Libc)
    before = _open()
    yield found
    assert _open() == before, "what was opened is closed"


@pytest.fixture
def device(tmp_path: Path) -> str:
    (tmp_path / "kvm").touch()
    return str(tmp_path / "kvm")


def test_a_machine_is_made_asked_and_taken_away(kernel: Kernel, device: str) -> None:
    kvm = probe.Kvm(device)
    assert (kvm.capability(126), kvm.capability(9), kvm.address_bits()) == (1, 0, 36)
    vm = kvm.create_vm()
    # A host with fewer than the 40 bits that a VM has by default is asked for what it has.
    assert ("create_vm", 36) in kernel.told
    assert vm.enable(203) == 0
    assert kernel.last() == ("enable", 203, 0, 0, 0, 0, 0)
    assert vm.preferred_target() == 5
    assert vm.capability(126) == 1
    assert vm.writable_masks() == {PFR0: 0xFF, 0x603000000013D801: 0xF0}
    vm.add_code(0x80000, b"\x1f\x20\x03\xd5code")
    assert kernel.last() == ("memory", 0, 0, 0x80000, 1 << 16)
    assert kernel.code == b"\x1f\x20\x03\xd5code"
    vcpu = vm.create_vcpu()
    assert vcpu.init(5, 0x1C) == 0
    assert kernel.last() == ("init", 5, 0x1C, 0, 0, 0, 0, 0, 0)
    assert vcpu.finalize_sve() == 0
    assert kernel.last() == ("finalize", 4)
    assert vcpu.register_list() == [X0, Z0, PFR0]
    for immediate in (True, False):
        assert vcpu.run(immediate) == 0
        assert kernel.last() == ("immediate_exit", int(immediate))
    assert vcpu.stored_word() == 77
    os.pwrite(kernel.vcpu, struct.pack("=I", 10), 8)
    with pytest.raises(probe.Refused):
        vcpu.stored_word()
    assert vcpu.initialise_pmu() == 0
    assert kernel.told[-2:] == [
        ("attribute", 0, 0, 0, struct.pack("=i", 23)),
        ("attribute", 0, 0, 1, None),
    ]
    assert vcpu.has_steal_time() == 0
    assert kernel.last()[:3] == ("has", 0, 2)
    vm.close()
    kvm.close()


@pytest.mark.parametrize("register", [X0, Z0])
@pytest.mark.parametrize("by", ["call", "accessor"])
def test_registers_are_written_and_read_in_their_whole_width(
    kernel: Kernel, device: str, register: int, by: str
) -> None:
    kvm = probe.Kvm(device)
    vm = kvm.create_vm()
    vcpu = vm.create_vcpu()
    read, write = vcpu.accessors(register)
    if by == "call":
        read, write = (lambda: vcpu.read(register)), (lambda value: vcpu.write(register, value))
    width = 8 * len(kernel.registers[register])
    for value in (0, 1, 1 << width - 1, (1 << width) - 1, 0x0123456789ABCDEF):
        assert write(value) == 0
        assert kernel.registers[register] == value.to_bytes(width // 8, "little")
        assert read() == value
    refused_read, refused_write = vcpu.accessors(PFR0)
    assert (refused_write(1), vcpu.write(PFR0, 1)) == (errno.EINVAL, errno.EINVAL)
    assert refused_read() == 0x1111111111111111
    del kernel.registers[PFR0]
    assert (refused_read(), vcpu.read(PFR0)) == (-errno.ENOENT, -errno.ENOENT)
    vm.close()
    kvm.close()


def test_interrupt_controllers_are_made_in_their_order(kernel: Kernel, device: str) -> None:
    kvm = probe.Kvm(device)
    vm = kvm.create_vm()
    assert vm.makes_device(7) == 0
    assert kernel.last() == ("device", 7, 1)
    vgic = vm.create_vgic()
    made = [one for one in kernel.told if one[0] in ("device", "attribute")][1:]
    assert made[0] == ("device", 7, 0)
    assert [
        (group, attribute, int.from_bytes(value, "little")) for _, _, group, attribute, value in made[1:]
    ] == [
        (0, 2, 0x08000000),
        (0, 3, 0x080A0000),
    ]
    vgic.initialise()
    assert kernel.last() == ("attribute", 0, 4, 0, None)
    assert vgic.read(6, 0x123) == 99
    assert vgic.write(6, 0x123, 7) == 0
    assert kernel.last() == ("attribute", 0, 6, 0x123, (7).to_bytes(8, "little"))
    vm.create_its()
    its = [one for one in kernel.told if one[0] in ("device", "attribute")][-3:]
    assert its == [
        ("device", 8, 0),
        ("attribute", 0, 0, 4, (0x08080000).to_bytes(8, "little")),
        ("attribute", 0, 4, 0, None),
    ]
    vm.close()
    kvm.close()


@pytest.mark.parametrize(
    ("call", "ask"),
    [
        ("target", lambda vm: vm.preferred_target()),
        ("create_vcpu", lambda vm: vm.create_vcpu()),
        ("device", lambda vm: vm.create_vgic()),
        ("set_attribute", lambda vm: vm.create_its()),
        ("memory", lambda vm: vm.add_code(0, b"")),
        ("list", lambda vm: vm.create_vcpu().register_list()),
        ("get_attribute", lambda vm: vm.create_vgic().read(1, 1)),
    ],
)
def test_what_the_kernel_refuses_is_told_with_its_errno(
    kernel: Kernel, device: str, call: str, ask: Callable[[Any], Any]
) -> None:
    kvm = probe.Kvm(device)
    vm = kvm.create_vm(39)
    assert kernel.last() == ("create_vm", 39)
    kernel.refuse = {call: errno.EBUSY}
    with pytest.raises(probe.Refused) as raised:
        ask(vm)
    assert raised.value.number == errno.EBUSY
    kernel.refuse = {}
    vm.close()
    kvm.close()


def test_calls_that_give_an_errno_back_do_so(kernel: Kernel, device: str) -> None:
    kvm = probe.Kvm(device)
    vm = kvm.create_vm()
    vcpu = vm.create_vcpu()
    kernel.refuse = dict.fromkeys(
        ("init", "finalize", "enable", "masks", "device", "set_attribute", "has_attribute"), errno.EPERM
    )
    assert vm.writable_masks() is None
    answers = [vm.enable(1), vm.makes_device(8), vcpu.init(5, 0), vcpu.finalize_sve()]
    answers += [vcpu.initialise_pmu(), vcpu.has_steal_time()]
    assert answers == [errno.EPERM] * 6
    kernel.refuse = {"run": errno.ENOEXEC}
    assert vcpu.run(False) == errno.ENOEXEC
    vm.close()
    kernel.refuse = {"create_vm": errno.EINVAL}
    with pytest.raises(probe.Refused):
        kvm.create_vm()
    kvm.close()


def test_what_is_no_kvm_is_told(kernel: Kernel, device: str, tmp_path: Path) -> None:
    kernel.answer = 11
    with pytest.raises(probe.ProbeError, match=f"{device} is not KVM: it answers 11 to KVM_GET_API_VERSION"):
        probe.Kvm(device)
    with pytest.raises(
        probe.ProbeError, match=f"There is no {tmp_path}/none: this host's kernel offers no KVM"
    ):
        probe.Kvm(str(tmp_path / "none"))
    with pytest.raises(probe.ProbeError, match=f"{tmp_path} cannot be opened: Is a directory"):
        probe.Kvm(str(tmp_path))
