"""Checks that docs/api.md names every public name of include/pennon, and none that is not there.

A member has to be in a section whose heading names its class, or the class around that; other names anywhere. What is
meant by a name is what is in code font. Declarations are told apart by braces, brackets and keywords alone."""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]

# What is in code font and not ours: Arrow's status codes, Lance's columns, the environment's; what costs depend on.
FOREIGN = set("""
    Invalid CapacityError OutOfMemory UnknownError Cancelled AlreadyExists NotImplemented IOError
    _idx _rowid __vector_id __neighbors _distance PENNON_SIMD
    n d b
""".split())


def stripped(text):
    """The text without comments and literals."""
    text = re.sub(r'"(\\.|[^"\\\n])*"', '""', re.sub(r"//[^\n]*", "", text))
    return re.sub(r"'(\\.|[^'\\\n])'", "''", text)


def declarations(text):
    """(head, body) of each declaration: body is what is between its braces, or None."""
    found, start, flat, i = [], 0, "", 0  # flat: the head without what is in brackets
    while i < len(text):
        if text[i] in "({[":
            begin, depth = i, 1
            while depth > 0:
                i += 1
                depth += (text[i] in "({[") - (text[i] in ")}]")
            if text[begin] == "{" and "=" not in flat:  # else a value
                found.append((text[start:begin].strip(), text[begin + 1 : i]))
                start, flat = i + 1, ""
        elif text[i] == ";":
            found.append((text[start:i].strip(), None))
            start, flat = i + 1, ""
        else:
            flat += text[i]
        i += 1
    return [(head, body) for head, body in found if head]


def names(text, scope, in_class=False, public=True):
    """(scopes, name) of each public declaration; scopes are the classes around it, innermost last."""
    for head, body in declarations(text):
        while label := re.match(r"(public|private|protected)\s*:", head):
            public = label[1] == "public"
            head = head[label.end() :].strip()
        head = re.sub(r"\[\[.*?\]\]|\bPENNON_EXPORT\b", "", head).strip()
        if not public or re.match(r"(friend|static_assert|template\s*<[^>]*>\s*friend)\b", head):
            continue
        if re.match(r"namespace\b", head):
            yield from names(body, scope)
        elif match := re.match(r"enum\s+(?:class\s+)?(\w+)", head):
            yield scope, match[1]
            for value in (body or "").split(","):
                if value.strip():
                    yield scope, re.match(r"\w+", value.strip())[0]
        elif match := re.match(r"(class|struct)\s+(\w+)", head):
            if body is not None:  # one that is only declared is not for users
                yield scope, match[2]
                yield from names(body, scope + [match[2]], True, match[1] == "struct")
        elif match := re.search(r"\b(?:concept|using)\s+(\w+)\s*=", head):
            yield scope, match[1]
        else:
            head = re.sub(r"^template\s*<[^>]*>\s*", "", head)
            while (flat := re.sub(r"<[^<>]*>", "", head)) != head:
                head = flat
            before = re.split(r"\(|(?<![=<>!])=", head)[0].strip()
            match = re.search(r"(~?\w+)$", before)
            if match and "operator" not in before and match[1].lstrip("~") not in scope:
                yield scope, match[1]


def main():
    headers = [stripped(path.read_text()) for path in sorted((ROOT / "include/pennon").glob("*.h"))]
    wanted, known = [], set()
    for text in headers:
        known |= set(re.findall(r"\w+", text))
        macros = re.findall(r"^#define (\w+)(?!\w|\()", text, flags=re.M)  # those with parameters help these
        wanted += [([], macro) for macro in macros]
        wanted += names(re.sub(r"^#(.*\\\n)*.*$", "", text, flags=re.M), [])

    page = re.sub(r"^```.*?^```", "", (ROOT / "docs/api.md").read_text(), flags=re.M | re.S)
    everywhere, of_class, section, problems = set(), {}, [], []
    for number, line in enumerate(page.splitlines(), 1):
        spans = re.findall(r"`([^`]+)`", line)
        words = {word for span in spans for word in re.findall(r"\w+", span)}
        if line.startswith("#"):
            section = words
        everywhere |= words
        for name in section:
            of_class.setdefault(name, set()).update(words)
        for span in spans:
            for word in re.findall(r"[^\W\d]\w*", re.sub(r"\b(arrow|std)::[\w:]+", "", span)):
                if word not in known and word not in FOREIGN:
                    problems.append(f"docs/api.md:{number}: no header has {word}")

    for scope, name in wanted:
        said = set().union(*(of_class.get(outer, set()) for outer in scope)) if scope else everywhere
        if name not in said:
            problems.append(f"docs/api.md: {'::'.join(scope + [name])} is missing")
    print("\n".join(dict.fromkeys(problems)) or f"{len(wanted)} public names are told of")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
