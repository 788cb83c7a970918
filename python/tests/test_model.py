"""An index beside a plain list of rows, over random histories."""

import numpy as np
import pyarrow as pa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import pennon

# Few values, so that many distances are equal.
VALUE = st.integers(-2, 2)


def distances(metric, rows, query):
    rows, query = rows.astype(np.float64), query.astype(np.float64)
    dots = rows @ query
    if metric == "l2":
        return ((rows - query) ** 2).sum(axis=1)
    if metric == "dot":
        return 1 - dots
    norms = np.linalg.norm(rows, axis=1) * np.linalg.norm(query)
    return 1 - np.divide(dots, norms, out=np.zeros_like(dots), where=norms > 0)


class Histories(RuleBasedStateMachine):
    """Scans give what brute force gives; walks of so few rows too, as k is more than half of them or they find all."""

    @initialize(
        dim=st.integers(1, 5),
        metric=st.sampled_from(["l2", "cosine", "dot"]),
        codes=st.sampled_from([8, None]),
        m=st.integers(2, 8),
    )
    def make(self, dim, metric, codes, m):
        self.dim, self.metric = dim, metric
        self.index = pennon.Index(dim, metric, m=m, ef_construction=16, codes=codes)
        self.row_ids, self.rows = [], np.empty((0, dim), np.float32)
        self.next_row_id = 0
        self.held = []

    @rule(data=st.data(), rows=st.integers(0, 40), kind=st.sampled_from(["numpy", "half", "arrow", "lists", "nulls"]))
    def append(self, data, rows, kind):
        cell = st.lists(VALUE, min_size=self.dim, max_size=self.dim)
        if kind == "nulls":
            cell = st.none() | cell
        given = data.draw(st.lists(cell, min_size=rows, max_size=rows))
        own = data.draw(st.booleans())
        row_ids = data.draw(st.lists(st.integers(0, 60), min_size=rows, max_size=rows)) if own else None
        matrix = np.array([row for row in given if row is not None], np.float32).reshape(-1, self.dim)
        if kind == "numpy":
            vectors = matrix
        elif kind == "half":
            vectors = matrix.astype(np.float16)
        elif kind == "lists" and rows:
            vectors = given
        else:
            vectors = pa.array(given, pa.list_(pa.float32(), self.dim))
        before = len(self.index)
        assert self.index.append(vectors, row_ids) == range(before, before + len(matrix))
        ids = list(range(self.next_row_id, self.next_row_id + rows)) if row_ids is None else row_ids
        self.row_ids += [i for i, row in zip(ids, given, strict=True) if row is not None]
        self.rows = np.concatenate([self.rows, matrix])
        self.next_row_id = max([self.next_row_id, *(i + 1 for i in ids)])

    @rule()
    def fail(self):
        for wrong in ([[float("nan")] * self.dim], [[1] * (self.dim + 1)]):
            try:
                self.index.append(wrong)
            except ValueError:
                continue
            raise AssertionError("it took that")

    @rule()
    def hold(self):
        self.held.append((self.index.snapshot(), list(self.row_ids), self.rows.copy()))

    @rule(data=st.data())
    def drop(self, data):
        if self.held:
            self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))[0].close()

    @rule(
        data=st.data(),
        k=st.integers(0, 30),
        exact=st.booleans(),
        kind=st.sampled_from(["none", "ids", "bits"]),
        how=st.sampled_from(["one", "many", "pages", "range"]),
    )
    def search(self, data, k, exact, kind, how):
        searched, row_ids, rows = self.index, self.row_ids, self.rows
        if self.held and data.draw(st.booleans()):
            searched, row_ids, rows = data.draw(st.sampled_from(self.held))
        query = np.array(data.draw(st.lists(VALUE, min_size=self.dim, max_size=self.dim)), np.float32)
        passing, given = set(row_ids), None
        if kind != "none":
            passing = data.draw(st.sets(st.integers(0, 60)))
            given = passing if kind == "ids" else pa.array([i in passing for i in range(61)])
        exact_distances = distances(self.metric, rows, query)
        expected = sorted((d, i) for d, i in zip(exact_distances, row_ids, strict=True) if i in passing)
        if how == "one":
            found = searched.search(query, k, filter=given, exact=exact)
            expected = expected[:k]
        elif how == "many":
            found = searched.search(query[None], k, filter=[given] if given else given, exact=exact).drop(["query"])
            expected = expected[:k]
        elif how == "pages":
            k = max(k, 1)
            found = pa.concat_tables(
                [searched.search(query, 0), *searched.search_iter(query, k, filter=given, exact=exact)]
            )
        else:
            radius = 1.25
            found = searched.range_search(query, radius, filter=given, exact=True)
            expected = [(d, i) for d, i in expected if d <= radius]
        assert found.num_rows == len(expected)
        if how == "pages":
            assert sorted(found["row_id"].to_pylist()) == sorted(i for _, i in expected)
            return
        if exact or how == "range":
            np.testing.assert_allclose(found["distance"].to_numpy(), [d for d, _ in expected], atol=1e-5)
        by_row_id = {}
        for d, i in zip(exact_distances, row_ids, strict=True):
            by_row_id.setdefault(i, []).append(d)
        for i, d in zip(found["row_id"].to_pylist(), found["distance"].to_pylist(), strict=True):
            assert i in passing
            assert min(abs(d - other) for other in by_row_id[i]) < 1e-5
        assert found["distance"].to_pylist() == sorted(found["distance"].to_pylist())

    @invariant()
    def is_whole(self):
        if hasattr(self, "index"):
            assert len(self.index) == len(self.rows)
            assert self.index.verify().ok


TestHistories = Histories.TestCase
TestHistories.settings = settings(
    max_examples=60, stateful_step_count=25, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
