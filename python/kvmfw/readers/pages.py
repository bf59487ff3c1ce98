"""Row groups of Parquet: where all columns are words and texts the native module reads them; `pyarrow` reads what else there is.

Batches are the same whoever reads them. What the native module does not read (nulls, other encodings, damage) it leaves
before it has given anything wrong, so that errors are those of `pyarrow`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
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
            while given < left and (batch := _next(pages, schema, min(rows, left - given))) is not None:
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


def _next(pages: _native.Pages, schema: pa.Schema, rows: int) -> pa.RecordBatch | None:
    # In memory of pyarrow, which has it at hand again after each batch: that of others comes anew, page by page.
    is_text = [pa.types.is_dictionary(field.type) for field in schema]
    buffers = [pa.allocate_buffer(rows * (4 if one else 8)) for one in is_text]
    both = list(zip(buffers, is_text, strict=True))
    words = [np.frombuffer(buffer, np.uint64) for buffer, one in both if not one]
    codes = [np.frombuffer(buffer, np.int32) for buffer, one in both if one]
    found = pages.next(words, codes)
    if found is None:
        return None
    count, texts = found
    left = iter(texts)
    arrays = [
        _coded(buffer, count, field.type, next(left))
        if one
        else pa.Array.from_buffers(field.type, count, [None, buffer])
        for field, one, buffer in zip(schema, is_text, buffers, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _coded(buffer: pa.Buffer, count: int, kind: pa.DataType, texts: Any) -> pa.DictionaryArray:
    starts, text = texts
    buffers = [None, pa.py_buffer(starts), pa.py_buffer(text)]
    names = pa.Array.from_buffers(kind.value_type, max(len(starts) - 1, 0), buffers)
    codes = pa.Array.from_buffers(kind.index_type, count, [None, buffer])
    return pa.DictionaryArray.from_arrays(codes, names, safe=False)
