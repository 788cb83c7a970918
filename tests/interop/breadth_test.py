"""Columns of every type, shape and encoding that pylance can be brought to write, read value by value. READ_TABLE names a
program. PENNON_BREADTH_SECONDS: that many of random columns are tried, too, from PENNON_BREADTH_SEED on."""

import collections
import itertools
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import time
import unittest

import lance
import lance.file
import numpy as np
import pyarrow as pa
import pyarrow.ipc

from columns import FIXED, LEAVES, LENGTHS, NULLS, NUMBERS, SHAPES, SIZES, TEXTS, TIMES, Maker, with_metadata

PENNON = os.path.abspath(os.environ["PENNON"])
READ_TABLE = os.path.abspath(os.environ["READ_TABLE"])
VERSIONS = ("2.0", "2.1", "2.2")


class Reader:
    """A process that reads tables."""

    def __init__(self):
        self.process = subprocess.Popen([READ_TABLE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self, *words):
        """What it answers, or the error."""
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().rstrip("\n")
        if not answer:
            raise AssertionError(f"{READ_TABLE} ended with {self.process.wait()} at {words}")
        return answer

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


NESTS = (
    pa.list_,
    pa.large_list,
    lambda t: pa.struct([("a", t), ("b", pa.int32())]),
    lambda t: pa.list_(pa.list_(t)),
    lambda t: pa.list_(pa.struct([("a", t), ("b", pa.utf8())])),
    lambda t: pa.struct([("a", pa.list_(t)), ("b", pa.struct([("c", t)]))]),
    lambda t: pa.struct([("a", pa.list_(pa.struct([("b", pa.large_list(t)), ("c", t)])))]),
    lambda t: pa.map_(pa.utf8(), t),
    lambda t: pa.list_(pa.map_(pa.int16(), pa.list_(t))),
)
DEPTHS = (("none",), ("some", "none"), ("none", "some", "none"), ("none", "none", "some"), ("some",), ("all", "none"), ("none", "all"),
          ("runs", "some"), ("last", "first", "most"))
SETTINGS = (
    {"compression": "none"},
    {"compression": "zstd"},
    {"compression": "zstd", "compression-level": "7", "bss": "off"},
    {"compression": "lz4"},
    {"compression": "fsst"},
    {"compression": "lz4", "bss": "on"},
    {"compression": "zstd", "bss": "on"},
    {"rle-threshold": "1.0"},
    {"rle-threshold": "0.0"},
    {"rle-threshold": "1.0", "compression": "lz4"},
    {"rle-threshold": "1.0", "compression": "zstd"},
    {"structural-encoding": "fullzip"},
    {"structural-encoding": "fullzip", "compression": "zstd"},
    {"structural-encoding": "fullzip", "compression": "lz4"},
    {"structural-encoding": "fullzip", "compression": "none"},
    {"structural-encoding": "miniblock"},
    {"structural-encoding": "miniblock", "compression": "zstd"},
    {"structural-encoding": "miniblock", "minichunk-size": "512"},
    {"structural-encoding": "miniblock", "minichunk-size": "65536"},
    {"dict-divisor": "1", "dict-size-ratio": "1.0"},
    {"dict-divisor": "1", "dict-size-ratio": "1.0", "dict-values-compression": "zstd"},
    {"dict-divisor": "1", "dict-size-ratio": "1.0", "dict-values-compression": "none", "compression": "zstd"},
    {"dict-divisor": "100000"},
)
# How pylance writes values, by file version: each must have been met. Not met, whatever was tried: levels and runs in lz4, values of
# full-zip in lz4, runs in a dictionary. Blobs and packed structs are not read.
SINCE_2_1 = (
    "Constant all Constant", "FullZip all FullZip", "MiniBlock all MiniBlock", "MiniBlock dictionary Flat", "MiniBlock dictionary Variable Flat",
    "FullZip values Flat", "FullZip values Variable Flat", "FullZip values Fsst Variable Flat", "FullZip values General zstd Variable Flat",
    "FullZip values FixedSizeList Flat", "FullZip values FixedSizeList validity Flat", "FullZip values FixedSizeList validity Constant",
    "FullZip values FixedSizeList FixedSizeList Flat", "FullZip values FixedSizeList validity FixedSizeList validity Flat",
    "MiniBlock levels Flat", "MiniBlock levels InlineBitpacking", "MiniBlock levels OutOfLineBitpacking Flat",
    "MiniBlock values Flat", "MiniBlock values InlineBitpacking", "MiniBlock values Rle Flat Flat", "MiniBlock values ByteStreamSplit Flat",
    "MiniBlock values Variable Flat", "MiniBlock values Fsst Variable Flat", "MiniBlock values FixedSizeList Flat",
    "MiniBlock values FixedSizeList validity Flat", "MiniBlock values FixedSizeList FixedSizeList Flat",
    "MiniBlock values FixedSizeList validity FixedSizeList validity Flat", "MiniBlock values General zstd Rle Flat Flat",
    *(f"MiniBlock values General {scheme} {inner}" for scheme in ("lz4", "zstd")
      for inner in ("Flat", "InlineBitpacking", "Variable Flat", "ByteStreamSplit Flat")),
)
ENCODINGS = {
    "2.0": ("AllNulls", "Flat", "SomeNulls Flat Flat", "FixedSizeList Flat", "FixedSizeList SomeNulls Flat Flat", "FixedSizeList AllNulls",
            "SomeNulls Flat FixedSizeList SomeNulls Flat FixedSizeList SomeNulls Flat Flat", "List Flat", "Struct", "Binary Flat Flat",
            "Binary Flat Flat lz4", "Binary Flat Flat zstd", "Binary Flat Flat none", "Fsst Binary Flat Flat", "Dictionary Flat Binary Flat Flat",
            "Dictionary Flat SomeNulls Flat Flat"),
    "2.1": SINCE_2_1,
    "2.2": (*SINCE_2_1, "Constant all Constant value", "Constant levels Flat", "Constant levels InlineBitpacking", "Constant levels Rle Flat Flat",
            "Constant levels OutOfLineBitpacking Flat", "MiniBlock levels Rle Flat Flat", "MiniBlock dictionary InlineBitpacking",
            *(f"MiniBlock dictionary General {scheme} {inner}" for scheme in ("lz4", "zstd") for inner in ("Flat", "Variable Flat"))),
}

Case = collections.namedtuple("Case", "type shape length nulls sizes settings", defaults=("few", "short", ("none",), "few", ()))


def name(case):
    nulls = ",".join(case.nulls)
    return f"{case.type} {case.shape} length={case.length} nulls={nulls} sizes={case.sizes} {dict(case.settings)}"


def encodings(path, version):
    """How pages of a table are written, by what pylance tells of them."""
    found = set()
    for file in pathlib.Path(path, "data").glob("*.lance"):
        for column in lance.file.LanceFileReader(str(file)).metadata().columns:
            for page in column.pages:
                found |= {(version, encoding) for encoding in classes(page.encoding)}
    return found


ROLES = {"rep_compression": "levels", "def_compression": "levels", "value_compression": "values", "dictionary": "dictionary"}


def classes(text):
    """Layout, of what and how, for each part of a page's description, which pylance prints."""
    words = re.findall(r"(rep_compression|def_compression|value_compression|dictionary): Some|\b([A-Z]\w+)\(|scheme: \"?(\w+)|has_(validity): true"
                       r"|inline_(value): Some", text)
    layout, role, chain, found = "", "", [], set()

    def end():
        if chain:
            found.add(" ".join(filter(None, (layout, role, *chain))))
        chain.clear()

    for role_word, kind, scheme, validity, value in words:
        if role_word:
            end()
            role = ROLES[role_word]
        elif kind.endswith("Layout"):
            layout, role = kind[: -len("Layout")], "all"
            chain.append(layout)
        elif kind not in ("Some", "Nullable", "NoNulls", "BitsPerValue", "BitsPerOffset"):
            chain.append(kind or scheme.removeprefix("CompressionAlgorithm").lower() or validity or value)
    end()
    return found


def read_ipc(path):
    with pa.OSFile(path) as file, pa.ipc.open_file(file) as reader:
        return reader.read_all()


def plain(type_):
    """With dictionaries as their values."""
    if pa.types.is_dictionary(type_):
        return type_.value_type
    if pa.types.is_struct(type_):
        return pa.struct([field.with_type(plain(field.type)) for field in type_])
    if pa.types.is_map(type_):
        return pa.map_(type_.key_type, plain(type_.item_type))
    if pa.types.is_list(type_):
        return pa.list_(plain(type_.value_type))
    return pa.large_list(plain(type_.value_type)) if pa.types.is_large_list(type_) else type_


def decoded(array):
    """The same values, with dictionaries as theirs."""
    type_ = plain(array.type)
    if type_ == array.type:
        return array
    assert array.offset == 0
    if pa.types.is_dictionary(array.type):
        return array.dictionary.take(array.indices)
    if pa.types.is_struct(type_):
        fields = [decoded(array.field(i)) for i in range(type_.num_fields)]
        return pa.Array.from_buffers(type_, len(array), array.buffers()[:1], children=fields)
    return pa.Array.from_buffers(type_, len(array), array.buffers()[:2], children=[decoded(array.values)])


def random_type(rng, depth=0):
    kind = rng.integers(0, 10)
    if depth < 4 and kind < 5:
        inner = random_type(rng, depth + 1)
        if kind == 4:
            return pa.struct([(f"f{i}", random_type(rng, depth + 1)) for i in range(rng.integers(1, 4))])
        return (pa.list_, pa.large_list, lambda t: pa.struct([("a", t)]), lambda t: pa.map_(pa.utf8(), t))[kind](inner)
    if kind == 5:
        return pa.list_(FIXED[rng.integers(len(FIXED))], int(rng.choice([1, 2, 7, 8, 64, 100])))
    if kind == 6 and depth < 4:
        return pa.dictionary(NUMBERS[rng.integers(8)], (*NUMBERS, *TEXTS)[rng.integers(15)])
    return LEAVES[rng.integers(len(LEAVES))]


class Breadth(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.reader = Reader()
        cls.addClassCleanup(lambda: cls.reader.close())
        cls.met = set()
        cls.count = collections.Counter()
        cls.ran = 0

    @classmethod
    def tearDownClass(cls):
        if os.environ.get("PENNON_BREADTH_VERBOSE"):
            print(dict(cls.count), *sorted(cls.met), sep="\n", flush=True)
        missing = {version: set(wanted) - {how for of, how in cls.met if of == version} for version, wanted in ENCODINGS.items()}
        if cls.ran > 4 and any(missing.values()):
            raise AssertionError(f"encodings that were not met: {missing}")

    def setUp(self):
        self.tables = 0
        self.wrong = {}
        type(self).ran += 1

    def write(self, columns, version, **options):
        """Tables of as many of the columns as pylance writes together."""
        fields = [with_metadata(pa.field(f"c{i}", array.type), {f"lance-encoding:{key}": value for key, value in case.settings})
                  for i, (case, array) in enumerate(columns)]
        self.tables += 1
        path = os.path.join(self.folder.name, f"{self.id()}-{self.tables}.lance")
        try:
            table = pa.table([array for _, array in columns], schema=pa.schema(fields))
            dataset = lance.write_dataset(table, path, data_storage_version=version, **options)
        except BaseException as error:
            if len(columns) == 1:
                self.refused(version, columns[0][0], "written", error)
                return []
            half = len(columns) // 2
            return self.write(columns[:half], version, **options) + self.write(columns[half:], version, **options)
        return [(dataset, columns, table)]

    def refused(self, version, case, what, error):
        self.count[f"not {what} by pylance"] += 1
        if os.environ.get("PENNON_BREADTH_VERBOSE"):
            print(f"pylance {what} not: {version} {name(case)}: {str(error)[:120]!r}", flush=True)

    def check(self, cases, n, rng, versions=VERSIONS, **options):
        for version in versions:
            columns = []
            for case in cases:
                maker = Maker(rng, case.shape, case.length, case.nulls, case.sizes, null_structs=version != "2.0")
                columns.append((case, maker.make(case.type, n)))
            for first in range(0, len(columns), 200):
                for dataset, some, table in self.write(columns[first : first + 200], version, **options):
                    self.read(dataset, some, table, version, rng)
                    shutil.rmtree(dataset.uri)

    def read(self, dataset, columns, table, version, rng):
        n = len(table)
        positions = [0, n - 1, *rng.integers(0, n, 30).tolist(), n // 2, n // 2, 0]
        batch = int(rng.choice([1 << 20, 1000, 77]))
        answer = self.reader("open", dataset.uri)
        self.assertEqual(answer, f"ok {dataset.version} {n}")
        out = os.path.join(self.folder.name, "out.arrow")
        got = {}
        for what, *words in (("scan", batch), ("take", ",".join(map(str, positions)))):
            if self.reader(what, out, *words) == "ok":
                got[what] = read_ipc(out).columns
                continue
            got[what] = []
            for i in range(len(columns)):
                answer = self.reader(what, out, *words, f"c{i}")
                got[what].append(read_ipc(out).column(0) if answer == "ok" else answer)
        for i, (case, _) in enumerate(columns):
            self.count["columns"] += 1
            self.count["cells"] += n + len(positions)
            problem = self.problem(got["scan"][i], got["take"][i], table[i], positions)
            if problem:  # what pylance reads is what counts
                try:
                    problem = self.problem(got["scan"][i], got["take"][i], dataset.to_table(columns=[f"c{i}"]).column(0), positions)
                except BaseException as error:
                    self.refused(version, case, "read", error)
                    continue
            if problem:
                self.wrong[f"{version} {name(case)}"] = problem
        self.met |= encodings(dataset.uri, version)

    def problem(self, scanned, taken, wanted, positions):
        """What is wrong, or None."""
        wanted = decoded(wanted.combine_chunks())
        for got, values in ((scanned, wanted), (taken, wanted.take(positions))):
            if isinstance(got, str):
                return got
            if got.type != values.type:
                return f"of type {got.type}"
            if not got.combine_chunks().equals(values):
                return "scanned values differ" if got is scanned else "taken values differ"
        return None

    def tearDown(self):
        if self.wrong:
            kinds = collections.defaultdict(list)
            for column, problem in self.wrong.items():
                kinds[re.sub(r"^.*: column c\d+", "column", problem)].append(column)
            lines = [f"{len(columns)} x {problem}: as {columns[0]}" for problem, columns in kinds.items()]
            self.fail("\n".join([f"{len(self.wrong)} columns", *lines]))

    def test_leaves(self):
        cases = []
        for type_ in LEAVES:
            texts = type_ in TEXTS
            for shape, length in itertools.product(SHAPES, LENGTHS if texts else ["short"]):
                if length in ("huge", "mixed") and shape not in ("sorted", "random", "few"):
                    continue
                cases.append(Case(type_, shape, length))
                cases.append(Case(type_, shape, length, ("some",)))
            for nulls in NULLS:
                cases.append(Case(type_, "random", "short", (nulls,)))
                cases.append(Case(type_, "few", "long", (nulls,)))
        cases += [Case(pa.dictionary(index, value), shape, "short", (nulls,)) for index in NUMBERS[:8] for value in (*NUMBERS, *TEXTS)
                  for shape in ("random", "constant") for nulls in ("none", "some", "all")]
        self.check(cases, 2100, np.random.default_rng(1))

    def test_lists_of_a_fixed_size(self):
        items = [type_ for type_ in FIXED if type_ != pa.binary(300)]
        cases = []
        for i, item in enumerate(items):
            for dim in (1, 3, 8, 130):
                type_ = pa.list_(item, dim)
                shape = list(SHAPES)[(i + dim) % len(SHAPES)]
                for nulls in (("none",), ("some", "none"), ("none", "some"), ("some",), ("none", "all"), ("runs", "last")):
                    cases.append(Case(type_, shape, "short", nulls))
        for type_ in (pa.list_(pa.list_(pa.float32(), 2), 3), pa.list_(pa.list_(pa.uint8(), 200), 2), pa.list_(pa.list_(pa.bool_(), 3), 5),
                      pa.list_(pa.list_(pa.list_(pa.int16(), 2), 3), 2), pa.list_(pa.list_(pa.bool_(), 300), 16)):
            for nulls in (("none",), ("some",), ("none", "some"), ("none", "none", "some"), ("some", "none", "last"), ("none", "all"), ("none", "none", "all")):
                cases.append(Case(type_, "random", "short", nulls))
        self.check(cases, 1100, np.random.default_rng(2))

    def test_nested(self):
        """Each leaf in each of these, with nulls at no, one and every level."""
        cases = []
        for i, leaf in enumerate([*LEAVES, pa.list_(pa.float32(), 3), pa.list_(pa.float16(), 140), pa.list_(pa.bool_(), 9), pa.dictionary(pa.int16(), pa.utf8())]):
            for j, nest in enumerate(NESTS):
                for k, nulls in enumerate(DEPTHS):
                    shape, length, sizes = (list(of)[(i + j + k) % len(of)] for of in (SHAPES, LENGTHS, SIZES))
                    if length in ("huge", "mixed", "long") and (k % 3 or leaf not in TEXTS):
                        length = "short"
                    cases.append(Case(nest(leaf), shape, length, nulls, sizes))
        self.check(cases, 400, np.random.default_rng(3))

    def test_settings(self):
        """What a field's metadata asks the writer for."""
        leaves = (pa.bool_(), *NUMBERS, pa.date32(), pa.timestamp("us"), pa.decimal128(30, 2), pa.decimal256(70, 3), pa.binary(3), pa.binary(300),
                  *TEXTS, pa.list_(pa.float32(), 3), pa.list_(pa.float32(), 100), pa.list_(pa.uint8(), 17), pa.list_(pa.bool_(), 12))
        cases = []
        for i, leaf in enumerate(leaves):
            for j, settings in enumerate(SETTINGS):
                for k, nest in enumerate((lambda t: t, (pa.list_, lambda t: pa.struct([("a", t)]))[(i + j) % 2])):
                    for m, shape in enumerate(("random", "few", "runs", "sorted", "small") if k == 0 else ("random", "few")):
                        nulls = (("none",), ("some",), ("runs",), ("none", "some"))[(i + j + k + m) % 4]
                        length = list(LENGTHS)[(i + j + k + m) % 5]
                        cases.append(Case(nest(leaf), shape, length, nulls, "few", tuple(settings.items())))
        for compression in ("lz4", "zstd", "none"):
            settings = (("structural-encoding", "fullzip"), ("compression", compression))
            cases += [Case(type_, "random", "huge", (nulls,), "few", settings) for type_ in TEXTS for nulls in ("none", "some")]
        self.check(cases, 1500, np.random.default_rng(4))
        cases = [Case(type_, shape, settings=(("compression", scheme), ("dict-divisor", "100000")))
                 for type_ in NUMBERS[2:8] for shape in SHAPES for scheme in ("lz4", "zstd")]
        self.check(cases, 4100, np.random.default_rng(6), VERSIONS[1:])

    def test_sizes(self):
        """One row, the edges of chunks and blocks, several pages and files."""
        types = [*LEAVES, *(nest(leaf) for nest in NESTS for leaf in (pa.int32(), pa.utf8(), pa.list_(pa.float32(), 70)))]
        rng = np.random.default_rng(5)
        several = {"max_page_bytes": 1 << 14, "data_cache_bytes": 1 << 13}
        for n, options in ((1, {}), (2, {}), (1023, {}), (1024, {}), (1025, {}), (4097, {}), (12000, several), (5000, {"max_rows_per_file": 2100, **several})):
            cases = []
            for i, type_ in enumerate(types):
                shape, nulls, length, sizes = (list(of)[(i + n) % len(of)] for of in (SHAPES, NULLS, LENGTHS, SIZES))
                if options and (i % 3 == n % 3 or length in ("huge", "long", "mixed")):
                    continue
                cases.append(Case(type_, shape, length, (nulls,), sizes))
            self.check(cases, n, rng, **options)

    @unittest.skipUnless("PENNON_BREADTH_SECONDS" in os.environ, "PENNON_BREADTH_SECONDS is not set")
    def test_random(self):
        end = time.monotonic() + float(os.environ["PENNON_BREADTH_SECONDS"])
        for seed in itertools.count(int(os.environ.get("PENNON_BREADTH_SEED", 0))):
            if time.monotonic() > end or self.wrong:
                print(f"seeds up to {seed}: {dict(self.count)}", flush=True)
                return
            rng = np.random.default_rng(seed)

            def one(of):
                return of[rng.integers(len(of))]

            cases = []
            for _ in range(25):
                settings = {**one(SETTINGS), **one(SETTINGS)} if rng.random() < 0.6 else {}
                nulls = tuple(one(list(NULLS)) if rng.random() < 0.5 else "none" for _ in range(4))
                cases.append(Case(random_type(rng), one(list(SHAPES)), one(list(LENGTHS)), nulls, one(list(SIZES)), tuple(settings.items())))
            n = int(np.exp(rng.uniform(0, np.log(5000))))
            options = one([{}, {"max_page_bytes": int(n * 3 + 1), "data_cache_bytes": 1 << 12}, {"max_rows_per_file": n // 2 + 1}])
            with self.subTest(seed=seed):
                self.check(cases, n, rng, **options)


if __name__ == "__main__":
    unittest.main()
