import copy
import datetime
import multiprocessing
import os
import pickle
import re

import numpy as np
import pyarrow as pa
import pytest

import pennon

QUERY = pa.field("query", pa.uint32(), nullable=False)
ROW_ID = pa.field("row_id", pa.uint64(), nullable=False)
DISTANCE = pa.field("distance", pa.float32(), nullable=False)


def make(rows=100, dim=8, **options):
    index = pennon.Index(dim, **options)
    vectors = np.random.default_rng(1).standard_normal((rows, dim)).astype(np.float32)
    index.append(vectors)
    return index, vectors


def nearest(vectors, query, k):
    distances = ((vectors - query) ** 2).sum(axis=1)
    return np.argsort(distances, kind="stable")[:k].tolist()


def test_readme_example_runs_as_it_stands(root, monkeypatch):
    example = re.search(r"```python\n(.*?)```", (root / "README.md").read_text(), re.DOTALL)[1]
    monkeypatch.chdir(root)
    names = {}
    exec(example, names)
    hits = names["hits"]
    assert isinstance(hits, pa.Table)
    assert hits.schema == pa.schema([ROW_ID, DISTANCE])
    assert hits.num_rows == 10
    assert len(names["index"]) == 10_000


def test_append_is_searchable_when_it_returns():
    index = pennon.Index(2)
    assert len(index) == 0
    assert index
    assert index.append(np.float32([[0, 0], [3, 4]])) == range(2)
    assert index.append(np.float32([[1, 0]]), row_ids=[70]) == range(2, 3)
    assert index.search([1, 0], k=3).to_pydict() == {"row_id": [70, 0, 1], "distance": [0, 1, 20]}
    assert len(index) == 3


@pytest.mark.parametrize(("metric", "distance"), [("l2", 2), ("cosine", 1), ("dot", 1)])
def test_metrics(metric, distance):
    index = pennon.Index(2, metric)
    index.append([[1, 0]])
    assert index.metric == metric
    assert index.search([0, 1])["distance"].to_pylist() == [distance]


def test_options_are_what_was_given():
    index = pennon.Index(8, "dot", m=5, ef_construction=30, codes=None, seed=3, memory_limit=10**6)
    assert (index.dim, index.metric, index.m, index.ef_construction) == (8, "dot", 5, 30)
    assert (index.codes, index.seed, index.memory_limit) == (None, 3, 10**6)
    index = pennon.Index(8)
    assert (index.m, index.ef_construction, index.codes, index.memory_limit) == (16, 100, 8, None)


def test_many_queries_give_a_query_column():
    index, vectors = make()
    table = index.search(vectors[:3], k=2)
    assert table.schema == pa.schema([QUERY, ROW_ID, DISTANCE])
    assert table["query"].to_pylist() == [0, 0, 1, 1, 2, 2]
    assert table["row_id"].to_pylist()[::2] == [0, 1, 2]
    assert index.search(vectors[:3], k=2, threads=2) == table
    assert index.search(vectors[:1], k=2).num_rows == 2
    assert index.search(vectors[:0]).num_rows == 0


def test_hits_are_light_and_become_what_is_asked():
    index, vectors = make()
    hits = index.search_raw(vectors[5], k=4)
    assert (len(hits), hits.complete, hits.reason) == (4, True, "")
    row_ids, distances = hits.to_numpy()
    assert (row_ids.dtype, distances.dtype) == (np.uint64, np.float32)
    assert row_ids.tolist() == nearest(vectors, vectors[5], 4)
    del hits
    assert distances[0] == 0  # the arrays own what they show
    frame = index.search_raw(vectors[5], k=4).to_pandas()
    assert frame["row_id"].tolist() == row_ids.tolist()
    assert repr(index.search_raw(vectors[:2], k=3)) == "<pennon.Hits: 6 rows for 2 queries>"


