"""Checks that docs/lance.md names every field number that src/lance knows. --write puts the table there."""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs" / "lance.md"
PROTOS = {
    "array_encoding.cc": "encodings_v2_0.proto",
    "file_messages.h": "file2.proto, file.proto",
    "hnsw_index.cc": "index.proto",
    "ivf.cc": "index.proto",
    "manifest.cc": "table.proto",
    "message.h": "google/protobuf/any.proto",
    "page_layout.cc": "encodings_v2_1.proto",
    "row_ids.cc": "rowids.proto, table.proto",
    "schema.cc": "file.proto",
    "transaction.cc": "transaction.proto, table.proto",
    "value_encoding.cc": "encodings_v2_1.proto",
}
HEAD = "| message | fields | .proto | in |\n| --- | --- | --- | --- |\n"


def rows():
    for path in sorted((ROOT / "src" / "lance").glob("*.*")):
        text = re.sub(r"//[^\n]*", "", path.read_text())
        for name, body in re.findall(r"enum class (\w+) : Tag \{(.*?)\}", text, re.DOTALL):
            fields = re.findall(r"k(\w+) = (\d+)", body)
            said = ", ".join(f"{field[0].lower()}{field[1:]} {number}" for field, number in fields)
            yield f"| {name.removesuffix('Tag')} | {said} | {PROTOS[path.name]} | {path.name} |\n"


def main():
    table = HEAD + "".join(rows())
    text = DOCUMENT.read_text()
    start = text.index(HEAD) if HEAD in text else len(text)
    end = re.compile(r"(\|[^\n]*\n)*").match(text, start).end()
    if text[start:end] == table:
        return 0
    if sys.argv[1:] == ["--write"]:
        DOCUMENT.write_text(text[:start] + table + text[end:])
        return 0
    print(f"{DOCUMENT}: the table of field numbers is not that of src/lance: python3 tools/check_lance_fields.py --write")
    return 1


sys.exit(main())
