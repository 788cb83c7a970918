"""Lance tables that Pennon wrote, read and searched by pylance and LanceDB, unmodified. PENNON and WRITE_TABLE name programs."""

import datetime
import decimal
import itertools
import json
import os
import pathlib
import subprocess
import tempfile
import unittest

import lance
import lance.file
import lancedb
import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet

PENNON = os.path.abspath(os.environ["PENNON"])
WRITE_TABLE = os.path.abspath(os.environ["WRITE_TABLE"])
ROOT = pathlib.Path(__file__).parents[2]
DATA = str(ROOT / "data" / "packages-10k.parquet")


def vectors(values, dtype=pa.float32()):
    """FixedSizeList of the rows of an array."""
    flat = pa.array(values.astype(dtype.to_pandas_dtype()).ravel(), dtype)
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


def with_nulls(array, every):
    return array.take(pa.array([None if i % every == every - 1 else i for i in range(len(array))]))


def distances(rows, query, metric):
    rows, query = rows.astype(np.float64), query.astype(np.float64)
    if metric == "l2":
        return ((rows - query) ** 2).sum(1)
    if metric == "dot":
        return 1 - rows @ query
    return 1 - rows @ query / np.linalg.norm(rows, axis=1) / np.linalg.norm(query)


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def run_program(self, *args):
        run = subprocess.run([str(arg) for arg in args], capture_output=True, text=True, timeout=200)
        self.assertEqual(run.returncode, 0, run.stderr)
        return run.stdout

    def write_ipc(self, table):
        path = os.path.join(self.folder, "in.arrow")
        with pa.ipc.new_file(path, table.schema) as file:
            file.write_table(table, max_chunksize=1000)
        return path

    def write(self, table, fragment=1 << 20, page=1 << 20, index="flat", metric="l2", version="2.2", later=0):
        self.tables = getattr(self, "tables", 0) + 1
        path = os.path.join(self.folder, f"table-{self.tables}.lance")
        self.run_program(WRITE_TABLE, self.write_ipc(table), path, fragment, page, index, metric, version, later)
        return lance.dataset(path)

    def scan(self, dataset, *args):
        """What Pennon reads of a table."""
        path = os.path.join(self.folder, "scanned.arrow")
        self.run_program(PENNON, "lance", "scan", dataset.uri, "--out", path, *args)
        with pa.ipc.open_file(path) as file:
            return file.read_all()

    def same(self, got, wanted):
        self.assertEqual(got.column_names, wanted.column_names)
        for name in wanted.column_names:
            self.assertEqual(got[name].type, wanted[name].type, name)
            self.assertTrue(got[name].equals(wanted[name]), name)

    def nearest(self, dataset, column, query, k=10, ef=100, **options):
        """Positions and distances, by the index."""
        scanner = dataset.scanner(
            columns=["_distance"], with_row_id=True, nearest={"column": column, "q": query, "k": k, "ef": ef, **options})
        self.assertIn("ANNSubIndex", scanner.explain_plan())
        return scanner.to_table()

    def recall(self, dataset, column, rows, metric, positions, queries, k=10, **options):
        """Of distances to rows[i], which is the row of row id positions[i]."""
        found = 0
        for query in queries:
            exact = distances(rows, query, metric)
            kth = np.sort(exact)[k - 1]
            near = set(np.asarray(positions)[exact <= kth + 1e-6 * abs(kth)].tolist())
            got = self.nearest(dataset, column, query, k, **options)["_rowid"].to_pylist()
            self.assertEqual(len(got), k)
            found += len(near.intersection(got))
        return found / len(queries) / k


