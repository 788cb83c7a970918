import pathlib

import numpy as np
import pyarrow.parquet as pq
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def root():
    return ROOT


@pytest.fixture(scope="session")
def packages():
    """The sample's vectors, 10,000 of 384 dimensions, and their row ids."""
    table = pq.read_table(ROOT / "data/packages-10k.parquet")
    return table["embedding"].combine_chunks(), table["id"].combine_chunks()


@pytest.fixture
def rng():
    return np.random.default_rng(7)
