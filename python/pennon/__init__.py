"""Pennon: the live vector index for Arrow and Lance.

Vectors that are appended are searchable at once, under snapshots that stay the same while writing goes on.

>>> import numpy, pennon
>>> index = pennon.Index(dim=3)
>>> index.append(numpy.eye(3, dtype="float32"))
range(0, 3)
>>> index.search([1, 0, 0], k=2)["row_id"].to_pylist()
[0, 1]
"""

from pennon import _arrow  # first: it sees to the pyarrow that the extension needs
from pennon._core import Hits, __version__, default_threads
from pennon._index import Filter, Index, MemoryUsage, Snapshot, Stats, VerifyReport, from_lance
from pennon._lance import LanceIndex
from pennon._replay import replay

del _arrow

__all__ = [
    "Filter",
    "Hits",
    "Index",
    "LanceIndex",
    "MemoryUsage",
    "Snapshot",
    "Stats",
    "VerifyReport",
    "__version__",
    "default_threads",
    "from_lance",
    "replay",
]
