"""Lance tables: what pylance and LanceDB find in them, and what comes back."""

from datetime import timedelta

import lance
import lancedb
import numpy as np
import polars as pl
import pyarrow as pa
import pytest

import pennon

DIM = 16


@pytest.fixture
def vectors(rng):
    return rng.standard_normal((2000, DIM)).astype(np.float32)


def table_of(vectors, column="vector"):
    fixed = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    return pa.table({"name": [f"row {i}" for i in range(len(vectors))], column: fixed})


def nearest(uri, query, k=10, **how):
    return lance.dataset(str(uri)).to_table(nearest={"column": "vector", "q": query, "k": k, **how})


def test_lancedb_searches_it_and_it_comes_back(vectors, tmp_path):
    index = pennon.Index(DIM, "cosine")
    index.append(vectors)
    written = index.to_lance(tmp_path / "rows.lance", table_of(vectors), index_type="flat")
    assert written == pennon.LanceIndex(2, "flat", "")

    table = lancedb.connect(tmp_path).open_table("rows")
    found = table.search(vectors[7]).distance_type("cosine").limit(5).to_arrow()
    assert found["name"][0].as_py() == "row 7"
    assert [i.index_type for i in table.list_indices()] == ["IvfHnswFlat"]

    back = pennon.from_lance(bytes(tmp_path / "rows.lance"))
    assert (len(back), back.dim, back.metric, back.m) == (2000, DIM, "cosine", 16)
    assert back.verify().ok
    assert back.search(vectors[7], k=5, exact=True) == index.search(vectors[7], k=5, exact=True)
    assert back.append(vectors[:10]) == range(2000, 2010)
    assert back.search(vectors[3], k=2)["distance"].to_pylist() == pytest.approx([0, 0], abs=1e-6)


def test_without_a_table_row_ids_and_vectors_are_written(vectors, tmp_path):
    index = pennon.Index(DIM)
    index.append([None, *vectors[:100]], row_ids=range(50, 151))
    with index.snapshot() as snapshot:
        index.append(vectors[100:])
        written = snapshot.to_lance(str(tmp_path / "t.lance"))
    assert written.index_type in ("flat", "sq")
    assert written.reason
    assert nearest(tmp_path / "t.lance", vectors[4], 1)["row_id"].to_pylist() == [55]
    assert lance.dataset(tmp_path / "t.lance").count_rows() == 100
    assert len(pennon.from_lance(tmp_path / "t.lance", codes=None)) == 100


def test_null_vectors_are_rows_of_the_table(vectors, tmp_path):
    given = [None, *vectors[:500].tolist(), None]
    table = pl.DataFrame({"n": range(502), "vector": given})  # lists, which become vectors
    index = pennon.Index(DIM)
    index.append(table["vector"])
    index.to_lance(tmp_path / "t.lance", table)
    assert nearest(tmp_path / "t.lance", vectors[4], 1)["n"].to_pylist() == [5]
    assert lance.dataset(tmp_path / "t.lance").count_rows() == 502


def test_rows_after_those_of_another(vectors, tmp_path):
    uri = tmp_path / "t.lance"
    lance.write_dataset(table_of(vectors[:700]), uri)
    index = pennon.Index(DIM)
    index.append(vectors[700:])
    index.to_lance(uri, table_of(vectors)[700:], mode="append", index_type="flat")
    assert lance.dataset(uri).count_rows() == 2000
    for i in (5, 699, 700, 1999):  # of rows that the index does not know, too
        assert nearest(uri, vectors[i], 1)["name"].to_pylist() == [f"row {i}"]
    assert pennon.from_lance(uri).search(vectors[701], k=1, exact=True)["distance"].to_pylist() == [0]


