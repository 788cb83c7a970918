"""Makes hostile-*.lance: tables that pylance 14 has written, changed by hand to what only an attacker would write.

list-items: lists of version 2.0 whose page says 2^64 - 1 items, so that places of items wrap around.
map-in-2.0: a column of lists of structs that the manifest calls a map, with a null key, which Arrow ends the process for.
"""

import glob
import struct
import sys

import lance
import pyarrow as pa


def varint(number):
    out = b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


def number(tag, value):
    return varint(tag << 3) + varint(value)


def message(tag, value):
    return varint(tag << 3 | 2) + varint(len(value)) + value


def page(buffers, rows, encoding):
    places = message(1, b"".join(varint(at) for at, _ in buffers)) + message(2, b"".join(varint(size) for _, size in buffers))
    kind = message(1, b"/lance.encodings.ArrayEncoding") + message(2, encoding)
    return message(2, (places if buffers else b"") + number(3, rows) + message(4, message(2, message(1, kind))))


def list_items(path):
    table = pa.table({"l": pa.array([[1, 2], [3], [4], [5]], pa.large_list(pa.int32()))})
    lance.write_dataset(table, path, data_storage_version="2.0")
    [file] = glob.glob(path + "/data/*.lance")
    with open(file, "rb") as opened:
        old = opened.read()
    at, size = struct.unpack("<QQ", old[struct.unpack("<Q", old[-24:-16])[0] :][:16])
    schema = old[at : at + size]
    out = b""

    def put(data):
        nonlocal out
        begin = len(out)
        out += data + b"H" * (-len(data) % 64)
        return begin, len(data)

    flat = lambda bits: message(1, number(1, bits) + message(2, b""))
    plain = lambda inner: message(2, message(1, message(1, inner)))
    lists = lambda items: message(4, message(1, plain(flat(64))) + number(3, items))
    nulls = message(2, message(3, b""))
    far = 1 << 62
    first, second = put(struct.pack("<QQ", far, far + 4)), put(struct.pack("<QQ", 3 * far - 4, 4 * far - 4))
    items = put(struct.pack("<4i", 1, 2, 3, 4))
    head = message(1, message(2, message(1, message(1, b"/lance.encodings.ColumnEncoding") + message(2, b"\n\0"))))
    columns = [head + page([first], 2, lists(far + 4)) + page([second], 2, lists((1 << 64) - 1)),
               head + page([], far, nulls) + page([items], 4, plain(flat(32)))]
    schema_at, out = len(out), out + schema
    columns_at, places = len(out), b""
    for column in columns:
        places += struct.pack("<QQ", len(out), len(column))
        out += column
    places_at = len(out)
    out += places
    buffers_at = len(out)
    out += struct.pack("<QQ", schema_at, len(schema))
    out += struct.pack("<QQQIIHH", columns_at, places_at, buffers_at, 1, 2, 0, 3) + b"LANC"
    with open(file, "wb") as opened:
        opened.write(out)


def map_in_2_0(path):
    pair = pa.struct([("key", pa.int32()), ("value", pa.int32())])
    rows = [[{"key": 1, "value": 2}], [{"key": None, "value": 2}, {"key": 3, "value": 4}]]
    lance.write_dataset(pa.table({"m": pa.array(rows, pa.list_(pair))}), path, data_storage_version="2.0")
    [file] = glob.glob(path + "/_versions/*.manifest")
    with open(file, "rb") as opened:
        manifest = opened.read()
    manifest = manifest.replace(b"*\x0blist.struct", b"*\x03map\x7a\x06xxxxxx")  # as long, with a field that none knows
    manifest = manifest.replace(b"*\x06struct0\x01", b"*\x06struct0\x00")
    at = -1
    while (at := manifest.find(b"\x12\x03key", at + 1)) >= 0:
        nullable = manifest.find(b"*\x05int320\x01", at) + 8
        manifest = manifest[:nullable] + b"\0" + manifest[nullable + 1 :]
    with open(file, "wb") as opened:
        opened.write(manifest)


if __name__ == "__main__":
    list_items(sys.argv[1] + "/hostile-list-items.lance")
    map_in_2_0(sys.argv[1] + "/hostile-map-in-2.0.lance")
