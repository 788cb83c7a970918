"""The program's interface: JSON lines, words, errors, exit codes. PENNON names the program."""

import json
import os
import pathlib
import re
import signal
import struct
import subprocess
import tempfile
import unittest

import pyarrow
import pyarrow.compute
import pyarrow.csv
import pyarrow.ipc
import pyarrow.parquet

PENNON = os.path.abspath(os.environ["PENNON"])
ROOT = pathlib.Path(__file__).parents[2]
DATA = str(ROOT / "data" / "packages-10k.parquet")


def pennon(*args, **kwargs):
    return subprocess.run([PENNON, *args], capture_output=True, text=True, timeout=100, **kwargs)


def vectors(rows, dim=2, type=pyarrow.float32()):
    return pyarrow.array(rows, pyarrow.list_(type, dim))


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def write(self, file, **columns):
        pyarrow.parquet.write_table(pyarrow.table(columns), self.path(file))
        return self.path(file)

    def write_bytes(self, file, data):
        with open(self.path(file), "wb") as out:
            out.write(data)
        return self.path(file)

    def fails(self, code, words, *args, **kwargs):
        run = pennon(*args, **kwargs)
        self.assertEqual(run.returncode, code, run.stderr)
        self.assertIn(words, run.stderr)
        if code == 1:
            self.assertEqual(run.stderr.count("pennon: "), 1, run.stderr)
            self.assertTrue(run.stderr.splitlines()[-1].startswith("pennon: "), run.stderr)
        return run

    def replay(self, *args):
        out = self.path("out.jsonl")
        run = pennon("replay", *args, "--json", out)
        self.assertEqual(run.returncode, 0, run.stderr)
        with open(out) as lines:
            return run.stdout, [json.loads(line) for line in lines]


