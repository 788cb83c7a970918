"""The index, its snapshots, and how both are searched."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from os import PathLike
from types import TracebackType
from typing import Any, Generic, NamedTuple, NoReturn, TypeAlias, TypeVar

import numpy as np
import pyarrow as pa

from pennon import _convert
from pennon import _core as core
from pennon._convert import FLOAT32
from pennon._core import Hits
from pennon._lance import LanceIndex, write

Timeout: TypeAlias = "float | datetime.timedelta | None"

EF = 64  # what SearchOptions has


class MemoryUsage(NamedTuple):
    """Bytes that an index holds. All but `caller_bytes` come from pyarrow's default memory pool."""

    vectors_bytes: int
    """Vectors that were copied into the index, and addresses, norms and row ids of all."""
    caller_bytes: int
    """Buffers of the caller's that the index holds by reference, at their full size."""
    codes_bytes: int
    """Quantised copies of the vectors."""
    graph_bytes: int
    """Neighbour lists of the newest version, and room for more."""
    versions_bytes: int
    """What snapshots keep of older versions."""
    other_bytes: int
    """Scratch of searches and appends."""
    peak_bytes: int
    """Most that came from the pool at a time."""

    @property
    def total(self) -> int:
        """The sum, without `caller_bytes` and `peak_bytes`: what `memory_limit` limits."""
        return self.vectors_bytes + self.codes_bytes + self.graph_bytes + self.versions_bytes + self.other_bytes


class Stats(NamedTuple):
    """Counts since the index was made."""

    rows: int
    versions_published: int
    live_versions: int
    appends_failed: int
    build_distances: int
    searches: int
    search_distances: int
    exact_scans: int
    last_publish_nanos: int


class VerifyReport(NamedTuple):
    """What `verify` found: whether every row is reachable from every row, and all lists are well formed."""

    rows: int
    unreachable: int
    ok: bool
    problem: str


class Filter:
    """Which rows a search may return, made once for many searches.

    Parameters
    ----------
    rows : array of bool, or integers
        A boolean array (Arrow or numpy), of which element r says whether row id r passes; nulls do not pass, nor do
        row ids beyond its end. Or the row ids that pass: a set, a list, or an array of integers.
    """

    __slots__ = ("_core",)

    def __init__(self, rows: Any) -> None:
        """Make a filter."""
        self._core = core.Filter(_convert.rows(rows))


def _filter(given: Any) -> core.Filter | None:
    if given is None:
        return None
    return given._core if isinstance(given, Filter) else core.Filter(_convert.rows(given))


Core = TypeVar("Core", core.Index, core.Snapshot)