def test_hits_of_different_lengths_are_filled_up():
    index, vectors = make()
    row_ids, distances = index.search_raw(vectors[:2], k=3, filter=[{0}, None]).to_numpy()
    assert row_ids.shape == distances.shape == (2, 3)
    assert row_ids[0].tolist() == [0, 2**64 - 1, 2**64 - 1]
    assert distances[0].tolist() == [0, np.inf, np.inf]


def test_snapshot_stays_as_it_is():
    index, vectors = make()
    with index.snapshot() as snapshot:
        before = snapshot.search(vectors[3], k=100)
        index.append(vectors + 0.01)
        assert snapshot.search(vectors[3], k=100) == before
        assert (len(snapshot), len(index)) == (100, 200)
        assert not snapshot.closed
    assert snapshot.closed
    with pytest.raises(ValueError, match="the snapshot is closed"):
        snapshot.search(vectors[3])
    assert "closed" in repr(snapshot)
    snapshot.close()


def test_snapshot_outlives_its_index():
    index, vectors = make()
    snapshot = index.snapshot()
    del index
    assert snapshot.search(vectors[3], k=1)["row_id"].to_pylist() == [3]
    rows = snapshot.to_arrow()
    assert rows.schema.names == ["_rowid", "flat"]
    assert np.array_equal(rows["flat"].flatten().to_numpy().reshape(-1, 8), vectors)


@pytest.mark.parametrize("given", ["bools", "numpy bools", "set", "list", "array", "Filter"])
def test_filters(given):
    index, vectors = make(1000)
    passing = set(range(0, 1000, 7))
    filters = {
        "bools": pa.array([i in passing for i in range(1000)]),
        "numpy bools": np.array([i in passing for i in range(1000)]),
        "set": passing,
        "list": sorted(passing),
        "array": np.array(sorted(passing)),
        "Filter": pennon.Filter(passing),
    }
    row_ids = index.search(vectors[0], k=20, filter=filters[given], exact=True)["row_id"].to_pylist()
    assert row_ids == [i for i in nearest(vectors, vectors[0], 1000) if i in passing][:20]


def test_filters_are_of_row_ids():
    index = pennon.Index(1)
    index.append([[0], [1], [2]], row_ids=[2, 9, 0])
    mask = pa.array([True, None, True])  # row id 9 is beyond its end
    assert index.search([0], filter=mask)["row_id"].to_pylist() == [2, 0]
    assert index.search([0], filter=[])["row_id"].to_pylist() == []
    assert index.search([0], filter=set())["row_id"].to_pylist() == []


def test_a_filter_a_query():
    index, vectors = make()
    table = index.search(vectors[:3], k=2, filter=[{1, 2}, None, pa.array([True])])
    assert table["query"].to_pylist() == [0, 0, 1, 1, 2]
    assert set(table["row_id"].to_pylist()[:2]) == {1, 2}
    assert table["row_id"].to_pylist()[4] == 0
    with pytest.raises(ValueError, match="filter: expected one a query, 2, got 1"):
        index.search(vectors[:2], filter=[{1}])


def test_range_search():
    index, vectors = make(500)
    distances = ((vectors - vectors[0]) ** 2).sum(axis=1)
    found = index.range_search(vectors[0], 6, exact=True)
    assert set(found["row_id"].to_pylist()) == set(np.flatnonzero(distances <= 6).tolist())
    assert found["distance"].to_numpy().max() <= 6
    assert index.range_search(vectors[0], float("inf")).num_rows == 500
    assert index.range_search(vectors[0], 6, filter={0}).num_rows == 1
    with pytest.raises(ValueError, match="expected one vector, got 2"):
        index.range_search(vectors[:2], 6)
    with pytest.raises(ValueError, match="radius"):
        index.range_search(vectors[0], float("nan"))


