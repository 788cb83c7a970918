"""Tables read from servers that speak S3 and Google's storage: of pylance's and of ours. PENNON, WRITE_TABLE and LOAD_INDEX name
programs."""

import json
import logging
import os
import subprocess
import tempfile
import unittest
import urllib.request
from urllib.parse import quote

import boto3
import gcp_storage_emulator.server
import lance
import numpy as np
import pyarrow as pa
from moto.server import ThreadedMotoServer

PENNON, WRITE_TABLE, LOAD_INDEX = (os.path.abspath(os.environ[name]) for name in ("PENNON", "WRITE_TABLE", "LOAD_INDEX"))
KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_EC2_METADATA_DISABLED": "true"}
ROWS = 2000


def make_table():
    rng = np.random.default_rng(1)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(rng.random(ROWS * 64, dtype=np.float32)), 64)
    return pa.table({"id": pa.array(range(ROWS)), "text": [f"text of {i}" * (i % 5) for i in range(ROWS)], "v": vectors})


def run_program(*args, code=0):
    run = subprocess.run(args, capture_output=True, text=True, timeout=100, env={**os.environ, **KEYS})
    if run.returncode != code:
        raise AssertionError(f"{args} ended with {run.returncode}: {run.stderr}")
    return run.stdout if code == 0 else run.stderr


class Store:
    """What both do. A server's class has start(), put() and keys(), and makes URIs of names."""

    @classmethod
    def setUpClass(cls):
        cls.start()
        cls.table = make_table()
        with tempfile.TemporaryDirectory() as folder:
            path = lambda name: os.path.join(folder, name)
            for name, partitions in ("theirs.lance", 1), ("parted.lance", 3):
                dataset = lance.write_dataset(cls.table, path(name), max_rows_per_file=700)
                dataset.create_index("v", "IVF_HNSW_SQ", num_partitions=partitions)
                dataset.delete("id = 5")
            with pa.ipc.new_file(path("rows.arrow"), cls.table.schema) as file:
                file.write_table(cls.table)
            run_program(WRITE_TABLE, path("rows.arrow"), path("ours.lance"), "700", "65536", "flat", "l2", "2.2")
            for directory, _, files in os.walk(folder):
                for file in files:
                    name = os.path.join(directory, file)
                    with open(name, "rb") as data:
                        cls.put("tables/" + os.path.relpath(name, folder), data.read())
        cls.before = cls.keys()

    def nearest(self, row, gone):
        """Positions in the table that was written, the nearest first."""
        vectors = np.stack(self.table["v"].to_numpy(zero_copy_only=False))
        distances = ((vectors - vectors[row]) ** 2).sum(axis=1)
        return [i for i in np.argsort(distances, kind="stable").tolist() if i not in gone][:10]

    def test_rows(self):
        for name, gone in ("theirs.lance", {5}), ("ours.lance", set()):
            wanted = [row for row in self.table.select(["id", "text"]).to_pylist() if row["id"] not in gone]
            rows = run_program(PENNON, "lance", "scan", self.uri(name), "--columns", "id,text").splitlines()
            self.assertEqual([json.loads(row) for row in rows], wanted)
            rows = run_program(PENNON, "lance", "take", self.uri(name), "--rows", "1500,3,5").splitlines()
            taken = [json.loads(row) for row in rows]
            self.assertEqual([row["id"] for row in taken], [wanted[i]["id"] for i in (1500, 3, 5)])
            for row in taken:
                np.testing.assert_array_equal(np.float32(row["v"]), self.table["v"][row["id"]].as_py())
            info = json.loads(run_program(PENNON, "lance", "info", self.uri(name), "--json"))
            self.assertEqual((info["rows"], info["fragments"]), (ROWS - len(gone), 3))
            self.assertEqual(info["indices"][0]["rows"], ROWS)
        self.assertIn("version 1", run_program(PENNON, "lance", "info", self.uri("theirs.lance"), "--at", "1"))

    def test_search(self):
        for name, gone in ("theirs.lance", {5}), ("parted.lance", {5}), ("ours.lance", set()):
            row = 1499 + len(gone)  # at this position
            found = run_program(PENNON, "lance", "search", self.uri(name), "--like-row", "1499", "--json", "--columns", "id")
            ids = [json.loads(line)["row"]["id"] for line in found.splitlines()]
            self.assertEqual(ids, self.nearest(row, gone))

    def test_load_index(self):
        for name, gone in ("theirs.lance", {5}), ("ours.lance", set()):
            found = [int(line) for line in run_program(LOAD_INDEX, self.uri(name), "1499").splitlines()]
            ids = [(id >> 32) * 700 + id % 2**32 for id in found]
            self.assertEqual(ids, self.nearest(1499 + len(gone), gone))
        self.assertIn("of one partition", run_program(LOAD_INDEX, self.uri("parted.lance"), "0", code=1))

    def test_replay(self):
        for name, rows in ("theirs.lance", "1,949"), ("ours.lance", "1,950"):
            self.assertIn(rows + " vectors", run_program(PENNON, "replay", self.uri(name), "--holdout", "50", "--vector", "v"))

    def test_only_read(self):
        self.assertIn("writing is for local file systems", run_program(PENNON, "lance", "cleanup", self.uri("ours.lance"), code=1))
        self.assertEqual(self.keys(), self.before)

    def test_missing(self):
        self.assertIn("expected a Lance table, found none", run_program(PENNON, "lance", "info", self.uri("none.lance"), code=1))
        uri = self.uri("ours.lance").replace("bucket/", "no-such-bucket/")
        self.assertIn("no-such-bucket", run_program(PENNON, "lance", "info", uri, code=1))


