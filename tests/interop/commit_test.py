"""Tables that pylance, LanceDB and Pennon write to in turn, at once, and with kills between. PENNON and APPEND_TABLE name
programs."""

import os
import pathlib
import random
import subprocess
import tempfile
import threading
import time
import unittest

import lance
import lancedb
import numpy as np
import pyarrow as pa
import pyarrow.ipc

PENNON = os.path.abspath(os.environ["PENNON"])
APPEND_TABLE = os.path.abspath(os.environ["APPEND_TABLE"])
DIM = 8
VERSIONS = ("2.0", "2.2")


def rows(first, count):
    """Ids from first on, and a vector for each that no other id has."""
    ids = np.arange(first, first + count)
    flat = np.random.default_rng(first).normal(size=count * DIM).astype(np.float32)
    return pa.table({"id": ids, "text": pa.array([f"row {i}" for i in ids]),
                     "v": pa.FixedSizeListArray.from_arrays(pa.array(flat), DIM)})


def vector(table, i):
    return table["v"][i].as_py()


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.path = os.path.join(self.folder, "t.lance")

    def command(self, table, times, what, *more):
        source = os.path.join(self.folder, f"{random.random()}.arrow")
        with pa.ipc.new_file(source, table.schema) as file:
            file.write_table(table)
        return [APPEND_TABLE, self.path, source, str(times), what, *more]

    def pennon(self, table, what="rows", times=1):
        run = subprocess.run(self.command(table, times, what), capture_output=True, text=True, timeout=100)
        self.assertEqual(run.returncode, 0, run.stderr)

    def open_pennon(self, table, what):
        """A process that has opened the table. go() lets it commit, and returns its error."""
        process = subprocess.Popen(self.command(table, 1, what, "wait"), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.kill)
        self.assertTrue(process.stdout.readline().startswith("at "))

        def go():
            return process.communicate("\n\n", timeout=100)[1]

        return go

    def make(self, version=VERSIONS[-1], count=500, **options):
        return lance.write_dataset(rows(0, count), self.path, data_storage_version=version, **options)

    def ids(self):
        return sorted(lance.dataset(self.path).to_table(columns=["id"])["id"].to_pylist())

    def nearest(self, query, k=1, column="v", plan="ANNSubIndex"):
        scanner = lance.dataset(self.path).scanner(columns=["id"], nearest={"column": column, "q": query, "k": k, "ef": 100,
                                                                            "refine_factor": 5})
        self.assertIn(plan, scanner.explain_plan())
        return scanner.to_table()["id"].to_pylist()