@pytest.mark.parametrize("exact", [False, True])
def test_pages_have_every_row_once(exact):
    index, vectors = make(1000)
    pages = index.search_iter(vectors[0], k=64, exact=exact)
    first = next(pages)
    index.append(vectors)  # not in the pages, which are of a snapshot
    row_ids = first["row_id"].to_pylist() + [i for page in pages for i in page["row_id"].to_pylist()]
    assert sorted(row_ids) == list(range(1000))
    assert row_ids[:10] == nearest(vectors, vectors[0], 10)
    if exact:
        assert row_ids == nearest(vectors, vectors[0], 1000)
    assert [p.num_rows for p in index.snapshot().search_iter(vectors[0], k=10, filter=set(range(25)))] == [10, 10, 5]
    with pytest.raises(ValueError, match="k"):
        next(index.search_iter(vectors[0], k=0))


def test_what_is_cut_short_says_so():
    index, vectors = make(5000)
    table = index.search(vectors[0], timeout=0, exact=True)
    assert table.schema.metadata[b"pennon:complete"] == b"false"
    assert b"deadline" in table.schema.metadata[b"pennon:reason"]
    hits = index.search_raw(vectors[:10], timeout=datetime.timedelta(0))
    assert not hits.complete
    assert "cut short" in repr(hits)
    assert index.search(vectors[0], timeout=60).schema.metadata is None
    assert index.search(vectors[0], timeout=float("inf")).schema.metadata is None
    pages = index.search_iter(vectors[0], timeout=0)
    assert next(pages).schema.metadata[b"pennon:complete"] == b"false"
    with pytest.raises(ValueError, match="timeout: expected seconds, 0 or more"):
        index.search(vectors[0], timeout=-1)
    with pytest.raises(ValueError, match="timeout"):
        index.search(vectors[0], timeout=float("nan"))


def test_append_that_takes_too_long_changes_nothing():
    index, vectors = make(5000)
    with pytest.raises(TimeoutError, match="deadline"):
        index.append(vectors, timeout=0)
    assert len(index) == 5000
    assert index.stats().appends_failed == 1


