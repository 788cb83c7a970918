"""A table is read while pylance goes on with it: each read sees one version, whole. PENNON and READ_TABLE name programs.

versions_test.py write TABLE SECONDS SEED [cleanup] is the writer: it says of each version how many rows it has and what
their ids and values come to.
"""

import collections
import datetime
import os
import random
import subprocess
import sys
import tempfile
import time
import unittest

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

DIM = 8
Sums = collections.namedtuple("Sums", "rows ids values")


def vectors(ids, values):
    """One that no other row, nor another value of this one, has."""
    flat = np.repeat(np.stack([ids, values], 1), DIM // 2, axis=1).astype(np.float32)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat.ravel()), DIM)


def make_rows(ids, values):
    return pa.table({"id": pa.array(ids, pa.int64()), "value": pa.array(values, pa.int64()),
                     "text": pa.array([f"{i}:{v}" for i, v in zip(ids, values)], pa.utf8()), "v": vectors(np.array(ids), np.array(values))})


class Writer:
    def __init__(self, path, seed, cleanup):
        self.random, self.cleanup, self.next = random.Random(seed), cleanup, 0
        self.rows = {}
        self.dataset = lance.write_dataset(self.more(1000), path, max_rows_per_file=300)
        self.say()

    def say(self):
        print(self.dataset.version, len(self.rows), sum(self.rows), sum(self.rows.values()), flush=True)

    def more(self, count):
        ids = list(range(self.next, self.next + count))
        values = [self.random.randrange(10**6) for _ in ids]
        self.next += count
        self.rows |= zip(ids, values)
        return make_rows(ids, values)

    def step(self):
        what = self.random.choice(("append", "append", "delete", "update", "merge", "compact", "index", "optimize", "overwrite", "cleanup"))
        modulus = self.random.randrange(3, 9)
        dataset = self.dataset
        if what == "append" and len(self.rows) < 4000:
            dataset = lance.write_dataset(self.more(self.random.randrange(1, 400)), dataset, mode="append")
        elif what == "delete" and len(self.rows) > 500:
            self.rows = {i: v for i, v in self.rows.items() if i % modulus}
            dataset.delete(f"id % {modulus} = 0")
        elif what in ("update", "merge"):
            ids = [i for i in self.rows if i % (7 * modulus) == 1]
            values = [self.random.randrange(10**6) for _ in ids]
            self.rows |= zip(ids, values)
            more = self.more(5)
            rows = pa.concat_tables([make_rows(ids, values), more])
            dataset.merge_insert("id").when_matched_update_all().when_not_matched_insert_all().execute(rows)
        elif what == "compact":
            dataset.optimize.compact_files(target_rows_per_fragment=self.random.choice([200, 2000]))
        elif what == "index":
            dataset.create_index("v", "IVF_HNSW_FLAT", num_partitions=self.random.choice([1, 3]), replace=True)
        elif what == "optimize":
            dataset.optimize.optimize_indices()
        elif what == "overwrite" and self.random.random() < 0.2:
            self.rows = {}
            dataset = lance.write_dataset(self.more(800), dataset, mode="overwrite", max_rows_per_file=300)
        elif what == "cleanup" and self.cleanup:
            dataset.cleanup_old_versions(older_than=datetime.timedelta(0), delete_unverified=True)
        self.dataset = lance.dataset(dataset.uri)
        self.say()


def write(path, seconds, seed, cleanup=""):
    writer = Writer(path, int(seed), bool(cleanup))
    end = time.monotonic() + float(seconds)
    while time.monotonic() < end:
        writer.step()


class OneVersion(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.out = os.path.join(folder.name, "out.arrow")
        self.path = os.path.join(folder.name, "t.lance")
        self.reader = breadth_test.Reader()
        self.addCleanup(self.reader.close)
        self.seen = collections.defaultdict(set)  # what versions were read as
        self.count = collections.Counter()

    def read(self, *words):
        """The rows, which go together, or None if files are gone."""
        answer = self.reader(*words)
        self.count[words[0]] += 1
        if answer != "ok":
            # What a version consists of may go with it; then it is said which file.
            self.assertTrue(self.cleanup, answer)
            self.assertRegex(answer, r"^error IOError: .*(No such file|expected a Lance table).*")
            self.assertIn(self.path, answer)
            self.count["gone"] += 1
            return None
        rows = breadth_test.read_ipc(self.out)
        ids, values = rows["id"].to_pylist(), rows["value"].to_pylist()
        self.assertEqual(rows["text"].to_pylist(), [f"{i}:{v}" for i, v in zip(ids, values)])
        self.assertTrue(rows["v"].combine_chunks().equals(vectors(np.array(ids), np.array(values))))
        return rows

    def sums(self, rows):
        return Sums(len(rows), pc.sum(rows["id"]).as_py(), pc.sum(rows["value"]).as_py())

    def hold(self, rng):
        """One version, for a while."""
        answer = self.reader("open", self.path)
        if not answer.startswith("ok"):
            self.assertTrue(self.cleanup, answer)
            return
        version, count = map(int, answer.split()[1:])
        rows = self.read("scan", self.out, rng.choice([100, 10000]))
        for _ in range(rng.randrange(1, 8)):
            if rows is None:
                return
            self.seen[version].add(self.sums(rows))
            self.assertEqual(len(rows), count)
            places = [rng.randrange(count) for _ in range(20)]
            taken = self.read("take", self.out, ",".join(map(str, places)))
            if taken is not None:
                self.assertEqual(taken.drop_columns("v"), rows.drop_columns("v").take(places))
            found = self.read("search", self.out, places[0], "v", 3) if self.indexed(version) else None
            if found is not None:
                self.assertEqual(found["id"][0], rows["id"][places[0]])
                self.assertLessEqual(set(found["text"].to_pylist()), set(rows["text"].to_pylist()))
            rows = self.read("scan", self.out, rng.choice([33, 1000]))

    def indexed(self, version):
        try:
            return bool(lance.dataset(self.path, version=version).describe_indices())
        except (OSError, ValueError):
            return False  # it is gone

    def run_with(self, seconds, *cleanup):
        self.cleanup = bool(cleanup)
        rng = random.Random(1)
        command = [sys.executable, __file__, "write", self.path, str(seconds), "1", *cleanup]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as writer:
            written = {}

            def listen(line):
                version, *sums = map(int, line.split())
                written[version] = Sums(*sums)

            listen(writer.stdout.readline())
            while writer.poll() is None:
                self.hold(rng)
                # And by the program, which has no word for its version: it must be one there is.
                run = subprocess.run([breadth_test.PENNON, "lance", "scan", self.path, "--out", self.out], capture_output=True, text=True)
                if run.returncode == 0:
                    self.seen[None].add(self.sums(breadth_test.read_ipc(self.out)))
                else:
                    self.assertTrue(self.cleanup, run.stderr)
                    self.assertIn("No such file", run.stderr)
            for line in writer.stdout:
                listen(line)
            self.assertEqual(writer.returncode, 0, writer.stderr.read())
        self.assertGreater(len(written), 10)
        self.assertGreater(len(self.seen), 3)
        for version, seen in self.seen.items():
            if version is None:
                self.assertLessEqual(seen, set(written.values()))
            elif version in written:  # a step may make several
                self.assertEqual(seen, {written[version]})
            else:
                self.assertEqual(len(seen), 1)
        self.assertGreater(len(written.keys() & self.seen.keys()), 3)
        if os.environ.get("PENNON_BREADTH_VERBOSE"):
            print(f"{len(written)} versions, {len(self.seen) - 1} of them read: {dict(self.count)}", flush=True)

    def test_versions_that_stay(self):
        self.run_with(8)
        self.assertEqual(self.count["gone"], 0)

    def test_versions_that_are_removed(self):
        self.run_with(8, "cleanup")
        self.assertGreater(self.count["scan"], self.count["gone"])


if __name__ == "__main__":
    if sys.argv[1:2] == ["write"]:
        write(*sys.argv[2:])
    else:
        import breadth_test

        unittest.main()