class Errors(Case):
    def test_usage(self):
        self.fails(2, "DATA", "replay")
        self.fails(2, "--metric", "replay", DATA, "--metric", "l1")
        self.fails(2, "--k", "replay", DATA, "--k", "0")
        self.fails(2, "--passes", "replay", DATA, "--passes", "0")
        self.fails(2, "--deadline", "replay", DATA, "--deadline", "-1")
        for flag in ("--deadline", "--filter-share", "--rate"):
            self.fails(2, flag, "replay", DATA, flag, "nan")
        for share in ("0", "1.01"):
            self.fails(2, "--filter-share", "replay", DATA, "--filter-share", share)
        self.fails(2, "--holdout", "replay", DATA, "--holdout", "1", "--queries", DATA)
        self.fails(2, "subcommand")

    def test_files_and_columns(self):
        self.fails(1, "no-such-file", "replay", "no-such-file")
        self.fails(1, "cli_test.py: expected a Parquet, Arrow IPC or .npy file", "replay", __file__)
        self.fails(1, "embedding (fixed_size_list", "replay", DATA, "--vector", "nope")
        self.fails(1, "expected FixedSizeList", "replay", DATA, "--vector", "name")
        self.fails(1, "expected int64 or uint64", "replay", DATA, "--row-id", "name")
        self.fails(1, "no column 'nope'", "replay", DATA, "--text", "nope")
        self.fails(1, "no FixedSizeList column", "replay", self.write("none.parquet", a=[1, 2]))
        two = self.write("two.parquet", a=vectors([[1, 2]]), b=vectors([[1, 2]]))
        self.fails(1, "--vector", "replay", two)
        doubles = self.write("doubles.parquet", v=vectors([[1, 2]], type=pyarrow.float64()))
        self.fails(1, "halffloat", "replay", doubles)
        narrow = self.write("narrow.parquet", v=vectors([[1, 2]]))
        self.fails(1, "expected dimension 384", "replay", DATA, "--queries", narrow)
        self.fails(1, "broken.parquet", "replay", self.write_bytes("broken.parquet", b"PAR1 and no more"))

    def test_values(self):
        bad = self.write("bad.parquet", v=vectors([[1, 2], [float("nan"), 1]] * 20))
        self.fails(1, "offset 1", "replay", bad, "--holdout", "0")
        negative = self.write("negative.parquet", v=vectors([[1, 2]] * 3), id=[1, -2, 3])
        self.fails(1, "-2 at offset 1", "replay", negative, "--row-id", "id")
        self.fails(1, "m must be", "replay", DATA, "--m", "1", "--limit", "100")

    def test_full_disk(self):
        for flag in ("--json", "--export-graph", "--answers"):
            self.fails(1, "No space left", "replay", DATA, "--limit", "100", flag, "/dev/full")
            self.fails(1, "no-such-folder", "replay", DATA, "--limit", "100", flag, "/no-such-folder/x")
        with open("/dev/full", "w") as full:
            run = subprocess.run([PENNON, "replay", DATA, "--limit", "100"], stdout=full, stderr=subprocess.PIPE, text=True)
        self.assertEqual(run.returncode, 1)
        self.assertIn("No space left", run.stderr)

    def test_lance_places(self):
        self.fails(2, "--export-lance", "replay", DATA, "--lance-index", "sq")
        self.fails(2, "--export-lance: expected a name, got an empty one", "replay", DATA, "--export-lance", "")
        small = (DATA, "--limit", "100", "--holdout", "0", "--export-lance")
        self.fails(1, "/dev/full", "replay", *small, "/dev/full/x.lance")
        self.fails(1, "writing is for local file systems, got one of s3", "replay", *small, "s3://bucket/x.lance")
        _, lines = self.replay(*small, self.path("x.lance"))
        line = next(line for line in lines if line["what"] == "export_lance")
        self.assertEqual((line["version"], line["rows"], line["indexed"], line["index"]), (2, 100, 100, "flat"))
        self.fails(1, "found one", "replay", *small, self.path("x.lance"))
        maps = self.write("maps.parquet", v=vectors([[1, 2]]), a=pyarrow.array([[("k", 1)]], pyarrow.map_(pyarrow.utf8(), pyarrow.int32())))
        self.fails(1, "column a: expected a type", "replay", maps, "--export-lance", self.path("y.lance"))
        none = self.write("none.parquet", v=vectors([None, None]))
        said, lines = self.replay(none, "--holdout", "0", "--export-lance", self.path("none.lance"))
        self.assertIn("none.lance: version 1, 2 rows in 0.0", said)
        self.assertIn(" s, and no index, as none has a vector\n", said)
        [line] = [line for line in lines if line["what"] == "export_lance"]
        self.assertEqual((line["indexed"], line["index"]), (0, None))

    def test_lance_places_and_versions_are_whole_numbers(self):
        for text in ("-1", "18446744073709551616", "1.5", "1e3", "x", ""):
            what = f"expected a whole number from 0 to 2^64 - 1, got {text}"
            self.fails(2, f"--at: {what}", "lance", "count", self.folder.name, "--at", text)
            self.fails(2, f"--rows: {what}", "lance", "take", self.folder.name, "--rows", text)
            self.fails(2, f"--like-row: {what}", "lance", "search", self.folder.name, "--like-row", text)

    def test_lance_cleanup(self):
        self.fails(1, "expected a Lance table, found none", "lance", "cleanup", self.folder.name)
        self.fails(1, "writing is for local file systems, got one of s3", "lance", "cleanup", "s3://bucket/x.lance")
        self.fails(2, "--older-than", "lance", "cleanup", self.folder.name, "--older-than", "7 years")
        self.fails(2, "--older-than", "lance", "cleanup", self.folder.name, "--older-than", "7")
        self.fails(2, "PATH", "lance", "cleanup")
        self.fails(2, "subcommand", "lance")
        self.fails(1, "older_than: expected", "lance", "cleanup", self.folder.name, "--older-than", "9999w")
        self.replay(DATA, "--limit", "100", "--holdout", "0", "--export-lance", self.path("x.lance"))
        self.write_bytes("x.lance/data/lost.lance", b"12345")
        for age, words in (("1h", "removed 0 files, 0 bytes\n"), ("0s", "data/lost.lance\nremoved 1 files, 5 bytes\n")):
            run = pennon("lance", "cleanup", self.path("x.lance"), "--older-than", age)
            self.assertEqual((run.returncode, run.stdout), (0, words))

    def test_demo_elsewhere(self):
        self.fails(1, "--data", "demo", cwd=self.folder.name)


