"""Makes pylance14-*.lance/: small tables as pylance 14.0.2 writes them, whose index has several partitions and segments, and
does not know all rows, one of them of stable row ids; pylance14-*.index, the two files of small indices; and pylance14-constant.idx, a small file of a graph that
would take far more memory.

python make_pylance_indices.py, in an environment with pylance 14.0.2.
"""

import json
import datetime
import pathlib
import shutil
import struct
import tempfile

import lance
import lance.file
import numpy as np
import pyarrow as pa

HERE = pathlib.Path(__file__).parent
DIM = 8


def rows(first, count, dtype, rng):
    values = pa.array(rng.normal(size=count * DIM).astype(dtype.to_pandas_dtype()), dtype)
    valid = pa.array([None if i % 20 == 19 else i for i in range(count)])
    return pa.table({"id": np.arange(first, first + count), "v": pa.FixedSizeListArray.from_arrays(values, DIM).take(valid)})


def write(name, kind, metric, dtype):
    rng = np.random.default_rng(5)
    path = str(HERE / f"pylance14-{name}.lance")
    shutil.rmtree(path, ignore_errors=True)
    lance.write_dataset(rows(0, 300, dtype, rng), path, max_rows_per_file=200)
    lance.dataset(path).create_index("v", kind, num_partitions=3, metric=metric, m=6, ef_construction=30)
    lance.write_dataset(rows(300, 60, dtype, rng), path, mode="append")
    lance.dataset(path).optimize.optimize_indices(num_indices_to_merge=0)
    lance.write_dataset(rows(360, 40, dtype, rng), path, mode="append")
    lance.dataset(path).delete("id % 7 = 3")
    keep_the_newest(name, path)


def write_stable_row_ids():
    """Row ids are the column id, whatever was done to a row. Of 20 rows the index has vectors of before."""
    rng = np.random.default_rng(5)
    path = str(HERE / "pylance14-row-ids.lance")
    shutil.rmtree(path, ignore_errors=True)
    lance.write_dataset(rows(0, 300, pa.float32(), rng), path, max_rows_per_file=200, enable_stable_row_ids=True)
    lance.dataset(path).create_index("v", "IVF_HNSW_FLAT", num_partitions=1, metric="l2", m=6, ef_construction=30)
    lance.dataset(path).merge_insert("id").when_matched_update_all().execute(rows(190, 20, pa.float32(), rng))
    lance.dataset(path).delete("id % 7 = 3")
    lance.dataset(path).optimize.compact_files()
    lance.write_dataset(rows(300, 40, pa.float32(), rng), path, mode="append")
    lance.dataset(path).delete("id % 50 = 11")
    table = lance.dataset(path).to_table(with_row_id=True)
    assert table["id"].to_pylist() == table["_rowid"].to_pylist()
    keep_the_newest("row-ids", path)


def keep_the_newest(name, path):
    lance.dataset(path).cleanup_old_versions(older_than=datetime.timedelta(0), delete_unverified=True)
    for unused in ("_transactions", "_versions/latest_version_hint.json"):
        unused = pathlib.Path(path, unused)
        shutil.rmtree(unused) if unused.is_dir() else unused.unlink(missing_ok=True)
    print(name, sum(file.stat().st_size for file in pathlib.Path(path).rglob("*") if file.is_file()))


def write_small(name, kind):
    """The number of index.idx's bytes, these, and those of auxiliary.idx."""
    rng = np.random.default_rng(5)
    with tempfile.TemporaryDirectory() as folder:
        values = pa.array(rng.normal(size=60).astype(np.float32))
        dataset = lance.write_dataset(pa.table({"v": pa.FixedSizeListArray.from_arrays(values, 3)}), folder + "/small.lance")
        dataset.create_index("v", kind, num_partitions=2, m=4, ef_construction=8)
        [index] = pathlib.Path(folder).glob("small.lance/_indices/*")
        graph, vectors = ((index / file).read_bytes() for file in ("index.idx", "auxiliary.idx"))
        (HERE / f"pylance14-{name}.index").write_bytes(struct.pack("<I", len(graph)) + graph + vectors)


def write_constant(n=400_000):
    columns = [pa.array(np.zeros(n), pa.uint32()), pa.array([[]] * n, pa.list_(pa.uint32())), pa.array([[]] * n, pa.list_(pa.float32()))]
    batch = pa.record_batch(columns, names=["__vector_id", "__neighbors", "_distance"])
    path = HERE / "pylance14-constant.idx"
    with lance.file.LanceFileWriter(str(path), batch.schema, version="2.2") as writer:
        writer.write_batch(batch)
        writer.add_schema_metadata("lance:index", '{"type":"IVF_HNSW_SQ","distance_type":"l2"}')
    print(path.name, path.stat().st_size)


write("partitions-sq", "IVF_HNSW_SQ", "l2", pa.float32())
write("partitions-flat", "IVF_HNSW_FLAT", "cosine", pa.float16())
write_stable_row_ids()
write_small("sq", "IVF_HNSW_SQ")
write_small("flat", "IVF_HNSW_FLAT")
write_constant()