class Requests(logging.Handler):
    """What a server of Werkzeug's was asked for, by its log."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def emit(self, record):
        self.seen.append(record.getMessage().split('"')[1].split("?")[0])


class S3Test(Store, unittest.TestCase):
    @classmethod
    def start(cls):
        cls.requests = Requests()
        log = logging.getLogger("werkzeug")
        log.propagate = False
        log.addHandler(cls.requests)
        log.setLevel(logging.INFO)
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        cls.addClassCleanup(server.stop)
        cls.address = ":".join(map(str, server.get_host_and_port()))
        cls.client = boto3.client("s3", endpoint_url=f"http://{cls.address}", region_name="us-east-1", aws_access_key_id="key",
                                  aws_secret_access_key="secret")
        cls.client.create_bucket(Bucket="bucket")

    @classmethod
    def put(cls, key, data):
        cls.client.put_object(Bucket="bucket", Key=key, Body=data)

    @classmethod
    def keys(cls):
        return {object["Key"] for object in cls.client.list_objects_v2(Bucket="bucket")["Contents"]}

    def test_sizes_are_known(self):
        """The manifest says how large files are: they are not asked for."""
        for name in "theirs.lance", "ours.lance":
            self.requests.seen.clear()
            run_program(PENNON, "lance", "search", self.uri(name), "--like-row", "1499", "--columns", "id")
            seen = list(self.requests.seen)
            for folder in "data", "_indices":
                asked = {method: [line for line in seen if f"{method} /bucket/tables/{name}/{folder}/" in line] for method in ("GET", "HEAD")}
                self.assertNotEqual(asked["GET"], [])
                self.assertEqual(asked["HEAD"], [])

    def uri(self, name):
        return f"s3://bucket/tables/{name}?region=us-east-1&scheme=http&endpoint_override={self.address}"


class GcsTest(Store, unittest.TestCase):
    @classmethod
    def start(cls):
        server = gcp_storage_emulator.server.create_server("127.0.0.1", 0, in_memory=True, default_bucket="bucket")
        server.start()
        cls.addClassCleanup(server.stop)
        cls.address = "127.0.0.1:" + str(server._api._httpd.server_port)

    @classmethod
    def put(cls, key, data):
        url = f"http://{cls.address}/upload/storage/v1/b/bucket/o?uploadType=media&name={quote(key, safe='')}"
        with urllib.request.urlopen(urllib.request.Request(url, data, {"Content-Type": "application/octet-stream"})) as answer:
            answer.read()

    @classmethod
    def keys(cls):
        with urllib.request.urlopen(f"http://{cls.address}/storage/v1/b/bucket/o") as answer:
            return {object["name"] for object in json.load(answer)["items"]}

    def uri(self, name):
        return f"gs://anonymous@bucket/tables/{name}?scheme=http&endpoint_override={self.address}&retry_limit_seconds=10"

    def test_unreachable(self):
        uri = self.uri("ours.lance").replace(self.address, "127.0.0.1:1").replace("seconds=10", "seconds=1")
        self.assertIn("cannot list gs://bucket/tables/ours.lance/_versions", run_program(PENNON, "lance", "info", uri, code=1))


if __name__ == "__main__":
    unittest.main()
