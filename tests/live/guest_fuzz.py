"""Runs packed batches of register accesses on throwaway VMs of an emulated machine, as fast as the emulation goes.

Runs inside the guest only, beside the probe, whose machines it uses.  The host packs every access beforehand
(batch.py): a record is {descriptor, request, argument, register id, address of the value}, and a loop of twelve
instructions makes one ioctl after the other and keeps its result in a byte.  Only what a whole machine needs is
Python: emulated Python takes longer for one access than KVM for a hundred.
"""

import ctypes
import json
import mmap
import os
import struct
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

# The two sides agree on these (batch.py has the same): where the batch is in memory, and the vCPUs' descriptors.
BASE = 0x7000_0000
RECORD = 40
FIRST_VCPU = 100
CHUNK = 64
ACCESSES = 5

# x0: first record, x1: how many, x2: where results go, a byte each (0 or the negative errno's low byte).
LOOP = struct.pack(
    "<13I",
    0xAA0003E9,  # mov x9, x0
    0xAA0103EA,  # mov x10, x1
    0xAA0203EB,  # mov x11, x2
    0xD28003A8,  # mov x8, #29: ioctl
    0xB400010A,  # cbz x10, to the end
    0xA9400520,  # ldp x0, x1, [x9]
    0xF9400922,  # ldr x2, [x9, #16]
    0xD4000001,  # svc #0
    0x38001560,  # strb w0, [x11], #1
    0x9100A129,  # add x9, x9, #40
    0xD100054A,  # sub x10, x10, #1
    0x17FFFFF9,  # b, to the cbz
    0xD65F03C0,  # ret
)


class Both:
    """Two vCPUs that are made alike, one after the other; only the first one runs."""

    def __init__(self, make: Any) -> None:
        self._make = make
        self.vcpus = [make(0)]
        self.run = self.vcpus[0].run
        self.write = self.vcpus[0].write

    def init(self, target: int, features: int) -> int:
        error = self.vcpus[0].init(target, features)
        if error:
            return int(error)
        # 5.10 refuses to initialise a 32-bit vCPU beside one that is not initialised yet.
        self.vcpus.append(self._make(1))
        return int(self.vcpus[1].init(target, features))

    def finalize_sve(self) -> int:
        return first_error(vcpu.finalize_sve() for vcpu in self.vcpus)

    def initialise_pmu(self) -> int:
        return first_error(vcpu.initialise_pmu() for vcpu in self.vcpus)

    def close(self) -> None:
        for vcpu in self.vcpus:
            vcpu.close()


def first_error(errors: Any) -> int:
    return next((error for error in errors if error), 0)


def with_two_vcpus(probe: Any) -> Any:
    """KVM, whose VMs have two vCPUs."""

    class Vm(probe.Vm):  # type: ignore[misc]
        def create_vcpu(self) -> Both:
            pair = Both(self.one)
            self._opened.append(pair)
            return pair

        def one(self, number: int) -> Any:
            fd = self.kvm.call(self._fd, probe.CREATE_VCPU, number)
            if fd < 0:
                raise probe.Refused(-fd)
            return probe.Vcpu(self.kvm, fd)

    class Kvm(probe.Kvm):  # type: ignore[misc]
        def create_vm(self) -> Any:
            vm = super().create_vm()
            vm.__class__ = Vm
            return vm

    return Kvm()


