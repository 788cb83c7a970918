"""Columns of every type, with values and nulls of many kinds, for tables that pylance writes.

A column is made of ids, numbers that a shape gives out: equal ids are equal values. Nested types ask for the ids of their
items, which are as many as the lists say.
"""

import numpy as np
import pyarrow as pa

NUMBERS = (pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64(), pa.float16(),
           pa.float32(), pa.float64())
TIMES = (pa.date32(), pa.date64(), pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.time64("ns"), pa.timestamp("s"),
         pa.timestamp("ms"), pa.timestamp("us"), pa.timestamp("ns", "Europe/Paris"), pa.duration("s"), pa.duration("ms"),
         pa.duration("us"), pa.duration("ns"))
FIXED = (pa.bool_(), *NUMBERS, *TIMES, pa.decimal128(38, 3), pa.decimal256(70, 10), pa.binary(1), pa.binary(3), pa.binary(16),
         pa.binary(300))
TEXTS = (pa.utf8(), pa.large_utf8(), pa.binary(), pa.large_binary())
LEAVES = (*FIXED, *TEXTS, pa.null())

SHAPES = {
    "sorted": lambda rng, n: np.arange(n),
    "constant": lambda rng, n: np.full(n, 77),
    "few": lambda rng, n: rng.integers(0, 5, n) * 10**12 + 3,
    "runs": lambda rng, n: np.repeat(rng.integers(-(2**62), 2**62, n // 60 + 1), 60)[:n],
    "random": lambda rng, n: rng.integers(-(2**62), 2**62, n),
    "small": lambda rng, n: rng.integers(0, 200, n),
    "negative": lambda rng, n: -np.arange(n) % 1000 - 500,
    "outlier": lambda rng, n: np.where(np.arange(n) == n // 3, 2**61, np.arange(n) % 7),
}
# How many bytes a text has, by its id.
LENGTHS = {
    "short": lambda ids: ids % 13,
    "empty": lambda ids: ids * 0,
    "seldom": lambda ids: np.where(ids % 50 == 0, 9, 0),
    "middle": lambda ids: 20 + ids % 40,
    "long": lambda ids: 300 + ids % 100,
    "mixed": lambda ids: np.where(ids % 97 == 0, 5000, ids % 7),
    "huge": lambda ids: np.where(ids % 997 == 0, 70000, ids % 3),
}
NULLS = {
    "none": lambda rng, n: None,
    "some": lambda rng, n: rng.random(n) < 0.15,
    "most": lambda rng, n: rng.random(n) < 0.93,
    "all": lambda rng, n: np.ones(n, bool),
    "runs": lambda rng, n: (np.arange(n) + rng.integers(0, 700)) // 300 % 2 == 1,
    "first": lambda rng, n: np.arange(n) == 0,
    "last": lambda rng, n: np.arange(n) == n - 1,
}
SIZES = {  # of lists
    "few": lambda rng, n: rng.integers(0, 5, n),
    "full": lambda rng, n: np.ones(n, int),
    "empty": lambda rng, n: np.zeros(n, int),
    "long": lambda rng, n: np.where(rng.random(n) < 3 / max(n, 1), 3 * n // 2, rng.integers(0, 2, n)),
    "runs": lambda rng, n: np.repeat(rng.integers(0, 3, n // 40 + 1), 40)[:n],
}


class Maker:
    """Columns of one kind. nulls: of each level its own, by depth from the outermost, the last for all below."""

    def __init__(self, rng, shape="random", length="short", nulls=("none",), sizes="few", null_structs=True):
        self.rng, self.shape, self.length, self.nulls, self.sizes = rng, shape, length, nulls, sizes
        self.null_structs = null_structs

    def make(self, type_, n, depth=0):
        nulls = self.nulls[min(depth, len(self.nulls) - 1)]
        null = NULLS[nulls](self.rng, n)
        if pa.types.is_struct(type_) and not self.null_structs:
            null = None
        array = self.values(type_, n, depth)
        if null is None or pa.types.is_null(type_):
            return array
        if self.rng.random() < 0.5 and not pa.types.is_struct(type_):  # what is null has nothing
            return array.take(pa.array(np.arange(n), mask=null))
        bits = pa.py_buffer(np.packbits(~null, bitorder="little").tobytes())
        if pa.types.is_struct(type_):
            return pa.StructArray.from_arrays(array.flatten(), fields=list(type_), mask=pa.array(null))
        if pa.types.is_dictionary(type_):
            return pa.DictionaryArray.from_arrays(pa.array(array.indices.to_numpy(), type_.index_type, mask=null), array.dictionary)
        if pa.types.is_nested(type_):
            return pa.Array.from_buffers(type_, n, [bits, *array.buffers()[1:2]][:1 if pa.types.is_fixed_size_list(type_) else 2],
                                         children=[array.values])
        return pa.Array.from_buffers(type_, n, [bits, *array.buffers()[1:]])

    def values(self, type_, n, depth):
        if pa.types.is_struct(type_):
            fields = [self.make(field.type, n, depth + 1) for field in type_]
            return pa.StructArray.from_arrays(fields, fields=list(type_), mask=None if fields else pa.array(np.zeros(n, bool)))
        if pa.types.is_fixed_size_list(type_):
            return pa.FixedSizeListArray.from_arrays(self.make(type_.value_type, n * type_.list_size, depth + 1), type=type_)
        if pa.types.is_map(type_):
            offsets = self.offsets(n)
            keys = Maker(self.rng, self.shape, self.length).make(type_.key_type, offsets[-1])
            return pa.MapArray.from_arrays(pa.array(offsets, pa.int32()), keys, self.make(type_.item_type, offsets[-1], depth + 1))
        if pa.types.is_list(type_):
            offsets = self.offsets(n)
            return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), self.make(type_.value_type, offsets[-1], depth + 1), type=type_)
        if pa.types.is_large_list(type_):
            offsets = self.offsets(n)
            return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), self.make(type_.value_type, offsets[-1], depth + 1), type=type_)
        if pa.types.is_dictionary(type_):
            few = leaf(type_.value_type, np.arange(5), self.length)
            return pa.DictionaryArray.from_arrays(pa.array(np.abs(SHAPES[self.shape](self.rng, n)) % 5, type_.index_type), few)
        return leaf(type_, SHAPES[self.shape](self.rng, n), self.length)

    def offsets(self, n):
        return np.append(0, np.cumsum(SIZES[self.sizes](self.rng, n)))


def leaf(type_, ids, length):
    n = len(ids)
    if pa.types.is_null(type_):
        return pa.nulls(n)
    if pa.types.is_boolean(type_):
        return pa.array(ids % 2 == 1)
    if pa.types.is_floating(type_):
        return pa.array((ids % 30011 / 16 - 900).astype(type_.to_pandas_dtype()))
    if pa.types.is_integer(type_):
        return pa.array(ids.astype(type_.to_pandas_dtype()))
    if pa.types.is_fixed_size_binary(type_) or pa.types.is_decimal(type_):
        width = type_.bit_width // 8
        words = np.zeros((n, -(-width // 8) * 8), np.uint8)
        words[:, :8] = ids.astype("<i8").view(np.uint8).reshape(n, 8)
        if pa.types.is_decimal(type_):
            words[:, 8:] = np.where(ids < 0, 255, 0)[:, None]
        return pa.Array.from_buffers(type_, n, [None, pa.py_buffer(words[:, :width].tobytes())])
    if type_ in TIMES:
        if pa.types.is_time(type_):
            ids = ids % 86400
        wide = ids % 10**9 * 86400000 if type_ == pa.date64() else ids
        return pa.Array.from_buffers(type_, n, [None, pa.py_buffer(wide.astype(f"<i{type_.bit_width // 8}").tobytes())])
    some, where = np.unique(ids, return_inverse=True)
    texts = [f"http://{i:x}.org/{i % 1000}/"[-size or 99:] if size < 13 else f"a page of {i}, " * (size // 13)
             for i, size in zip(some.tolist(), LENGTHS[length](some).tolist())]
    if length == "empty":
        texts = [""] * len(some)
    return pa.array(texts, pa.utf8()).cast(type_).take(pa.array(where))


def with_metadata(field, metadata):
    """The same for the field and all that is in it."""
    type_ = field.type
    if pa.types.is_struct(type_):
        type_ = pa.struct([with_metadata(child, metadata) for child in type_])
    elif pa.types.is_list(type_):
        type_ = pa.list_(with_metadata(type_.value_field, metadata))
    elif pa.types.is_large_list(type_):
        type_ = pa.large_list(with_metadata(type_.value_field, metadata))
    return pa.field(field.name, type_, field.nullable, metadata)
