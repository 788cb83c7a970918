"""Checks tools/mutants without running them: each patch applies, says what it breaks and names tests that there are, and
every contract has at least two."""

import collections
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
CONTRACTS = range(1, 12)


def field(name, text):
    found = re.search(rf"^# {name}: (.+)$", text, re.MULTILINE)
    return found.group(1) if found else ""


def main():
    problems = []
    per_contract = collections.Counter()
    tests = {path.stem for path in ROOT.glob("tests/*/*_test.cc")}
    for patch in sorted(ROOT.glob("tools/mutants/*.patch")):
        text = patch.read_text()
        contracts = re.match(r"contracts? ([\d, ]+): .", field("breaks", text))
        if not contracts:
            problems.append(f"{patch.name}: no `# breaks: contract N: what` in its first lines")
        else:
            per_contract.update(int(number) for number in contracts.group(1).split(","))
        named = field("tests", text).split()
        problems += [f"{patch.name}: no test {name}" for name in named if name not in tests]
        if not named:
            problems.append(f"{patch.name}: no `# tests:` in its first lines")
        dry = ["patch", "-p1", "-s", "-f", "-F0", "--dry-run", "-i", patch]
        applied = subprocess.run(dry, cwd=ROOT, capture_output=True, text=True)
        if applied.returncode != 0:
            problems.append(f"{patch.name}: does not apply\n{applied.stdout}{applied.stderr}")
    problems += [f"contract {n}: {per_contract[n]} mutants, expected 2" for n in CONTRACTS if per_contract[n] < 2]
    print("\n".join(problems) or "every contract is broken at least twice")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
