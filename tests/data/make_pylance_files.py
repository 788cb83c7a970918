"""Makes pylance14-*.lance: small data files as pylance 14.0.2 writes them, all rows in one page a column.

python make_pylance_files.py, in an environment with pylance 14.0.2.
"""

import pathlib

import lance.file
import numpy as np
import pyarrow as pa

HERE = pathlib.Path(__file__).parent


def with_nulls(array, every):
    return array.take(pa.array([None if i % every == every - 1 else i for i in range(len(array))]))


def write(name, columns, version, **options):
    metadata = {f"lance-encoding:{key}".replace("_", "-"): value for key, value in options.items()}
    schema = pa.schema([pa.field(key, array.type, metadata=metadata) for key, array in columns.items()])
    path = HERE / f"pylance14-{name}.lance"
    with lance.file.LanceFileWriter(str(path), schema, version=version) as writer:
        writer.write_batch(pa.record_batch(list(columns.values()), schema=schema))
    print(path.name, path.stat().st_size)


def main():
    n = 300
    number = np.arange(n)
    columns = {
        "few": pa.array(number % 3 * 10**12),
        "text": pa.array([["abc", "de", "", "f"][i % 4] for i in number]),
        "constant": pa.array(["the same"] * n),
        "number?": with_nulls(pa.array(number, pa.int16()), 7),
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(np.arange(2 * n) % 9, pa.uint8()), 2),
    }
    for version in ("2.1", "2.2"):
        write(f"flat-{version}", columns, version)
    columns = {
        "list": pa.array([list(range(i % 5)) for i in number], pa.list_(pa.int32())),
        "texts": pa.array([[f"{i}", None][: i % 3] for i in range(100)] * 3),
        "structs": with_nulls(pa.array([[{"a": [i % 100]}] * (i % 3) for i in number], pa.list_(pa.struct([("a", pa.list_(pa.int8()))]))), 9),
    }
    write("nested-2.2", columns, "2.2")
    text = {"text": pa.array([f"a text of {i}" for i in range(100)])}
    write("fsst-2.2", text, "2.2", compression="fsst")
    write("zstd-2.2", {"number": pa.array(np.sqrt(number)), "text": pa.array(["abc" * (i % 9) for i in number])}, "2.2", compression="zstd", bss="on")
    write("lz4-2.1", {"runs": pa.array(number // 50), "text": pa.array([f"{i}" * 400 for i in range(3)] * 100)}, "2.1", compression="lz4")
    mixed = np.arange(2000) * 2654435761 % 2**62
    columns = {
        "number": pa.array(mixed),
        "text": pa.array([f"{i % 9973:x}" for i in mixed]),
        "list": pa.array([mixed[i : i + i % 3] for i in range(2000)], pa.list_(pa.int64())),
    }
    write("chunks-2.2", columns, "2.2")
    text = {"text": pa.array([["abc", None, "", f"text {i}"][i % 4] for i in range(n)])}
    write("zstd-2.0", text, "2.0", compression="zstd")
    write("lz4-2.0", text, "2.0", compression="lz4")
    # Of types that Pennon reads and does not write; read_test.cc has the values.
    columns = {
        "bools": pa.array([[True, None, False], None, [False, False, True], [None] * 3], pa.list_(pa.bool_(), 3)),
        "nulls": pa.array([[None, None], None, [None, None], [None, None]], pa.list_(pa.float32(), 2)),
        "nested": pa.array([[[1, 2], [3, None]], [None, [5, 6]], None, [[7, 8], [9, 10]]], pa.list_(pa.list_(pa.int16(), 2), 2)),
        "texts": pa.array(["a", None, "bc", "a"]).dictionary_encode(),
        "numbers": pa.array([5, None, 7, 5]).dictionary_encode(),
        "few": pa.array([5, 6, 7, 5], pa.uint8()).dictionary_encode(),
        "dates": pa.array([[1, None], [2, 3], None, [4, 5]], pa.list_(pa.date32(), 2)),
        "wide": pa.array([1, None, -2, 3]).cast(pa.decimal256(40, 0)),
        "none": pa.nulls(4),
    }
    write("types-2.0", columns, "2.0")
    columns["map"] = pa.array([[("a", 1), ("b", None)], None, [], [("", 2)]], pa.map_(pa.utf8(), pa.int32()))
    write("types-2.2", columns, "2.2")
    write("dictionary-2.0", {"text": pa.array([["abc", "de", None, "f"][i % 4] for i in number])}, "2.0")


main()
