"""A function of a kernel image, run with values that stand for all values (angr, z3)."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import angr
import capstone
import claripy

from kvmfw.kernels.image import Image
from kvmfw.kernels.symbols import Symbols, read_symbols
from kvmfw.kernels.unpacking import unpacked_image

VCPU, REGISTER, VM, CURRENT, WORD = (0x7000_0000_0000 + at * 0x10_0000 for at in range(5))
# More than the structures of a vCPU and a VM have.
STRUCTURE = 0x8000
USER_ADDRESSES = (1 << 48) - 1
# System instructions have no meaning in user mode; what the setters need of them is only `current`.
SYSTEM = frozenset(
    ("mrs", "msr", "paciasp", "autiasp", "pacia", "autia", "isb", "dsb", "bti", "xpaclri", "hint")
)
LONGEST = 400


class NotRunError(Exception):
    """The function could not be run to all its ends, and why."""


@dataclass(frozen=True)
class End:
    """One way through a function: when it is taken, and what the function returns there."""

    when: tuple[Any, ...]
    returned: Any


@dataclass(frozen=True)
class Code:
    """A kernel image with its symbols."""

    image: Image
    symbols: Symbols

    @classmethod
    def read(cls, path: Path) -> Code:
        image = Image(unpacked_image(path))
        return cls(image, read_symbols(image))

    @property
    def release(self) -> str:
        return self.image.banner[0]

    def bounds(self, name: str) -> tuple[int, int] | None:
        """The address of a function and its length; None where there is none of this name."""
        at = self.symbols.place(name)
        if at is None:
            return None
        after = self.symbols.places[bisect_right(self.symbols.places, at)]
        return self.symbols.base + at, after - at

    @cached_property
    def _disassembler(self) -> capstone.Cs:
        return capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM)

    def instructions(self, name: str) -> Iterator[tuple[int, str, str]]:
        """Address, mnemonic and operands of a function's instructions."""
        found = self.bounds(name)
        if found is not None:
            at, length = found
            start = at - self.symbols.base
            for one in self._disassembler.disasm(bytes(self.image.data[start : start + length]), at):
                yield one.address, one.mnemonic, one.op_str


class _Returns(angr.SimProcedure):  # type: ignore[misc]
    def run(self, *_: Any, given: Any = None) -> Any:
        return claripy.BVV(0, 64) if given is None else given


class _Copies(angr.SimProcedure):  # type: ignore[misc]
    """copy_from_user: the value that stands for all."""

    def run(self, to: Any, *_: Any, given: Any = None) -> Any:
        self.state.memory.store(to, given, endness="Iend_LE")
        return claripy.BVV(0, 64)


@dataclass(frozen=True)
class Call:
    """A call of a setter `(vcpu, reg)`.

    Attributes
    ----------
    setter : str
        The function.
    register : int
        Which register is written.
    returns : dict of str to int
        What functions of the kernel answer meanwhile.
    word : int
        What each word of the vCPU and of its VM holds, wherever features stand in them; of zeros, they have no feature and have
        not run.
    """

    setter: str
    register: int
    returns: Mapping[str, int]
    word: int = 0


def ends_of(code: Code, call: Call) -> list[End]:
    """Run a setter with `value`, and give all its ends."""
    setter, written = call.setter, claripy.BVS("value", 64, explicit_name=True)
    bounds = code.bounds(setter)
    if bounds is None:
        raise NotRunError(f"the image has no {setter}")
    project = angr.Project(
        io.BytesIO(code.image.data),
        main_opts={
            "backend": "blob",
            "arch": "AARCH64",
            "base_addr": code.symbols.base,
            "entry_point": code.symbols.base,
        },
        auto_load_libs=False,
    )
    for name in (setter, "get_kernel_wa_level", "kvm_arm_get_fw_reg", "kvm_arm_set_fw_reg_bmap"):
        _leave_out_system_instructions(project, code, name)
    for name, given in call.returns.items():
        _hook(project, code, name, _Returns(given=claripy.BVV(given, 64)))
    for name in ("mutex_lock", "mutex_unlock", "__warn_printk"):
        _hook(project, code, name, _Returns())
    for name in ("__arch_copy_from_user", "_copy_from_user", "_inline_copy_from_user"):
        _hook(project, code, name, _Copies(given=written))
    options = {angr.options.ZERO_FILL_UNCONSTRAINED_MEMORY, angr.options.ZERO_FILL_UNCONSTRAINED_REGISTERS}
    state = project.factory.call_state(bounds[0], VCPU, REGISTER, add_options=options)
    state.globals["current"] = claripy.BVV(CURRENT, 64)
    if call.word:
        for structure in (VCPU, VM):
            state.memory.store(structure, call.word.to_bytes(8, "little") * (STRUCTURE // 8))
    # The first word of a vCPU is its VM; up to 5.10 the second of a task is how far its addresses go.
    for at, content in (
        (REGISTER, call.register),
        (REGISTER + 8, WORD),
        (VCPU, VM),
        (CURRENT + 8, USER_ADDRESSES),
    ):
        state.memory.store(at, claripy.BVV(content, 64), endness="Iend_LE")
    manager = project.factory.simgr(state)
    manager.run(n=LONGEST)
    if manager.errored or manager.active or manager.unconstrained:
        why = next((str(one.error) for one in manager.errored), "a way that does not end")
        raise NotRunError(f"{setter}: {why}")
    return [End(tuple(one.solver.constraints), one.regs.w0) for one in manager.deadended]


def _leave_out_system_instructions(project: Any, code: Code, name: str) -> None:
    for at, mnemonic, operands in code.instructions(name):
        if mnemonic in SYSTEM:
            target = operands.split(",")[0].strip() if mnemonic == "mrs" else None
            project.hook(at, _skip(target), length=4)
        elif mnemonic == "brk":
            project.hook(at, _skip(None), length=4)


def _skip(target: str | None) -> Any:
    def step(state: Any) -> None:
        if target is not None:
            setattr(state.regs, target, state.globals["current"])

    return step


def _hook(project: Any, code: Code, name: str, procedure: Any) -> None:
    found = code.bounds(name)
    if found is not None:
        project.hook(found[0], procedure, replace=True)
