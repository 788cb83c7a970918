"""Cuts data/packages-10k.parquet from a larger file of the same columns: `make_sample.py FROM.parquet TO.parquet`."""

import sys

import numpy
import pyarrow.parquet

ROWS = 10_000

table = pyarrow.parquet.read_table(sys.argv[1])
rows = numpy.sort(numpy.random.default_rng(1).choice(table.num_rows, ROWS, replace=False))
pyarrow.parquet.write_table(table.take(rows), sys.argv[2], compression="zstd")