class Replay(Case):
    def test_json_lines(self):
        _, lines = self.replay(DATA, "--limit", "1500", "--ef", "16,32", "--verify")
        keys = {
            "run": "version simd codes m ef_construction metric seed dim type rows",
            "insert": "rows seconds rows_per_s threads batch publish_p50_us publish_p99_us first_tenth_us_per_row"
            " last_tenth_us_per_row",
            "search": "ef k filter_share qps recall incomplete p50_us p99_us threads",
            "search_batch": "ef k filter_share qps recall incomplete threads",
            "concurrent": "ef readers searches qps p50_us p99_us idle_p50_us idle_p99_us",
            "memory": "vectors_bytes caller_bytes codes_bytes graph_bytes versions_bytes other_bytes total_bytes"
            " peak_bytes rss_bytes rss_growth_bytes rss_peak_growth_bytes",
            "chunk": "rows us_per_row searches p50_us p99_us",
            "verify": "unreachable ok",
        }
        for line in lines:
            self.assertEqual(list(line), ["what", *keys[line["what"]].split()])
        of = {line["what"]: line for line in lines}
        self.assertEqual(set(of), set(keys))
        self.assertEqual([line["ef"] for line in lines if line["what"] == "search"], [16, 32])
        self.assertEqual(of["insert"]["rows"], 1350)
        self.assertGreaterEqual(of["insert"]["threads"], 1)
        self.assertGreater(of["search"]["recall"], 0.9)
        self.assertEqual(of["verify"], {"what": "verify", "unreachable": 0, "ok": True})
        self.assertEqual(of["run"]["type"], "halffloat")
        memory = of["memory"]
        parts = ("vectors", "codes", "graph", "versions", "other")
        self.assertEqual(memory["total_bytes"], sum(memory[f"{part}_bytes"] for part in parts))
        self.assertGreaterEqual(memory["rss_peak_growth_bytes"], memory["rss_growth_bytes"])

    def test_series_of_whole_batches(self):
        _, lines = self.replay(DATA, "--limit", "1500", "--holdout", "200", "--batch", "100", "--chunk", "250")
        chunks = [line for line in lines if line["what"] == "chunk"]
        self.assertEqual([chunk["rows"] for chunk in chunks], [300, 600, 900, 1200, 1300])
        concurrent = next(line for line in lines if line["what"] == "concurrent")
        self.assertLessEqual(sum(chunk["searches"] for chunk in chunks), concurrent["searches"])
        for chunk in chunks:
            self.assertGreater(chunk["us_per_row"], 0)
            self.assertLessEqual(chunk["p50_us"], chunk["p99_us"])

    def test_answers(self):
        answers = self.path("answers.arrow")
        words, lines = self.replay(DATA, "--limit", "1000", "--ef", "16,32", "--k", "5", "--passes", "2", "--no-exact",
                                   "--answers", answers)
        self.assertNotIn("exact answers", words)
        recalls = [line["recall"] for line in lines if line["what"] in ("search", "search_batch")]
        self.assertEqual(recalls, [None] * 4)
        rows = pyarrow.ipc.open_file(answers).read_all()
        self.assertEqual(rows.schema.names, ["call", "ef", "query", "row_id", "distance"])
        self.assertEqual(rows.num_rows, 2 * 2 * 100 * 5)
        of = {}
        for row in rows.to_pylist():
            of.setdefault((row.pop("call"), row.pop("ef")), []).append(row)
        self.assertEqual(set(of), {(call, ef) for call in ("search", "search_batch") for ef in (16, 32)})
        for ef in (16, 32):
            self.assertEqual(of["search", ef], of["search_batch", ef])
            queries = [row["query"] for row in of["search", ef]]
            self.assertEqual(queries, [query for query in range(100) for _ in range(5)])
            self.assertLess(max(row["row_id"] for row in of["search", ef]), 900)

    def test_deadline(self):
        for deadline, incomplete in (("1e-6", 100), ("1e6", 0)):
            words, lines = self.replay(DATA, "--limit", "1000", "--ef", "16", "--deadline", deadline)
            searches = [line for line in lines if line["what"].startswith("search")]
            self.assertEqual([line["incomplete"] for line in searches], [incomplete] * 2)
            self.assertIn(f"incomplete: {incomplete} answers, {incomplete} of the batch\n", words)
            self.assertEqual(searches[0]["recall"] == 0, incomplete == 100)
        words, _ = self.replay(DATA, "--limit", "1000")
        self.assertNotIn("incomplete", words)

    def test_memory_limit(self):
        _, lines = self.replay(DATA, "--limit", "3000", "--ef", "16", "--memory-limit", "1GiB")
        def of(what):
            return next(line for line in lines if line["what"] == what)

        self.assertEqual(of("insert")["rows"], 2700)
        run = pennon("replay", DATA, "--limit", "3000", "--ef", "16", "--memory-limit", "4MiB", "--json", self.path("j"))
        self.assertEqual(run.returncode, 1)
        self.assertIn("memory: the limit is 4194304 bytes", run.stderr)
        with open(self.path("j")) as file:
            lines = [json.loads(line) for line in file]
        self.assertTrue(0 < of("insert")["rows"] < 2700)
        self.assertLess(of("memory")["total_bytes"], 4 << 20)
        self.assertGreater(of("search")["recall"], 0.9)
        run = pennon("replay", DATA, "--limit", "3000", "--memory-limit", "10kB")
        self.assertEqual(run.returncode, 1)
        self.assertIn("memory: the limit is 10240 bytes", run.stderr)
        self.assertEqual(pennon("replay", DATA, "--memory-limit", "-1").returncode, 2)

    def test_filter_share(self):
        found = {}
        for share in ("1", "0.3", "0.001"):
            answers = self.path("answers.arrow")
            _, lines = self.replay(DATA, "--limit", "2000", "--ef", "100", "--filter-share", share, "--answers", answers)
            searches = [line for line in lines if line["what"].startswith("search")]
            self.assertEqual([line["filter_share"] for line in searches], [float(share)] * 2)
            for line in searches:
                self.assertGreater(line["recall"], 0.95)
            found[share] = set(pyarrow.ipc.open_file(answers).read_all()["row_id"].to_pylist())
        self.assertTrue(0.25 * 1800 < len(found["0.3"]) < 0.35 * 1800, len(found["0.3"]))
        self.assertGreater(len(found["1"]), 0.5 * 1800)
        self.assertLess(len(found["0.001"]), 8)

    def test_progress_tells_the_time_left(self):
        run = pennon("replay", DATA, "--limit", "900", "--holdout", "0", "--batch", "225", "--rate", "900")
        self.assertEqual(len(re.findall(r" searches, 00:0\d left\n", run.stderr)), 3, run.stderr)
        self.assertRegex(run.stderr, r" searches\n$")

    def test_no_readers(self):
        _, lines = self.replay(DATA, "--limit", "300", "--readers", "0")
        self.assertNotIn("concurrent", {line["what"] for line in lines})

    def test_every_metric_finds_what_is_near(self):
        for metric in ("l2", "cosine", "dot"):
            _, lines = self.replay(DATA, "--limit", "800", "--metric", metric, "--ef", "64")
            self.assertGreater(next(line["recall"] for line in lines if line["what"] == "search"), 0.95)

    def test_text_follows_rows_past_nulls(self):
        rows = [[i, 0] for i in range(40)]
        rows[3] = None
        data = self.write("d.parquet", v=vectors(rows), id=[100 + i for i in range(40)], name=[f"row {i}" for i in range(40)])
        queries = self.write("q.parquet", v=vectors([None, [5, 0]]), name=["none", "the fifth"])
        words, _ = self.replay(data, "--queries", queries, "--row-id", "id", "--text", "name", "--k", "1", "--verify")
        self.assertIn("query 0: the fifth\n    0.0000  105  row 5\n", words)

    def test_small_and_empty_files(self):
        self.replay(self.write("empty.parquet", v=vectors([])))
        self.replay(self.write("one.parquet", v=vectors([[1, 2]])), "--k", "50", "--verify")
        self.replay(self.write("nulls.parquet", v=vectors([None, None])), "--verify")
        self.replay(self.write("few.parquet", v=vectors([[1, 2]] * 5)), "--holdout", "100")

    def test_arrow_file_and_export(self):
        table = pyarrow.parquet.read_table(DATA).slice(0, 500)
        with pyarrow.ipc.new_file(self.path("d.arrow"), table.schema) as writer:
            writer.write_table(table, max_chunksize=90)
        graph = self.path("graph.arrow")
        self.replay(self.path("d.arrow"), "--queries", self.path("d.arrow"), "--ef", "16", "--export-graph", graph)
        batch = pyarrow.ipc.open_file(graph).get_batch(0)
        self.assertEqual(batch.schema.names, ["__vector_id", "__neighbors", "_distance"])
        offsets = json.loads(batch.schema.metadata[b"lance:hnsw"])["level_offsets"]
        self.assertEqual(offsets[:2], [0, 500])
        self.assertEqual(offsets[-1], batch.num_rows)


