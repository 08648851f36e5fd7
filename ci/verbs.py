#!/usr/bin/env python3
"""Checks the table of verbs in the crate's documentation: a limiter has each verb that the table gives it, and no other
of them. Run without arguments."""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
METHOD = re.compile(r"^ +pub (?:async )?fn (\w+)")


def methods() -> dict[str, set[str]]:
    """The public methods of each type, by its name."""
    found: dict[str, set[str]] = {}
    for file in sorted((ROOT / "src").rglob("*.rs")):
        owner = None
        for line in file.read_text().splitlines():
            if line.startswith("impl") and " for " not in line.split("{")[0]:
                owner = re.sub(r"^impl(<.*?>)? ", "", line.split("{")[0])
                owner = re.match(r"\w+", re.sub(r"^<.*?> ", "", owner))
                owner = owner[0] if owner else None
            elif line.startswith("}"):
                owner = None
            elif owner and (method := METHOD.match(line)):
                found.setdefault(owner, set()).add(method[1])
    return found


def main() -> int:
    lines = (ROOT / "src/lib.rs").read_text().splitlines()
    rows = [line.removeprefix("//! ").strip("| ") for line in lines if line.startswith("//! |")]
    table = [[cell.strip() for cell in row.split("|")] for row in rows]
    try:
        first = next(i for i, row in enumerate(table) if row[0] == "verb")
    except StopIteration:
        print("verbs: src/lib.rs has no table of verbs", file=sys.stderr)
        return 1
    limiters = [re.sub(r"[`\[\]]", "", cell) for cell in table[first][1:]]
    has, wrong = methods(), []
    for row in table[first + 2 :]:
        verbs = re.findall(r"`(\w+)`", row[0])
        for limiter, cell in zip(limiters, row[1:], strict=True):
            for verb in verbs:
                if (cell != "-") != (verb in has.get(limiter, ())):
                    wrong.append(f"{limiter} has {'no ' if cell != '-' else ''}{verb}, the table says otherwise")
    for line in wrong:
        print(f"verbs: {line}", file=sys.stderr)
    return 1 if wrong else 0


sys.exit(main())