def test_memory_limit():
    index = pennon.Index(8, memory_limit=1 << 20)
    with pytest.raises(MemoryError, match="memory: the limit is 1048576"):
        index.append(np.ones((100_000, 8), np.float32))
    assert len(index) == 0
    index.append(np.ones((100, 8), np.float32))
    with pytest.raises(ValueError, match="memory_limit: expected bytes"):
        pennon.Index(8, memory_limit=0)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: pennon.Index(0), ValueError, "dim"),
        (lambda: pennon.Index("8"), TypeError, "dim: expected an integer, got str"),
        (lambda: pennon.Index(8, "euclid"), ValueError, 'metric: expected "l2", "cosine" or "dot", got "euclid"'),
        (lambda: pennon.Index(8, m=1), ValueError, "m"),
        (lambda: pennon.Index(8, ef_construction=2), ValueError, "ef_construction"),
        (lambda: make()[0].search([1, 2]), ValueError, "dim"),
        (lambda: make()[0].search([float("nan")] * 8), ValueError, "finite"),
        (lambda: make()[0].search([1] * 8, k=-1), ValueError, "k"),
        (lambda: pennon.Index(2**40), ValueError, r"dim: expected an integer below 2\*\*31"),
        (lambda: pennon.Index(8, codes=5), ValueError, "codes: expected 8 or None, got 5"),
        (lambda: pennon.Index(8, seed=-1), ValueError, "seed: expected 0 or more"),
        (lambda: pennon.Index(8, metric=2), TypeError, "metric: expected a string"),
        (lambda: make()[0].search([1] * 8, k=2**70), ValueError, "k: expected an integer below"),
        (lambda: make()[0].search([1] * 8, timeout="1"), TypeError, "timeout: expected a number"),
        (lambda: make()[0].range_search([1] * 8, "1"), TypeError, "radius: expected a number"),
        (lambda: make()[0].search([1] * 8, k="ten"), TypeError, "k: expected an integer, got str"),
        (lambda: make()[0].search([[1] * 8], threads=-1), ValueError, "threads"),
        (lambda: make()[0].search("pennon"), TypeError, "queries: expected an array"),
        (lambda: make()[0].search(None), TypeError, "queries: expected an array"),
        (lambda: make()[0].search([1] * 8, filter="abc"), TypeError, "filter: expected integers"),
        (lambda: make()[0].search([1] * 8, filter=[1.5]), TypeError, "filter: expected integers"),
        (lambda: make()[0].search([1] * 8, filter=[-1]), ValueError, "row ids"),
        (lambda: make()[0].append([[1] * 8], threads=-1), ValueError, "threads"),
        (lambda: make()[0].append([[1] * 8], row_ids=[1, 2]), ValueError, "row ids"),
        (lambda: make()[0].append([[1] * 8], row_ids=[-1]), ValueError, "row ids"),
        (lambda: make()[0].append([[1] * 8], row_ids=["a"]), TypeError, "row_ids: expected integers"),
        (lambda: make()[0].append([[1] * 8], row_ids=[2**64]), ValueError, "row_ids: expected integers"),
        (lambda: make()[0].append([[1] * 7]), ValueError, "7"),
        (lambda: make()[0].append([1] * 8), ValueError, "vectors: expected an array of two dimensions"),
        (lambda: make()[0].append([[1] * 7 + [float("inf")]]), ValueError, "finite"),
    ],
)
def test_errors_are_pythons(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_repr_stats_and_memory():
    index, vectors = make()
    assert re.fullmatch(r"<pennon\.Index: 100 rows, dim 8, l2, m 16, ef_construction 100, [\d.]+ MB>", repr(index))
    assert repr(index.snapshot()) == "<pennon.Snapshot: 100 rows, dim 8, l2>"
    usage = index.memory_usage()
    assert usage.total > vectors.nbytes
    assert usage.peak_bytes >= usage.total
    index.search(vectors[:5])
    assert (index.stats().rows, index.stats().searches, index.stats().versions_published) == (100, 5, 1)
    assert index.verify() == pennon.VerifyReport(100, 0, True, "")
    assert index.snapshot().verify().ok
    index.trim()
    assert index.search(vectors[0]).num_rows == 10


def test_pickling_is_refused():
    index, _ = make()
    for thing in (index, index.snapshot()):
        with pytest.raises(TypeError, match="cannot be pickled or copied"):
            pickle.dumps(thing)
        with pytest.raises(TypeError, match="cannot be pickled or copied"):
            copy.deepcopy(thing)
    assert pickle.loads(pickle.dumps(index.stats())) == index.stats()


def in_child(index, snapshot, pipe):
    refused = []
    for thing in (index, snapshot):
        try:
            thing.search([0] * 8)
        except RuntimeError as error:
            refused.append(str(error))
    del index, snapshot
    own = pennon.Index(8)
    own.append(np.ones((3000, 8), np.float32))
    pipe.send((refused, own.search([1] * 8, k=3).num_rows))


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore:Exception ignored in. <function __warn_on_fork"
)  # Lance's
def test_a_child_of_fork_may_not_use_what_it_inherits():
    index, vectors = make(5000)
    here, there = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(target=in_child, args=(index, index.snapshot(), there))
    child.start()
    assert here.poll(60)
    refused, rows = here.recv()
    child.join()
    assert len(refused) == 2
    assert all("before a fork" in text for text in refused)
    assert rows == 3
    assert child.exitcode == 0
    assert index.search(vectors[0], k=1)["row_id"].to_pylist() == [0]


def test_integers_of_numpy_are_integers():
    index = pennon.Index(np.int64(8), m=np.int32(4), seed=np.uint64(2**64 - 1), memory_limit=np.int64(2**30))
    index.append(np.eye(8), threads=np.int8(1))
    assert index.search(np.ones(8), k=np.int64(3), ef=np.uint16(9)).num_rows == 3


def test_it_says_what_it_is():
    assert re.fullmatch(r"\d+\.\d+\.\d+", pennon.__version__)
    assert 1 <= pennon.default_threads() <= os.cpu_count()
