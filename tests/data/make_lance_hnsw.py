"""Writes lance-hnsw.arrow and lance-vectors.arrow: an HNSW graph built by Lance itself (pylance 7.0.0, IVF_HNSW_FLAT,
one partition) over 400 vectors in 8 dimensions, as the batch that the index file holds, and the vectors in its order.

    pip install pylance==7.0.0 pyarrow numpy && python make_lance_hnsw.py
"""

import glob
import json
import tempfile

import lance
import numpy
import pyarrow
from lance.file import LanceFileReader

ROWS, DIM = 400, 8


def read(pattern):
    reader = LanceFileReader(glob.glob(pattern)[0])
    return reader.read_all().to_table().combine_chunks(), reader.metadata().schema.metadata


with tempfile.TemporaryDirectory() as folder:
    values = numpy.random.default_rng(7).standard_normal(ROWS * DIM).astype(numpy.float32)
    vectors = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(values), DIM)
    dataset = lance.write_dataset(pyarrow.table({"vector": vectors}), folder)
    dataset.create_index("vector", index_type="IVF_HNSW_FLAT", num_partitions=1, m=6, ef_construction=40)
    graph, metadata = read(folder + "/_indices/*/index.idx")
    rows, _ = read(folder + "/_indices/*/auxiliary.idx")

# The file's metadata is a JSON list with one string for each partition.
of_partition = json.loads(metadata[b"lance:hnsw"])[0]
graph = graph.replace_schema_metadata({"lance:hnsw": of_partition})
for name, table in ("lance-hnsw.arrow", graph), ("lance-vectors.arrow", rows.replace_schema_metadata({})):
    with pyarrow.ipc.new_file(name, table.schema) as writer:
        writer.write_table(table)
