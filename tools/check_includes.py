"""Checks every include line against the rooms that each room may see. Arrows point only one way; no layer slips."""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]

# What a folder may include besides itself and the standard library.
MAY_SEE = {
    "include/pennon": ["arrow"],
    "src/memory": [],
    "src/kernels": ["immintrin.h", "arm_neon.h", "cpuid.h"],
    "src/graph": ["src/memory", "src/kernels", "pthread.h", "unistd.h", "sys"],
    "src/vectors": ["src/memory", "src/kernels", "arrow"],
    "src/io": ["arrow", "dlfcn.h", "fcntl.h", "sys", "unistd.h"],
    "src/lance": ["include/pennon", "src/io", "arrow", "nlohmann", "protozero"],
    "src/index": ["include/pennon", "src/memory", "src/kernels", "src/graph", "src/vectors", "src/io", "src/lance", "arrow", "nlohmann", "sched.h"],
    "src/cli": ["include/pennon", "arrow", "parquet", "nlohmann", "CLI", "fmt", "unistd.h"],
}


def target(line_path):
    """The folder or library that an included path belongs to."""
    folder = line_path.split("/")[0] if "/" in line_path else line_path
    for room in MAY_SEE:
        if pathlib.PurePath(room).name == folder:
            return room
    return folder


def main():
    problems = []
    for room, allowed in MAY_SEE.items():
        for path in sorted((ROOT / room).glob("*")):
            for number, line in enumerate(path.read_text().splitlines(), 1):
                match = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
                if not match:
                    continue
                seen = target(match[2])
                standard = match[1] == "<" and "/" not in match[2] and not match[2].endswith(".h")
                if seen != room and not standard and seen not in allowed:
                    problems.append(f"{path.relative_to(ROOT)}:{number}: {room} may not see {match[2]}")
    listed = {ROOT / room for room in MAY_SEE}
    problems += [f"{f.relative_to(ROOT)}: not in tools/check_includes.py" for f in (ROOT / "src").iterdir() if f not in listed]
    print("\n".join(problems) or "every include line keeps to its room")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
