from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

__version__: str
simd: str

def default_threads() -> int: ...

class Filter:
    def __init__(self, rows: pa.Array[Any], /) -> None: ...

class Hits:
    @property
    def complete(self) -> bool: ...
    @property
    def reason(self) -> str: ...
    def __len__(self) -> int: ...
    def to_arrow(self) -> pa.Table: ...
    def to_numpy(self) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.float32]]: ...
    def to_pandas(self) -> pd.DataFrame: ...

class _Searched:
    def __len__(self) -> int: ...
    def search(
        self,
        query: npt.NDArray[np.float32],
        k: int,
        ef: int,
        filter: Filter | None,
        timeout: float | None,
        exact: bool,
        /,
    ) -> Hits: ...
    def search_batch(
        self,
        queries: pa.Array[Any],
        k: int,
        ef: int,
        filter: Filter | None,
        filters: list[Filter | None],
        timeout: float | None,
        exact: bool,
        threads: int,
        /,
    ) -> Hits: ...
    def search_range(
        self,
        query: npt.NDArray[np.float32],
        radius: float,
        ef: int,
        filter: Filter | None,
        timeout: float | None,
        exact: bool,
        /,
    ) -> Hits: ...
    def verify(self) -> tuple[int, int, bool, str]: ...

class Snapshot(_Searched):
    @property
    def closed(self) -> bool: ...
    def close(self) -> None: ...
    def to_arrow(self) -> pa.RecordBatch: ...

class Pager:
    def __init__(
        self, snapshot: Snapshot, query: npt.NDArray[np.float32], ef: int, filter: Filter | None, exact: bool, /
    ) -> None: ...
    def next(self, k: int, timeout: float | None, /) -> Hits: ...

class Index(_Searched):
    def __init__(
        self,
        dim: int,
        metric: str,
        m: int | None,
        ef_construction: int | None,
        codes: bool,
        seed: int,
        memory_limit: int,
        /,
    ) -> None: ...
    def append(
        self, vectors: pa.Array[Any], row_ids: pa.Array[Any] | None, threads: int, timeout: float | None, /
    ) -> tuple[int, int]: ...
    def snapshot(self) -> Snapshot: ...
    def options(self) -> tuple[int, str, int, int, bool, int, int]: ...
    def memory_usage(self) -> tuple[int, int, int, int, int, int, int]: ...
    def stats(self) -> tuple[int, int, int, int, int, int, int, int, int]: ...
    def trim(self) -> None: ...

class Dataset:
    @staticmethod
    def create(path: str, schema: pa.Schema, /) -> Dataset: ...
    @staticmethod
    def overwrite(path: str, schema: pa.Schema, /) -> Dataset: ...
    @staticmethod
    def open(path: str, version: int | None, /) -> Dataset: ...
    @property
    def version(self) -> int: ...
    def index_names(self) -> list[str]: ...
    def append(self, rows: pa.Table, /) -> int: ...
    def write_index(
        self,
        snapshot: Snapshot,
        column: str,
        name: str,
        type: str,
        positions: pa.Array[Any] | None,
        threads: int,
        /,
    ) -> tuple[str, str]: ...
    def load_index(self, name: str, rebuild: bool, codes: bool, memory_limit: int, threads: int, /) -> Index: ...
