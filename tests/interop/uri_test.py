"""Tables that pylance wrote, read from a server that speaks S3. PENNON names the program."""

import json
import logging
import os
import subprocess
import tempfile
import unittest

import boto3
import lance
import numpy as np
import pyarrow as pa
from moto.server import ThreadedMotoServer

PENNON = os.path.abspath(os.environ["PENNON"])
KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_EC2_METADATA_DISABLED": "true"}


def make_table(rows):
    rng = np.random.default_rng(1)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(rng.random(rows * 64, dtype=np.float32)), 64)
    return pa.table({"id": pa.array(range(rows)), "text": [f"text of {i}" * (i % 5) for i in range(rows)], "vector": vectors})


class S3Test(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        cls.server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        cls.server.start()
        cls.addClassCleanup(cls.server.stop)
        host, port = cls.server.get_host_and_port()
        cls.endpoint = f"http://{host}:{port}"
        client = boto3.client("s3", endpoint_url=cls.endpoint, region_name="us-east-1", aws_access_key_id="key",
                              aws_secret_access_key="secret")
        client.create_bucket(Bucket="bucket")
        cls.table = make_table(2000)
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "t.lance")
            lance.write_dataset(cls.table, path, max_rows_per_file=700)
            dataset = lance.dataset(path)
            dataset.delete("id = 5")
            dataset.create_index("vector", "IVF_HNSW_SQ", num_partitions=1)
            for directory, _, files in os.walk(path):
                for file in files:
                    name = os.path.join(directory, file)
                    client.upload_file(name, "bucket", os.path.join("tables", os.path.relpath(name, folder)))
        cls.keys = {object["Key"] for object in client.list_objects_v2(Bucket="bucket")["Contents"]}
        cls.client = client
        query = f"region=us-east-1&scheme=http&endpoint_override={host}:{port}"
        cls.uri = f"s3://bucket/tables/t.lance?{query}"

    def run_program(self, *args, code=0):
        run = subprocess.run([PENNON, *args], capture_output=True, text=True, timeout=100, env={**os.environ, **KEYS})
        self.assertEqual(run.returncode, code, run.stderr)
        return run.stdout if code == 0 else run.stderr

    def test_rows(self):
        wanted = [row for row in self.table.select(["id", "text"]).to_pylist() if row["id"] != 5]
        rows = self.run_program("lance", "scan", self.uri, "--columns", "id,text").splitlines()
        self.assertEqual([json.loads(row) for row in rows], wanted)
        rows = self.run_program("lance", "take", self.uri, "--rows", "1500,3,5", "--columns", "id").splitlines()
        self.assertEqual([json.loads(row)["id"] for row in rows], [1501, 3, 6])
        self.assertEqual(json.loads(self.run_program("lance", "info", self.uri, "--json"))["rows"], 1999)
        self.assertIn("version 1", self.run_program("lance", "info", self.uri, "--at", "1"))

    def test_replay(self):
        self.assertIn("1,949 vectors", self.run_program("replay", self.uri, "--holdout", "50", "--vector", "vector"))

    def test_only_read(self):
        self.assertIn("writing is for local file systems", self.run_program("lance", "cleanup", self.uri, code=1))
        keys = {object["Key"] for object in self.client.list_objects_v2(Bucket="bucket")["Contents"]}
        self.assertEqual(keys, self.keys)

    def test_missing(self):
        uri = self.uri.replace("t.lance", "other.lance")
        self.assertIn("expected a Lance table, found none", self.run_program("lance", "info", uri, code=1))
        uri = self.uri.replace("//bucket", "//no-such-bucket")
        self.assertIn("no-such-bucket", self.run_program("lance", "info", uri, code=1))


if __name__ == "__main__":
    unittest.main()
