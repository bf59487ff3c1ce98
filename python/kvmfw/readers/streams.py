"""Tables batch by batch: cut where a VM ends, so that all rows of each are together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from kvmfw import _native
from kvmfw.readers.batches import Batches, gathered
from kvmfw.readers.chunks import compacted
from kvmfw.readers.cutter import runs_of
from kvmfw.readers.runs import Runs
from kvmfw.readers.tables import tidied

__all__ = ["runs_of_stream"]
_FIRST_ROWS = 1 << 6
"""So many rows are looked at first for the end of a VM."""


def runs_of_stream(
    batches: Iterable[pa.RecordBatch], native: _native.Fleet, columns: Mapping[str, str] | None = None
) -> Iterator[Runs]:
    """Take a table batch by batch: the rows of a VM must be together, and may go on in the next batch.

    Raises
    ------
    ArgumentError
        As for `runs_of_table`.
    """
    if isinstance(batches, Batches | pa.RecordBatchReader):
        # Columns are looked at also where there are no rows.
        tidied(batches.schema.empty_table(), columns)
    tables = (tidy for some in gathered(batches) if (tidy := tidied(some, columns)).num_rows)
    vm: pa.Table | None = None
    first_row = 0
    for table, following in _with_the_next(tables):
        left = table
        if vm is not None:
            # Only the VM that goes on is copied.
            goes_on = _goes_on(vm, table)
            vm = pa.concat_tables([vm, compacted(table.slice(0, goes_on))], promote_options="permissive")
            left = table.slice(goes_on)
            if left.num_rows == 0 and following is not None and _begins_with(following, vm):
                continue
            yield runs_of(vm, first_row, native)
            first_row += vm.num_rows
            vm = None
            if left.num_rows == 0:
                continue
        made = runs_of(left, first_row, native)
        are_rows = made.nested and made.index is None
        if are_rows or following is None or not _begins_with(following, left.slice(left.num_rows - 1)):
            yield made
            first_row += left.num_rows
            continue
        vms = made.vms()
        last = int(np.searchsorted(vms, vms[-1]))
        if last:
            yield made.upto(last)
        cut = int(made.firsts[last]) - first_row
        vm, first_row = compacted(left.slice(cut)), first_row + cut


def _with_the_next(tables: Iterable[pa.Table]) -> Iterator[tuple[pa.Table, pa.Table | None]]:
    """Give each table with the one that follows, which tells whether its last VM goes on; None at the end or before an error."""
    before: pa.Table | None = None
    try:
        for table in tables:
            if before is not None:
                yield before, table
            before = table
    except Exception:
        if before is not None:
            yield before, None
        raise
    if before is not None:
        yield before, None


def _begins_with(table: pa.Table, vm: pa.Table) -> bool:
    """Tell whether the first row is of the VM of the rows before it, without a look at those that follow."""
    return bool(_known(table.column("vm")[0].as_py()) == _known(vm.column("vm")[0].as_py()))


def _goes_on(vm: pa.Table, table: pa.Table) -> int:
    """Tell how many of the first rows are of the VM of the rows before them."""
    name, names = _known(vm.column("vm")[0].as_py()), table.column("vm")
    count = 0
    while count < len(names):
        some = names.slice(count, max(count, _FIRST_ROWS)).to_pylist()
        others = next((at for at, one in enumerate(some) if _known(one) != name), len(some))
        count += others
        if others < len(some):
            break
    return count


def _known(name: Any) -> Any:
    """Give a name; VMs whose name is not told are one, whichever way that is."""
    return "" if name is None else name
