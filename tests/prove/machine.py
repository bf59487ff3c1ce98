"""A kernel image whose functions run with values that stand for all values (angr)."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import angr
import capstone
import claripy
import networkx
import numpy as np
from angr.state_plugins.sim_action_object import SimActionObject

from kvmfw.kernels.image import Image
from kvmfw.kernels.symbols import Symbols, read_symbols
from kvmfw.kernels.unpacking import unpacked_image

VCPU, VM, CURRENT, FREE = (0x7000_0000_0000 + at * 0x10_0000 for at in range(4))
# More than the structures of a vCPU and a VM have.
STRUCTURE = 0x8000
USER_ADDRESSES = (1 << 48) - 1
VALUE = claripy.BVS("value", 64, explicit_name=True)
# System instructions have no meaning in user mode; what the setters need of them is only `current`.
SYSTEM = frozenset(
    ("mrs", "msr", "paciasp", "autiasp", "pacia", "autia", "isb", "dsb", "bti", "xpaclri", "hint", "brk")
)
JUMPS = ("b", "cbz", "cbnz", "tbz", "tbnz")
CALLS = ("bl", "br", "brk", "bti", "bic", "bfi", "bfxil", "bfc")
# struct alt_instr (arch/arm64/include/asm/alternative.h, as 6.1 to 7.3 have it): where an instruction is and where the function
# that makes what is put there, each from where it stands; then in one word the length, and the capability with bit 15 set as a
# function does it. ARM64_ALWAYS_BOOT and ARM64_ALWAYS_SYSTEM are the first capabilities.
LEAVES_OUT = "alt_cb_patch_nops"
ALWAYS = 4 << 16 | 0x8000, 4 << 16 | 0x8001
NOP = 0xD503201F
# LDTR of 4 or 8 bytes, with which kernels read what the user points to: mask and what is in it.
LOADS_AS_USER = 0xBFE00C00, 0xB8400800
LONGEST = 4000


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

    def address(self, name: str) -> int | None:
        at = self.symbols.place(name)
        return None if at is None else self.symbols.base + at

    @cached_property
    def _addresses(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for name, place in zip(self.symbols.names, self.symbols.places, strict=True):
            found.setdefault(name.partition(".")[0], []).append(self.symbols.base + place)
        return found

    def addresses(self, name: str) -> list[int]:
        """Where functions of this name are; compilers make variants of them (`read_id_reg.isra.0`)."""
        return self._addresses.get(name, [])

    def function(self, at: int) -> int | None:
        """Where the function begins in which an address is."""
        row = bisect_right(self.symbols.places, at - self.symbols.base) - 1
        return (
            self.symbols.base + self.symbols.places[row]
            if 0 <= at - self.symbols.base < len(self.image.data)
            else None
        )

    @cached_property
    def _disassembler(self) -> capstone.Cs:
        known = capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM)
        # What it does not know (LDTR) is `.byte`, and what follows is read all the same.
        known.skipdata = True
        return known

    def instructions(self, at: int) -> Iterator[tuple[int, str, str]]:
        """Address, mnemonic and operands of the instructions of the function at an address."""
        start = at - self.symbols.base
        after = self.symbols.places[bisect_right(self.symbols.places, start)]
        for one in self._disassembler.disasm(bytes(self.image.data[start:after]), at):
            yield one.address, one.mnemonic, one.op_str

    def word(self, at: int) -> int:
        """The instruction at an address, as a number."""
        return int.from_bytes(self.image.data[at - self.symbols.base :][:4], "little")

    def moved(self) -> bytes:
        """The image as it is when it has moved itself to where it was linked."""
        words = self.image.words.copy()
        moved = self.image.moved
        places = (np.fromiter(moved, np.uint64, len(moved)) - np.uint64(self.symbols.base)) // np.uint64(8)
        inside = places < len(words)
        values = np.fromiter(moved.values(), np.uint64, len(moved))
        empty = inside & (words[np.where(inside, places, 0)] == 0)
        words[places[empty]] = values[empty]
        instructions = words.view("<u4")
        instructions[self._always()] = NOP
        return words.tobytes()

    def _always(self) -> Any:
        """Which instructions a kernel leaves out once it knows its CPUs; with them it stops (BUG), as no VM can run yet."""
        leave_out = self.symbols.place(LEAVES_OUT)
        if leave_out is None:
            return np.empty(0, np.int64)
        words = self.image.words.view("<i4")
        rows = np.flatnonzero(np.isin(words, ALWAYS)) - 2
        rows = rows[rows >= 0]
        return (4 * rows + words[rows])[4 * rows + 4 + words[rows + 1] == leave_out] // 4


class Returns(angr.SimProcedure):  # type: ignore[misc]
    """A function that does nothing but return this, or what is made of its arguments."""

    def run(self, first: Any, second: Any, *_: Any, given: Any = None) -> Any:
        made = given(self.state, first, second) if callable(given) else given
        return claripy.BVV(0, 64) if made is None else made


class Copies(angr.SimProcedure):  # type: ignore[misc]
    """copy_from_user: the value that stands for all."""

    def run(self, to: Any, *_: Any) -> Any:
        self.state.memory.store(to, VALUE, endness="Iend_LE")
        return claripy.BVV(0, 64)


class Machine:
    """Runs functions of one image. What is hooked stays so until it is hooked anew."""

    def __init__(self, code: Code) -> None:
        self.code = code
        base = code.symbols.base
        self._project = angr.Project(
            io.BytesIO(code.moved()),
            main_opts={"backend": "blob", "arch": "AARCH64", "base_addr": base, "entry_point": base},
            auto_load_libs=False,
        )
        self._prepared: set[int] = set()
        self._heads: set[int] = set()
        self._after: dict[str, Any] = {}
        # What system registers hold, by name; of all others the kernel wants `current`.
        self.holds: dict[str, Any] = {}
        # No setter depends on these.
        for name in ("mutex_lock", "mutex_unlock", "__warn_printk"):
            self.hook(name, Returns())
        for name in ("__arch_copy_from_user", "_copy_from_user", "_inline_copy_from_user"):
            self.hook(name, Copies())

    def hook(self, name: str, procedure: Any) -> None:
        """Put something in the place of a function; nothing where the image has none of this name."""
        for at in self.code.addresses(name):
            self.hook_at(at, procedure)

    def hook_at(self, at: int, procedure: Any) -> None:
        self._project.hook(at, procedure, replace=True)
        self._prepared.add(at)

    def _prepare(self, at: int) -> None:
        """Leave out system instructions of the function at this address, and find where its loops begin."""
        function = self.code.function(at)
        if function is None or function in self._prepared:
            return
        self._prepared.add(function)
        rows = list(self.code.instructions(function))
        ways = networkx.DiGraph()
        for place, mnemonic, operands in rows:
            if mnemonic in SYSTEM:
                target, _, source = operands.partition(", ") if mnemonic == "mrs" else ("", "", "")
                self._project.hook(place, partial(self._skip, target, source), length=4, replace=True)
            word = self.code.word(place)
            if word & LOADS_AS_USER[0] == LOADS_AS_USER[1]:
                self._project.hook(place, partial(_load, word), length=4, replace=True)
            if mnemonic.startswith(JUMPS) and not mnemonic.startswith(CALLS) and "#" in operands:
                ways.add_edge(place, int(operands.rpartition("#")[2], 16))
            if mnemonic not in ("b", "br", "ret") and not self._is_last(mnemonic, operands):
                ways.add_edge(place, place + 4)
        above = networkx.immediate_dominators(ways, function)
        for place, to in ways.edges:
            if to <= place and place in above and _is_above(to, place, above):
                self._heads.add(to)

    def _skip(self, target: str, source: str, state: Any) -> None:
        if target and target != "xzr":
            setattr(state.regs, target, self.holds.get(source, claripy.BVV(CURRENT, 64)))

    def _is_last(self, mnemonic: str, operands: str) -> bool:
        """Whether an instruction calls a function that does not come back."""
        return mnemonic == "bl" and int(operands[1:], 16) in self.code.addresses("__stack_chk_fail")

    def pointer(self, at: int) -> int:
        """The pointer that stands at an address of the image."""
        return int(self._project.loader.memory.unpack_word(at))

    def state(self, function: int, *arguments: Any, after: Any = None) -> Any:
        """A state at the beginning of a function, with memory as another state left it.

        Else the first word of a vCPU is its VM, and all else is 0.
        """
        options = {
            angr.options.ZERO_FILL_UNCONSTRAINED_MEMORY,
            angr.options.ZERO_FILL_UNCONSTRAINED_REGISTERS,
            # A way that nothing takes does no harm, and is not worth a question.
            angr.options.LAZY_SOLVES,
        }
        if after is not None:
            return self._project.factory.call_state(function, *arguments, base_state=after)
        state = self._project.factory.call_state(function, *arguments, add_options=options)
        state.memory.store(VCPU, claripy.BVV(VM, 64), endness="Iend_LE")
        # Up to 5.10 the second word of a task is how far its addresses go.
        state.memory.store(CURRENT + 8, claripy.BVV(USER_ADDRESSES, 64), endness="Iend_LE")
        return state

    def after(self, name: str, *arguments: int, words: Mapping[int, int]) -> Any:
        """The state after a function that has one end, with these words in memory; run once."""
        if name not in self._after:
            at = self.code.address(name)
            if at is None:
                raise NotRunError(f"the image has no {name}")
            state = self.state(at, *arguments)
            for place, word in words.items():
                state.memory.store(place, claripy.BVV(word, 64), endness="Iend_LE")
            ended = self._run(state, 10 * LONGEST)
            if len(ended) != 1:
                raise NotRunError(f"{name} has {len(ended)} ends")
            (self._after[name],) = ended
        return self._after[name]

    def ends(self, state: Any) -> list[End]:
        """Run to all ends."""
        return [End(tuple(one.solver.constraints), one.regs.w0) for one in self._run(state, LONGEST)]

    def _run(self, state: Any, longest: int) -> list[Any]:
        """Run to all ends. Ways that meet at the head of a loop go on as one."""
        self._prepare(state.addr)
        home = self._project.simos.return_deadend
        active: list[Any] = [state]
        waiting: list[Any] = []
        ended: list[Any] = []
        steps = 0
        while active or waiting:
            if not active:
                active, waiting = _met(waiting), []
            steps += 1
            if steps > longest:
                raise NotRunError("a way that does not end")
            try:
                after = self._project.factory.successors(active.pop())
            except (angr.errors.AngrError, angr.errors.SimError, claripy.errors.ClaripyError) as error:
                raise NotRunError(str(error)) from error
            if after.unconstrained_successors:
                raise NotRunError("a jump of which it is not known where it goes")
            for one in after.flat_successors:
                if one.addr == home:
                    ended.append(one)
                    continue
                self._prepare(one.addr)
                (waiting if one.addr in self._heads else active).append(one)
        return ended


def _is_above(one: int, other: int, above: dict[int, int]) -> bool:
    """Whether every way to the other comes through this one."""
    while other != one and above.get(other, other) != other:
        other = above[other]
    return other == one


def _load(word: int, state: Any) -> None:
    source, size = word >> 5 & 31, 8 if word >> 30 & 1 else 4
    offset = (word >> 12 & 0x1FF ^ 0x100) - 0x100
    base = state.regs.sp if source == 31 else getattr(state.regs, f"x{source}")
    loaded = state.memory.load(base + offset, size, endness="Iend_LE")
    if (target := word & 31) != 31:
        setattr(state.regs, f"x{target}", loaded.zero_extend(64 - 8 * size))


def _met(states: list[Any]) -> list[Any]:
    """Make one state of those that stand at the same place."""
    places: dict[tuple[int, int], list[Any]] = {}
    for state in states:
        places.setdefault((state.addr, state.solver.eval(state.regs.sp)), []).append(state)
    return [group[0] if len(group) == 1 else _one(group) for group in places.values()]


def _one(states: list[Any]) -> Any:
    """One state that is any of these: what differs hangs on the conditions that they do not share."""
    rows = [list(state.solver.constraints) for state in states]
    shared = 0
    while all(len(row) > shared for row in rows) and len({row[shared].hash() for row in rows}) == 1:
        shared += 1
    own = [row[shared:] for row in rows]
    wrapped = [[SimActionObject(one) for one in conditions] for conditions in own]
    merged, _, _ = states[0].merge(*states[1:], merge_conditions=wrapped)
    either = claripy.Or(*(claripy.And(claripy.true(), *conditions) for conditions in own))
    merged.solver.reload_solver([*rows[0][:shared], either])
    return merged