class Lance(Case):
    def run_lance(self, *args):
        run = pennon("lance", *args)
        self.assertEqual(run.returncode, 0, run.stderr)
        return run.stdout

    def table(self, *args, rows=1200):
        path = self.path(f"{len(args)}-{rows}.lance")
        self.replay(DATA, "--limit", str(rows), "--holdout", "0", "--export-lance", path, *args)
        return path

    def test_info(self):
        for kind, version in (("flat", "2.2"), ("sq", "2.0")):
            path = self.path(kind + ".lance")
            self.replay(DATA, "--limit", "300", "--holdout", "0", "--metric", "cosine", "--export-lance", path,
                        "--lance-index", kind, "--lance-version", version)
            info = json.loads(self.run_lance("info", path, "--json"))
            index = {"name": "embedding_idx", "type": "IVF_HNSW_" + kind.upper(), "column": "embedding",
                     "metric": "cosine", "rows": 300, "partitions": 1}
            self.assertEqual(info, {"version": 2, "rows": 300, "fragments": 1, "file_version": version, "indices": [index]})
            self.assertIn("cosine, 300 rows in 1 partition\n", self.run_lance("info", path))
            self.assertEqual(json.loads(self.run_lance("info", path, "--json", "--at", "1"))["indices"], [])
            self.assertEqual(self.run_lance("count", path), "300\n")
            self.assertIn("embedding: fixed_size_list<item: halffloat>[384]", self.run_lance("schema", path))

    def test_scan_and_take(self):
        path = self.table()
        data = pyarrow.parquet.read_table(DATA)[:1200]
        words = [json.loads(line) for line in self.run_lance("scan", path, "--columns", "name,id").splitlines()]
        self.assertEqual(words, data.select(["name", "id"]).to_pylist())
        taken = [json.loads(line) for line in self.run_lance("take", path, "--rows", "5,17,5").splitlines()]
        wanted = data.take([5, 17, 5]).to_pylist()
        self.assertEqual([row["summary"] for row in taken], [row["summary"] for row in wanted])
        for row, want in zip(taken, wanted):
            self.assertEqual([struct.pack("e", x) for x in row["embedding"]], [struct.pack("e", x) for x in want["embedding"]])
        for name, read in (("x.parquet", pyarrow.parquet.read_table),
                           ("x.arrow", lambda p: pyarrow.ipc.open_file(p).read_all())):
            self.assertEqual(self.run_lance("scan", path, "--out", self.path(name)), "")
            self.assertEqual(read(self.path(name)).to_pydict(), data.to_pydict())
            self.assertEqual(read(self.path(name)).schema.types, data.schema.types)
        self.run_lance("scan", path, "--columns", "id,name", "--out", self.path("x.csv"))
        self.assertEqual(pyarrow.csv.read_csv(self.path("x.csv"))["name"].to_pylist(), data["name"].to_pylist())

    def test_json_of_types(self):
        table = pyarrow.table({
            "v": vectors([[1, 2], [0.1, -3]]),
            "bytes": pyarrow.array([b"\x00\xff", None]),
            "list": pyarrow.array([[1, None], None], pyarrow.list_(pyarrow.int8())),
            "struct": pyarrow.array([{"a": 1, "b": "é\n"}, {"a": None, "b": None}]),
            "day": pyarrow.array([1, None], pyarrow.int32()).cast(pyarrow.date32()),
            "big": pyarrow.array([2**64 - 1, 0], pyarrow.uint64()),
            "nan": pyarrow.array([float("nan"), 0.1], pyarrow.float32()),
        })
        pyarrow.parquet.write_table(table, self.path("t.parquet"))
        self.replay(self.path("t.parquet"), "--holdout", "0", "--export-lance", self.path("t.lance"))
        rows = [json.loads(line) for line in self.run_lance("scan", self.path("t.lance")).splitlines()]
        self.assertEqual(rows[0], {"v": [1, 2], "bytes": "AP8=", "list": [1, None], "struct": {"a": 1, "b": "é\n"},
                                   "day": "1970-01-02", "big": 2**64 - 1, "nan": None})
        self.assertEqual(rows[1], {"v": [0.1, -3], "bytes": None, "list": None, "struct": {"a": None, "b": None},
                                   "day": None, "big": 0, "nan": 0.1})
        for column, words in (("v", "fixed_size_list<item: float>[2]"), ("bytes", "binary"), ("struct", "struct<")):
            self.write_bytes("old.csv", b"what it had")
            self.fails(1, f"column {column}: a .csv file cannot hold {words}", "lance", "scan", self.path("t.lance"),
                       "--columns", f"day,{column}", "--out", self.path("old.csv"))
            with open(self.path("old.csv"), "rb") as old:
                self.assertEqual(old.read(), b"what it had")
        for args in (("take", "--rows", "-1"), ("take", "--rows", ""), ("count", "--at", "-1"), ("search", "--like-row", "-1")):
            self.fails(2, args[1], "lance", args[0], self.path("t.lance"), *args[1:])

    def test_search(self):
        path = self.table()
        queries = self.path("q.arrow")
        data = pyarrow.parquet.read_table(DATA)[:1200].combine_chunks()
        with pyarrow.ipc.new_file(queries, data.schema) as out:
            out.write_table(data[7:9])
        lines = self.run_lance("search", path, "--query-file", queries, "-k", "3", "--ef", "50", "--json").splitlines()
        found = [json.loads(line) for line in lines]
        self.assertEqual([row["query"] for row in found], [0, 0, 0, 1, 1, 1])
        self.assertEqual([(row["row_id"], row["distance"]) for row in (found[0], found[3])], [(7, 0), (8, 0)])
        alike = [json.loads(line) for line in
                 self.run_lance("search", path, "--column", "embedding", "--like-row", "7", "-k", "3", "--json").splitlines()]
        self.assertEqual([row["row_id"] for row in alike], [row["row_id"] for row in found[:3]])
        self.assertIn("query 0\n    0.000000  7\n", self.run_lance("search", path, "--like-row", "7"))
        columns = ("--columns", "name,id", "-k", "2")
        [row] = self.run_lance("take", path, "--rows", "7", "--columns", "name,id").splitlines()
        self.assertIn(f"query 0\n    0.000000  7  {row}\n", self.run_lance("search", path, "--like-row", "7", *columns))
        first = json.loads(self.run_lance("search", path, "--like-row", "7", "--json", *columns).splitlines()[0])
        self.assertEqual(first, {"query": 0, "row_id": 7, "distance": 0, "row": json.loads(row)})
        self.fails(1, "no column 'nope'", "lance", "search", path, "--like-row", "7", "--columns", "nope")

    def test_a_table_is_an_input(self):
        path = self.table()
        of_table, of_file = (self.replay(*args)[1] for args in
                             ((path, "--batch", "300"), (DATA, "--limit", "1200", "--batch", "300")))
        for what in ("recall", "ef"):
            self.assertEqual([line[what] for line in of_table if line["what"] == "search"],
                             [line[what] for line in of_file if line["what"] == "search"])
        again = self.path("again.lance")
        self.replay(path, "--holdout", "0", "--export-lance", again, "--lance-version", "2.0")
        self.assertEqual(self.run_lance("scan", again), self.run_lance("scan", path))

    def test_errors(self):
        path = self.table(rows=100)
        self.fails(2, "PATH", "lance", "info")
        self.fails(2, "--rows", "lance", "take", path)
        self.fails(2, "--like-row", "lance", "search", path)
        self.fails(2, "--query-file", "lance", "search", path, "--like-row", "1", "--query-file", DATA)
        self.fails(1, "no-such.lance", "lance", "count", "no-such.lance")
        self.fails(1, "expected version 9", "lance", "count", path, "--at", "9")
        self.fails(1, "no column 'nope'; there are: id", "lance", "scan", path, "--columns", "nope")
        self.fails(1, "column 'id': expected it once", "lance", "scan", path, "--columns", "id,name,id")
        self.fails(1, "column 'id': expected it once", "lance", "take", path, "--rows", "1", "--columns", "id,id")
        for command in ("info", "cleanup"):
            self.fails(1, f"{DATA}: expected a Lance table, which is a directory, got a file", "lance", command, DATA)
        like = ("lance", "search", path, "--like-row", "0")
        self.fails(1, "'nosuch'; there are: embedding_idx of column embedding", *like, "--index", "nosuch")
        self.fails(1, "there are: none", *like, "--index", "embedding_idx", "--at", "1")
        self.fails(1, "column nosuch: expected one of type FixedSizeList", *like, "--column", "nosuch")
        self.fails(1, "the index embedding_idx is of l2", *like, "--metric", "dot")
        without = pennon(*like, "--at", "1", "--metric", "l2")  # before there was an index
        self.assertIn("100 of the table's 100 rows are scanned: column embedding has no index", without.stderr)
        self.assertEqual(without.stdout, pennon(*like, "--exact").stdout)
        again = pennon("replay", DATA, "--limit", "100", "--holdout", "0", "--export-lance", path)
        self.assertEqual(again.stderr.splitlines()[-1], f"pennon: {path}: expected no table, found one")
        self.fails(1, "position 100", "lance", "take", path, "--rows", "100")
        self.fails(1, "x.txt: expected a name that ends in", "lance", "scan", path, "--out", self.path("x.txt"))
        self.fails(1, "No space left", "lance", "scan", path, "--columns", "id", "--out", self.full("x.csv"))
        self.fails(1, "column name: expected one of type FixedSizeList<float or halffloat>, got string", *like, "--column", "name")
        [data] = pathlib.Path(path).glob("data/*.lance")
        bytes_ = bytearray(data.read_bytes())
        bytes_[-40:-32] = b"\xff" * 8
        data.write_bytes(bytes_)
        self.fails(1, data.name, "lance", "scan", path)
        before = set(os.listdir(self.folder.name))
        self.write_bytes("kept.parquet", b"what it had")
        self.fails(1, data.name, "lance", "scan", path, "--out", self.path("kept.parquet"))
        self.fails(1, data.name, "lance", "scan", path, "--out", self.path("new.parquet"))
        self.assertEqual(pathlib.Path(self.path("kept.parquet")).read_bytes(), b"what it had")
        self.assertEqual(set(os.listdir(self.folder.name)) - before, {"kept.parquet"})

    def full(self, name):
        os.symlink("/dev/full", self.path(name))
        return self.path(name)