class TablesOfPylance(Case):
    def test_append(self):
        for version in VERSIONS:
            for v2_names in (True, False):
                with self.subTest(version=version, v2_names=v2_names):
                    self.path = os.path.join(self.folder, f"{version}-{v2_names}.lance")
                    table = rows(0, 500)
                    schema = table.schema.with_metadata({"story": "long"})
                    schema = schema.set(0, schema.field("id").with_metadata({"unit": "m"}))
                    lance.write_dataset(table.cast(schema), self.path, data_storage_version=version,
                                        enable_v2_manifest_paths=v2_names, max_rows_per_file=200)
                    dataset = lance.dataset(self.path)
                    dataset.create_index("v", "IVF_HNSW_SQ", num_partitions=1, metric="l2")
                    dataset.create_scalar_index("id", "BTREE")
                    dataset.update_config({"owner": "someone"})
                    dataset.delete("id < 10")
                    more = rows(1000, 50)
                    self.pennon(more)
                    dataset = lance.dataset(self.path)
                    self.assertEqual(dataset.latest_version, 6)
                    dataset.validate()
                    self.assertEqual(dataset.to_table().slice(490).combine_chunks().columns, more.combine_chunks().columns)
                    self.assertEqual(self.ids(), [*range(10, 500), *range(1000, 1050)])
                    self.assertEqual(dataset.schema.metadata, {b"story": b"long"})
                    self.assertEqual(dataset.schema.field("id").metadata, {b"unit": b"m"})
                    self.assertEqual(dataset.config()["owner"], "someone")
                    self.assertEqual(self.nearest(vector(table, 77)), [77])
                    self.assertEqual(self.nearest(vector(more, 7)), [1007])
                    self.assertIn("ScalarIndexQuery", dataset.scanner(filter="id = 77").explain_plan())
                    # And Lance goes on.
                    dataset.optimize.optimize_indices()
                    dataset.optimize.compact_files()
                    lance.write_dataset(rows(2000, 5), self.path, mode="append")
                    self.assertEqual(self.nearest(vector(more, 7)), [1007])
                    self.assertEqual(len(self.ids()), 545)
                    names = {path.name for path in pathlib.Path(self.path, "_versions").glob("*.manifest")}
                    self.assertEqual({len(name) == 29 for name in names}, {v2_names})

    def test_columns_that_came_and_went(self):
        for version in VERSIONS:
            with self.subTest(version=version):
                self.path = os.path.join(self.folder, f"{version}.lance")
                dataset = self.make(version)
                dataset.drop_columns(["text"])
                dataset.add_columns({"twice": "id * 2"})
                dataset.add_columns({"thrice": "id * 3"})
                dataset.alter_columns({"path": "twice", "name": "double"})
                dataset = lance.dataset(self.path)
                more = rows(500, 5).drop_columns(["text"])
                more = more.append_column("double", pa.array([2 * i for i in range(500, 505)]))
                more = more.append_column("thrice", pa.array([3 * i for i in range(500, 505)]))
                self.pennon(more.cast(dataset.schema))
                dataset = lance.dataset(self.path)
                dataset.validate()
                read = dataset.to_table().slice(500).combine_chunks()
                self.assertEqual(read.columns, more.combine_chunks().columns)
                self.assertEqual(dataset.take([1, 503])["thrice"].to_pylist(), [3, 1509])

    def test_what_is_not_known_here(self):
        def refused(table, words, what="rows"):
            run = subprocess.run(self.command(table, 1, what), capture_output=True, text=True, timeout=100)
            self.assertEqual(run.returncode, 1)
            self.assertIn(words, run.stderr)

        table = rows(0, 500)
        lance.write_dataset(table, self.path, data_storage_version="2.1")
        refused(table, "file version 2.0 or 2.2, got 2.1")
        self.path += "3"
        lance.write_dataset(pa.table({"d": pa.array(["a", "b"]).dictionary_encode()}), self.path)
        refused(table, "column d: expected a type that is written here, got dict:string")
        self.path += "4"
        self.make()
        refused(table.drop_columns(["text"]), "expected the schema")
        lance.dataset(self.path).delete("id = 7")
        refused(table, "without deleted rows", "only-index")
        self.assertEqual(lance.dataset(self.path).latest_version, 2)

    def test_an_index(self):
        for version in ("2.0", "2.1", "2.2"):
            with self.subTest(version=version):
                self.path = os.path.join(self.folder, f"{version}.lance")
                self.make(version)
                table = rows(0, 500)
                self.pennon(table, "only-index")
                dataset = lance.dataset(self.path)
                self.assertEqual([index.index_type for index in dataset.describe_indices()], ["IVF_HNSW_FLAT"])
                self.assertEqual(self.nearest(vector(table, 77)), [77])
                lance.write_dataset(rows(500, 9), self.path, mode="append")
                self.assertEqual(self.nearest(vector(rows(500, 9), 3)), [503])
                dataset = lance.dataset(self.path)
                dataset.delete("id = 77")
                self.assertNotIn(77, self.nearest(vector(table, 77), 3))
                dataset.optimize.optimize_indices()
                self.assertEqual(self.nearest(vector(rows(500, 9), 4)), [504])

    def test_lancedb(self):
        for version in VERSIONS:
            with self.subTest(version=version):
                database = lancedb.connect(
                    os.path.join(self.folder, version), storage_options={"new_table_data_storage_version": version})
                self.path = os.path.join(self.folder, version, "t.lance")
                table = database.create_table("t", rows(0, 500))
                table.create_index("v", config=lancedb.index.HnswSq(num_partitions=1))
                table.add(rows(500, 3))
                for first in (600, 700):
                    self.pennon(rows(first, 20))
                    table = database.open_table("t")
                    self.assertIn("ANNSubIndex", table.search([0.0] * DIM).explain_plan())
                    found = table.search(vector(rows(first, 20), 4)).limit(1).to_arrow()
                    self.assertEqual(found["id"].to_pylist(), [first + 4])
                    table.add(rows(first + 50, 3))
                stale = database.open_table("t")
                self.pennon(rows(800, 20))
                stale.add(rows(820, 3))
                stale.delete("id = 3")
                stale.optimize()
                self.assertEqual(database.open_table("t").count_rows(), 500 + 3 + 2 * 23 + 23 - 1)
                found = database.open_table("t").search(vector(rows(800, 20), 4)).limit(1).to_arrow()
                self.assertEqual(found["id"].to_pylist(), [804])

    def test_an_index_for_lancedb(self):
        database = lancedb.connect(self.folder)
        database.create_table("t", rows(0, 500)).add(rows(500, 3))
        self.pennon(rows(600, 20), "index")
        table = database.open_table("t")
        self.assertIn("ANNSubIndex", table.search([0.0] * DIM).explain_plan())
        self.assertEqual(table.search(vector(rows(600, 20), 4)).limit(1).to_arrow()["id"].to_pylist(), [604])
        self.assertEqual(table.search(vector(rows(500, 3), 1)).limit(1).to_arrow()["id"].to_pylist(), [501])
        table.add(rows(700, 2))
        table.optimize()
        self.assertEqual(table.search(vector(rows(700, 2), 1)).limit(1).to_arrow()["id"].to_pylist(), [701])


