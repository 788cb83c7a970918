"""What vectors, queries, row ids and filters may come as."""

import contextlib
import threading

import nanoarrow
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import pennon

DIM = 4
ROWS = np.arange(24, dtype=np.float32).reshape(6, DIM)
FIXED = pa.FixedSizeListArray.from_arrays(pa.array(ROWS.ravel()), DIM)
LISTS = FIXED.cast(pa.list_(pa.float32()))


class Capsule:
    """What has Arrow's PyCapsule interface, and nothing else."""

    def __init__(self, array):
        self.array = array

    def __arrow_c_array__(self, schema=None):
        return self.array.__arrow_c_array__(schema)


class Stream:
    def __init__(self, array):
        self.array = array

    def __arrow_c_stream__(self, schema=None):
        return self.array.__arrow_c_stream__(schema)


class Other:
    """What becomes a numpy array, as tensors do."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array


MATRICES = {
    "pyarrow": FIXED,
    "chunked": pa.chunked_array([FIXED[:2], FIXED[2:2], FIXED[2:]]),
    "sliced": pa.concat_arrays([FIXED[:1], FIXED])[1:],
    "half": pa.FixedSizeListArray.from_arrays(pa.array(ROWS.ravel().astype(np.float16)), DIM),
    "double": FIXED.cast(pa.list_(pa.float64(), DIM)),
    "list": LISTS,
    "large_list": FIXED.cast(pa.large_list(pa.float32())),
    "list_view": pa.array(ROWS.tolist(), pa.list_view(pa.float32())),
    "list of double": LISTS.cast(pa.list_(pa.float64())),
    "list of half": LISTS.cast(pa.list_(pa.float16())),
    "tensor": pa.FixedShapeTensorArray.from_numpy_ndarray(ROWS),
    "capsule": Capsule(FIXED),
    "stream": Stream(pa.chunked_array([FIXED[:3], FIXED[3:]])),
    "polars array": pl.Series(ROWS),
    "polars list": pl.Series(ROWS.tolist()),
    "nanoarrow": nanoarrow.Array(FIXED),
    "numpy": ROWS,
    "numpy half": ROWS.astype(np.float16),
    "numpy double": ROWS.astype(np.float64),
    "numpy integers": ROWS.astype(np.int64),
    "numpy columns first": np.asfortranarray(ROWS),
    "numpy big-endian": ROWS.astype(">f4"),
    "numpy strided": np.repeat(ROWS, 2, axis=1)[:, ::2],
    "numpy backwards": ROWS[::-1, ::-1].copy()[::-1, ::-1],
    "numpy none masked": np.ma.masked_array(ROWS, ROWS < 0),
    "memoryview": memoryview(ROWS),
    "pandas of arrays": pd.Series(list(ROWS)),
    "pandas of lists": pd.Series(ROWS.tolist()),
    "pandas of halves": pd.Series(list(ROWS.astype(np.float16))),
    "pandas of Arrow": pd.Series(pd.arrays.ArrowExtensionArray(pa.chunked_array([FIXED]))),
    "numpy of arrays": pd.Series(list(ROWS)).to_numpy(),
    "other arrays": Other(ROWS),
    "lists": ROWS.tolist(),
    "arrays": list(ROWS),
    "tuples": tuple(map(tuple, ROWS.tolist())),
}


@pytest.mark.parametrize("kind", MATRICES)
@pytest.mark.parametrize("copy", [True, False])
def test_vectors(kind, copy):
    index = pennon.Index(DIM)
    assert index.append(MATRICES[kind], copy=copy) == range(6)
    assert index.search(ROWS[4], k=1).to_pydict() == {"row_id": [4], "distance": [0]}


@pytest.mark.parametrize("kind", MATRICES)
def test_many_queries(kind):
    index = pennon.Index(DIM)
    index.append(ROWS)
    table = index.search(MATRICES[kind], k=1)
    assert table["query"].to_pylist() == list(range(6))
    assert table["row_id"].to_pylist() == list(range(6))


@pytest.mark.parametrize(
    "query",
    [
        FIXED[4],
        LISTS[4],
        pa.chunked_array([LISTS])[4],
        pa.FixedShapeTensorArray.from_numpy_ndarray(ROWS)[4],
        FIXED[4].values,
        pa.chunked_array([FIXED[4].values]),
        Capsule(FIXED[4].values),
        pl.Series(ROWS[4]),
        pd.Series(ROWS[4]),
        nanoarrow.Array(FIXED[4].values),
        ROWS[4],
        ROWS[4].astype(np.float16),
        ROWS[4].astype(np.float64),
        np.repeat(ROWS[4], 2)[::2],
        ROWS[4].tolist(),
        tuple(ROWS[4].tolist()),
        range(16, 20),
    ],
    ids=lambda query: type(query).__name__,
)
def test_one_query(query):
    index = pennon.Index(DIM)
    index.append(ROWS)
    assert index.search(query, k=1).to_pydict() == {"row_id": [4], "distance": [0]}
    assert index.range_search(query, 0)["row_id"].to_pylist() == [4]


def test_a_null_vector_is_skipped_and_keeps_its_row_id():
    for vectors in (
        pa.array([[0, 0, 0, 0], None, [1, 1, 1, 1]], pa.list_(pa.float32(), DIM)),
        pa.array([[0, 0, 0, 0], None, [1, 1, 1, 1]], pa.list_(pa.float64())),
        pl.Series([[0.0] * 4, None, [1.0] * 4]),
        pd.Series([np.zeros(4), None, np.ones(4)]),
        [[0, 0, 0, 0], None, [1, 1, 1, 1]],
    ):
        index = pennon.Index(DIM)
        assert index.append(vectors) == range(2)
        assert index.search([1] * 4)["row_id"].to_pylist() == [2, 0]
    assert pennon.Index(DIM).append([None, None]) == range(0)
    assert pennon.Index(DIM).append(FIXED[:0]) == range(0)
    assert pennon.Index(DIM).append(pa.chunked_array([], FIXED.type)) == range(0)


@pytest.mark.parametrize(
    "ids",
    [
        pa.array([7, 6, 5, 4, 3, 2**62]),
        pa.array([7, 6, 5, 4, 3, 2**62], pa.uint64()),
        pa.chunked_array([[7, 6], [5, 4, 3, 2**62]]),
        np.array([7, 6, 5, 4, 3, 2**62], np.uint64),
        np.array([7, 6, 5, 4, 3, 2**62]),
        [7, 6, 5, 4, 3, 2**62],
        pl.Series([7, 6, 5, 4, 3, 2**62]),
        pd.Series([7, 6, 5, 4, 3, 2**62]),
        pd.Index([7, 6, 5, 4, 3, 2**62]),
    ],
    ids=lambda ids: type(ids).__name__,
)
def test_row_ids(ids):
    index = pennon.Index(DIM)
    index.append(ROWS, ids)
    assert index.search(ROWS[5], k=2)["row_id"].to_pylist() == [2**62, 3]


def test_row_ids_of_other_widths():
    index = pennon.Index(DIM)
    index.append(ROWS, np.arange(6, dtype=np.int8))
    index.append(ROWS, pa.array(range(6, 12), pa.uint16()))
    index.append(ROWS, np.arange(12, 18, dtype=">i8"))
    index.append(ROWS, range(2**63, 2**63 + 6))
    assert sorted(index.search(ROWS[0], k=24)["row_id"].to_pylist()) == [*range(18), *range(2**63, 2**63 + 6)]


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_numpy_buffers_may_be_filled_again(dtype):
    """Also those so large that an append without a copy keeps them."""
    buffer = np.zeros((3 << 18, DIM), dtype)  # 6 MiB or more
    buffer[0] = 1
    index = pennon.Index(DIM, m=2, ef_construction=2, codes=None)
    index.append(buffer[: 1 << 10])
    assert index.memory_usage().caller_bytes == 0
    large = pennon.Index(buffer.size // 2)
    large.append(buffer.reshape(2, -1))
    other = pennon.Index(buffer.size // 2)
    other.append(Other(buffer.reshape(2, -1)))
    kept = pennon.Index(buffer.size // 2)
    kept.append(buffer.reshape(2, -1), copy=False)
    buffer[:] = 9
    assert index.search([1] * DIM, k=1)["distance"].to_pylist() == [0]
    query = np.zeros(buffer.size // 2, np.float32)
    query[:DIM] = 1
    assert large.search(query, k=1)["distance"].to_pylist() == [0]
    assert other.search(query, k=1)["distance"].to_pylist() == [0]
    assert kept.memory_usage().caller_bytes == buffer.nbytes
    assert kept.search(query, k=1)["distance"][0].as_py() > 0


@pytest.mark.parametrize(
    ("vectors", "error", "text"),
    [
        (pa.array(["a"]), TypeError, "vectors: expected lists of float32 or float16.*got string"),
        (pa.array([[b"a"]]), TypeError, "vectors: expected lists"),
        (pa.array([{"x": 1}]), TypeError, "pass a column"),
        (pa.record_batch({"v": FIXED}), TypeError, "pass a column"),
        (pa.table({"v": FIXED}), TypeError, "pass a column"),
        (pl.DataFrame({"v": pl.Series(ROWS)}), TypeError, "pass a column"),
        (pa.array([1.0, 2.0]), TypeError, "vectors: expected lists"),
        (pa.array([[1.0, 2.0]]), ValueError, "vectors: expected lists of 4 numbers each, got lists of .2."),
        (pa.array([[1.0] * 4, [1.0] * 5]), ValueError, "got lists of .4, 5."),
        (pa.array([[1.0, None, 3.0, 4.0]]), ValueError, "null"),
        (FIXED.cast(pa.list_(pa.float32())).cast(pa.list_(pa.float32(), 4)).flatten(), TypeError, "expected lists"),
        (np.zeros((2, 5), np.float32), ValueError, "5"),
        (np.zeros((2, 2, 2), np.float32), ValueError, "two dimensions, got one of 3"),
        (np.zeros((2, 0), np.float32), ValueError, "0"),
        (np.zeros((2, 4), complex), TypeError, "complex"),
        (np.full((2, 4), 1e300), ValueError, "finite"),
        (np.zeros((2, 4), "datetime64[s]"), TypeError, "datetime64"),
        (np.ma.masked_array(ROWS, ROWS == 1), ValueError, "vectors: expected an array without masked values"),
        ([[1, 2, 3, "x"]], TypeError, "vectors"),
        (["abc"], TypeError, "vectors"),
        ([[1] * 4, [1] * 3], ValueError, "got lists of .3, 4."),
        (7, TypeError, "vectors: expected an array"),
        (None, TypeError, "vectors: expected an array"),
        (b"abcd", TypeError, "vectors: expected an array"),
    ],
    ids=str,
)
def test_wrong_vectors(vectors, error, text):
    index = pennon.Index(DIM)
    with pytest.raises(error, match=text):
        index.append(vectors)
    assert len(index) == 0


@pytest.mark.parametrize(
    ("query", "error", "text"),
    [
        (pa.scalar(None, FIXED.type), ValueError, "query: expected a vector, got a null"),
        (pa.scalar(1.5), TypeError, "query: expected a scalar that is a list"),
        (pa.array([1.0, None, 2.0, 3.0]), ValueError, "null among them"),
        (pa.array(["a"]), TypeError, "queries: expected lists"),
        (np.float32(3), ValueError, "two dimensions, got one of 0"),
        (np.zeros(4, complex), TypeError, "complex"),
        ([1, 2, 3, "x"], TypeError, "query"),
        (np.ma.masked_array(ROWS[0], ROWS[0] == 1), ValueError, "queries: expected an array without masked values"),
        ([None], ValueError, "null"),
        (np.zeros((1, 5), np.float32), ValueError, "5"),
        (np.zeros(5, np.float32), ValueError, "5"),
    ],
    ids=str,
)
def test_wrong_queries(query, error, text):
    index = pennon.Index(DIM)
    index.append(ROWS)
    with pytest.raises(error, match=text):
        index.search(query)


def test_what_is_looked_at_is_what_is_kept():
    """An array that another thread refills meanwhile is refused or kept, never kept with what would be refused."""
    index = pennon.Index(DIM)
    good = np.random.default_rng(1).standard_normal((2000, DIM)).astype(np.float32)
    filled = good.copy()
    done = threading.Event()

    def refill():
        while not done.is_set():
            filled[:] = np.nan
            filled[:] = good

    thread = threading.Thread(target=refill)
    thread.start()
    for _ in range(200):
        with contextlib.suppress(ValueError):
            index.append(filled)
    done.set()
    thread.join()
    with index.snapshot() as snapshot:
        assert np.isfinite(snapshot.to_arrow()["flat"].flatten().to_numpy()).all()


def test_a_null_among_row_ids():
    with pytest.raises(ValueError, match="row ids: expected no nulls"):
        pennon.Index(DIM).append(ROWS[:2], pa.array([1, None]))