def npy(descr, rows, version=(1, 0), order="False", shape=None):
    """A .npy file as NumPy writes it; rows of bytes or numbers."""
    shape = shape or f"({len(rows)}, {len(rows[0])})"
    header = f"{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}".encode()
    size = "<H" if version == (1, 0) else "<I"
    header += b" " * (-(8 + struct.calcsize(size) + len(header) + 1) % 64) + b"\n"
    values = b"".join(struct.pack(f"<{len(row)}{ {'2': 'e', '4': 'f', '8': 'd'}[descr[-1]] }", *row) for row in rows)
    return b"\x93NUMPY" + bytes(version) + struct.pack(size, len(header)) + header + values


def vecs(kind, rows):
    return b"".join(struct.pack(f"<i{len(row)}{kind}", len(row), *row) for row in rows)


class VectorFiles(Case):
    ROWS = [[i, i % 7, 200 - i] for i in range(60)]

    def files(self):
        rows = self.ROWS
        lines = "".join(",".join(map(str, row)) + "\n" for row in rows)
        yield self.write_bytes("f4.npy", npy("<f4", rows)), "float"
        yield self.write_bytes("f2.npy", npy("<f2", rows, (2, 0))), "halffloat"
        yield self.write_bytes("f8.npy", npy("<f8", rows, (3, 0))), "float"
        yield self.write_bytes("any-name", npy("<f4", rows)), "float"
        yield self.write_bytes("v.fvecs", vecs("f", rows)), "float"
        yield self.write_bytes("v.bvecs", vecs("B", rows)), "float"
        yield self.write_bytes("bare.csv", lines.encode()), "float"
        yield self.write_bytes("bom.csv", b"\xef\xbb\xbf" + lines.replace("\n", "\r\n").encode()), "float"
        yield self.write_bytes("header.csv", b"0th,b,c\n" + lines.replace(",", ".0,").encode()), "float"

    def test_every_kind_holds_the_same_vectors(self):
        answers = self.path("answers.arrow")
        found = []
        for file, type in self.files():
            _, lines = self.replay(file, "--queries", file, "--k", "4", "--answers", answers)
            self.assertEqual([lines[0][key] for key in ("rows", "dim", "type")], [60, 3, type])
            found.append(pyarrow.ipc.open_file(answers).read_all())
            self.assertEqual(found[-1], found[0], file)
        nearest = found[0].filter(pyarrow.compute.equal(found[0]["query"], 9)).slice(0, 2).to_pylist()
        self.assertEqual([(row["row_id"], row["distance"]) for row in nearest], [(9, 0), (8, 3)])

    def test_columns(self):
        file = self.write_bytes("v.npy", npy("<f4", self.ROWS))
        self.replay(file, "--vector", "vector")
        self.fails(1, "there are: vector (fixed_size_list<item: float>[3])", "replay", file, "--row-id", "id")
        self.fails(1, "expected dimension 3", "replay", file, "--queries", self.write_bytes("q.csv", b"1,2\n3,4\n"))

    def test_bad_files(self):
        rows = self.ROWS
        for name, data, words in (
            ("short.npy", npy("<f4", rows)[:-1], "expected 60 rows of 12 bytes, got 719 bytes"),
            ("long.npy", npy("<f4", rows) + b"x", "expected 60 rows of 12 bytes, got 721 bytes"),
            ("cut.npy", npy("<f4", rows)[:60], "expected a header of"),
            ("magic.npy", b"\x93NUMPY\1", "expected a header, got 7 bytes"),
            ("version.npy", npy("<f4", rows, (4, 0)), "expected version 1, 2 or 3, got 4"),
            ("big.npy", npy("<f4", rows).replace(b"<f4", b">f4"), "'<f4', '<f2' or '<f8' in C order, got {'descr': '>f4'"),
            ("order.npy", npy("<f4", rows, order="True"), "in C order"),
            ("flat.npy", npy("<f4", rows, shape="(180,)"), "two dimensions"),
            ("none.npy", npy("<f4", rows, shape="(60, 0)"), "at least 1"),
            ("less.npy", npy("<f4", rows, shape="(-60, -3)"), "at least 1"),
            ("huge.npy", npy("<f4", rows, shape="(4611686018427387904, 4)"), "rows of 16 bytes"),
            ("wide.npy", npy("<f4", rows, shape="(1, 4294967296)"), "expected an array"),
            ("zero.fvecs", vecs("f", [[]] * 5), "expected a dimension of at least 1, got 0"),
            ("less.bvecs", b"\xff\xff\xff\xff1234", "expected a dimension of at least 1, got -1"),
            ("mixed.fvecs", vecs("f", [[1, 2, 3], [1, 2, 3], [2, 1, 2]]).replace(b"\3\0\0\0\0\0\0@", b"\2\0\0\0\0\0\0@"),
             "expected dimension 3 as in the first row, got 2 in row 2"),
            ("short.bvecs", vecs("B", rows)[:-1], "expected rows of 7 bytes for dimension 3, got 419 bytes"),
            ("empty.fvecs", b"", "expected the dimension"),
            ("empty.csv", b"", "Empty CSV"),
            ("words.csv", b"a,b\n1,2\n3,four\n", "expected a number in every row of column 'b', got string"),
            ("ragged.csv", b"1,2\n3,4\n5\n", "Expected 2 columns, got 1"),
            ("gaps.csv", b"1,2\n3,\n", "column 'f1', got int64 with 1 nulls"),
            ("header.csv", b"a,b\n", "column 'a', got null"),
            ("random.bin", b"\x00" * 100, "expected a Parquet, Arrow IPC or .npy file, or a name that ends in"),
        ):
            with self.subTest(name):
                run = self.fails(1, words, "replay", self.write_bytes(name, data))
                self.assertIn(name, run.stderr)


