"""The program's interface: JSON lines, errors, exit codes. PENNON names the program."""

import json
import os
import pathlib
import subprocess
import tempfile
import unittest

PENNON = os.environ["PENNON"]
DATA = str(pathlib.Path(__file__).parents[2] / "data" / "packages-10k.parquet")


def pennon(*args):
    return subprocess.run([PENNON, *args], capture_output=True, text=True, timeout=100)


class Errors(unittest.TestCase):
    def check(self, code, words, *args):
        run = pennon(*args)
        self.assertEqual(run.returncode, code, run.stderr)
        self.assertIn(words, run.stderr)

    def test_usage(self):
        self.check(2, "data", "replay")
        self.check(2, "--metric", "replay", DATA, "--metric", "l1")

    def test_input(self):
        self.check(1, "no-such-file", "replay", "no-such-file")
        self.check(1, "embedding", "replay", DATA, "--vector", "nope")
        self.check(1, "string", "replay", DATA, "--vector", "name")
        self.check(1, "neither", "replay", __file__)
        self.check(1, "m must be", "replay", DATA, "--m", "1", "--limit", "100")


class Replay(unittest.TestCase):
    def test_json_lines(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "out.jsonl")
            run = pennon("replay", DATA, "--limit", "1500", "--ef", "32", "--verify", "--json", path)
            self.assertEqual(run.returncode, 0, run.stderr)
            lines = {line["what"]: line for line in map(json.loads, open(path))}
        self.assertEqual(set(lines), {"run", "insert", "search", "search_batch", "concurrent", "memory", "verify"})
        self.assertEqual(lines["insert"]["rows"], 1350)
        self.assertGreater(lines["search"]["recall"], 0.9)
        self.assertEqual(lines["verify"], {"what": "verify", "unreachable": 0, "ok": True})


if __name__ == "__main__":
    unittest.main()
