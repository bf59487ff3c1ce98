"""What people would use instead, and the machine's own limits. All of them give the same outcomes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from benches.fleets import FIRMWARE_UNITS, REGISTERS, Synthetic

Array = npt.NDArray[Any]
_EVEN = np.uint64(0x0F0F0F0F0F0F0F0F)
_HIGH = np.uint64(0x8080808080808080)
_FOUR = np.uint64(4)


def judge_classes(vm_values: Array, host_values: Array) -> Array:
    """Give outcomes of rows of VM values against rows of host values, register by register, with NumPy."""
    outcomes = np.zeros(len(vm_values), dtype=np.uint8)
    for unit in range(len(REGISTERS)):
        vm, host = vm_values[:, unit], host_values[:, unit]
        if unit == 0:
            refused = vm > host
        elif unit < 4:
            refused = vm > host
            np.maximum(outcomes, (vm < host).astype(np.uint8), out=outcomes)
        elif unit < FIRMWARE_UNITS:
            refused = vm & ~host != 0
        else:
            even = (((host & _EVEN) | _HIGH) - (vm & _EVEN)) & _HIGH
            odd = (((host >> _FOUR & _EVEN) | _HIGH) - (vm >> _FOUR & _EVEN)) & _HIGH
            refused = even & odd != _HIGH
        outcomes[refused] = 3
    return outcomes


def numpy_rules(made: Synthetic) -> Callable[[Array, Array], Array]:
    """Judge pairs in NumPy, from the values of their rows."""
    vms, hosts = made.vm_values[made.vm_class], made.host_values[made.host_class]

    def judge(vm: Array, host: Array) -> Array:
        blocks = range(0, len(vm), 1 << 16)
        return np.concatenate(
            [judge_classes(vms[vm[at : at + (1 << 16)]], hosts[host[at : at + (1 << 16)]]) for at in blocks]
        )

    return judge


def class_table(made: Synthetic) -> Array:
    """Judge every pair of classes with NumPy."""
    hosts = made.host_values
    rows = [judge_classes(np.broadcast_to(row, hosts.shape), hosts) for row in made.vm_values]
    return np.array(rows, dtype=np.uint8)


def numpy_classes(made: Synthetic, table: Array) -> Callable[[Array, Array], Array]:
    """Look pairs up in NumPy: unique rows, class table, fancy index. Building is not counted."""
    _, vm_class = np.unique(made.vm_class, return_inverse=True)
    _, host_class = np.unique(made.host_class, return_inverse=True)
    return lambda vm, host: table[vm_class[vm], host_class[host]]


def numpy_packbits(made: Synthetic, table: Array) -> Callable[[range], Array]:
    """Make rows of the packed matrix in NumPy: what is taken by class, gathered for every host, packed."""
    _, vm_class = np.unique(made.vm_class, return_inverse=True)
    _, host_class = np.unique(made.host_class, return_inverse=True)
    taken = table < 2

    def rows(some: range) -> Array:
        blocks = (vm_class[at : min(at + (1 << 10), some.stop)] for at in some[:: 1 << 10])
        return np.concatenate(
            [np.packbits(taken[block][:, host_class], axis=1, bitorder="little") for block in blocks]
        )

    return rows


@numba.njit(parallel=True, cache=True)
def _numba_direct(vms: Array, hosts: Array, vm: Array, host: Array, out: Array) -> None:
    even, high = np.uint64(0x0F0F0F0F0F0F0F0F), np.uint64(0x8080808080808080)
    four = np.uint64(4)
    for pair in numba.prange(len(vm)):
        saved, own = vms[vm[pair]], hosts[host[pair]]
        outcome = 0
        if saved[0] > own[0]:
            outcome = 3
        for unit in range(1, 4):
            if saved[unit] > own[unit]:
                outcome = 3
            elif saved[unit] < own[unit] and outcome == 0:
                outcome = 1
        for unit in range(4, 8):
            if saved[unit] & ~own[unit] != 0:
                outcome = 3
        if outcome < 3:
            for unit in range(8, 40):
                a, b = saved[unit], own[unit]
                lower = (((b & even) | high) - (a & even)) & high
                upper = (((b >> four & even) | high) - (a >> four & even)) & high
                if lower & upper != high:
                    outcome = 3
                    break
        out[pair] = outcome


def numba_direct(made: Synthetic) -> Callable[[Array, Array], Array]:
    """Judge pairs with compiled rules, on two threads, stopping at the first refusal."""
    vms, hosts = made.vm_values[made.vm_class], made.host_values[made.host_class]

    def judge(vm: Array, host: Array) -> Array:
        out = np.empty(len(vm), dtype=np.uint8)
        _numba_direct(vms, hosts, vm, host, out)
        return out

    return judge


def _frames(made: Synthetic, table: Array, vm: Array, host: Array) -> dict[str, dict[str, Array]]:
    vms, hosts = table.shape
    return {
        "pairs": {"pair": np.arange(len(vm)), "vm": vm, "host": host},
        "vms": {"vm": np.arange(made.shape.vms), "vm_class": made.vm_class},
        "hosts": {"host": np.arange(made.shape.hosts), "host_class": made.host_class},
        "outcomes": {
            "vm_class": np.repeat(np.arange(vms), hosts),
            "host_class": np.tile(np.arange(hosts), vms),
            "outcome": table.ravel(),
        },
    }


def duckdb_join(made: Synthetic, table: Array) -> Callable[[Array, Array], Array]:
    """Join pairs with classes and their table in DuckDB."""
    import duckdb  # noqa: PLC0415
    import pyarrow as pa  # noqa: PLC0415

    def judge(vm: Array, host: Array) -> Array:
        connection = duckdb.connect(config={"threads": 2})
        for name, columns in _frames(made, table, vm, host).items():
            connection.register(name, pa.table(columns))
        joined = connection.sql(
            # In one query DuckDB may join pairs with outcomes first, which takes minutes.
            "with placed as materialized"
            " (select pair, vm_class, host_class from pairs join vms using (vm) join hosts using (host))"
            " select pair, outcome from placed join outcomes using (vm_class, host_class)"
        ).fetchnumpy()
        out = np.empty(len(vm), dtype=np.uint8)
        out[joined["pair"]] = joined["outcome"]
        return out

    return judge


def polars_join(made: Synthetic, table: Array) -> Callable[[Array, Array], Array]:
    """Join pairs with classes and their table in Polars."""
    import polars  # noqa: PLC0415

    def judge(vm: Array, host: Array) -> Array:
        frames = {name: polars.DataFrame(columns) for name, columns in _frames(made, table, vm, host).items()}
        joined = frames["pairs"].join(frames["vms"], on="vm").join(frames["hosts"], on="host")
        joined = joined.join(frames["outcomes"], on=["vm_class", "host_class"])
        out = np.empty(len(vm), dtype=np.uint8)
        out[joined["pair"].to_numpy()] = joined["outcome"].to_numpy()
        return out

    return judge


@numba.njit(parallel=True, cache=True)
def stream(vm: Array, host: Array, out: Array) -> None:
    """Read all indices and write an outcome for each, on two threads, without any work: the machine's limit."""
    for pair in numba.prange(len(vm)):
        out[pair] = (vm[pair] ^ host[pair]) & 3