class Stale(Case):
    """One writer has opened the table, the other commits, then the first does."""

    OTHERS = {
        "append": (lambda d: lance.write_dataset(rows(700, 9), d, mode="append"), None, None),
        "delete": (lambda d: d.delete("id % 7 = 0"), None, None),
        "delete a fragment": (lambda d: d.delete("id < 200"), None, None),
        "update": (lambda d: d.update({"text": "'new'"}, where="id < 40"), None, None),
        "update vectors": (lambda d: d.merge_insert("id").when_matched_update_all().execute(rows(3, 4)), None, None),
        "insert": (lambda d: d.merge_insert("id").when_not_matched_insert_all().execute(rows(498, 4)), None, None),
        "scalar index": (lambda d: d.create_scalar_index("id", "BTREE"), None, None),
        "config": (lambda d: d.update_config({"a": "b"}), None, None),
        "compaction": (lambda d: d.optimize.compact_files(), None, "Rewrite of its rows"),
        "overwrite": (lambda d: lance.write_dataset(rows(0, 500), d, mode="overwrite"), "Overwrite", "Overwrite"),
        "restore": (lambda d: lance.dataset(d.uri, version=1).restore(), "Restore", "Restore"),
        "add a column": (lambda d: d.add_columns({"b": "id * 2"}), "changed the columns", None),
        "drop a column": (lambda d: d.drop_columns(["text"]), "changed the columns", None),
        "drop the column": (lambda d: d.drop_columns(["v"]), "changed the columns", "changed its column"),
    }

    def prepare(self, name):
        self.path = os.path.join(self.folder, f"{name}.lance")
        self.make(VERSIONS[-1], max_rows_per_file=200)
        lance.write_dataset(rows(500, 3), self.path, mode="append")

    def test_pennon_appends(self):
        for name, (other, refused, _) in self.OTHERS.items():
            with self.subTest(other=name):
                self.prepare(name)
                go = self.open_pennon(rows(900, 7), "rows")
                other(lance.dataset(self.path))
                before = self.ids()
                error = go()
                dataset = lance.dataset(self.path)
                dataset.validate()
                if refused is None:
                    self.assertEqual(error, "")
                    self.assertEqual(self.ids(), sorted([*before, *range(900, 907)]))
                    self.assertEqual(dataset.to_table(filter="id = 905")["v"], rows(900, 7)["v"].slice(5, 1))
                else:
                    self.assertIn(refused, error)
                    self.assertEqual(self.ids(), before)

    def test_pennon_makes_an_index(self):
        table = rows(0, 500)
        for name, (other, _, refused) in self.OTHERS.items():
            with self.subTest(other=name):
                self.prepare(name)
                go = self.open_pennon(table, "only-index")
                other(lance.dataset(self.path))
                before = self.ids()
                error = go()
                dataset = lance.dataset(self.path)
                dataset.validate()
                self.assertEqual(self.ids(), before)
                if refused is None:
                    self.assertEqual(error, "")
                    self.assertEqual(self.nearest(vector(table, 450)), [450])
                    exact = dataset.to_table(columns=["id"], nearest={"column": "v", "q": vector(table, 5), "k": 20,
                                                                      "use_index": False})
                    self.assertEqual(set(self.nearest(vector(table, 5), 20)), set(exact["id"].to_pylist()))
                else:
                    self.assertIn(refused, error)
                    self.assertNotIn("of_", str(dataset.describe_indices()))

    def test_pylance(self):
        table = rows(0, 500)
        for name, (other, _, _) in self.OTHERS.items():
            with self.subTest(other=name):
                self.prepare(name)
                stale = lance.dataset(self.path)
                self.pennon(rows(900, 7), "index")
                if name in ("overwrite", "restore"):
                    other(stale)
                    continue
                try:
                    other(stale)
                except OSError as error:  # Lance's rules, where it says so
                    self.assertIn("onflict", str(error))
                    self.assertIn(name, ("add a column", "drop a column", "drop the column"))
                    continue
                self.assertLessEqual(set(range(900, 907)), set(self.ids()))
                lance.dataset(self.path).validate()
                if name != "drop the column":
                    self.assertEqual(self.nearest(vector(rows(900, 7), 5)), [905])
                    self.assertEqual(self.nearest(vector(table, 450)), [450])


