# %% [markdown]
# # Which package does that?
# Ten thousand summaries of packages, as vectors, arrive batch by batch; each is searchable as soon as it is in. Run
# this file cell by cell in an editor that knows `# %%`, or whole: `python python/examples/packages.py`.

# %%
import pathlib
import tempfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import pennon

data = pathlib.Path(__file__).resolve().parents[2] / "data"
packages = pq.read_table(data / "packages-10k.parquet")
questions = pq.read_table(data / "questions-50.parquet")

# %% [markdown]
# ## In
# A progress bar is shown if tqdm is installed.

# %%
index = pennon.Index(dim=384, metric="cosine")
pennon.replay(data / "packages-10k.parquet", index, row_ids="id")
print(index)


# %% [markdown]
# ## Search
# What is found is Arrow, and joins the table that the vectors came from.

# %%
summaries = packages.select(["registry", "name", "summary"]).append_column("row_id", packages["id"].cast(pa.uint64()))


def ask(number, **how):
    hits = index.search(questions["embedding"][number], k=3, **how)
    found = hits.join(summaries, "row_id").sort_by("distance")
    print(questions["question"][number])
    for row in found.to_pylist():
        print(f"  {row['distance']:.3f}  {row['registry']:<5} {row['name']}: {row['summary'][:70]}")


for number in (0, 1, 2):
    ask(number)

# %% [markdown]
# Through a filter: the row ids that may be found.

# %%
npm = pennon.Filter(packages.filter(np.asarray(packages["registry"]) == "npm")["id"])
ask(0, filter=npm)

# %% [markdown]
# ## A snapshot
# stays as it is, whatever is appended meanwhile.

# %%
with index.snapshot() as snapshot:
    before = snapshot.search(questions["embedding"][0])
    index.append(packages["embedding"][:100])
    assert snapshot.search(questions["embedding"][0]) == before
    print(snapshot, index)

# %% [markdown]
# ## Recall
# `ef` is what a search spends: how much of the ten nearest does it find?

# %%
exact = index.search_raw(questions["embedding"], k=10, exact=True).to_numpy()[0]
efs = [10, 14, 20, 28, 40, 56, 80]
recalls = []
for ef in efs:
    found = index.search_raw(questions["embedding"], k=10, ef=ef).to_numpy()[0]
    hits = sum(len(np.intersect1d(ours, nearest)) for ours, nearest in zip(found, exact, strict=True))
    recalls.append(hits / exact.size)
    print(f"ef {ef:>3}: recall {recalls[-1]:.3f}")

# %%
try:
    import matplotlib.pyplot as plt
except ImportError:
    print("(no plot without matplotlib)")
else:
    plt.plot(efs, recalls, marker="o")
    plt.xlabel("ef")
    plt.ylabel("recall at 10")
    plt.title(f"{len(index):,} package summaries")
    plt.show()

# %% [markdown]
# ## To Lance
# A table with the index, which LanceDB searches; and back, without building it again.

# %%
with tempfile.TemporaryDirectory() as folder:
    fresh = pennon.Index(dim=384, metric="cosine")
    fresh.append(packages["embedding"])
    print(fresh.to_lance(f"{folder}/packages.lance", packages, column="embedding"))
    question = questions["embedding"][0]
    try:
        import lancedb
    except ImportError:
        print("(no search without lancedb)")
    else:
        search = lancedb.connect(folder).open_table("packages").search(question.values.to_numpy())
        print(
            search.distance_type("cosine")
            .refine_factor(3)
            .limit(3)
            .to_arrow()
            .select(["name", "_distance"])
            .to_pydict()
        )
    back = pennon.from_lance(f"{folder}/packages.lance")
    print(back, back.search(question, k=3)["distance"].to_pylist())