class Batch:
    """The packed accesses in memory, and the loop that makes them."""

    def __init__(self, body: Path) -> None:
        size = body.stat().st_size
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mmap.restype = ctypes.c_void_p
        libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
        with body.open("rb") as stream:
            fixed = mmap.MAP_PRIVATE | 0x10  # MAP_FIXED
            access = mmap.PROT_READ | mmap.PROT_WRITE
            if libc.mmap(BASE, size, access, fixed, stream.fileno(), 0) != BASE:
                raise OSError(ctypes.get_errno(), "the batch cannot be mapped")
        self.memory = memoryview((ctypes.c_char * size).from_address(BASE)).cast("B")
        with tempfile.TemporaryFile() as code:
            code.write(LOOP)
            code.flush()
            self._code = mmap.mmap(
                code.fileno(), len(LOOP), mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC | mmap.PROT_WRITE
            )
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._code))
        self._loop = ctypes.CFUNCTYPE(None, *[ctypes.c_uint64] * 3)(address)

    def run(self, records: int, count: int, results: int) -> None:
        self._loop(BASE + records, count, BASE + results)

    def bytes(self, start: int, size: int) -> bytes:
        return bytes(self.memory[start : start + size])


def show(machine: Any) -> None:
    """Give the machine's vCPUs the descriptors that the records name."""
    vcpus = machine.vcpu.vcpus if isinstance(machine.vcpu, Both) else [machine.vcpu]
    for number, vcpu in enumerate(vcpus):
        os.dup2(vcpu._fd, FIRST_VCPU + number)


def hide(machine: Any) -> None:
    count = len(machine.vcpu.vcpus) if isinstance(machine.vcpu, Both) else 1
    for number in range(count):
        os.close(FIRST_VCPU + number)


def renew(machine: Any) -> None:
    hide(machine)
    machine.renew()
    show(machine)


def singles(batch: Batch, machine: Any, case: "dict[str, Any]") -> None:
    """Single writes, each undone; a new machine after one that could not be, and the rest once more on it."""
    slot, count = case["slot"], case["count"]
    unchecked = set(case["moving"])
    at = 0
    while at < count:
        stop = min(at + CHUNK, count)
        batch.run(
            case["records"] + at * ACCESSES * RECORD, (stop - at) * ACCESSES, case["results"] + at * ACCESSES
        )
        before, after = (
            batch.bytes(case[name] + at * slot, (stop - at) * slot) for name in ("before", "after")
        )
        if before == after:
            at = stop
            continue
        for index in range(stop - at):
            place = slice(index * slot, (index + 1) * slot)
            if before[place] != after[place] and at + index not in unchecked:
                stop = at + index + 1
                break
        else:
            at = stop
            continue
        renew(machine)
        at = stop


def ask(probe: Any, kvms: "list[Any]", batch: Batch, case: "dict[str, Any]") -> "int | None":
    """Run one case; the errno with which KVM refused the machine."""
    vcpu = case["vcpu"]
    configuration = probe.Configuration(
        "fuzz", vcpu["features"], vcpu["vgic"], vcpu["pmu"], vcpu["enabled"], False
    )
    try:
        machine = probe.Machine(kvms[case["vcpus"] - 1], configuration, case["state"], case["finalize"])
    except probe.Refused as refused:
        return int(refused.number)
    if machine.vgic != vcpu["vgic"]:
        machine.close()
        return 19  # ENODEV
    show(machine)
    try:
        if case["kind"] == "single":
            singles(batch, machine, case)
        else:
            batch.run(case["records"], case["accesses"], case["results"])
    finally:
        hide(machine)
        machine.close()
    return None


def main(argv: "list[str]") -> int:
    """BATCH CASES --output FILE: a line of JSON with the refused machines, then results and values."""
    probe = sys.modules["kvmfw_probe"]
    body, cases, _, output = argv
    batch = Batch(Path(body))
    description = json.loads(Path(cases).read_text())
    kvms = [probe.Kvm(), with_two_vcpus(probe)]
    refused = {}
    for number, case in enumerate(description["cases"]):
        try:
            error = ask(probe, kvms, batch, case)
        except Exception:
            traceback.print_exc()
            return 3
        if error is not None:
            refused[str(number)] = error
    head = json.dumps({"refused": refused}).encode() + b"\n"
    start, size = description["answers"]
    Path(output).write_bytes(head + batch.bytes(start, size))
    return 0
