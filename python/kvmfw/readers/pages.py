"""Row groups of Parquet: where all columns are words and texts the native module reads them; `pyarrow` reads what else there is.

Batches are the same whoever reads them. What the native module does not read (nulls, other encodings, damage) it leaves
before it has given anything wrong, so that errors are those of `pyarrow`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kvmfw import _native

__all__ = ["batches_of"]

_WORDS = (pa.uint64(), pa.int64())


def batches_of(path: Path, file: pq.ParquetFile, rows: int) -> Iterator[pa.RecordBatch]:
    """Give the rows of a file, at most so many at a time.

    Parameters
    ----------
    path, file : Path, pyarrow.parquet.ParquetFile
        The file, and how `pyarrow` reads it: texts by dictionary.
    rows : int
        How many at most.
    """
    schema = file.schema_arrow
    pages = _pages(path, schema)
    if pages is None:
        yield from file.iter_batches(batch_size=rows)
        return
    for group in range(file.num_row_groups):
        left = file.metadata.row_group(group).num_rows
        given = 0
        if pages.begin(group):
            while (columns := pages.next(rows)) is not None:
                batch = pa.RecordBatch.from_arrays(
                    [_array(column, field.type) for column, field in zip(columns, schema, strict=True)],
                    schema=schema,
                )
                given += batch.num_rows
                yield batch
        if given < left:
            for batch in file.iter_batches(batch_size=rows, row_groups=[group]):
                known = min(given, batch.num_rows)
                given -= known
                if known < batch.num_rows:
                    yield batch.slice(known)


def _pages(path: Path, schema: pa.Schema) -> _native.Pages | None:
    kinds = [(field.name, pa.types.is_dictionary(field.type)) for field in schema]
    texts = pa.dictionary(pa.int32(), pa.string())
    if any(field.type not in (*_WORDS, texts) for field in schema):
        return None
    return _native.Pages.open(path, kinds)


def _array(column: Any, kind: pa.DataType) -> pa.Array:
    if not pa.types.is_dictionary(kind):
        return pa.Array.from_buffers(kind, len(column), [None, pa.py_buffer(column)])
    codes, (starts, text) = column
    buffers = [None, pa.py_buffer(starts), pa.py_buffer(text)]
    names = pa.Array.from_buffers(kind.value_type, len(starts) - 1, buffers)
    indices = pa.Array.from_buffers(kind.index_type, len(codes), [None, pa.py_buffer(codes)])
    return pa.DictionaryArray.from_arrays(indices, names, safe=False)
