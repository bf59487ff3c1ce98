"""cloud-hypervisor: ``state.json`` of a snapshot.

The snapshot is a tree; below ``cpu-manager`` stands one snapshot for each vCPU, whose state is JSON in a
string. Structures of the kernel are written as bytes (``kvm_one_reg``: id and value, 8 bytes each; ``kvm_regs``: the core
registers, 864 bytes). Registers are given in the order in which they are written (`set_state`, 53.0).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec

from kvmfw.documents import parsed_json, typed
from kvmfw.errors import FormatError
from kvmfw.ids import CORE, SVE, group_of, make_id
from kvmfw.quoting import utf8
from kvmfw.readers.beside import beside, controls_of_icc
from kvmfw.readers.format import Format
from kvmfw.readers.saved import SavedVcpu, register_set
from kvmfw.readers.source import Limits, whole

__all__ = ["FORMAT", "STATE", "snapshot_vcpus"]

STATE = "state.json"
"""The file of a snapshot folder that holds the vCPUs; beside it are the configuration and the memory."""
_CPUS = "cpu-manager"
_DEEPEST = 32
_NUMBER = re.compile(r"\d{1,6}", re.ASCII)
_CORE_SIZE = 864
_GENERAL_SIZE = 328
_Word = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
_VECTORS, _FPSR, _FPCR = 336, 848, 852


class _Snapshot(msgspec.Struct):
    """One node of the tree; what a device other than a vCPU saved is not looked at."""

    snapshots: dict[str, _Snapshot] | None = None
    snapshot_data: Any = None


class _Beside(msgspec.Struct):
    """What stands beside the vCPUs, as far as it is looked at."""

    icc: list[_Word] = []
    its_iidr: _Word | None = None
    cntfrq: _Word | None = None


def snapshot_vcpus(document: Any, name: str) -> list[SavedVcpu]:
    """Read all vCPUs of a snapshot."""
    states = sorted(_states(typed(document, _Snapshot), "", 0), key=lambda found: found[0])
    if not states:
        raise FormatError(f"there is no vCPU below `{_CPUS}`", "snapshots")
    for expected, (number, _, place) in enumerate(states):
        # A piece that is missing would be taken for judged.
        if number < expected:
            raise FormatError(f"vCPU {number} occurs twice", place)
        if number > expected:
            raise FormatError(f"vCPU {expected} is missing, but there is vCPU {number}", place)
    found = []
    both = _beside(document)
    controls = controls_of_icc(both.icc, len(states))
    for at, (number, state, place) in enumerate(states):
        own = name if len(states) == 1 else f"{name}/vcpu{number}"
        registers = _registers(state, place) | beside(
            ICC_CTLR_EL1=controls[at] if controls else None, GITS_IIDR=both.its_iidr, CNTFRQ_EL0=both.cntfrq
        )
        found.append(SavedVcpu(name, number, register_set(registers, own, place=place)))
    return found


def _beside(document: Any) -> _Beside:
    """Give what the snapshot tells of the interrupt controller and of the counter; nothing where it has another form."""
    root = typed(document, _Snapshot)
    devices = (root.snapshots or {}).get("device-manager", _Snapshot()).snapshots or {}
    told: dict[str, Any] = {}
    for snapshot, key in ((devices.get("gic-v3-its"), "Kvm"), (root, "clock")):
        data = snapshot.snapshot_data if snapshot else None
        state = data.get("state") if isinstance(data, dict) else None
        try:
            parsed = parsed_json(state) if isinstance(state, str) else None
        except FormatError:
            parsed = None
        inner = parsed.get(key) if isinstance(parsed, dict) else None
        told |= inner if isinstance(inner, dict) else {}
    try:
        return typed(told, _Beside)
    except FormatError:
        return _Beside()


def _states(document: _Snapshot, place: str, depth: int) -> Iterator[tuple[int, dict[str, Any], str]]:
    if depth > _DEEPEST:
        raise FormatError("the snapshots are nested too deeply", place.rstrip("."))
    for key, snapshot in (document.snapshots or {}).items():
        where = f"{place}snapshots.{key}"
        if key == _CPUS:
            for vcpu, one in (snapshot.snapshots or {}).items():
                number = vcpu.rpartition("-")[2]
                if not _NUMBER.fullmatch(number):
                    raise FormatError(f"`{vcpu[:64]}` is not the number of a vCPU", where)
                yield int(number), _state(one, f"{where}.{vcpu}"), f"{where}.{vcpu}"
        else:
            yield from _states(snapshot, f"{where}.", depth + 1)


def _state(snapshot: _Snapshot, place: str) -> dict[str, Any]:
    data = snapshot.snapshot_data
    state = data.get("state") if isinstance(data, dict) else None
    if isinstance(state, list):
        state = _bytes(state, None, f"{place}.state")
    if isinstance(state, str | bytes):
        try:
            state = parsed_json(state)
        except FormatError as error:
            raise FormatError(f"the state: {error.problem}", f"{place}.state") from error
    if isinstance(state, dict):
        # Newer versions wrap the state in a part for the bookkeeping of the vCPU, and in the hypervisor's name.
        state = next((state[key] for key in ("hypervisor_state", "saved_state") if key in state), state)
        state = state.get("Kvm", state)
    if not isinstance(state, dict) or "sys_regs" not in state:
        raise FormatError("there are no `sys_regs` in it; expected the state of a KVM vCPU on arm64", place)
    return state


def _registers(state: dict[str, Any], place: str) -> dict[int, int]:
    found: dict[int, int] = {}

    def add(register: int, value: int, where: str) -> None:
        if register in found:
            raise FormatError(f"register {register:#x} occurs twice", where)
        found[register] = value

    before, extended = (list(_extended(state, key, place)) for key in ("pre_finalize_regs", "extended_regs"))
    for register, value, where in before:
        add(register, value, where)
    has_sve = any(group_of(register) == SVE for register, *_ in (*before, *extended))
    for register, value in _core(state, has_sve, f"{place}.core_regs"):
        add(register, value, f"{place}.core_regs")
    for register, value, where in extended:
        add(register, value, where)
    for at, part in enumerate(_list(state, "sys_regs", place)):
        where = f"{place}.sys_regs[{at}]"
        if isinstance(part, dict) and {"id", "addr"} <= set(part):
            add(_number(part["id"], where), _number(part["addr"], where), where)
            continue
        raw = _bytes(part, 16, where)
        add(int.from_bytes(raw[:8], "little"), int.from_bytes(raw[8:], "little"), where)
    if not found:
        raise FormatError("there is no register in it", place)
    return found


def _extended(state: dict[str, Any], key: str, place: str) -> Iterator[tuple[int, int, str]]:
    for at, part in enumerate(_list(state, key, place)):
        where = f"{place}.{key}[{at}]"
        if not isinstance(part, dict) or not {"id", "data"} <= set(part):
            raise FormatError("expected id and data", where)
        yield _number(part["id"], where), int.from_bytes(_bytes(part["data"], None, where), "little"), where


def _core(state: dict[str, Any], has_sve: bool, place: str) -> Iterator[tuple[int, int]]:
    """Give the registers of a ``kvm_regs``; V registers of a vCPU with SVE are not in it, nor are FPSR and FPCR."""
    if "core_regs" not in state:
        return
    raw = _bytes(state["core_regs"], _CORE_SIZE, place)

    def number(at: int, size: int) -> int:
        return int.from_bytes(raw[at : at + size], "little")

    for at in range(0, _GENERAL_SIZE, 8):
        yield make_id(CORE, at // 4), number(at, 8)
    if has_sve:
        return
    for at in range(_VECTORS, _FPSR, 16):
        yield make_id(CORE, at // 4, 16), number(at, 16)
    for at in (_FPSR, _FPCR):
        yield make_id(CORE, at // 4, 4), number(at, 4)


def _list(state: dict[str, Any], key: str, place: str) -> list[Any]:
    listed = state.get(key, [])
    if not isinstance(listed, list):
        raise FormatError(f"expected a list, found {type(listed).__name__}", f"{place}.{key}")
    return listed


def _number(value: Any, place: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 64:
        raise FormatError(f"`{value}` is not a 64-bit number", place)
    return value


def _bytes(value: Any, size: int | None, place: str) -> bytes:
    try:
        raw = bytes(value) if isinstance(value, list) else None
    except (ValueError, TypeError):
        raw = None
    if raw is None or (size is not None and len(raw) != size):
        raise FormatError(
            f"expected {'bytes' if size is None else f'{size} bytes'}, each from 0 to 255", place
        )
    return raw


def _read(path: Path, name: str, limits: Limits) -> list[SavedVcpu]:
    """Read a snapshot file; those of a folder are named by it, as all are called state.json."""
    own = utf8(path.resolve().parent.name) if path.name == STATE else name
    return snapshot_vcpus(parsed_json(whole(path, limits), path), own)


FORMAT = Format(
    "cloud-hypervisor",
    "state.json of a cloud-hypervisor snapshot, or the folder with it",
    lambda head: "snapshots" in head.keys,
    vcpus=_read,
    suffixes=(".json", ".state"),
)
