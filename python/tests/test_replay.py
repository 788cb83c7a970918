import io
import runpy
import sys

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import pennon

ROWS = np.arange(120, dtype=np.float32).reshape(40, 3)
TABLE = pa.table(
    {"id": pa.array(range(100, 140)), "v": pa.FixedSizeListArray.from_arrays(pa.array(ROWS.ravel()), 3), "x": [1] * 40}
)


def sources(folder):
    pq.write_table(TABLE, folder / "t.parquet")
    with pa.ipc.new_file(folder / "t.arrow", TABLE.schema) as file:
        file.write_table(TABLE)
    with pa.ipc.new_stream(folder / "t.arrows", TABLE.schema) as stream:
        stream.write_table(TABLE)
    return {
        "parquet": folder / "t.parquet",
        "path as text": str(folder / "t.parquet"),
        "ipc file": folder / "t.arrow",
        "ipc stream": folder / "t.arrows",
        "table": TABLE,
        "reader": TABLE.to_reader(max_chunksize=7),
        "batches": iter(TABLE.to_batches(max_chunksize=16)),
        "polars": pl.from_arrow(TABLE),
    }


@pytest.mark.parametrize(
    "kind", ["parquet", "path as text", "ipc file", "ipc stream", "table", "reader", "batches", "polars"]
)
def test_replay(kind, tmp_path):
    index = pennon.Index(3)
    assert pennon.replay(sources(tmp_path)[kind], index, row_ids="id", batch_rows=9, progress=False) == 40
    assert index.search(ROWS[17], k=1)["row_id"].to_pylist() == [117]
    assert index.stats().versions_published >= 5


def test_replay_shows_progress_where_there_is_tqdm(monkeypatch):
    shown = io.StringIO()
    monkeypatch.setattr(sys, "stderr", shown)
    assert pennon.replay(TABLE, pennon.Index(3)) == 40
    assert "40.0/40.0" in shown.getvalue()
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    shown.truncate(0)
    assert pennon.replay(TABLE, pennon.Index(3)) == 40
    assert shown.getvalue().strip("\0") == ""


def test_what_replay_refuses(tmp_path):
    index = pennon.Index(3)
    with pytest.raises(ValueError, match="batch_rows: expected 1 or more"):
        pennon.replay(TABLE, index, batch_rows=0)
    with pytest.raises(TypeError, match="source: expected a path"):
        pennon.replay(7, index)
    with pytest.raises(ValueError, match=r"vectors: expected the name of a column.*\['v', 'w'\]"):
        pennon.replay(TABLE.append_column("w", TABLE["v"]), index)
    with pytest.raises(ValueError, match=r"vectors: expected one of .*, got 'nothing'"):
        pennon.replay(TABLE, index, vectors="nothing")
    with pytest.raises(ValueError, match="row_ids: expected one of"):
        pennon.replay(TABLE, index, row_ids="nothing")
    with pytest.raises(TypeError, match="batch_rows: expected an integer, got float"):
        pennon.replay(TABLE, index, batch_rows=2.5)
    with pytest.raises(TypeError, match="source: expected record batches, got int"):
        pennon.replay([7], index)
    with pytest.raises(TypeError, match=r"index: expected a pennon\.Index, got int"):
        pennon.replay(TABLE, 7)
    with pytest.raises(FileNotFoundError):
        pennon.replay(tmp_path / "nothing", index)
    (tmp_path / "text").write_text("text")
    with pytest.raises(ValueError, match="source"):
        pennon.replay(tmp_path / "text", index)
    assert len(index) == 0


def test_the_example_runs(root, capsys, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    runpy.run_path(str(root / "python/examples/packages.py"))
    printed = capsys.readouterr().out
    assert "ef  80: recall 0.99" in printed
    assert printed.count("maxhttp") == 2  # found by LanceDB, too
