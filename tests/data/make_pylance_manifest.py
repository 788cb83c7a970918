"""Writes pylance14.manifest: a version with two fragments, deletions, an index, config and metadata, by pylance 14.0.2."""

import pathlib
import shutil
import tempfile

import lance
import numpy as np
import pyarrow as pa

schema = pa.schema(
    [pa.field("a", pa.int64(), metadata={"unit": "m"}),
     pa.field("v", pa.list_(pa.float32(), 8)),
     pa.field("s", pa.struct([pa.field("x", pa.timestamp("us", "UTC")), pa.field("l", pa.list_(pa.utf8()))]))],
    metadata={"story": "written by pylance 14.0.2"})
table = pa.table({
    "a": pa.array(range(300)),
    "v": pa.FixedSizeListArray.from_arrays(pa.array(np.arange(2400, dtype=np.float32)), 8),
    "s": pa.array([{"x": 1, "l": ["a"]}] * 300, schema.field("s").type),
}, schema=schema)
with tempfile.TemporaryDirectory() as folder:
    lance.write_dataset(table, folder, data_storage_version="2.2")
    lance.write_dataset(table, folder, mode="append")
    dataset = lance.dataset(folder)
    dataset.update_config({"owner": "someone"})
    dataset.delete("a = 1")
    dataset.create_index("v", "IVF_HNSW_SQ", num_partitions=1, metric="l2")
    newest = min(pathlib.Path(folder, "_versions").glob("*.manifest"))
    shutil.copy(newest, pathlib.Path(__file__).with_name("pylance14.manifest"))
