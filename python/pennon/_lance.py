"""Tables of Lance's, with an index."""

from __future__ import annotations

from os import PathLike
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from pennon import _convert
from pennon import _core as core


class LanceIndex(NamedTuple):
    """An index that was written into a Lance table."""

    version: int
    """Of the table, from which on it has the index."""
    index_type: str
    """"flat" or "sq"."""
    reason: str
    """Why "auto" chose that; else empty."""


def write(
    snapshot: core.Snapshot,
    uri: str | PathLike[str],
    given: Any,
    mode: str,
    column: str | None,
    name: str,
    replace: bool,
    index_type: str,
    threads: int | None,
) -> LanceIndex:
    """See Snapshot.to_lance."""
    if mode not in ("create", "overwrite", "append", "index"):
        raise ValueError(f'mode: expected "create", "overwrite", "append" or "index", got {mode!r}')
    if index_type not in ("auto", "flat", "sq"):  # before anything is written
        raise ValueError(f'index_type: expected "auto", "flat" or "sq", got {index_type!r}')
    if len(snapshot) == 0:
        raise ValueError("there are no rows of which to make an index")
    path = _convert.path(uri)
    workers = 0 if threads is None else _convert.whole("threads", threads, 31)
    if workers < 0:
        raise ValueError(f"threads: expected 0 or more, or None, got {workers}")
    if not isinstance(name, str):
        raise TypeError(f"name: expected a string, got {type(name).__name__}")
    if column is not None and not isinstance(column, str):
        raise TypeError(f"column: expected a string or None, got {type(column).__name__}")
    places: Any = None  # the library's own: where rows were among all that were appended
    if mode == "index":
        if given is not None:
            raise ValueError('table: expected None with mode "index", which writes no rows')
        dataset = core.Dataset.open(path, None)
    else:
        table, positions, column = _rows(snapshot, given, column)
        if mode in ("create", "overwrite"):
            make = core.Dataset.create if mode == "create" else core.Dataset.overwrite
            dataset = make(path, table.schema)
        else:
            dataset = core.Dataset.open(path, None)
            if not replace and (name or f"{column}_idx") in dataset.index_names():  # before rows are written
                raise FileExistsError(
                    f"name: {path} has an index {name or f'{column}_idx'}; replace it, or give this one another name"
                )
        places = pa.array(positions + np.uint64(dataset.append(table)))
    kind, reason = dataset.write_index(snapshot, column or "", name, replace, index_type, places, workers)
    return LanceIndex(dataset.version, kind, reason)


def _rows(snapshot: core.Snapshot, given: Any, column: str | None) -> tuple[pa.Table, Any, str]:
    """The table, where in it the rows of the snapshot are, and in which column."""
    rows = len(snapshot)
    if given is None:
        column = column or "vector"
        own: Any = snapshot.to_arrow()
        return pa.table({"row_id": own["_rowid"], column: own["flat"]}), np.arange(rows, dtype=np.uint64), column
    table: Any = given if isinstance(given, pa.Table) else pa.table(given)
    column = column or _convert.vector_column("column", table.schema)
    if column not in table.column_names:
        raise ValueError(f"column: expected one of {table.column_names}, got {column!r}")
    vectors: Any = table[column]
    kind = vectors.type
    if not (pa.types.is_fixed_size_list(kind) and kind.value_type in (pa.float32(), pa.float16())):
        dim = len(snapshot.to_arrow()["flat"][0])
        vectors = pa.chunked_array([_convert.vectors(vectors, dim, copy=False)])
        table = table.set_column(table.column_names.index(column), column, vectors)
    places = np.flatnonzero(vectors.is_valid().to_numpy()).astype(np.uint64)
    if len(places) < rows:
        raise ValueError(f"table: expected the {rows} rows with vectors that the index has, got {len(places)}")
    return table, places[:rows], column