class _Searched(Generic[Core]):
    """What an index and a snapshot have alike."""

    __slots__ = ("_core", "_dim")
    _core: Core
    _dim: int

    def __len__(self) -> int:
        """Rows that a search sees."""
        return len(self._core)

    def __bool__(self) -> bool:
        """Be true even when empty, as what is searched is there."""
        return True

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied."""
        raise TypeError(
            f"a pennon.{type(self).__name__} cannot be pickled or copied: it is live memory of this process. "
            "Use threads, which share it, or append the vectors again where it is needed"
        )

    def search(
        self,
        q: Any,
        k: int = 10,
        ef: int | None = None,
        filter: Any = None,
        timeout: Timeout = None,
        threads: int = 1,
        *,
        exact: bool = False,
    ) -> pa.Table:
        """Find the nearest rows of one query or of many.

        Parameters
        ----------
        q : array_like, shape (dim,) or (queries, dim)
            One query: a list, a 1-d array, an Arrow scalar or array of numbers. Many: a 2-d array, or an Arrow array of
            lists. float32 and float16 are taken as they are, other numbers are converted to float32.
        k : int
            Rows wanted. All that there are, if there are fewer that pass the filter.
        ef : int, optional
            Rows that a walk of the graph keeps on the average: more find more of the nearest, and take longer.
            64 by default; max(k, ef) is used.
        filter : Filter, array of bool, or integers, optional
            Rows that may be returned: see `Filter`. Of many queries also a list of filters, one a query, None for all
            rows.
        timeout : float or datetime.timedelta, optional
            Seconds after which the search gives what it has found.
        threads : int
            For many queries; 0 stands for all processors.
        exact : bool
            Scan all rows instead of walking the graph.

        Returns
        -------
        pyarrow.Table
            ``row_id`` uint64 and ``distance`` float32, by ascending distance, then row id; of many queries before them
            ``query`` uint32. Where it was cut short, the metadata of its schema has ``pennon:complete`` = ``false``.
            Distances are squared for "l2", 1 - cos for "cosine" and 1 - dot for "dot".
        """
        return self.search_raw(q, k, ef, filter, timeout, threads, exact=exact).to_arrow()

    def search_raw(
        self,
        q: Any,
        k: int = 10,
        ef: int | None = None,
        filter: Any = None,
        timeout: Timeout = None,
        threads: int = 1,
        *,
        exact: bool = False,
    ) -> Hits:
        """Search, and leave it to the caller what becomes of the hits: the fastest way.

        The parameters are those of `search`.

        Returns
        -------
        Hits
            With ``to_numpy()``, ``to_pandas()`` and ``to_arrow()``.
        """
        if q.__class__ is not np.ndarray or q.dtype != FLOAT32 or q.ndim != 1 or not q.flags.c_contiguous:
            q = _convert.queries(q, self._dim)
        if timeout is not None:
            timeout = _convert.seconds(timeout)
        k = _convert.whole("k", k)
        ef = EF if ef is None else _convert.whole("ef", ef)
        if q.__class__ is np.ndarray:
            return self._core.search(q, k, ef, None if filter is None else _filter(filter), timeout, exact)
        filters: list[core.Filter | None] = []
        if _convert.is_many_filters(filter):
            filters, filter = [_filter(one) for one in filter], None
            if len(filters) != len(q):
                raise ValueError(f"filter: expected one a query, {len(q)}, got {len(filters)}")
        threads = _convert.whole("threads", threads, 31)
        return self._core.search_batch(q, k, ef, _filter(filter), filters, timeout, exact, threads)

    def range_search(
        self,
        q: Any,
        radius: float,
        ef: int | None = None,
        filter: Any = None,
        timeout: Timeout = None,
        *,
        exact: bool = False,
    ) -> pa.Table:
        """Find the rows within a distance of one query.

        Parameters
        ----------
        q : array_like, shape (dim,)
            As in `search`.
        radius : float
            Largest distance, in the index's metric: squared for "l2". Infinity finds all.
        ef, filter, timeout, exact
            As in `search`. With `exact` none is missed.

        Returns
        -------
        pyarrow.Table
            As of `search`.
        """
        hits = self._core.search_range(
            _convert.query(q, self._dim),
            _convert.number("radius", radius),
            EF if ef is None else _convert.whole("ef", ef),
            _filter(filter),
            _convert.seconds(timeout),
            exact,
        )
        return hits.to_arrow()

    def verify(self) -> VerifyReport:
        """Look at the whole graph, which takes a while.

        Returns
        -------
        VerifyReport
            `ok`, and if not, the first `problem`.
        """
        return VerifyReport(*self._core.verify())


class Snapshot(_Searched[core.Snapshot]):
    """A version of an index, which gives the same answers for as long as it is held, whatever is appended.

    It is a context manager: memory that it alone needs is free again when it is closed. Made by `Index.snapshot`. Any
    number of threads may use it, also when its index is gone.
    """

    __slots__ = ("_metric",)

    def __init__(self, made: core.Snapshot, dim: int, metric: str) -> None:
        """Not for users: `Index.snapshot` makes them."""
        self._core = made
        self._dim = dim
        self._metric = metric

    def __enter__(self) -> Snapshot:
        """Give the snapshot itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the snapshot."""
        self.close()

    def close(self) -> None:
        """Give up the version; later calls raise ValueError. What other threads are searching still ends."""
        self._core.close()

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._core.closed

    def __repr__(self) -> str:
        """Say what it is, and how many rows it has."""
        rows = "closed" if self.closed else f"{len(self):,} rows"
        return f"<pennon.Snapshot: {rows}, dim {self._dim}, {self._metric}>"

    def search_iter(
        self,
        q: Any,
        k: int = 10,
        ef: int | None = None,
        filter: Any = None,
        timeout: Timeout = None,
        *,
        exact: bool = False,
    ) -> Iterator[pa.Table]:
        """Read all rows, page by page, from the nearest on.

        Parameters
        ----------
        q : array_like, shape (dim,)
            As in `search`.
        k : int
            Rows a page, at least 1.
        ef, filter, exact
            As in `search`. Without `exact`, rows that a walk had missed come first on a later page.
        timeout : float or datetime.timedelta, optional
            For each page: one that it cuts short says so in its schema's metadata, and the next goes on.

        Yields
        ------
        pyarrow.Table
            As of `search`, of `k` rows; the last may have fewer. Each row comes once.
        """
        ef = EF if ef is None else _convert.whole("ef", ef)
        pager = core.Pager(self._core, _convert.query(q, self._dim), ef, _filter(filter), exact)
        return _pages(pager, _convert.whole("k", k), _convert.seconds(timeout))

    def to_lance(
        self,
        uri: str | PathLike[str],
        table: Any = None,
        mode: str = "create",
        *,
        column: str | None = None,
        name: str = "",
        index_type: str = "auto",
        threads: int | None = None,
    ) -> LanceIndex:
        """Write a Lance table with an index of these rows, which pylance and LanceDB open and search.

        No Lance library is needed. Rows and index are two versions of the table: if the second fails, rows are there.

        Parameters
        ----------
        uri : path
            Of the table on a local file system. LanceDB calls NAME.lance in a directory NAME.
        table : pyarrow.Table, or what has Arrow's PyCapsule interface, optional
            All rows that were appended, in that order, with a column of the vectors and any others. That the vectors
            are the same is not looked at. By default ``row_id`` and the vectors as float32.
        mode : {"create", "overwrite", "append", "index"}
            Whether to make a table, FileExistsError if there is one; to make one, or a version of the one that is there
            which has nothing of those before; to put the rows after those of the table that is there; or to make the
            index alone, for a table that begins with all rows that were appended, in that order.
        column : str, optional
            Of the vectors; by default the only one of lists of numbers, or "vector" without a table.
        name : str
            Of the index; by default that of the column and "_idx". FileExistsError if there is one of that name.
        index_type : {"auto", "flat", "sq"}
            What the index holds beside the graph: vectors, or codes of 8 bits a dimension, which are smaller and want a
            refine_factor in queries. "auto" tries codes on some of the rows, and takes them if they find enough.
        threads : int, optional
            All processors by default.

        Returns
        -------
        LanceIndex
            The table's version, and the type of the index with the reason for it.
        """
        return write(self._core, uri, table, mode, column, name, index_type, threads)

    def to_arrow(self) -> pa.RecordBatch:
        """Give the rows.

        Returns
        -------
        pyarrow.RecordBatch
            ``_rowid`` uint64 and ``flat`` fixed_size_list<float32>[dim], in the order of appends, copied.
        """
        return self._core.to_arrow()


def _pages(pager: core.Pager, k: int, timeout: float | None) -> Iterator[pa.Table]:
    while True:
        page = pager.next(k, timeout)
        if len(page) or not page.complete:
            yield page.to_arrow()
        if len(page) < k and page.complete:
            return


def _has(codes: int | None) -> bool:
    if codes is not None and codes != 8:
        raise ValueError(f"codes: expected 8 or None, got {codes}")
    return codes is not None


def _limit(memory_limit: int | None) -> int:
    if memory_limit is None:
        return 0
    memory_limit = _convert.whole("memory_limit", memory_limit)
    if memory_limit < 1:
        raise ValueError(f"memory_limit: expected bytes, 1 or more, or None, got {memory_limit}")
    return memory_limit


class Index(_Searched[core.Index]):
    """An approximate nearest-neighbour index, in memory, of vectors that arrive in batches.

    What is appended is searchable when `append` returns, whole and at one instant. Any number of threads may search
    while one appends: the GIL is released by both. Searches of an index see its newest version; see `snapshot`.

    Parameters
    ----------
    dim : int
        Dimension of the vectors.
    metric : {"l2", "cosine", "dot"}
        Distances are squared for "l2", 1 - cos for "cosine" and 1 - dot for "dot".
    m : int, optional
        Neighbours that a row keeps in the graph, 2 to 4,096; twice as many on its lowest level. 16 by default.
    ef_construction : int, optional
        Rows that are looked at for them, at least `m`. 100 by default.
    codes : {8, None}
        Keep codes beside the vectors, by which the graph is walked: 8 bits a dimension of a query, 5 of a row.
        Distances are exact all the same. None keeps none.
    seed : int
        Of the graph's levels: the same rows and seed give the same graph, whatever the threads.
    memory_limit : int, optional
        Bytes: `append` raises MemoryError for a batch that would pass it, and changes nothing.
    """

    __slots__ = ()

    def __init__(
        self,
        dim: int,
        metric: str = "l2",
        m: int | None = None,
        ef_construction: int | None = None,
        codes: int | None = 8,
        seed: int = 100,
        memory_limit: int | None = None,
    ) -> None:
        """Make an empty index."""
        dim = _convert.whole("dim", dim, 31)
        if m is not None:
            m = _convert.whole("m", m, 31)
        if ef_construction is not None:
            ef_construction = _convert.whole("ef_construction", ef_construction, 31)
        seed = _convert.whole("seed", seed, 64)
        if seed < 0:
            raise ValueError(f"seed: expected 0 or more, got {seed}")
        if not isinstance(metric, str):
            raise TypeError(f"metric: expected a string, got {type(metric).__name__}")
        self._core = core.Index(dim, metric, m, ef_construction, _has(codes), seed, _limit(memory_limit))
        self._dim = dim

    @classmethod
    def _of(cls, made: core.Index) -> Index:
        index = cls.__new__(cls)
        index._core = made
        index._dim = made.options()[0]
        return index

    @property
    def dim(self) -> int:
        """Dimension of the vectors."""
        return self._dim

    @property
    def metric(self) -> str:
        """The metric: "l2", "cosine" or "dot"."""
        return self._core.options()[1]

    @property
    def m(self) -> int:
        """Neighbours that a row keeps."""
        return self._core.options()[2]

    @property
    def ef_construction(self) -> int:
        """Rows that are looked at for them."""
        return self._core.options()[3]

    @property
    def codes(self) -> int | None:
        """8, or None where no codes are kept."""
        return 8 if self._core.options()[4] else None

    @property
    def seed(self) -> int:
        """Of the graph's levels."""
        return self._core.options()[5]

    @property
    def memory_limit(self) -> int | None:
        """Bytes, or None."""
        return self._core.options()[6] or None

    def __repr__(self) -> str:
        """Say what it is, how many rows it has and what they take."""
        usage = self.memory_usage()
        megabytes = (usage.total + usage.caller_bytes) / 1e6
        return (
            f"<pennon.Index: {len(self):,} rows, dim {self.dim}, {self.metric}, m {self.m}, "
            f"ef_construction {self.ef_construction}, {megabytes:,.1f} MB>"
        )

    def append(
        self,
        vectors: Any,
        row_ids: Any = None,
        threads: int | None = None,
        *,
        timeout: Timeout = None,
        copy: bool = True,
    ) -> range:
        """Add rows, which are searchable when this returns.

        Ctrl-C undoes it whole, and so does `timeout`. It is looked for every 256 rows.

        Parameters
        ----------
        vectors : array_like, shape (rows, dim)
            Finite numbers: an Arrow array of lists, or what has the Arrow PyCapsule interface (pyarrow, polars,
            nanoarrow); a numpy array; a pandas column or a sequence of arrays. float32 and float16 are kept as they
            are, other numbers are converted to float32. A null vector is skipped, and keeps its row id to itself.
        row_ids : array_like of int64 or uint64, shape (rows,), optional
            0 or more; need not be unique. By default they go on from the largest so far.
        threads : int, optional
            That link the rows; all processors by default.
        timeout : float or datetime.timedelta, optional
            Seconds after which it gives up: TimeoutError.
        copy : bool
            False for a numpy array that will not be written to any more: one of 2 MiB or more is then kept as it is.
            Else it is copied before it is looked at. Arrow's arrays are never copied for this: nobody writes to them.

        Returns
        -------
        range
            Positions of the new rows, in the order of appends.

        Raises
        ------
        ValueError, TypeError
            Names the argument, what was expected and what came. Here as below, nothing has changed.
        MemoryError
            `memory_limit` would be passed, or there is no more.
        TimeoutError
            `timeout` has passed.
        """
        first, last = self._core.append(
            _convert.vectors(vectors, self._dim, copy),
            _convert.row_ids(row_ids),
            0 if threads is None else _convert.whole("threads", threads, 31),
            _convert.seconds(timeout),
        )
        return range(first, last)

    def snapshot(self) -> Snapshot:
        """Hold the newest version.

        Returns
        -------
        Snapshot
            A context manager.
        """
        return Snapshot(self._core.snapshot(), self._dim, self.metric)

    def search_iter(
        self,
        q: Any,
        k: int = 10,
        ef: int | None = None,
        filter: Any = None,
        timeout: Timeout = None,
        *,
        exact: bool = False,
    ) -> Iterator[pa.Table]:
        """Read all rows of the newest version, page by page: see `Snapshot.search_iter`."""
        return self.snapshot().search_iter(q, k, ef, filter, timeout, exact=exact)

    def to_lance(
        self,
        uri: str | PathLike[str],
        table: Any = None,
        mode: str = "create",
        *,
        column: str | None = None,
        name: str = "",
        index_type: str = "auto",
        threads: int | None = None,
    ) -> LanceIndex:
        """Write a Lance table with an index of the newest version: see `Snapshot.to_lance`."""
        with self.snapshot() as snapshot:
            return snapshot.to_lance(uri, table, mode, column=column, name=name, index_type=index_type, threads=threads)

    def memory_usage(self) -> MemoryUsage:
        """Bytes that the index holds, by what for.

        Returns
        -------
        MemoryUsage
            A named tuple, with `total`.
        """
        return MemoryUsage(*self._core.memory_usage())

    def stats(self) -> Stats:
        """Counts since the index was made.

        Returns
        -------
        Stats
            A named tuple.
        """
        return Stats(*self._core.stats())

    def trim(self) -> None:
        """Give memory that is idle back to the pool, and end idle threads, until they are needed again."""
        self._core.trim()


