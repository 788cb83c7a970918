"""From what users have to what the extension takes: Arrow arrays, and float32 arrays of one dimension."""

from __future__ import annotations

import datetime
import math
import operator
import os
from collections.abc import Iterable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Arrow: TypeAlias = Any  # an array, a chunked array or a scalar: the stubs of pyarrow do not know what is done here
FLOAT32 = np.dtype(np.float32)


def vectors(given: Any, dim: int, copy: bool) -> Arrow:
    """Vectors, to be appended, as a FixedSizeListArray of float32 or float16."""
    array = None if isinstance(given, np.ndarray) else _arrow(given)
    if array is None:
        array = _to_numpy(given, dim, "vectors")
    if isinstance(array, pa.Array):
        return _fixed(array, dim, "vectors")
    matrix = _matrix(array, "vectors")
    # Before it is looked at, as another thread may be refilling it.
    if copy and _is_array(given) and np.may_share_memory(matrix, array):
        matrix = matrix.copy()
    return _from_matrix(matrix)


def queries(given: Any, dim: int) -> npt.NDArray[np.float32] | Arrow:
    """One query as a float32 array of one dimension, or many as a FixedSizeListArray."""
    if isinstance(given, pa.Scalar):
        return _one(_scalar_values(given))
    array = None if isinstance(given, np.ndarray) else _arrow(given)
    if array is None:
        array = _to_numpy(given, dim, "queries")
    if isinstance(array, pa.Array):
        return _one(array) if _is_number(array.type) else _fixed(array, dim, "queries")
    if array.ndim == 1:
        return np.ascontiguousarray(_floats(array, "query"), dtype=np.float32)
    return _from_matrix(_matrix(array, "queries"))


def query(given: Any, dim: int) -> npt.NDArray[np.float32]:
    """One query alone."""
    found = queries(given, dim)
    if isinstance(found, np.ndarray):
        return found
    raise ValueError(f"query: expected one vector, got {len(found)}; only search and search_raw take many")


def row_ids(given: Any) -> Arrow | None:
    """Row ids as int64 or uint64."""
    return None if given is None else _integers(given, "row_ids")


def rows(given: Any) -> Arrow:
    """What a filter is made of: bool, int64 or uint64."""
    array = _arrow(given)
    if array is None and isinstance(given, (set, frozenset, range)):
        given = list(given)
    if array is None and isinstance(given, np.ndarray) and given.dtype == bool and given.ndim == 1:
        array = pa.array(given)
    if array is not None and pa.types.is_boolean(array.type):
        return array
    return _integers(given if array is None else array, "filter")


def is_many_filters(given: Any) -> bool:
    """Whether this is a list of filters, one a query, and not a list of row ids."""
    return isinstance(given, (list, tuple)) and not all(isinstance(one, (int, np.integer)) for one in given)


def seconds(timeout: float | datetime.timedelta | None) -> float | None:
    """A timeout in seconds."""
    if timeout is None:
        return None
    if isinstance(timeout, datetime.timedelta):
        return timeout.total_seconds()
    seconds = number("timeout", timeout)
    return None if seconds == math.inf else seconds


def number(name: str, given: Any) -> float:
    """A number."""
    if not isinstance(given, (str, bytes)) and hasattr(given, "__float__"):
        try:
            return float(given)
        except (TypeError, OverflowError):
            pass
    raise TypeError(f"{name}: expected a number, got {type(given).__name__}")


def whole(name: str, given: Any, bits: int = 63) -> int:
    """An integer of so many bits, and a sign."""
    try:
        number = operator.index(given)
    except TypeError:
        raise TypeError(f"{name}: expected an integer, got {type(given).__name__}") from None
    if not -(1 << bits) <= number < 1 << bits:
        raise ValueError(f"{name}: expected an integer below 2**{bits}, got {number}")
    return number


def _arrow(given: Any) -> Arrow | None:
    """What has Arrow's PyCapsule interface, as one array; None for others."""
    if isinstance(given, pa.Array):
        return _plain(given)
    if isinstance(given, pa.ChunkedArray):
        return _plain(_combined(given))
    if hasattr(given, "__arrow_c_array__"):
        return _plain(pa.array(given))
    if hasattr(given, "__arrow_c_stream__"):
        return _plain(_combined(pa.chunked_array(given)))
    return None


def _is_array(given: Any) -> bool:
    return hasattr(given, "__array__") or isinstance(given, memoryview)


def _combined(chunked: Arrow) -> Arrow:
    if chunked.num_chunks == 1:
        return chunked.chunk(0)
    return pa.concat_arrays(chunked.chunks) if chunked.num_chunks else pa.array([], chunked.type)


def _plain(array: Arrow) -> Arrow:
    return array.storage if isinstance(array, pa.ExtensionArray) else array


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


def _fixed(array: Arrow, dim: int, name: str) -> Arrow:
    """Lists of numbers as a FixedSizeListArray of float32 or float16; what is wrong with it the library says."""
    kind = array.type
    if pa.types.is_fixed_size_list(kind) and kind.value_type in (pa.float32(), pa.float16()):
        return array
    if pa.types.is_null(kind):
        return pa.nulls(len(array), pa.list_(pa.float32(), dim))
    lists = (
        pa.types.is_fixed_size_list(kind)
        or pa.types.is_list(kind)
        or pa.types.is_large_list(kind)
        or pa.types.is_list_view(kind)
        or pa.types.is_large_list_view(kind)
    )
    if not lists or not _is_number(kind.value_type):
        column = "; pass a column of it" if pa.types.is_struct(kind) else ""
        raise TypeError(f"{name}: expected lists of float32 or float16, or what becomes that, got {kind}{column}")
    value = pa.float16() if kind.value_type == pa.float16() else pa.float32()
    if not pa.types.is_fixed_size_list(kind):
        lengths: Any = pc.list_value_length(array).drop_null().unique().to_pylist()
        if lengths and lengths != [dim]:
            raise ValueError(f"{name}: expected lists of {dim} numbers each, got lists of {sorted(lengths)[:5]}")
    elif kind.list_size != dim:
        raise ValueError(f"{name}: expected lists of {dim} numbers each, got lists of {kind.list_size}")
    found = pa.FixedSizeListArray.from_arrays(array.drop_null().flatten().cast(value, safe=False), dim)
    if array.null_count == 0:
        return found
    valid = array.is_valid().to_numpy(zero_copy_only=False)
    positions: Arrow = pa.array(np.cumsum(valid) - 1, mask=~valid)
    return found.take(positions)