class Replay(Case):
    def replay(self, *args):
        path = os.path.join(self.folder, "packages.lance")
        self.run_program(PENNON, "replay", DATA, "--holdout", "0", "--export-lance", path, "--metric", "cosine", *args)
        return path

    def test_table_and_search(self):
        path = self.replay()
        data = pa.parquet.read_table(DATA).combine_chunks()
        dataset = lance.dataset(path)
        self.assertEqual(dataset.to_table().combine_chunks().columns, data.columns)
        rows = [5, 17, 9999, 5]
        self.assertEqual(dataset.take(rows).columns, data.take(rows).columns)
        self.assertEqual([index.index_type for index in dataset.describe_indices()], ["IVF_HNSW_FLAT"])
        values = np.stack(data["embedding"].to_numpy()).astype(np.float32)
        queries = values[:: len(values) // 50] + 0.01
        self.assertGreater(self.recall(dataset, "embedding", values, "cosine", range(len(values)), queries), 0.98)

        # Another writer goes on with it, and what it appends is found, too.
        far = -values[:3]
        lance.write_dataset(
            pa.table({**{name: data[name][:3] for name in data.column_names[:-1]}, "embedding": vectors(far, pa.float16())}),
            path, mode="append")
        dataset = lance.dataset(path)
        self.assertEqual(dataset.count_rows(), len(data) + 3)
        self.assertEqual(self.nearest(dataset, "embedding", far[1], 1)["_rowid"].to_pylist(), [(1 << 32) + 1])
        self.assertEqual(self.nearest(dataset, "embedding", values[7], 1)["_rowid"].to_pylist(), [7])

        table = lancedb.connect(self.folder).open_table("packages")
        found = table.search(values[42]).distance_type("cosine").limit(3).ef(64).to_arrow()
        self.assertEqual(found["id"][0], data["id"][42])
        self.assertIn("ANNSubIndex", table.search(values[42]).distance_type("cosine").explain_plan())

    def test_null_vectors_and_given_row_ids(self):
        data = pa.parquet.read_table(DATA)[:2000].combine_chunks()
        values = np.stack(data["embedding"].to_numpy()).astype(np.float32)
        data = data.set_column(4, "embedding", with_nulls(data["embedding"].chunk(0), 7))
        data = data.set_column(0, "id", pa.array(np.arange(len(data))[::-1] * 3))
        source, path = os.path.join(self.folder, "nulls.parquet"), os.path.join(self.folder, "nulls.lance")
        pa.parquet.write_table(data, source, row_group_size=300)
        self.run_program(PENNON, "replay", source, "--row-id", "id", "--batch", 130, "--export-lance", path)
        dataset = lance.dataset(path)
        self.assertEqual(dataset.to_table().combine_chunks().columns, data.columns)  # nothing is held out
        for row in (0, 5, 8, 1999):
            found = self.nearest(dataset, "embedding", values[row], 1)
            self.assertEqual(found["_rowid"].to_pylist(), [row])
            self.assertEqual(dataset.take([row])["id"].to_pylist(), [3 * (1999 - row)])
        self.assertNotIn(6, self.nearest(dataset, "embedding", values[6])["_rowid"].to_pylist())

    def test_a_version_during_the_ingest(self):
        data = pa.parquet.read_table(DATA)[:3000].combine_chunks()
        values = np.stack(data["embedding"].to_numpy()).astype(np.float32)
        data = data.set_column(4, "embedding", with_nulls(data["embedding"].chunk(0), 7))
        source = os.path.join(self.folder, "nulls.parquet")
        pa.parquet.write_table(data, source, row_group_size=300)
        for version, index in (("2.0", "flat"), ("2.2", "auto")):
            with self.subTest(version=version):
                path, report = os.path.join(self.folder, f"{version}.lance"), os.path.join(self.folder, "report.jsonl")
                printed = self.run_program(
                    PENNON, "replay", source, "--holdout", 0, "--no-exact", "--ef", 16, "--batch", 130, "--export-lance", path,
                    "--export-at", 1000, "--lance-version", version, "--lance-index", index, "--json", report)
                [said] = [line for line in map(json.loads, pathlib.Path(report).read_text().splitlines()) if line["what"] == "export_lance"]
                self.assertEqual((said["begun_at"], said["file_version"]), (1170, version))  # 1000 vectors are in 9 batches
                dataset = lance.dataset(path)
                self.assertEqual(dataset.data_storage_version, version)
                self.assertEqual(dataset.to_table().combine_chunks().columns, data[:1170].columns)
                self.assertEqual(said["indexed"], data["embedding"][:1170].length() - data["embedding"][:1170].null_count)
                self.assertEqual(said["reason"] != "", index == "auto")
                self.assertIn(said["reason"], printed)
                for row in (0, 5, 8, 1169):
                    self.assertEqual(self.nearest(dataset, "embedding", values[row], 1)["_rowid"].to_pylist(), [row])
        run = subprocess.run([PENNON, "replay", source, "--export-lance", path + "x", "--export-at", "2999"],
                             capture_output=True, text=True, timeout=200)
        self.assertIn("--export-at: expected at most the", run.stderr)
        self.assertFalse(os.path.exists(path + "x"))

    def test_sq(self):
        dataset = lance.dataset(self.replay("--lance-index", "sq"))
        self.assertEqual([index.index_type for index in dataset.describe_indices()], ["IVF_HNSW_SQ"])
        values = np.stack(dataset.to_table()["embedding"].to_numpy()).astype(np.float32)
        queries = values[:: len(values) // 50] + 0.01
        self.assertGreater(
            self.recall(dataset, "embedding", values, "cosine", range(len(values)), queries, refine_factor=3), 0.98)


class Types(Case):
    N = 500

    def scalars(self):
        """Of each type of leaf, without nulls."""
        n = self.N
        number = np.arange(n)
        rng = np.random.default_rng(1)
        text = pa.array([f"text {i}" * (i % 4) for i in range(n)])
        return {
            "bool": pa.array(number % 3 == 0),
            **{str(t): pa.array(number % 100, t) for t in
               (pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())},
            "half": pa.array(rng.normal(size=n).astype(np.float16)),
            "float": pa.array(rng.normal(size=n), pa.float32()),
            "double": pa.array(rng.normal(size=n)),
            "utf8": text,
            "large_utf8": text.cast(pa.large_utf8()),
            "binary": text.cast(pa.binary()),
            "large_binary": text.cast(pa.large_binary()),
            "long": pa.array([chr(97 + i % 26) * (300 + i) for i in range(n)]),
            "fixed_binary": pa.array([b"%03d" % i for i in range(n)], pa.binary(3)),
            "date32": pa.array(number.astype(np.int32), pa.int32()).cast(pa.date32()),
            "date64": pa.array(number * 86400000).cast(pa.date64()),
            "time32": pa.array(number, pa.int32()).cast(pa.time32("ms")),
            "time64": pa.array(number, pa.time64("us")),
            "duration": pa.array(number, pa.duration("ms")),
            "timestamp": pa.array(number, pa.timestamp("us")),
            "zoned": pa.array(number, pa.timestamp("ns", "Europe/Paris")),
            "decimal": pa.array([decimal.Decimal(i) / 8 for i in range(n)], pa.decimal128(20, 3)),
            "floats": vectors(rng.normal(size=(n, 5)), pa.float32()),
            "wide": vectors(rng.normal(size=(n, 100)), pa.float32()),
            "bytes": vectors(rng.integers(0, 256, (n, 7)), pa.uint8()),
            "halves": vectors(rng.normal(size=(n, 5)), pa.float16()),
            "doubles": vectors(rng.normal(size=(n, 5)), pa.float64()),
            "item_nulls": pa.array([[1, None, i] for i in range(n)], pa.list_(pa.float32(), 3)),
            "some_item_nulls": pa.array([[1, None if i > 400 else 2] * 5 for i in range(n)], pa.list_(pa.uint8(), 10)),
        }

    def check(self, table, version):
        """Whole and in pieces, all rows and some."""
        order = np.random.default_rng(2).permutation(len(table))[:50]
        for fragment, page in ((1 << 20, 1 << 20), (100, 64), (300, 1000)):
            with self.subTest(version=version, fragment=fragment, page=page):
                dataset = self.write(table, fragment, page, version=version)
                self.assertEqual(dataset.data_storage_version, version)
                self.assertEqual(len(dataset.get_fragments()), -(-len(table) // fragment))
                read, taken, wanted = dataset.to_table(), dataset.take(order), table.take(order)
                for name in table.column_names:
                    self.assertEqual(read[name].type, table[name].type, name)
                    self.assertTrue(read[name].equals(table[name]), name)
                    self.assertTrue(taken[name].equals(wanted[name]), name)
                    part = dataset.to_table(columns=[name], offset=123, limit=45)
                    self.assertTrue(part[name].equals(table[name][123:168]), name)
                self.same(self.scan(dataset), read)

    def with_vectors(self, columns):
        """write_table wants some."""
        values = np.random.default_rng(3).normal(size=(self.N, 8))
        return pa.table({**columns, "v": with_nulls(vectors(values), 11)})

    def test_scalars(self):
        for version in ("2.0", "2.2"):
            columns = self.scalars()
            columns |= {name + "?": with_nulls(column, 7) for name, column in columns.items()}
            columns["rare"] = pa.array([None if i == 444 else i for i in range(self.N)])
            columns["all_null"] = pa.nulls(self.N, pa.int64())
            columns["all_null_utf8"] = pa.nulls(self.N, pa.utf8())
            self.check(self.with_vectors(columns), version)

    def test_lists(self):
        n = self.N
        sizes = np.arange(n) % 5
        columns = {}
        for name, leaf in self.scalars().items():
            many = leaf.take(np.arange(sizes.sum()) % n)
            for nulls in (False, True):
                items = with_nulls(many, 3) if nulls else many
                offsets = pa.array(np.concatenate([[0], sizes.cumsum()]), pa.int32())
                if pa.types.is_fixed_size_list(leaf.type) and nulls:
                    continue
                lists = pa.ListArray.from_arrays(offsets, items)
                columns[f"{name}{nulls}"] = lists
                columns[f"{name}{nulls}?"] = with_nulls(lists, 7)
        columns["large"] = columns["utf8True?"].cast(pa.large_list(pa.utf8()))
        columns["full"] = pa.array([[i] for i in range(n)])  # neither null nor empty
        columns["empty"] = pa.array([[]] * n, pa.list_(pa.int32()))
        columns["all_null"] = pa.array([None] * n, pa.list_(pa.int32()))
        columns["long"] = pa.array([[i] * (i * i % 1000) for i in range(n)], pa.list_(pa.int64()))
        for version in ("2.0", "2.2"):
            self.check(self.with_vectors(columns), version)

    def test_nested(self):
        n = self.N
        numbers = with_nulls(pa.array(np.arange(n), pa.int32()), 7)
        text = with_nulls(pa.array([f"text {i}" * (i % 3) for i in range(n)]), 5)
        lists = pa.array([None if i % 7 == 3 else [None, i, 2][: i % 4] for i in range(n)], pa.list_(pa.int64()))
        plain = pa.StructArray.from_arrays([numbers, text, lists], names=["a", "b", "c"])
        deep = pa.StructArray.from_arrays([plain, numbers], names=["s", "a"])
        columns = {"struct": plain, "deep": deep}
        columns["list_list"] = pa.array(
            [None if i % 9 == 1 else [[1, None], None, [], [i] * (i % 3)][: i % 5] for i in range(n)],
            pa.list_(pa.list_(pa.int16())))
        columns["list_valid_struct"] = pa.array(
            [None if i % 9 == 1 else [{"a": i, "t": "x" * i}, {"a": None, "t": None}][: i % 3] for i in range(n)],
            pa.list_(pa.struct([("a", pa.int32()), ("t", pa.utf8())])))
        self.check(self.with_vectors(columns), "2.0")
        null = pa.array(np.arange(n) % 6 == 1)
        columns["struct?"] = pa.StructArray.from_arrays([numbers, text, lists], names=["a", "b", "c"], mask=null)
        columns["deep?"] = pa.StructArray.from_arrays([columns["struct?"], numbers], names=["s", "a"],
                                                      mask=pa.array(np.arange(n) % 5 == 2))
        columns["list_struct"] = pa.array(
            [None if i % 9 == 1 else [{"a": i, "t": "x" * i}, None, {"a": None, "t": None}][: i % 4] for i in range(n)],
            pa.list_(pa.struct([("a", pa.int32()), ("t", pa.utf8())])))
        columns["struct_list_struct_list"] = pa.array(
            [None if i % 8 == 1 else {"l": None if i % 8 == 2 else [None, {"m": None}, {"m": []}, {"m": ["a", None]}][: i % 5]}
             for i in range(n)], pa.struct([("l", pa.list_(pa.struct([("m", pa.list_(pa.utf8()))])))]))
        columns["all_null"] = pa.array([None] * n, pa.struct([("a", pa.int32()), ("l", pa.list_(pa.int8()))]))
        self.check(self.with_vectors(columns), "2.2")
        path = os.path.join(self.folder, "refused.lance")
        run = subprocess.run([WRITE_TABLE, self.write_ipc(self.with_vectors(columns)), path, "100", "64", "flat", "l2", "2.0"],
                             capture_output=True, text=True, timeout=200)
        self.assertIn("column struct?: expected no null structs, which file version 2.0 cannot hold (2.2 can)", run.stderr)

    def test_any_nesting(self):
        """Lists and structs around each other by chance, null or empty at each level, never, now and then or always."""
        random = np.random.default_rng(11)

        def any_type(depth):
            chance = random.random() if depth > 0 else 1
            if chance < 0.35:
                return (pa.list_ if chance < 0.25 else pa.large_list)(any_field("item", depth - 1))
            if chance < 0.65:
                return pa.struct([any_field(f"f{i}", depth - 1) for i in range(random.integers(1, 4))])
            return random.choice(np.array([pa.int32(), pa.utf8(), pa.bool_(), pa.int8(), pa.float64(), pa.large_binary(), pa.list_(pa.float32(), 3),
                                           pa.list_(pa.uint8(), 70)], dtype=object))

        def any_field(name, depth):
            return pa.field(name, any_type(depth), nullable=random.random() < 0.7)

        def any_value(field, structs_null, null, empty):
            kind = field.type
            if field.nullable and random.random() < null and (structs_null or not pa.types.is_struct(kind)):
                return None
            if pa.types.is_struct(kind):
                return {inner.name: any_value(inner, structs_null, null, empty) for inner in kind}
            if pa.types.is_fixed_size_list(kind):
                return random.integers(0, 100, kind.list_size).tolist()
            if pa.types.is_list(kind) or pa.types.is_large_list(kind):
                size = 0 if random.random() < empty else random.integers(0, 6)
                return [any_value(kind.value_field, structs_null, null, empty) for _ in range(size)]
            number = int(random.integers(0, 100))
            return {pa.bool_(): number < 50, pa.utf8(): "x" * (number % 9), pa.large_binary(): b"y" * (number % 9)}.get(kind, number)

        for version, n in itertools.product(("2.0", "2.2"), (1, 2, 40) * 2):
            columns = {}
            fields = [any_field(f"c{i}", 3) for i in range(30)]
            fields.append(pa.field("empty", pa.list_(pa.struct([("k", pa.list_(pa.utf8())), ("l", pa.int32())]))))
            inner = pa.struct([("a", pa.int32()), pa.field("l", pa.list_(pa.int32()), nullable=False)])
            fields.append(pa.field("second", pa.struct([("s", inner)])))
            for field in fields:
                null, empty = random.choice((0, 0.1, 0.5, 1)), 1 if field.name == "empty" else random.choice((0, 0.3, 1))
                values = [any_value(field, version != "2.0", null, empty) for _ in range(n)]
                columns[field.name] = pa.array(values, field.type)
            schema = pa.schema([*fields, pa.field("v", pa.list_(pa.float32(), 8))])
            table = pa.Table.from_arrays([*columns.values(), vectors(random.normal(size=(n, 8)))], schema=schema)
            rows = random.integers(0, n, 5)
            for fragment, page in ((1 << 20, 1 << 20), (3, 1), (30, 30)):
                dataset = self.write(table, fragment, page, version=version)
                for name in schema.names:
                    with self.subTest(version=version, n=n, page=page, type=schema.field(name).type):
                        wanted = table[name].to_pylist()
                        self.assertEqual(dataset.to_table(columns=[name])[name].to_pylist(), wanted)
                        self.assertEqual(dataset.take(rows, columns=[name])[name].to_pylist(), [wanted[row] for row in rows])
                read = self.scan(dataset)
                self.assertEqual({name: read[name].to_pylist() for name in schema.names}, table.to_pydict())


class Reading(Case):
    """Tables of pylance's, as far as Pennon knows what is in them."""

    def of_pylance(self, table, version, **options):
        self.tables = getattr(self, "tables", 0) + 1
        path = os.path.join(self.folder, f"pylance-{self.tables}.lance")
        return lance.write_dataset(table, path, data_storage_version=version, **options)

    def test_plain_files(self):
        n = 500
        types = Types()
        columns = types.scalars()
        texts = pa.array([f"{i} is one of many" for i in range(n)])
        for name, type_ in (("utf8", pa.utf8()), ("large_utf8", pa.large_utf8()), ("binary", pa.binary()),
                            ("large_binary", pa.large_binary())):
            columns[name] = texts.cast(type_)  # few would be a dictionary
        columns |= {name + "?": with_nulls(column, 7) for name, column in columns.items()}
        columns["all_null"] = pa.nulls(n, pa.int64())
        columns["list"] = pa.array([[None, i][: i % 3] for i in range(n)], pa.list_(pa.int32()))
        columns["list?"] = with_nulls(columns["list"], 7)
        columns["struct"] = pa.array([{"a": i, "b": {"c": str(i)}} for i in range(n)])
        columns["structs"] = pa.array([[{"a": i, "b": f"number {i}, {j}"} for j in range(i % 3)] for i in range(n)])
        table = pa.table(columns)
        for rows in (1 << 20, 250):
            dataset = self.of_pylance(table, "2.0", max_rows_per_file=rows, max_rows_per_group=64)
            self.same(self.scan(dataset), table)

    def test_wide_vectors_and_nulls(self):
        n = 500
        wide = vectors(np.random.default_rng(1).normal(size=(n, 100)))
        item_nulls = pa.array([[None if (i + j) % 3 == 0 else j for j in range(64)] for i in range(n)], pa.list_(pa.float32(), 64))
        sizes = np.arange(n) % 4
        columns = {"wide": wide, "wide?": with_nulls(wide, 7), "items?": item_nulls, "both?": with_nulls(item_nulls, 5),
                   "fixed": pa.array([bytes([i % 256]) * 300 for i in range(n)], pa.binary(300)),
                   "list": pa.ListArray.from_arrays(np.append(0, sizes.cumsum()), wide.take(np.arange(sizes.sum()) % n)),
                   "struct": pa.StructArray.from_arrays([with_nulls(wide, 7), wide], names=["a", "b"]),
                   "int?": pa.nulls(n, pa.int32()), "utf8?": pa.nulls(n, pa.utf8()), "vector?": pa.nulls(n, pa.list_(pa.float32(), 9))}
        columns["list?"] = with_nulls(columns["list"], 6)
        columns["struct?"] = with_nulls(columns["struct"], 6)
        table = pa.table(columns)
        for version in ("2.1", "2.2"):
            dataset = self.of_pylance(table, version, max_rows_per_file=300)
            self.same(self.scan(dataset), table)

    def check(self, columns, version):
        """All rows, and some by their places."""
        with self.subTest(version=version):
            dataset = self.of_pylance(pa.table(columns), version)
            self.same(self.scan(dataset), dataset.to_table())
            rows = np.random.default_rng(1).integers(0, dataset.count_rows(), 40).tolist()
            taken = self.run_program(PENNON, "lance", "take", dataset.uri, "--rows", ",".join(map(str, rows)))
            lines = self.run_program(PENNON, "lance", "scan", dataset.uri).splitlines()
            self.assertEqual(taken.splitlines(), [lines[row] for row in rows])

    def test_what_pylance_writes_by_default(self):
        n = 5000
        number, rng = np.arange(n), np.random.default_rng(3)
        columns = {name: column.take(pa.array(number % len(column))) for name, column in Types().scalars().items()}
        columns |= {
            "random": pa.array(rng.integers(-2**62, 2**62, n)),
            "sorted": pa.array(number),
            "few": pa.array(rng.integers(0, 5, n) * 10**12),
            "runs": pa.array(number // 1000 % 3 + 10**10),
            "constant": pa.array([7] * n),
            "constant_bool": pa.array([True] * n),
            "constant_text": pa.array(["the same"] * n),
            "constant_vector": vectors(np.ones((n, 3))),
            "few_texts": pa.array(["abc", "de", "", "a longer one"] * (n // 4)),
            "texts": pa.array([f"http://example.com/a/path/{i * 7919 % n}/page" for i in range(n)]),
            "long_texts": pa.array([f"ab{i}" * (100 + i % 50) for i in range(n)]),
            "huge_texts": pa.array([f"xyz{i}" * 12000 if i % 97 == 0 else "s" for i in range(n)]),
            "rare": pa.array([i if i % 1000 == 0 else None for i in range(n)]),
            "list": pa.array([list(range(i % 5)) for i in range(n)], pa.list_(pa.int32())),
            "list_of_text": pa.array([[f"item {i}", None, "x"][: i % 4] for i in range(n)]),
            "long_lists": pa.array([list(range(i, i + (5000 if i % 200 == 7 else i % 3))) for i in range(n // 5)] * 5),
            "list_of_lists": pa.array([[[i], None, [], [i, None]][: i % 5] for i in range(n)], pa.list_(pa.list_(pa.int16()))),
            "list_of_vectors": pa.array([[[1, i]] * (i % 3) for i in range(n)], pa.list_(pa.list_(pa.float32(), 2))),
            "struct": pa.array([{"a": i, "b": {"c": str(i)}} for i in range(n)]),
            "list_of_structs": pa.array([[{"a": i, "b": f"{i}, {j}"} for j in range(i % 3)] for i in range(n)]),
        }
        columns |= {name + "?": with_nulls(column, 7) for name, column in columns.items()}
        for version in ("2.0", "2.1", "2.2"):
            # Structs are never null in 2.0.
            known = {name: column for name, column in columns.items() if version != "2.0" or name != "struct?"}
            self.check(known, version)

    def test_encodings_that_are_asked_for(self):
        n = 5000
        rng = np.random.default_rng(3)
        walk = rng.normal(size=n).cumsum()
        columns = {"float": pa.array(walk, pa.float32()), "double": pa.array(walk), "int": pa.array(np.arange(n) * 10**6),
                   "runs": pa.array(np.arange(n) // 50 % 90), "text": pa.array([f"a text of {i % 700}" * 3 for i in range(n)]),
                   "long": pa.array([f"a text of {i}" * 40 for i in range(n)])}
        columns |= {name + "?": with_nulls(column, 7) for name, column in columns.items()}
        for version in ("2.1", "2.2"):
            for options in ({"compression": "zstd"}, {"compression": "lz4"}, {"compression": "fsst"}, {"compression": "none"},
                            {"compression": "lz4", "bss": "on"}, {"compression": "zstd", "bss": "on"}, {"rle-threshold": "1.0"},
                            {"structural-encoding": "fullzip"}, {"structural-encoding": "miniblock"}):
                metadata = {f"lance-encoding:{key}": value for key, value in options.items()}
                schema = pa.schema([pa.field(name, column.type, metadata=metadata) for name, column in columns.items()])
                with self.subTest(version=version, options=options):
                    dataset = self.of_pylance(pa.table(list(columns.values()), schema=schema), version)
                    self.same(self.scan(dataset), dataset.to_table())
        columns = {"text": columns["text?"], "long": columns["long"], "nulls": pa.nulls(n, pa.utf8()), "empty": pa.array([""] * n)}
        for compression in ("fsst", "zstd", "lz4"):
            schema = pa.schema([pa.field(name, pa.utf8(), metadata={"lance-encoding:compression": compression}) for name in columns])
            dataset = self.of_pylance(pa.table(list(columns.values()), schema=schema), "2.0")
            with self.subTest(version="2.0", compression=compression):
                self.same(self.scan(dataset), dataset.to_table())
                rows = [4999, 0, 77, 78, 3000]
                taken = self.run_program(PENNON, "lance", "take", dataset.uri, "--rows", ",".join(map(str, rows))).splitlines()
                self.assertEqual([json.loads(line) for line in taken], dataset.take(rows).to_pylist())

    def test_tables_that_changed(self):
        number = np.arange(200)
        dataset = self.of_pylance(pa.table({"a": number, "b": pa.array(number, pa.int16())}), "2.0")
        dataset.add_columns({"c": "a + 1"})
        dataset.alter_columns({"path": "a", "name": "d"})
        dataset = lance.write_dataset(pa.table({"d": number}), dataset.uri, mode="append")
        dataset.drop_columns(["b"])
        wanted = dataset.to_table()
        self.assertEqual(wanted["c"].null_count, 200)
        self.same(self.scan(dataset), wanted)
        self.same(self.scan(dataset, "--at", "1"), lance.dataset(dataset.uri, version=1).to_table())

    def test_few_large_texts(self):
        """A batch of as many rows as others have would be of gigabytes."""
        table = pa.table({"text": ["a" * 400_000, "b", "c" * 500_000] * 2000})
        for version in ("2.0", "2.2"):
            dataset = self.of_pylance(table, version)
            path = os.path.join(self.folder, "large.csv")
            self.run_program(PENNON, "lance", "scan", dataset.uri, "--out", path, "--columns", "text")
            self.assertGreater(os.path.getsize(path), 2000 * 900_000)

    def test_deleted_rows(self):
        n = 1 << 17
        kinds = set()
        for few, many in (("a % 1000 = 3", "a % 3 = 0 or a > 120000"), ("a = 5", "a < 70000"), ("a < 2000 and a > 100", "a % 2 = 0")):
            for words in (few, many):
                dataset = self.of_pylance(pa.table({"a": np.arange(n), "t": [str(i) for i in range(n)]}), "2.2", max_rows_per_file=n // 2)
                dataset.delete(words)
                kinds |= {path.suffix for path in pathlib.Path(dataset.uri, "_deletions").iterdir()}
                wanted = dataset.to_table()
                self.same(self.scan(dataset), wanted)
                self.assertEqual(int(self.run_program(PENNON, "lance", "count", dataset.uri)), len(wanted))
                rows = [0, 1, 5, 777, len(wanted) // 2, len(wanted) - 1]
                taken = self.run_program(PENNON, "lance", "take", dataset.uri, "--rows", ",".join(map(str, rows))).splitlines()
                self.assertEqual([json.loads(line)["a"] for line in taken], wanted["a"].take(rows).to_pylist())
        self.assertEqual(kinds, {".arrow", ".bin"})

    def test_what_is_not_known_is_named(self):
        def fails(dataset, *words):
            run = subprocess.run([PENNON, "lance", "scan", dataset.uri], capture_output=True, text=True, timeout=100)
            self.assertEqual(run.returncode, 1)
            for word in words:
                self.assertIn(word, run.stderr)
        point = pa.field("point", pa.struct([("x", pa.int32())]), metadata={"packed": "true"})
        fails(self.of_pylance(pa.table([[{"x": 1}]], schema=pa.schema([point])), "2.0"), "column point", "packed struct")
        blob = pa.field("bytes", pa.large_binary(), metadata={"lance-encoding:blob": "true"})
        fails(self.of_pylance(pa.table([[b"abc"] * 5], schema=pa.schema([blob])), "2.1"), "column bytes")


class Index(Case):
    def table(self, n=3000, dim=24, dtype=pa.float32()):
        """Vectors around some centres, one in 50 of them null."""
        rng = np.random.default_rng(2)
        values = (rng.normal(size=(20, dim))[rng.integers(0, 20, n)] + 0.5 * rng.normal(size=(n, dim))).astype(np.float32)
        values = values.astype(dtype.to_pandas_dtype()).astype(np.float32)
        return pa.table({"id": np.arange(n), "v": with_nulls(vectors(values, dtype), 50)}), values

    def test_metrics_storages_and_types(self):
        fragment = 1100
        for dtype in (pa.float32(), pa.float16()):
            table, values = self.table(dtype=dtype)
            valid = np.flatnonzero(table["v"].is_valid().to_numpy())
            row_ids = valid // fragment << 32 | valid % fragment
            queries = values[::100] + np.float32(0.01)
            for metric in ("l2", "cosine", "dot"):
                for index, version in itertools.product(("flat", "sq"), ("2.0", "2.2")):
                    with self.subTest(metric=metric, index=index, dtype=dtype, version=version):
                        dataset = self.write(table, fragment, 1 << 16, index, metric, version)
                        options = {"refine_factor": 5} if index == "sq" else {}
                        found = self.recall(dataset, "v", values[valid], metric, row_ids, queries, **options)
                        self.assertGreater(found, 0.97)
                        nearest = self.nearest(dataset, "v", queries[3], 5, **options)
                        exact = np.sort(distances(values[valid], queries[3], metric))[:5]
                        np.testing.assert_allclose(nearest["_distance"].to_numpy(), exact,
                                                   rtol=1e-2 if dtype == pa.float16() else 1e-4, atol=1e-3)

    def test_it_is_searched_here_as_there(self):
        table, values = self.table()
        for metric in ("l2", "cosine", "dot"):
            dataset = self.write(table, 1100, metric=metric)
            info = json.loads(self.run_program(PENNON, "lance", "info", dataset.uri, "--json"))
            self.assertEqual([(index["type"], index["metric"]) for index in info["indices"]], [("IVF_HNSW_FLAT", metric)])
            for row in (3, 1500, 2998):
                lines = self.run_program(PENNON, "lance", "search", dataset.uri, "--like-row", row, "-k", 5, "--ef", 100, "--json")
                found = [json.loads(line) for line in lines.splitlines()]
                nearest = self.nearest(dataset, "v", values[row], 5)
                np.testing.assert_allclose([line["distance"] for line in found], nearest["_distance"].to_numpy(), rtol=1e-4, atol=1e-5)
                self.assertEqual([line["row_id"] for line in found], nearest["_rowid"].to_pylist())

    def test_indices_that_are_not_read_are_named(self):
        rng = np.random.default_rng(1)
        table = pa.table({"v": vectors(rng.random((300, 64))), "u": vectors(rng.integers(0, 255, (300, 8)), pa.uint8())})
        dataset = lance.write_dataset(table, os.path.join(self.folder, "indices.lance"))
        dataset = dataset.create_index("v", "IVF_PQ", num_partitions=1, num_sub_vectors=8, index_file_version="LEGACY")
        dataset = dataset.create_index("u", "IVF_FLAT", num_partitions=1, metric="hamming")
        info = json.loads(self.run_program(PENNON, "lance", "info", dataset.uri, "--json"))
        self.assertEqual([(index["name"], index["metric"], index["rows"]) for index in info["indices"]],
                         [("v_idx", None, None), ("u_idx", None, None)])
        # It may be of any metric.
        args = (PENNON, "lance", "search", dataset.uri, "--like-row", "7", "-k", "3", "--json", "--column", "v")
        run = subprocess.run(args, capture_output=True, text=True, timeout=200)
        self.assertEqual(run.returncode, 1)
        self.assertIn("the index v_idx of column v cannot be read; --column and --metric scan the rows", run.stderr)
        found = [json.loads(line)["row_id"] for line in self.run_program(*args, "--metric", "cosine").splitlines()]
        nearest = {"column": "v", "q": table["v"][7].as_py(), "k": 3, "metric": "cosine", "use_index": False}
        self.assertEqual(found, dataset.to_table(nearest=nearest, with_row_id=True)["_rowid"].to_pylist())

    def test_zero_vectors_under_cosine(self):
        _, values = self.table(600)
        values[::30] = 0
        table = pa.table({"id": np.arange(600), "v": vectors(values)})
        for index in ("flat", "sq"):
            dataset = self.write(table, index=index, metric="cosine")
            for options in ({}, {"refine_factor": 3}):
                if index == "sq" and not options:
                    continue  # ranks by codes
                for query in values[1::100]:
                    found = self.nearest(dataset, "v", query, **options)
                    exact = distances(values[values.any(1)], query, "cosine")
                    np.testing.assert_allclose(found["_distance"], np.sort(exact)[:10], atol=1e-3)
            everything = self.nearest(dataset, "v", values[1], 600, ef=600)
            if index == "flat":
                zero = dict(zip(everything["_rowid"].to_pylist(), everything["_distance"].to_pylist()))
                self.assertEqual([zero[row] for row in range(0, 600, 30)], [1] * 20)
        half = pa.table({"id": np.arange(600), "v": vectors(values, pa.float16())})
        path = os.path.join(self.folder, "half.lance")
        run = subprocess.run([WRITE_TABLE, self.write_ipc(half), path, "100", "64", "flat", "cosine", "2.2"],
                             capture_output=True, text=True, timeout=200)
        self.assertIn("expected no zero vectors of float16 under cosine", run.stderr)

    def test_the_graph_is_the_one_searched(self):
        table, values = self.table()
        dataset = self.write(table, version="2.0")
        [path] = pathlib.Path(dataset.uri).glob("_indices/*/index.idx")
        data = bytearray(path.read_bytes())
        for page in lance.file.LanceFileReader(str(path)).metadata().columns[2].pages:
            neighbors = np.frombuffer(data, np.uint32, page.buffers[0].size // 4, page.buffers[0].position)
            neighbors %= 100
        path.write_bytes(data)
        valid = np.flatnonzero(table["v"].is_valid().to_numpy())
        dataset = lance.dataset(dataset.uri)
        outside = set()
        for query in values[::150]:
            outside.update(row for row in self.nearest(dataset, "v", query)["_rowid"].to_pylist() if row > valid[99])
        self.assertLessEqual(len(outside), 1)  # where the search begins

    def test_rows_appended_later_are_scanned(self):
        table, values = self.table()
        dataset = self.write(table, later=100)
        self.assertEqual(dataset.version, 3)
        found = self.nearest(dataset, "v", values[2950], 1)
        self.assertEqual(found["_rowid"].to_pylist(), [1 << 32 | 50])

    def test_other_writers_go_on(self):
        for version in ("2.0", "2.2"):
            with self.subTest(version=version):
                self.others_go_on(version)

    def others_go_on(self, version):
        table, values = self.table()
        dataset = self.write(table, 1100, index="sq", version=version)
        dataset.delete("id < 100")
        self.assertGreater(min(self.nearest(dataset, "v", values[5])["_rowid"].to_pylist()), 99)
        stale = lance.dataset(dataset.uri, version=1)
        lance.write_dataset(table.slice(0, 10), stale, mode="append")  # rebases over the versions since
        dataset = lance.dataset(dataset.uri)
        self.assertEqual(dataset.count_rows(), len(table) - 100 + 10)
        dataset.optimize.optimize_indices()
        dataset.optimize.compact_files()
        dataset = lance.dataset(dataset.uri)
        found = self.nearest(dataset, "v", values[2000], 1, refine_factor=5)
        self.assertEqual(dataset.take(np.arange(dataset.count_rows()))["id"].to_pylist(),
                         dataset.to_table()["id"].to_pylist())
        self.assertEqual(dataset._take_rows(found["_rowid"].to_pylist())["id"].to_pylist(), [2000])


if __name__ == "__main__":
    os.environ.setdefault("LANCE_LOG", "error")
    unittest.main()