def from_lance(
    uri: str | PathLike[str],
    *,
    version: int | None = None,
    name: str = "",
    rebuild: bool = False,
    codes: int | None = 8,
    memory_limit: int | None = None,
    threads: int | None = None,
) -> Index:
    """Make an index of one that a Lance table has, Pennon's or Lance's own, without building it again.

    It answers at once, with the table's row ids, and grows by appends.

    Parameters
    ----------
    uri : path
        Of the table: a path, or a URI that Arrow's file systems open.
    version : int, optional
        Of the table; the newest by default.
    name : str
        Of the index in the table; by default the only one of vectors. IVF_HNSW_FLAT or IVF_HNSW_SQ, of one partition.
    rebuild : bool
        Where it is of several partitions or segments, of another type, as IVF_PQ, or not of all rows that the table
        has by now: link all rows anew.
    codes, memory_limit
        As of `Index`.
    threads : int, optional
        All processors by default.

    Returns
    -------
    Index
        Its distances are of the vectors themselves, whatever the table's index holds of them.
    """
    version = None if version is None else _convert.whole("version", version)
    if version is not None and version < 1:
        raise ValueError(f"version: expected 1 or more, or None, got {version}")
    path = _convert.path(uri)
    dataset = core.Dataset.open(path, version)
    threads = 0 if threads is None else _convert.whole("threads", threads, 31)
    return Index._of(dataset.load_index(name, rebuild, _has(codes), _limit(memory_limit), threads))