def test_a_table_begun_anew(vectors, tmp_path):
    uri = tmp_path / "t.lance"
    before = table_of(vectors[:300]).replace_schema_metadata({"of": "the old columns"})
    data = lance.write_dataset(before, uri, data_storage_version="2.0")
    data.create_index("vector", "IVF_HNSW_FLAT", num_partitions=1)
    data.delete("name = 'row 3'")
    data.update_config({"kept": "so"})
    index = pennon.Index(DIM)
    index.append(vectors)
    for version in (6, 8):
        rows = table_of(vectors).append_column("n", pa.array(range(2000)))
        assert index.to_lance(uri, rows, mode="overwrite", index_type="flat").version == version
        data = lance.dataset(uri)
        assert (data.schema.names, data.schema.metadata or {}) == (["name", "vector", "n"], {})
        assert data.count_rows() == 2000
        assert data.config()["kept"] == "so"
        assert [i.name for i in data.describe_indices()] == ["vector_idx"]
        assert "ANNSubIndex" in data.scanner(nearest={"column": "vector", "q": vectors[3], "k": 1}).explain_plan()
        assert nearest(uri, vectors[3], 1)["n"].to_pylist() == [3]
        assert pennon.from_lance(uri).search(vectors[3], k=1)["distance"].to_pylist() == [0]
    assert lance.dataset(uri, version=4).count_rows() == 299
    lance.write_dataset(rows, uri, mode="append")
    assert lance.dataset(uri).count_rows() == 4000
    assert sorted(nearest(uri, vectors[3], 2)["n"].to_pylist()) == [3, 3]
    lance.write_dataset(table_of(vectors[:5]), uri, mode="overwrite")
    assert index.to_lance(tmp_path / "new.lance", mode="overwrite").version == 2


def test_an_index_alone(vectors, tmp_path):
    uri = tmp_path / "t.lance"
    lance.write_dataset(table_of(vectors), uri)
    index = pennon.Index(DIM)
    index.append(vectors)
    assert index.to_lance(uri, mode="index", name="mine", index_type="sq").index_type == "sq"
    assert [i.name for i in lance.dataset(uri).describe_indices()] == ["mine"]
    assert nearest(uri, vectors[9], 1, refine_factor=3)["name"].to_pylist() == ["row 9"]
    with pytest.raises(FileExistsError, match="mine"):
        index.to_lance(uri, mode="index", name="mine")


@pytest.mark.parametrize("partitions", [1, 3])
def test_an_index_that_has_grown_takes_its_place(vectors, tmp_path, partitions):
    uri = tmp_path / "t.lance"
    data = lance.write_dataset(table_of(vectors[:1500]), uri)
    data.create_index("vector", "IVF_HNSW_FLAT", num_partitions=partitions)
    index = pennon.from_lance(uri, rebuild=partitions > 1)
    lance.write_dataset(table_of(vectors)[1500:], uri, mode="append")
    lance.dataset(uri).optimize.optimize_indices(num_indices_to_merge=0)  # a second segment
    index.append(vectors[1500:])
    with pytest.raises(FileExistsError, match="vector_idx"):
        index.to_lance(uri, mode="index")
    version = index.to_lance(uri, mode="index", index_type="flat", replace=True).version
    data = lance.dataset(uri)
    assert data.version == version
    [found] = data.describe_indices()
    assert (found.name, len(found.segments)) == ("vector_idx", 1)
    assert data.stats.index_stats("vector_idx")["num_unindexed_rows"] == 0
    for i in (7, 1999):
        assert nearest(uri, vectors[i], ef=100)["name"][0].as_py() == f"row {i}"
    assert len(pennon.from_lance(uri)) == 2000
    data.delete("name = 'row 7'")
    data = lance.dataset(uri)
    data.optimize.compact_files()
    data.optimize.optimize_indices()
    data.cleanup_old_versions(older_than=timedelta(0), delete_unverified=True)
    assert nearest(uri, vectors[1999], ef=100)["name"][0].as_py() == "row 1999"


def test_an_index_of_lances_own(vectors, tmp_path):
    data = lance.write_dataset(table_of(vectors), tmp_path / "t.lance", data_storage_version="2.0")
    data.create_index("vector", "IVF_HNSW_SQ", num_partitions=1)
    index = pennon.from_lance(tmp_path / "t.lance")
    found = index.search(vectors[:200], k=1)
    assert (found["row_id"].to_numpy() == np.arange(200)).mean() > 0.9


