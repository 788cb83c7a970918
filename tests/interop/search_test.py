"""Indices that pylance built, and tables that it went on with, searched by Pennon. PENNON names the program."""

import itertools
import json
import os
import unittest

import lance
import numpy as np
import pyarrow as pa

import lance_test
from lance_test import PENNON, distances, vectors, with_nulls


class Searching(lance_test.Case):
    def table(self, n, dim=24):
        """Vectors around some centres, one in 50 of them null."""
        rng = np.random.default_rng(2)
        values = (rng.normal(size=(20, dim))[rng.integers(0, 20, n)] + 0.5 * rng.normal(size=(n, dim))).astype(np.float32)
        return pa.table({"id": np.arange(n), "v": with_nulls(vectors(values), 50)}), values

    def find(self, dataset, queries, *args, k=10):
        """Row ids and distances, as Pennon gives them."""
        path = self.write_ipc(pa.table({"v": vectors(queries)}))
        found = [[] for _ in queries]
        lines = self.run_program(PENNON, "lance", "search", dataset.uri, "--query-file", path, "-k", k, "--json", *args)
        for line in map(json.loads, lines.splitlines()):
            found[line["query"]].append((line["row_id"], line["distance"]))
        return found

    def compare(self, uri, queries, metric, nprobes=20, k=10):
        """Pennon finds what the table has, with the distances of its vectors, and of what is nearest as much as pylance."""
        dataset = lance.dataset(uri)
        table = dataset.to_table(columns=["v"], with_row_id=True)
        table = table.filter(table["v"].is_valid())
        values = np.stack(table["v"].to_numpy(zero_copy_only=False)).astype(np.float32)
        ids = table["_rowid"].to_numpy()
        k = min(k, len(ids))
        here = there = 0
        repeated = np.concatenate([queries] * 2)  # partitions are scanned at first, then walked
        found = self.find(dataset, repeated, "--nprobes", nprobes, k=k)
        exact = self.find(dataset, queries, "--exact", k=k)
        for i, query in enumerate(repeated):
            of = distances(values, query, metric)
            near = set(ids[of <= np.sort(of)[k - 1] + 1e-5].tolist())
            self.assertEqual(len({row for row, _ in found[i]}), k)
            by_id = dict(zip(ids.tolist(), of))
            np.testing.assert_allclose([distance for _, distance in found[i]], [by_id[row] for row, _ in found[i]], rtol=1e-3, atol=1e-4)
            here += len(near.intersection(row for row, _ in found[i])) / 2
            if i < len(queries):
                self.assertLessEqual({row for row, _ in exact[i]}, near)
                options = {"column": "v", "q": query, "k": k, "ef": 64, "nprobes": nprobes}
                there += len(near.intersection(dataset.scanner(columns=["_distance"], with_row_id=True, nearest=options).to_table()["_rowid"].to_pylist()))
        self.assertGreaterEqual(here, there - 0.01 * k * len(queries))
        return dataset

    def test_partitions_are_searched(self):
        table, values = self.table(6000)
        queries = values[::600] + np.float32(0.01)
        for partitions, kind, metric in itertools.product((1, 4, 16), ("IVF_HNSW_FLAT", "IVF_HNSW_SQ"), ("l2", "cosine", "dot")):
            with self.subTest(partitions=partitions, kind=kind, metric=metric):
                path = os.path.join(self.folder, f"{partitions}-{kind}-{metric}.lance")
                dataset = lance.write_dataset(table, path, max_rows_per_file=2500)
                dataset.create_index("v", kind, num_partitions=partitions, metric=metric, m=16, ef_construction=100)
                for nprobes in {1, partitions}:
                    self.compare(path, queries, metric, nprobes)

    def test_partitions_of_float16_and_empty_ones(self):
        rng = np.random.default_rng(1)
        values = rng.normal(size=(3, 16))[rng.integers(0, 3, 700)]  # so many equal ones that partitions stay empty
        for dtype in (pa.float32(), pa.float16()):
            for kind in ("IVF_HNSW_FLAT", "IVF_HNSW_SQ"):
                path = os.path.join(self.folder, f"{dtype}-{kind}.lance")
                dataset = lance.write_dataset(pa.table({"v": vectors(values, dtype)}), path)
                dataset.create_index("v", kind, num_partitions=5)
                [row] = self.find(dataset, values[5:6], k=1)
                self.assertLess(row[0][1], 1e-4)
                self.assertEqual(len(self.find(dataset, values[5:6], "--nprobes", 1, k=700)[0]), 700)

    def test_tables_that_go_on(self):
        """An index and what becomes of the table: rows come, go and move, and so do segments of the index."""
        rng = np.random.default_rng(1)

        def rows(first, count):
            valid = pa.array([None if i % 50 == 49 else i for i in range(count)])
            return pa.table({"id": np.arange(first, first + count), "v": vectors(rng.normal(size=(count, 24))).take(valid)})

        queries = rng.normal(size=(10, 24)).astype(np.float32)
        for partitions, kind, metric in ((1, "IVF_HNSW_SQ", "l2"), (4, "IVF_HNSW_FLAT", "cosine"), (4, "IVF_HNSW_SQ", "dot"), (1, "IVF_HNSW_FLAT", "l2")):
            with self.subTest(partitions=partitions, kind=kind, metric=metric):
                path = os.path.join(self.folder, f"{partitions}-{kind}-{metric}.lance")
                dataset = lance.write_dataset(rows(0, 3000), path, max_rows_per_file=1000)
                dataset.create_index("v", kind, num_partitions=partitions, metric=metric, m=16, ef_construction=100)
                lance.write_dataset(rows(3000, 300), path, mode="append")
                self.compare(path, queries, metric).delete("id % 3 = 1")
                self.compare(path, queries, metric).optimize.optimize_indices(num_indices_to_merge=0)
                lance.write_dataset(rows(4000, 200), path, mode="append")
                self.compare(path, queries, metric).update({"id": "id + 10000"}, where="id % 7 = 0")
                merge = self.compare(path, queries, metric).merge_insert("id")
                merge.when_matched_update_all().when_not_matched_insert_all().execute(rows(950, 60))
                dataset = self.compare(path, queries, metric)
                dataset.optimize.optimize_indices(num_indices_to_merge=0)
                dataset = self.compare(path, queries, metric)
                self.assertEqual(len(dataset.describe_indices()[0].segments), 3)
                dataset.optimize.compact_files()
                dataset = self.compare(path, queries, metric)
                fragment = dataset.get_fragments()[0]
                update = pa.table({"id": fragment.to_table()["id"], "v": vectors(rng.normal(size=(fragment.count_rows(), 24)))})
                fragment, fields = fragment.update_columns(update, left_on="id")
                operation = lance.LanceOperation.Update(updated_fragments=[fragment], fields_modified=fields)
                lance.LanceDataset.commit(path, operation, read_version=dataset.version)
                self.compare(path, queries, metric).optimize.optimize_indices(num_indices_to_merge=10)
                self.compare(path, queries, metric).delete("id % 5 > 0")
                self.compare(path, queries, metric).delete("id % 400 > 0")
                self.assertLess(self.compare(path, queries, metric).count_rows(), 10)  # fewer than k

    def test_indices_of_other_types_and_none(self):
        """They are not read: what is found is what a scan finds."""
        table, values = self.table(1500)
        queries = values[::300] + np.float32(0.01)
        for number, options in enumerate(({"index_type": "IVF_PQ", "num_sub_vectors": 4}, {"index_type": "IVF_FLAT"}, {"index_type": "IVF_SQ"},
                                          {"index_type": "IVF_HNSW_PQ", "num_sub_vectors": 4}, None)):
            for metric in ("l2", "cosine", "dot"):
                with self.subTest(options=options, metric=metric):
                    dataset = lance.write_dataset(table, os.path.join(self.folder, f"{number}-{metric}.lance"))
                    if options:
                        dataset = dataset.create_index("v", num_partitions=2, metric=metric, **options)
                    for args in ((), ("--exact",)) if options else (("--metric", metric),):
                        for query, found in zip(queries, self.find(dataset, queries, *args)):
                            nearest = {"column": "v", "q": query, "k": 10, "use_index": False, "metric": metric}
                            near = dataset.to_table(columns=["_distance"], with_row_id=True, nearest=nearest)
                            self.assertEqual([row for row, _ in found], near["_rowid"].to_pylist())
                            np.testing.assert_allclose([distance for _, distance in found], near["_distance"], rtol=1e-4, atol=1e-5)

    def test_a_vector_that_is_too_long_hides_no_others(self):
        table, values = self.table(2000)
        values[7] = 0
        values[7, 0] = 1e19
        path = os.path.join(self.folder, "long.lance")
        dataset = lance.write_dataset(pa.table({"v": vectors(values)}), path)
        dataset.create_index("v", "IVF_HNSW_FLAT", num_partitions=1, m=8)
        for row, [(found, _)] in zip(range(10, 20), self.find(dataset, values[10:20], k=1)):  # scanned, then to be opened
            self.assertEqual(found, row)

    def test_indices_that_a_compaction_left_as_they_were(self):
        """Their row ids are of fragments that are gone; what they say of fragments is, after another commit, of the new ones."""
        table, values = self.table(2000)
        path = os.path.join(self.folder, "deferred.lance")
        dataset = lance.write_dataset(table, path, max_rows_per_file=500)
        dataset.create_index("v", "IVF_HNSW_SQ", num_partitions=2)
        dataset = lance.dataset(path)
        dataset.delete("id % 3 = 1")
        dataset.optimize.compact_files(defer_index_remap=True)
        for words in ("id = 5", "id = 8"):
            dataset = lance.dataset(path)
            left = dataset.to_table(with_row_id=True)
            for row in (2, 300, 1301):
                [found] = self.find(dataset, values[left["id"][row].as_py() :][:1], k=1)
                self.assertEqual(found[0][0], left["_rowid"][row].as_py())
            dataset.delete(words)


if __name__ == "__main__":
    unittest.main()