class AtOnce(Case):
    def test_two_writers(self):
        self.make(VERSIONS[-1])
        done = threading.Event()

        def pylance():
            for i in range(15):
                lance.write_dataset(rows(10000 + 3 * i, 3), self.path, mode="append")
            done.set()

        thread = threading.Thread(target=pylance)
        thread.start()
        for i in range(3):
            self.pennon(rows(20000 + 5 * i, 5), "index" if i == 1 else "rows", times=4)
        thread.join()
        self.assertTrue(done.is_set())
        ours = [20000 + i for i in range(15) for _ in range(4)]
        self.assertEqual(self.ids(), [*range(500), *range(10000, 10045), *ours])
        dataset = lance.dataset(self.path)
        dataset.validate()
        self.assertEqual([version["version"] for version in dataset.versions()], list(range(1, 1 + 1 + 15 + 12 + 4)))

    def test_killed(self):
        table = rows(0, 300)
        seed = random.randrange(1 << 30)
        generator = random.Random(seed)
        kills, versions, told = 0, 0, 0
        with self.subTest(seed=seed):
            while kills < 20:
                process = subprocess.Popen(self.command(table, 1000, "index"), stdout=subprocess.PIPE,
                                           stderr=subprocess.PIPE, text=True)
                said = [process.stdout.readline() for _ in range(1 + generator.randrange(3))]
                self.assertTrue(said[-1].startswith("at "), process.stderr.read() if not said[-1] else said)
                time.sleep(generator.uniform(0, 0.1))
                process.kill()
                said += process.communicate()[0].splitlines(keepends=True)
                kills += 1
                told = max([told, *(int(line.split()[1]) for line in said if line.endswith("\n"))])
                if not os.path.exists(self.path) or not list(pathlib.Path(self.path, "_versions").glob("*.manifest")):
                    continue
                dataset = lance.dataset(self.path)
                self.assertGreaterEqual(dataset.version, told)
                self.assertGreaterEqual(dataset.version, versions)
                versions = dataset.version
                dataset.validate()
                self.assertEqual(dataset.count_rows() % 300, 0)
                newest = dataset.to_table(offset=dataset.count_rows() - 300)
                self.assertEqual(newest.combine_chunks().columns, table.combine_chunks().columns)
                if dataset.list_indices():
                    self.assertEqual(self.nearest(vector(table, 7)), [7])
            self.assertGreater(versions, 10)
            left = sum(1 for _ in pathlib.Path(self.path).rglob("*") if _.is_file())
            run = subprocess.run([PENNON, "lance", "cleanup", self.path, "--older-than", "0s"], capture_output=True,
                                 text=True, timeout=100)
            self.assertEqual(run.returncode, 0, run.stderr)
            lance.dataset(self.path).validate()
            self.assertEqual(lance.dataset(self.path).version, versions)
            for version in range(1, versions + 1):
                self.assertEqual(len(lance.dataset(self.path, version=version).to_table()) % 300, 0)
            print(f"{kills} kills, {versions} versions, {left} files; {run.stdout.splitlines()[-1]}")


