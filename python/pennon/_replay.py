"""Streams vectors into an index, batch by batch, and shows how far it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from os import PathLike
from typing import Any

import pyarrow as pa

from pennon import _convert
from pennon._index import Index


def replay(
    source: Any,
    index: Index,
    *,
    vectors: str | None = None,
    row_ids: str | None = None,
    batch_rows: int = 1000,
    threads: int | None = None,
    progress: bool = True,
) -> int:
    """Append all vectors of a file or a stream, in batches that are searchable one after the other.

    Parameters
    ----------
    source : path, Arrow stream, or iterable of record batches
        A Parquet or Arrow IPC file; what has the Arrow PyCapsule interface, such as a Table, a RecordBatchReader, or a
        data frame of polars; or record batches.
    index : Index
        That they are appended to.
    vectors : str, optional
        Column of the vectors; by default the only one whose type is a list of numbers.
    row_ids : str, optional
        Column of the row ids; by default they go on from the largest so far.
    batch_rows : int
        Rows a batch, at least 1.
    threads : int, optional
        As in `Index.append`.
    progress : bool
        Show a progress bar, if tqdm is installed.

    Returns
    -------
    int
        Rows that were appended, without those whose vector is null.
    """
    if not isinstance(index, Index):
        raise TypeError(f"index: expected a pennon.Index, got {type(index).__name__}")
    batch_rows = _convert.whole("batch_rows", batch_rows)
    if batch_rows < 1:
        raise ValueError(f"batch_rows: expected 1 or more, got {batch_rows}")
    batches, total = _open(source, batch_rows)
    appended = 0
    with _Bar(total if progress else 0, progress) as bar:
        for batch in batches:
            if not isinstance(batch, pa.RecordBatch):
                raise TypeError(f"source: expected record batches, got {type(batch).__name__}")
            column = vectors or _convert.vector_column("vectors", batch.schema)
            for name, given in (("vectors", column), ("row_ids", row_ids)):
                if given is not None and given not in batch.schema.names:
                    raise ValueError(f"{name}: expected one of {batch.schema.names}, got {given!r}")
            for first in range(0, batch.num_rows, batch_rows):
                part = batch.slice(first, batch_rows)
                ids = None if row_ids is None else part.column(row_ids)
                appended += len(index.append(part.column(column), ids, threads))
                bar.update(part.num_rows)
    return appended


def _open(source: Any, batch_rows: int) -> tuple[Iterator[pa.RecordBatch], int | None]:
    """Batches, and how many rows they have, if that is known."""
    if isinstance(source, (str, PathLike)):
        with open(source, "rb") as file:
            magic = file.read(6)
        if magic[:4] == b"PAR1":
            import pyarrow.parquet as pq

            parquet = pq.ParquetFile(str(source))
            return parquet.iter_batches(batch_rows), parquet.metadata.num_rows
        if magic == b"ARROW1":
            reader = pa.ipc.open_file(pa.memory_map(str(source)))
            return (reader.get_batch(i) for i in range(reader.num_record_batches)), None
        try:
            return iter(pa.ipc.open_stream(pa.memory_map(str(source)))), None
        except pa.ArrowException as error:
            raise ValueError(f"source: expected a Parquet or Arrow IPC file, {source} is none: {error}") from error
    if hasattr(source, "__arrow_c_stream__"):
        return iter(pa.RecordBatchReader.from_stream(source)), getattr(source, "num_rows", None)
    if isinstance(source, Iterable):
        return iter(source), None
    raise TypeError(f"source: expected a path, an Arrow stream or record batches, got {type(source).__name__}")


class _Bar:
    """tqdm's, or none."""

    def __init__(self, total: int | None, show: bool) -> None:
        self._bar: Any = None
        if show:
            try:
                from tqdm.auto import tqdm
            except ImportError:
                return
            self._bar = tqdm(total=total, unit=" rows", unit_scale=True)

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, rows: int) -> None:
        if self._bar is not None:
            self._bar.update(rows)
