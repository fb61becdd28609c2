#!/usr/bin/env python3
"""Checks that every relative link of the Markdown files that git tracks has a target, with its heading.

    contrib/doc-links.py

Exits 0 if all have, 1 otherwise. Links to other hosts are not followed.
"""

import pathlib
import re
import subprocess
import sys

LINK = re.compile(r"\]\(\s*([^)\s]+)\s*\)")


def prose(path):
    """The lines of a file outside of code blocks."""
    fenced = False
    for line in path.read_text().splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced:
            yield line


def anchors(path):
    """The anchors that GitHub gives a file's headings."""
    found = set()
    for line in prose(path):
        if heading := re.match(r"#{1,6} (.*)", line):
            text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading[1]).strip().lower()
            slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
            repeats = sum(1 for anchor in found if re.fullmatch(re.escape(slug) + r"(-\d+)?", anchor))
            found.add(f"{slug}-{repeats}" if repeats else slug)
    return found


def broken(path):
    # A link may be broken over two lines.
    for target in LINK.findall(re.sub(r"`[^`]*`", "", "\n".join(prose(path)))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = path if not name else path.parent / name
        if not file.exists():
            yield f"{path}: {target}: no such file"
        elif anchor and file.suffix == ".md" and anchor not in anchors(file):
            yield f"{path}: {target}: no such heading"


def main():
    listed = subprocess.run(["git", "ls-files", "*.md"], capture_output=True, text=True, check=True).stdout.split("\n")
    files = [pathlib.Path(name) for name in listed if name]
    faults = [fault for file in files if file.exists() for fault in broken(file)]
    print("\n".join(faults) if faults else f"{len(files)} Markdown files: every relative link has a target")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
