"""Tables of stable row ids, as pylance and LanceDB make them, that these and Pennon go on with in turns. PENNON and APPEND_TABLE name programs."""

import json
import os
import random
import subprocess
import unittest

import lance
import lancedb
import numpy as np
import pyarrow as pa

import lance_test
import search_test
from lance_test import PENNON, vectors

APPEND_TABLE = os.path.abspath(os.environ["APPEND_TABLE"])
DIM = 8


class RowIds(lance_test.Case):
    find = search_test.Searching.find
    compare = search_test.Searching.compare

    def rows(self, ids):
        values = self.random.normal(size=(len(ids), DIM)).astype(np.float32)
        return pa.table({"id": pa.array(ids, pa.int64()), "n": pa.array(ids, pa.int32()), "v": vectors(values)})

    def check(self, uri):
        """All rows, by position and by row id, are pylance's."""
        dataset = lance.dataset(uri)
        table = dataset.to_table(with_row_id=True)
        self.same(self.scan(dataset), table.drop_columns(["_rowid"]))
        query = np.zeros((1, DIM), np.float32)
        path = self.write_ipc(pa.table({"v": vectors(query)}))
        lines = self.run_program(
            PENNON, "lance", "search", uri, "--query-file", path, "-k", len(table), "--exact", "--json", "--columns", "id,n").splitlines()
        found = {line["row_id"]: line["row"] for line in map(json.loads, lines)}
        wanted = {row["_rowid"]: {"id": row["id"], "n": row["n"]} for row in table.drop_columns(["v"]).to_pylist()}
        self.assertEqual(found, wanted)
        positions = random.sample(range(len(table)), 5)
        lines = self.run_program(PENNON, "lance", "take", uri, "--columns", "id", "--rows", ",".join(map(str, positions)))
        self.assertEqual([json.loads(line)["id"] for line in lines.splitlines()], table["id"].take(positions).to_pylist())
        return dataset

    def test_histories(self):
        """What pylance does to tables, in any order; in each version Pennon finds the rows and ids that pylance has."""
        for seed in range(int(os.environ.get("ROW_IDS_SEEDS", 4))):
            with self.subTest(seed=seed):
                self.history(seed, int(os.environ.get("ROW_IDS_STEPS", 10)))

    def history(self, seed, steps):
        self.random = np.random.default_rng(seed)
        choose = random.Random(seed)
        path = os.path.join(self.folder, f"{seed}.lance")
        version = choose.choice(("2.0", "2.1", "2.2"))
        lance.write_dataset(
            self.rows(range(600)), path, enable_stable_row_ids=True, max_rows_per_file=200, data_storage_version=version)
        kind, metric = choose.choice(("IVF_HNSW_FLAT", "IVF_HNSW_SQ")), choose.choice(("l2", "cosine"))
        lance.dataset(path).create_index("v", kind, num_partitions=choose.choice((1, 3)), metric=metric, m=8, ef_construction=60)
        next_id = 600

        def matched(dataset, columns=None):
            ids = choose.sample(sorted(set(dataset.to_table(columns=["id"])["id"].to_pylist())), 25)
            rows = self.rows(ids + list(range(next_id, next_id + 10)))
            return rows if columns is None else rows.slice(0, 25).select(columns)

        done = []
        for _ in range(steps):
            dataset = lance.dataset(path)
            what = choose.choice(("pennon", "pennon", "append", "delete", "few", "update", "upsert", "replace", "part", "compact", "small", "optimize", "merge", "index", "restore"))
            done.append(what)
            if what == "pennon" and version != "2.1":
                before = set(dataset.to_table(columns=[], with_row_id=True)["_rowid"].to_pylist())
                self.run_program(APPEND_TABLE, path, self.write_ipc(self.rows(range(next_id, next_id + 70))), 2, "rows")
                dataset = lance.dataset(path)
                dataset.validate()
                columns = ["_row_created_at_version", "_row_last_updated_at_version"]
                added = dataset.to_table(columns=columns, with_row_id=True).slice(len(before))
                first = added["_rowid"][0].as_py()
                self.assertEqual(added["_rowid"].to_pylist(), list(range(first, first + 140)))
                self.assertTrue(before.isdisjoint(added["_rowid"].to_pylist()))
                for column in columns:
                    self.assertEqual(added[column].to_pylist(), [dataset.version - 1] * 70 + [dataset.version] * 70)
            elif what in ("pennon", "append"):
                lance.write_dataset(self.rows(range(next_id, next_id + 70)), path, mode="append", max_rows_per_file=50)
            elif what == "delete":
                dataset.delete(f"id % 7 = {choose.randrange(7)}")
            elif what == "few":
                dataset.delete(f"id % 97 = {choose.randrange(97)}")
            elif what == "update":
                dataset.update({"n": "n + 1"}, where=f"id % 11 = {choose.randrange(11)}")
            elif what == "upsert":
                dataset.merge_insert("id").when_matched_update_all().when_not_matched_insert_all().execute(matched(dataset))
            elif what == "replace":
                dataset.merge_insert("id").when_matched_update_all().execute(matched(dataset))
            elif what == "part":
                dataset.merge_insert("id").when_matched_update_all().execute(matched(dataset, ["id", choose.choice(("n", "v"))]))
            elif what == "compact":
                dataset.optimize.compact_files(materialize_deletions_threshold=0.0)
            elif what == "small":
                dataset.optimize.compact_files(target_rows_per_fragment=choose.choice((150, 300)), materialize_deletions_threshold=0.01)
            elif what == "optimize":
                dataset.optimize.optimize_indices(num_indices_to_merge=0)
            elif what == "merge":
                dataset.optimize.optimize_indices(num_indices_to_merge=10)
            elif what == "index":
                dataset.create_index("v", kind, num_partitions=2, metric=metric, m=8, ef_construction=60, replace=True)
            elif dataset.version > 6:
                lance.dataset(path, version=dataset.version - 3).restore()
            next_id += 100
            with self.subTest(done=done):
                dataset = self.check(path)
                self.compare(path, self.random.normal(size=(3, DIM)).astype(np.float32), metric)
                self.assertGreater(dataset.count_rows(), 20)

    def test_at_the_same_time(self):
        """Who commits later gives later ids, and nobody those of another."""
        self.random = np.random.default_rng(1)
        path = os.path.join(self.folder, "t.lance")
        dataset = lance.write_dataset(self.rows(range(300)), path, enable_stable_row_ids=True, max_rows_per_file=100)
        dataset.create_index("v", "IVF_HNSW_FLAT", num_partitions=1, metric="l2", m=8, ef_construction=60)
        upsert = lambda dataset: dataset.merge_insert("id").when_matched_update_all().when_not_matched_insert_all()
        changes = {
            "append": lambda dataset: lance.write_dataset(self.rows(range(1000, 1010)), dataset, mode="append"),
            "update": lambda dataset: dataset.update({"n": "n + 1"}, where="id % 5 = 0"),
            "upsert": lambda dataset: upsert(dataset).execute(self.rows(range(290, 310))),
            "delete": lambda dataset: dataset.delete("id % 5 = 1 and id < 2000"),
            "compact": lambda dataset: dataset.optimize.compact_files(materialize_deletions_threshold=0.0),
        }
        for name, change in changes.items():
            with self.subTest(change=name):
                before = lance.dataset(path)
                rows = self.write_ipc(self.rows(range(2000, 2007)))
                pennon = subprocess.Popen([APPEND_TABLE, path, rows, "1", "rows", "wait"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
                self.assertEqual(pennon.stdout.readline(), f"at {before.version} {before.count_rows()}\n")
                change(lance.dataset(path))
                pennon.communicate("\n\n", timeout=100)
                self.assertEqual(pennon.returncode, 0)
                after = self.check(path)
                after.validate()
                self.assertEqual(after.to_table(filter="id >= 2000").num_rows - before.to_table(filter="id >= 2000").num_rows, 7)

                self.run_program(APPEND_TABLE, path, self.write_ipc(self.rows(range(2000, 2007))), 1, "rows")
                change(after)  # which is old by now
                dataset = self.check(path)
                ids = dataset.to_table(columns=[], with_row_id=True)["_rowid"].to_pylist()
                self.assertEqual(len(ids), len(set(ids)))
                self.compare(path, self.random.normal(size=(3, DIM)).astype(np.float32), "l2")

    def test_an_index(self):
        """Of Pennon's, which pylance searches by the ids and leaves as it is when it compacts."""
        self.random = np.random.default_rng(1)
        path = os.path.join(self.folder, "t.lance")
        lance.write_dataset(self.rows(range(900)), path, enable_stable_row_ids=True, max_rows_per_file=300)
        dataset = lance.dataset(path)
        dataset.update({"n": "n + 1"}, where="id % 3 = 0")
        dataset.delete("id >= 800")
        dataset.optimize.compact_files(materialize_deletions_threshold=0.0)
        table = lance.dataset(path).to_table()
        self.run_program(APPEND_TABLE, path, self.write_ipc(table), 1, "only-index")
        lance.write_dataset(self.rows(range(1000, 1100)), path, mode="append")
        queries = self.random.normal(size=(8, DIM)).astype(np.float32)
        for change in (
            lambda dataset: None,
            lambda dataset: dataset.delete("id % 5 = 0"),
            lambda dataset: dataset.merge_insert("id").when_matched_update_all().execute(self.rows(range(1, 50))),
            lambda dataset: dataset.optimize.compact_files(materialize_deletions_threshold=0.0),
            lambda dataset: dataset.optimize.optimize_indices(num_indices_to_merge=0),
        ):
            change(lance.dataset(path))
            dataset = self.check(path)
            self.compare(path, queries, "l2")
            rows = dataset.to_table(columns=["v"], with_row_id=True)
            values = np.stack(rows["v"].to_numpy(zero_copy_only=False))
            self.assertGreater(self.recall(dataset, "v", values, "l2", rows["_rowid"].to_numpy(), queries), 0.95)

    def test_of_lancedb(self):
        self.random = np.random.default_rng(1)
        database = lancedb.connect(self.folder, storage_options={"new_table_enable_stable_row_ids": "true"})
        table = database.create_table("t", self.rows(range(500)))
        table.add(self.rows(range(500, 600)))
        table.create_index("l2", vector_column_name="v", index_type="IVF_HNSW_SQ", num_partitions=2)
        table.delete("id % 9 = 4")
        table.update(where="id < 40", values_sql={"n": "n + 7"})
        table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all().execute(self.rows([2, 100, 700]))
        path = os.path.join(self.folder, "t.lance")
        self.assertTrue(lance.dataset(path).has_stable_row_ids)
        self.check(path)
        table.add(self.rows(range(800, 850)))
        table.optimize()
        self.check(path)
        self.compare(path, self.random.normal(size=(5, DIM)).astype(np.float32), "l2")


if __name__ == "__main__":
    unittest.main()