def _floats(array: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{name}: expected float32 or float16, or what these can be made of, got {array.dtype}")
    return array


def _matrix(array: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
    """An array of two dimensions, contiguous, float32 or float16."""
    dtype = np.float16 if _floats(array, name).dtype == np.float16 else np.float32
    if array.ndim != 2:
        raise ValueError(f"{name}: expected an array of two dimensions, got one of {array.ndim}")
    with np.errstate(over="ignore"):  # infinity is refused where all is looked at
        return np.ascontiguousarray(array, dtype=dtype)


def _from_matrix(matrix: npt.NDArray[Any]) -> Arrow:
    rows, dim = matrix.shape
    kind = pa.list_(pa.from_numpy_dtype(matrix.dtype), dim)
    values = pa.Array.from_buffers(kind.value_type, rows * dim, [None, pa.py_buffer(matrix.data)])
    return pa.Array.from_buffers(kind, rows, [None], children=[values])


def _to_numpy(given: Any, dim: int, name: str) -> npt.NDArray[Any] | Arrow:
    """An array, or of a sequence in which there are None, or vectors of different lengths, an Arrow array."""
    if isinstance(given, (str, bytes)) or not (_is_array(given) or isinstance(given, Iterable)):
        raise TypeError(f"{name}: expected an array, an Arrow array or lists of numbers, got {type(given).__name__}")
    if np.ma.is_masked(given):
        raise ValueError(f"{name}: expected an array without masked values, got some")
    array = np.asarray(given) if _is_array(given) else None
    if array is None or array.dtype == object:
        items = list(given if array is None else array)
        try:
            array = np.asarray(items)
        except ValueError:
            array = None
        if array is None or array.dtype == object:
            try:
                vectors: Any = [None if item is None else np.asarray(item, np.float32) for item in items]
                return pa.array(vectors)
            except (TypeError, ValueError, pa.ArrowException) as error:
                raise TypeError(f"{name}: expected vectors of {dim} numbers: {error}") from error
    return array


def _scalar_values(scalar: Arrow) -> Arrow:
    if isinstance(scalar, pa.ExtensionScalar):
        scalar = scalar.value
    if not scalar.is_valid:
        raise ValueError("query: expected a vector, got a null")
    values = getattr(scalar, "values", None)
    if not isinstance(values, pa.Array):
        raise TypeError(f"query: expected a scalar that is a list of numbers, got one of {scalar.type}")
    return values


def _one(values: Arrow) -> npt.NDArray[np.float32]:
    if not _is_number(values.type):
        raise TypeError(f"query: expected numbers, got {values.type}")
    if values.null_count:
        raise ValueError("query: expected numbers, got a null among them")
    array = values.to_numpy(zero_copy_only=False)
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(array, dtype=np.float32)


def _integers(given: Any, name: str) -> Arrow:
    array = _arrow(given)
    if array is None:
        if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
            raise TypeError(f"{name}: expected integers, got {type(given).__name__}")
        if not isinstance(given, np.ndarray):
            given = np.asarray(given) if hasattr(given, "__array__") else list(given)
        elif not given.dtype.isnative:
            given = given.astype(given.dtype.newbyteorder("="))
        if isinstance(given, np.ndarray) and given.ndim != 1:
            raise ValueError(f"{name}: expected an array of one dimension, got one of {given.ndim}")
        try:
            array = _from_numbers(given)
        except OverflowError as error:
            raise ValueError(f"{name}: expected integers from 0 to 2**64 - 1: {error}") from error
        except (TypeError, pa.ArrowException) as error:
            raise TypeError(f"{name}: expected integers: {error}") from error
    if pa.types.is_null(array.type) and len(array) == 0:
        return pa.array([], pa.uint64())
    if not pa.types.is_integer(array.type):
        raise TypeError(f"{name}: expected integers, got {array.type}")
    wide = pa.uint64() if pa.types.is_unsigned_integer(array.type) else pa.int64()
    return array if array.type == wide else array.cast(wide)


def _from_numbers(numbers: Any) -> Arrow:
    try:
        return pa.array(numbers)
    except OverflowError:  # of int64
        return pa.array(numbers, pa.uint64())


def path(given: Any) -> str:
    """A path, as a name in UTF-8."""
    name = os.fsdecode(given)
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"uri: expected a path in UTF-8, got {name!r}") from error
    if "://" in name:
        import pyarrow.fs  # noqa: F401, as it ends Arrow's S3 before the process does
    return name


def vector_column(name: str, schema: pa.Schema) -> str:
    """The only column of lists of numbers."""
    lists = (pa.types.is_fixed_size_list, pa.types.is_list, pa.types.is_large_list)
    names = [
        field.name
        for field in schema
        if any(is_list(field.type) for is_list in lists)
        and (pa.types.is_floating(field.type.value_type) or pa.types.is_integer(field.type.value_type))
    ]
    if len(names) != 1:
        raise ValueError(f"{name}: expected the name of a column, as those with lists of numbers are {names}")
    return names[0]