@pytest.mark.parametrize("kind", ["IVF_FLAT", "IVF_PQ", "IVF_SQ", "IVF_HNSW_PQ"])
def test_an_index_of_another_type_is_linked_anew(vectors, tmp_path, kind):
    data = lance.write_dataset(table_of(vectors), tmp_path / "t.lance")
    codes = {"num_sub_vectors": 4} if kind.endswith("PQ") else {}
    data.create_index("vector", kind, num_partitions=2, metric="cosine", **codes)
    with pytest.raises(NotImplementedError, match=kind):
        pennon.from_lance(tmp_path / "t.lance")
    index = pennon.from_lance(tmp_path / "t.lance", rebuild=True)
    assert len(index) == len(vectors)
    assert index.metric == "cosine"
    found = index.search(vectors[:200], k=1)
    assert (found["row_id"].to_numpy() == np.arange(200)).mean() > 0.9


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda index, uri: index.to_lance(uri), FileExistsError, "t.lance"),
        (lambda index, uri: index.to_lance(uri, mode="replace"), ValueError, "mode: expected"),
        (lambda index, uri: index.to_lance(uri, index_type="pq"), ValueError, "index_type: expected"),
        (lambda index, uri: index.to_lance(uri, mode="append", column="v"), ValueError, "v"),
        (lambda index, uri: index.to_lance(uri, mode="append"), FileExistsError, "an index vector_idx"),
        (
            lambda index, uri: index.to_lance(uri, pa.table({"x": [1]}), column="v"),
            ValueError,
            "column: expected one of",
        ),
        (
            lambda index, uri: index.to_lance(uri, table_of(np.zeros((3, DIM)))),
            ValueError,
            "table: expected the 2000 rows",
        ),
        (lambda index, uri: index.to_lance(uri, pa.table({"x": [1]}), "index"), ValueError, "table: expected None"),
        (lambda index, uri: index.to_lance("s3://bucket/t.lance"), ValueError, "s3"),
        (lambda index, uri: index.to_lance(7), TypeError, ""),
        (lambda index, uri: index.to_lance("a\0b"), ValueError, "path: expected no zero byte"),
        (lambda index, uri: index.to_lance("a\udcff"), ValueError, "uri: expected a path in UTF-8"),
        (lambda index, uri: index.to_lance(str(uri) + "y", threads=-1), ValueError, "threads: expected 0 or more"),
        (lambda index, uri: index.to_lance(str(uri) + "y", name=5), TypeError, "name: expected a string"),
        (lambda index, uri: index.to_lance(str(uri) + "y", column=5), TypeError, "column: expected a string"),
        (lambda index, uri: pennon.Index(DIM).to_lance(uri), ValueError, "no rows"),
        (lambda index, uri: pennon.from_lance(str(uri) + "x"), OSError, "t.lancex"),
        (lambda index, uri: pennon.from_lance(uri, version=99), OSError, "99"),
        (lambda index, uri: pennon.from_lance(uri, version=-1), ValueError, "version: expected 1 or more"),
        (lambda index, uri: pennon.from_lance("a\0b"), ValueError, "path: expected no zero byte"),
        (lambda index, uri: pennon.from_lance(uri, name="another"), ValueError, "another"),
        (lambda index, uri: pennon.from_lance(uri, memory_limit=1000), MemoryError, "memory"),
        (lambda index, uri: pennon.from_lance(uri, codes=4), ValueError, "codes"),
    ],
)
def test_what_is_refused(call, error, text, vectors, tmp_path):
    index = pennon.Index(DIM)
    index.append(vectors)
    uri = tmp_path / "t.lance"
    index.to_lance(uri, table_of(vectors), index_type="flat")
    with pytest.raises(error, match=text or None):
        call(index, uri)
    assert len(lance.dataset(uri).versions()) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["t.lance"]