class Simd(Case):
    def test_every_table_gives_the_same_graph_and_answers(self):
        graphs = {}
        for name in ("portable", "avx2", "avx512"):
            graph, out = self.path(name), self.path("out.jsonl")
            run = pennon("replay", DATA, "--limit", "3000", "--ef", "20", "--readers", "0", "--export-graph", graph,
                         "--json", out, env={**os.environ, "PENNON_SIMD": name})
            if run.returncode != 0:
                self.assertIn("not supported by this processor", run.stderr)
                print(f"SKIPPED: {name}: this processor cannot run it")
                continue
            with open(graph, "rb") as file, open(out) as lines:
                of = {line["what"]: line for line in map(json.loads, lines)}
                self.assertEqual(of["run"]["simd"], name)
                graphs[name] = (file.read(), of["search"]["recall"])
        self.assertEqual(len(set(graphs.values())), 1)

    def test_unknown(self):
        self.fails(1, "'mmx' is unknown", "replay", DATA, env={**os.environ, "PENNON_SIMD": "mmx"})


class Endings(Case):
    def test_interrupt(self):
        out = self.path("out.jsonl")
        run = subprocess.Popen([PENNON, "replay", DATA, "--rate", "1000", "--batch", "100", "--json", out],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        run.stderr.readline()  # a quarter is done
        run.send_signal(signal.SIGINT)
        words, _ = run.communicate(timeout=20)
        self.assertEqual(run.returncode, 130)
        self.assertIn("inserted", words)
        with open(out) as lines:
            whats = [json.loads(line) for line in lines]
        self.assertEqual([line["what"] for line in whats], ["run", "insert", "memory", *["chunk"] * (len(whats) - 3)])
        self.assertTrue(0 < whats[1]["rows"] < 9000)

    def test_head(self):
        run = subprocess.run(f"{PENNON} replay {DATA} --limit 2000 --verify | head -n 1", shell=True,
                             capture_output=True, text=True, timeout=60)
        self.assertNotIn("pennon: ", run.stderr)
        self.assertEqual(len(run.stdout.splitlines()), 1)

    def test_a_german_locale_changes_no_number(self):
        if subprocess.run(["localedef", "-i", "de_DE", "-f", "UTF-8", self.path("de_DE.UTF-8")], capture_output=True).returncode > 1:
            self.skipTest("the locale de_DE.UTF-8 cannot be made here")
        out = self.path("out.jsonl")
        run = pennon("replay", DATA, "--limit", "2000", "--filter-share", "0.5", "--json", out,
                     env={**os.environ, "LC_ALL": "de_DE.UTF-8", "LOCPATH": self.folder.name})
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertIn("inserted 1,800 rows", run.stdout)
        with open(out) as lines:
            self.assertIn(0.5, [json.loads(line).get("filter_share") for line in lines])

    def test_help(self):
        self.assertIn("replay", pennon("--help").stdout)
        self.assertIn("--holdout", pennon("replay", "--help").stdout)


class Demo(Case):
    def test_demo(self):
        run = pennon("demo", cwd=ROOT)
        self.assertEqual(run.returncode, 0, run.stderr)
        for words in ("searches answered", "recall@10", "fuzzy string matching", "memory", "0 unreachable"):
            self.assertIn(words, run.stdout)
        self.assertIn("10000 of 10000 rows", run.stderr)


if __name__ == "__main__":
    unittest.main()
