"""cloud-hypervisor: ``state.json`` of a snapshot.

The snapshot is a tree; below ``cpu-manager`` stands one snapshot for each vCPU, whose state is JSON in a
string. Structures of the kernel are written as bytes (``kvm_one_reg``: id and value, 8 bytes each).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from kvmfw.errors import FormatError
from kvmfw.readers.saved import SavedVcpu, register_set

__all__ = ["snapshot_vcpus"]

_CPUS = "cpu-manager"
_DEEPEST = 32


def snapshot_vcpus(document: Any, name: str) -> list[SavedVcpu]:
    """Read all vCPUs of a snapshot."""
    states = sorted(_states(document, "", 0), key=lambda found: found[0])
    if not states:
        raise FormatError(f"there is no vCPU below `{_CPUS}`", "snapshots")
    found = []
    for number, state, place in states:
        own = name if len(states) == 1 else f"{name}/vcpu{number}"
        found.append(SavedVcpu(name, number, register_set(_registers(state, place), own, place=place)))
    return found


def _states(document: Any, place: str, depth: int) -> Iterator[tuple[int, dict[str, Any], str]]:
    below = document.get("snapshots") if isinstance(document, dict) else None
    if not isinstance(below, dict) or depth > _DEEPEST:
        return
    for key, snapshot in below.items():
        where = f"{place}snapshots.{key}"
        if key == _CPUS:
            for vcpu, one in (snapshot.get("snapshots") or {}).items():
                number = str(vcpu).rpartition("-")[2]
                if not number.isdecimal():
                    raise FormatError(f"`{vcpu}` is not the number of a vCPU", where)
                yield int(number), _state(one, f"{where}.{vcpu}"), f"{where}.{vcpu}"
        else:
            yield from _states(snapshot, f"{where}.", depth + 1)


def _state(snapshot: Any, place: str) -> dict[str, Any]:
    data = snapshot.get("snapshot_data") if isinstance(snapshot, dict) else None
    state = data.get("state") if isinstance(data, dict) else None
    if isinstance(state, list):
        state = _bytes(state, None, f"{place}.state")
    if isinstance(state, str | bytes):
        try:
            state = json.loads(state)
        except ValueError as error:
            raise FormatError(f"the state is not JSON: {error}", f"{place}.state") from error
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

    for at, part in enumerate(_list(state, "sys_regs", place)):
        where = f"{place}.sys_regs[{at}]"
        if isinstance(part, dict) and {"id", "addr"} <= set(part):
            add(_number(part["id"], where), _number(part["addr"], where), where)
            continue
        raw = _bytes(part, 16, where)
        add(int.from_bytes(raw[:8], "little"), int.from_bytes(raw[8:], "little"), where)
    for key in ("pre_finalize_regs", "extended_regs"):
        for at, part in enumerate(_list(state, key, place)):
            where = f"{place}.{key}[{at}]"
            if not isinstance(part, dict) or not {"id", "data"} <= set(part):
                raise FormatError("expected id and data", where)
            add(
                _number(part["id"], where), int.from_bytes(_bytes(part["data"], None, where), "little"), where
            )
    if not found:
        raise FormatError("there is no register in it", place)
    return found


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