@numba.njit(parallel=True, cache=True)
def _look_ups(tables: tuple[Array, Array, Array], stride: int, vm: Array, host: Array, out: Array) -> None:
    vm_class, host_class, packed = tables
    for pair in numba.prange(len(vm)):
        place = host_class[host[pair]] * stride + vm_class[vm[pair]]
        out[pair] = packed[place >> 2] >> ((place & 3) * 2) & 3


def look_ups(made: Synthetic, table: Array) -> Callable[[Array, Array], Array]:
    """Look pairs up on two threads without any check, in tables as small as can be: what memory allows a look-up by class."""
    classes = [
        np.unique(one, return_inverse=True)[1].astype(np.uint16) for one in (made.vm_class, made.host_class)
    ]
    cells = np.ascontiguousarray(table.T).reshape(-1)
    fours = np.pad(cells, (0, -len(cells) % 4)).reshape(-1, 4)
    packed = fours[:, 0] | fours[:, 1] << 2 | fours[:, 2] << 4 | fours[:, 3] << 6
    out = np.empty(0, dtype=np.uint8)

    def judge(vm: Array, host: Array) -> Array:
        nonlocal out
        out = out if len(out) == len(vm) else np.empty(len(vm), dtype=np.uint8)
        _look_ups((classes[0], classes[1], packed), table.shape[0], vm, host, out)
        return out

    return judge


@numba.njit(parallel=True, cache=True)
def fill(out: Array) -> None:
    """Fill memory on two threads, a row at a time as in `numpy.fill`: the machine's limit."""
    for row in numba.prange(out.shape[0]):
        out[row, :] = 255
