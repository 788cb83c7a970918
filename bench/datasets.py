"""Vectors to measure on: a Parquet file of rows and one of queries each, with one column, `vector`, made once from a
fixed seed and kept in build/bench/data. A file's name holds the hash of the code and the data that it was made from."""

import dataclasses
import hashlib
import inspect
import pathlib
import typing

import numpy
import pyarrow
import pyarrow.parquet

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "build" / "bench" / "data"
SEED = 20240229


@dataclasses.dataclass(frozen=True)
class Dataset:
    name: str
    metric: str
    rows: str  # path
    queries: str
    about: str
    rows_from: str = ""  # name and SHA-256 of the file that was given
    queries_from: str = ""


def read(path):
    """float32, a row a vector."""
    column = _column(path)
    return numpy.asarray(column.flatten()).astype(numpy.float32, copy=False).reshape(len(column), -1)


def _column(path):
    """Its FixedSizeList without the null ones."""
    table = pyarrow.parquet.read_table(path)
    lists = [field.name for field in table.schema if pyarrow.types.is_fixed_size_list(field.type)]
    if len(lists) != 1:
        raise SystemExit(f"{path}: expected one FixedSizeList column, got {lists or 'none'}")
    return table[lists[0]].drop_null().combine_chunks()


def _write(path, vectors):
    """vectors: a matrix, or a FixedSizeList array."""
    if isinstance(vectors, numpy.ndarray):
        vectors = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(vectors.ravel()), vectors.shape[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    pyarrow.parquet.write_table(pyarrow.table({"vector": vectors}), part, compression="none", use_dictionary=False)
    part.rename(path)


def _cached(name, key, make):
    """Paths of the rows and queries that `make` makes."""
    digest = hashlib.sha256(repr((key, SEED, inspect.getsource(make))).encode()).hexdigest()[:12]
    paths = [FOLDER / f"{name}-{digest}-{part}.parquet" for part in ("rows", "queries")]
    if not all(path.exists() for path in paths):
        print(f"making {paths[0]}", flush=True)
        for path, vectors in zip(paths, make()):
            _write(path, vectors)
    return [str(path) for path in paths]


def _origin(path):
    return f"{pathlib.Path(path).name}, SHA-256 {hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()}"


def given(data, queries):
    """The files of the command line. Without queries the last min(1000, rows / 10) rows are asked and not inserted."""

    def make():
        rows = _column(data)
        if queries:
            return rows, _column(queries)
        held = min(1000, len(rows) // 10)
        return rows[: len(rows) - held], rows[len(rows) - held :]

    for path in filter(None, (data, queries)):
        if not pathlib.Path(path).is_file():
            raise SystemExit(f"{path}: no such file")
    origins = _origin(data), _origin(queries) if queries else "the last rows of the same file, not inserted"
    name = pathlib.Path(data).stem
    rows, asked = _cached(name, origins, make)
    return Dataset(name, "l2", rows, asked, f"the rows of {pathlib.Path(data).name}", *origins)


def _sift(rng):
    """All different SIFT descriptors of the photographs in scikit-image, about 103,000: integers from 0 to 255."""
    import cv2
    import skimage.data

    photographs = "astronaut brick camera cat coffee coins grass gravel hubble_deep_field immunohistochemistry moon page"
    photographs += " retina rocket text"
    images = [getattr(skimage.data, name)() for name in photographs.split()] + [skimage.data.stereo_motorcycle()[0]]
    greys = [image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in images]
    sift = cv2.SIFT_create(contrastThreshold=0, edgeThreshold=1e9)
    found = numpy.concatenate([sift.detectAndCompute(grey, None)[1] for grey in greys])
    return rng.permutation(numpy.unique(found, axis=0))


# Kinds of data: n vectors in the order of their arrival. `source`: shuffled rows of the given data, at least n of them.


def _clustered(n, rng, source):
    dim = 1024
    centres = max(1, min(4096, n // 24))
    rows = rng.uniform(-1, 1, (centres, dim)).astype(numpy.float32)[numpy.arange(n) % centres]
    for first in range(0, n, 10_000):
        part = rows[first : first + 10_000]
        part += 0.05 * rng.uniform(-1, 1, part.shape).astype(numpy.float32)
    return rows


def _sift_128(n, rng, source):
    return _sift(rng)[:n]


def _sift_96(n, rng, source):
    return numpy.ascontiguousarray(_sift(rng)[:n, :96])


def _float16(n, rng, source):
    return source[:n].astype(numpy.float16)


def _norms(n, rng, source):
    return source[:n] * (10 ** rng.uniform(-1.5, 1.5, (n, 1))).astype(numpy.float32)


def _outliers(n, rng, source):
    rows = source[:n].copy()
    huge = rng.random(rows.shape) < 1e-5
    rows[huge] = 1000 * source.std() * rng.choice([-1, 1], huge.sum())
    return rows


def _drift(n, rng, source):
    time = numpy.linspace(0, 1, n, dtype=numpy.float32)[:, None]
    length = numpy.linalg.norm(source[:n], axis=1).mean()
    towards = rng.standard_normal(source.shape[1])
    towards *= 2 * length / numpy.linalg.norm(towards)
    return (source[:n] * (1 + time) + towards * time).astype(numpy.float32)


class Kind(typing.NamedTuple):
    metric: str
    make: typing.Callable
    about: str
    drawn: bool = False  # needs no source


KINDS = {
    "clustered-1024": Kind(
        "l2",
        _clustered,
        "1,024 dimensions, 4,096 clusters (fewer where they would have less than 24 rows), "
        "noise 0.05: the data of Lance's own HNSW benchmark",
        drawn=True,
    ),
    "sift-128": Kind(
        "l2", _sift_128, "SIFT descriptors of the photographs in scikit-image: integers from 0 to 255", drawn=True
    ),
    "sift-96": Kind("l2", _sift_96, "of these, three rows of four cells: 96 dimensions", drawn=True),
    "float16-l2": Kind("l2", _float16, "the given rows as float16"),
    "float16-cosine": Kind("cosine", _float16, "the same under cosine"),
    "float16-dot": Kind("dot", _float16, "the same under dot"),
    "norms-l2": Kind("l2", _norms, "the given rows, their lengths spread over three orders of magnitude"),
    "norms-cosine": Kind("cosine", _norms, "the same under cosine"),
    "norms-dot": Kind("dot", _norms, "the same under dot"),
    "outliers": Kind("l2", _outliers, "the given rows, one coordinate in 100,000 at 1,000 standard deviations"),
    "drift": Kind(
        "l2", _drift, "the given rows, whose centre moves by two lengths and which double in length as they arrive"
    ),
}


def kind(name, source, rows):
    """`rows` vectors of a kind, or as many as there are; a tenth, at most 10,000, are held out as queries."""
    chosen = KINDS[name]

    def make():
        rng = numpy.random.default_rng(SEED)
        pool, count = None, rows
        if not chosen.drawn:
            pool = numpy.concatenate([read(source.rows), read(source.queries)])
            pool = pool[rng.permutation(len(pool))]
            count = min(rows, len(pool))
        vectors = chosen.make(count, rng, pool)
        count = len(vectors)
        asked = numpy.zeros(count, bool)
        asked[rng.choice(count, min(10_000, count // 10), replace=False)] = True
        return vectors[~asked], vectors[asked]

    key = (
        rows,
        None if chosen.drawn else (source.rows, source.queries),
        inspect.getsource(chosen.make),
        inspect.getsource(_sift),
    )
    return Dataset(name, chosen.metric, *_cached(chosen.make.__name__.strip("_"), key, make), chosen.about)


def million(source, rows):
    """As many copies of the rows of `source` as `rows` takes, each under its own random rotation and shift, shuffled.

    Distances within a copy are those of the given rows, and the shift (half of a row's length) keeps copies apart: no
    row's neighbours are nearer than among the given ones. A query is rotated and shifted with one of the copies.
    """

    def make():
        given_rows, asked = read(source.rows), read(source.queries)
        half = _column(source.rows).type.value_type == pyarrow.float16()
        copies = -(-rows // len(given_rows))
        rng = numpy.random.default_rng(SEED)
        dim = given_rows.shape[1]
        out = numpy.empty((rows, dim), numpy.float16 if half else numpy.float32)
        queries = numpy.empty((len(asked), dim), out.dtype)
        place = rng.permutation(rows)
        for copy in range(copies):
            rotation = numpy.linalg.qr(rng.standard_normal((dim, dim)))[0].astype(numpy.float32)
            shift = rng.standard_normal(dim)
            shift *= 0.5 * numpy.linalg.norm(given_rows, axis=1).mean() / numpy.linalg.norm(shift)
            target = place[copy * len(given_rows) : (copy + 1) * len(given_rows)]
            out[target] = given_rows[: len(target)] @ rotation + shift.astype(numpy.float32)
            queries[copy::copies] = asked[copy::copies] @ rotation + shift.astype(numpy.float32)
        return out, queries

    about = (
        "copies of the given rows, each under its own random rotation and a shift by half of a row's length, shuffled: "
        "distances to neighbours stay those of the given rows"
    )
    return Dataset(
        f"rotated-{rows}", source.metric, *_cached(f"rotated-{rows}", (source.rows, source.queries), make), about
    )
