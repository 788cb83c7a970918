"""Runs the demo in a terminal and draws what it left there as docs/demo.svg. Needs `pip install rich`."""

import io
import os
import pathlib
import pty
import subprocess

from rich.console import Console
from rich.text import Text

ROOT = pathlib.Path(__file__).resolve().parents[1]

leader, follower = pty.openpty()
demo = subprocess.Popen([ROOT / "build/release/pennon", "demo"], cwd=ROOT, stdout=follower, stderr=follower)
os.close(follower)
output = b""
while True:
    try:
        chunk = os.read(leader, 65536)
    except OSError:  # the terminal's end
        break
    if not chunk:
        break
    output += chunk
if demo.wait() != 0:
    raise SystemExit(output.decode())

# A progress bar is drawn over and over in place: its last state counts.
lines = [line.rstrip("\r").rsplit("\r", 1)[-1].rstrip() for line in output.decode().split("\n")]
console = Console(record=True, width=112, file=io.StringIO())
console.print(Text("$ make demo\n" + "\n".join(lines).rstrip()))
console.save_svg(str(ROOT / "docs/demo.svg"), title="pennon demo")