class Cleanup(Case):
    def cleanup(self, *options):
        run = subprocess.run([PENNON, "lance", "cleanup", self.path, *options], capture_output=True, text=True)
        self.assertEqual(run.returncode, 0, run.stderr)
        return run.stdout.splitlines()

    def test_what_pylance_names_stays(self):
        dataset = self.make(max_rows_per_file=100)
        dataset.create_index("v", "IVF_HNSW_SQ", num_partitions=2)
        dataset.create_scalar_index("id", "BTREE")
        dataset.delete("id % 3 = 0")
        dataset.delete("id % 3 = 1 and id < 300")
        dataset.optimize.compact_files()
        self.pennon(rows(500, 5), "index")
        self.assertEqual(self.cleanup("--older-than", "0s"), ["removed 0 files, 0 bytes"])
        # Lance drops old versions and what they alone name.
        lance.dataset(self.path).cleanup_old_versions(older_than=__import__("datetime").timedelta(0), delete_unverified=True)
        self.cleanup("--older-than", "0s")
        self.assertEqual(self.nearest(vector(rows(0, 500), 5)), [5])
        lance.dataset(self.path).validate()

    def test_orphans(self):
        self.make()
        orphans = ["data/lost.lance", "_transactions/1-lost.txn", "_indices/00000000-0000-4000-8000-000000000000/index.idx",
                   "_deletions/0-1-2.arrow", "_versions/18446744073709551613.manifest.123.tmp"]
        kept = ["data/notes.txt", "readme.md", "_versions/latest_version_hint.json.tmp"]
        for name in orphans + kept:
            path = pathlib.Path(self.path, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x" * 10)
        self.assertEqual(self.cleanup(), ["removed 0 files, 0 bytes"])
        old = time.time() - 8 * 24 * 3600
        for name in orphans + kept:
            os.utime(pathlib.Path(self.path, name), (old, old))
        self.assertEqual(self.cleanup("--older-than", "2w"), ["removed 0 files, 0 bytes"])
        self.assertEqual(self.cleanup("--dry-run"), [*sorted(orphans), "would remove 5 files, 50 bytes"])
        self.assertTrue(pathlib.Path(self.path, orphans[0]).exists())
        self.assertEqual(self.cleanup("--older-than", "7d"), [*sorted(orphans), "removed 5 files, 50 bytes"])
        self.assertFalse(pathlib.Path(self.path, orphans[2]).parent.exists())
        self.assertTrue(pathlib.Path(self.path, kept[0]).exists())
        self.assertEqual(len(self.ids()), 500)


if __name__ == "__main__":
    os.environ.setdefault("LANCE_LOG", "error")
    unittest.main()
