#!/usr/bin/env python3
"""Checks the links and the lines of README.md, CHANGELOG.md, CONTRIBUTING.md and docs/*.md: called by ci/lint.sh.

- A relative link names a file of the repository, and its anchor a heading of that file.
- A link by label has a definition, and a definition is used.
- A chapter's link to another chapter has its counterpart in src/lib.rs. There it stands before the chapter's text, and
  the first definition of a label wins, so one text has links for the repository's page and for rustdoc.
- A line of prose has at most 120 columns. Tables, code and definitions may be longer.
- The table of laws is the same in README.md and docs/guarantees.md, and the tests that docs/guarantees.md and
  docs/models.md name exist.

With `--rustdoc`, after `cargo doc`: no chapter has a link to a Markdown file, and each link between chapters leads to a
page and a heading that exist.
"""

import os
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
COLUMNS = 120
DEFINITION = re.compile(r"^\[([^\]]+)\]: (\S+)$")
INLINE = re.compile(r"\]\(([^)\s]+)\)")
LABELLED = re.compile(r"\[[^\]]+\]\[([^\]]+)\]")
# A test is named by at least three words, or by two within a table.
NAME = re.compile(r"`([a-z][a-z0-9]*(?:_[a-z0-9]+)+)`")
wrong: list[str] = []


class Page:
    def __init__(self, path: pathlib.Path):
        self.path = path
        self.name = str(path.relative_to(ROOT))
        self.prose: list[tuple[int, str]] = []
        self.definitions: dict[str, str] = {}
        self.anchors: set[str] = set()
        code = False
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if line.startswith("```"):
                code = not code
            elif code:
                continue
            elif found := DEFINITION.match(line):
                self.definitions[found[1].lower()] = found[2]
            else:
                self.prose.append((number, line))
                if line.startswith("#"):
                    self.anchors.add(slug(line.lstrip("#").strip()))

    def text(self) -> str:
        # Code in a line is no link.
        return "\n".join(re.sub(r"`[^`]*`", "", line) for _, line in self.prose)


def slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def module(path: str) -> str:
    return pathlib.PurePath(path).stem.replace("-", "_")


def links(page: Page, pages: dict[pathlib.Path, Page]) -> None:
    text = page.text()
    labels = {label.lower() for label in LABELLED.findall(text)}
    for label in labels - page.definitions.keys():
        wrong.append(f"{page.name}: the label [{label}] has no definition")
    for label in page.definitions.keys() - labels:
        # A link may be its label alone.
        if f"[{label}]" not in text.lower():
            wrong.append(f"{page.name}: no link uses the definition [{label}]")
    for target in [*INLINE.findall(text), *page.definitions.values()]:
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        path = (page.path.parent / name).resolve() if name else page.path
        if not path.exists():
            wrong.append(f"{page.name} links to {target}, which does not exist")
        elif anchor and anchor not in pages[path].anchors:
            wrong.append(f"{page.name} links to {target}, which has no such heading")


def counterparts(page: Page, lib: str) -> None:
    """The definitions before a chapter in src/lib.rs are those of the chapter, for rustdoc."""
    include = f'#[doc = include_str!("../{page.name}")]'
    if lib.count(include) != 1:
        wrong.append(f"src/lib.rs does not include {page.name}")
        return
    before = lib[: lib.index(include)].rstrip().splitlines()
    # Pictures are data in rustdoc, by definitions that the program which draws them writes.
    pictures = {}
    if before and "images/rustdoc.md" in before[-1]:
        drawn = (ROOT / "images/rustdoc.md").read_text()
        pictures = {label.lower() for label in re.findall(r"^\[([^\]]+)\]:", drawn, re.M)}
        while before and (before[-1].lstrip().startswith("//") or "images/" in before[-1]):
            before.pop()
    found = {}
    while before and (line := re.match(r'\s*#\[doc = "\[([^\]]+)\]: (\S+)"\]$', before[-1] or "-")):
        found[line[1].lower()] = line[2]
        before.pop()
    expected = {}
    for label, target in page.definitions.items():
        if "://" not in target and label not in pictures:
            name, mark, anchor = target.partition("#")
            expected[label] = f"self::{module(name)}{mark}{anchor}"
    if found != expected:
        wrong.append(f"src/lib.rs: before {page.name} there must be the definitions {expected}, and there are {found}")


def columns(page: Page) -> None:
    for number, line in page.prose:
        if len(line) > COLUMNS and not line.startswith("|"):
            wrong.append(f"{page.name}:{number} has {len(line)} columns")


def laws(pages: dict[str, Page]) -> None:
    def table(page: Page) -> list[str]:
        lines = [line for _, line in page.prose]
        first = next((i for i, line in enumerate(lines) if line.startswith("| limiter \\ law")), len(lines))
        last = next((i for i in range(first, len(lines)) if not lines[i].startswith("|")), len(lines))
        return lines[first:last]

    readme, chapter = pages["README.md"], pages["docs/guarantees.md"]
    if not table(readme) or table(readme) != table(chapter):
        wrong.append("the table of laws is not the same in README.md and docs/guarantees.md")
    sources = (path.read_text() for folder in ("src", "tests", "loom-tests") for path in (ROOT / folder).rglob("*.rs"))
    tests = {name for source in sources for name in re.findall(r"\bfn (\w+)", source)}
    for page in (chapter, pages["docs/models.md"]):
        for number, line in page.prose:
            # The last column of a model, all columns of a law.
            cells = line.split(" | ")[1:] if line.startswith("|") else []
            for name in NAME.findall(" ".join(cells)):
                if name not in tests and not name.startswith("refill_at"):
                    wrong.append(f"{page.name}:{number} names {name}, which is no test")


def rustdoc(chapters: list[Page]) -> None:
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    pages = {module(chapter.name): target / "doc/sluicegate/docs" / module(chapter.name) / "index.html"
             for chapter in chapters}
    for name, path in pages.items():
        if not path.exists():
            wrong.append(f"{path} does not exist: cargo doc comes first")
            return
    ids = {path.resolve(): set(re.findall(r'\bid="([^"]+)"', path.read_text())) for path in pages.values()}
    for name, path in pages.items():
        for href in re.findall(r'\bhref="([^"]+)"', path.read_text()):
            file, _, anchor = href.partition("#")
            if "://" not in href and re.search(r"\.md$", file):
                wrong.append(f"the page of docs::{name} links to {href}")
            aim = (path.parent / file).resolve() if file else path.resolve()
            if anchor and aim in ids and anchor not in ids[aim]:
                wrong.append(f"the page of docs::{name} links to {href}, which has no such heading")


def main() -> int:
    names = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")]
    chapters = [Page(path) for path in sorted((ROOT / "docs").glob("*.md"))]
    pages = [*(Page(path) for path in names if path.exists()), *chapters]
    by_path = {page.path: page for page in pages}
    lib = (ROOT / "src/lib.rs").read_text()
    for page in pages:
        links(page, by_path)
        columns(page)
    for chapter in chapters:
        counterparts(chapter, lib)
    laws({page.name: page for page in pages})
    if "--rustdoc" in sys.argv[1:]:
        rustdoc(chapters)
    for what in wrong:
        print(f"links: {what}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
