#!/usr/bin/env python3
"""Finds circles between the files of a crate: files that use each other, directly or through others.

    contrib/file-circles.py [FOLDER_OF_A_CRATE]...

Without arguments it looks at every crate of the workspace. Exit code 0: no circle; 1: circles, printed as the files of
each and the names by which they use each other; 2: no such folder, or the self-test failed.

A file uses another if it names what the other defines: in a `use`, or by a path from `crate`, `self`, `super`, a child
module or an imported name. It also uses a file whose `impl` block adds methods to a type of another file, if it calls
one of these methods. What is named through a re-export belongs to the file that defines it; a re-export itself is no
use, unless its file needs the name too. Code under `#[cfg(test)]` does not count: tests may use what is above.

It reads text, not types, so it cannot see: a method or field of a type that the file never names; a method added in
another file under a name that several files define, unless the type's own file calls it as `self.name()`; a call of a
trait's method, which counts as use of the trait; names that a macro puts together, or a macro used by textual scope;
`#[path]`. It compares files, not folders: folders may use each other's files. It reads `src` only.
"""

import re
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

NOISE = re.compile(
    r"""//[^\n]* | /\*.*?\*/ | \br(\#*)".*?"\1 | "(?:\\.|[^"\\])*" | '(?:\\.[^']*|[^'\\])'""", re.S | re.X
)
TEST_ONLY = re.compile(r"#\[cfg\((?:all\()?test\b")
INLINE_MODULE = re.compile(r"\bmod (\w+)\s*\{")
USE = re.compile(r"(\bpub\s+)?\buse\s+([^;]+);")
PATH = re.compile(r"(?<![\w:])\w+(?:::\w+)+")
IMPL = re.compile(r"^\s*impl\b(?:<[^{]*?>)?\s+([\w:]+)(?:<[^{;]*>)?\s*(?:where[^{]*)?\{", re.M)


def end_of_item(text, at):
    """Where the item that starts at `at` ends: after its first block or semicolon, or where its surroundings end."""
    depth = 0
    for i in range(at, len(text)):
        if text[i] in "([{":
            depth += 1
        elif text[i] in ")]}":
            depth -= 1
            if depth < 0:
                return i
        if depth == 0 and text[i] in ";}":
            return i + 1
    return len(text)


def leaves(tree):
    """The paths of a use tree, as (names, the name that it is imported by)."""
    before, brace, inside = tree.partition("{")
    if not brace:
        path, _, alias = tree.partition(" as ")
        names = [name.strip() for name in path.split("::")]
        if names[-1] == "self":
            names.pop()
        return [(names, alias.strip() or names[-1])]
    parts, depth = [""], 0
    for c in inside[: inside.rindex("}")]:
        depth += (c == "{") - (c == "}")
        if c == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += c
    return [leaf for part in parts if part.strip() for leaf in leaves(before + part.strip())]


class Crate:
    """The modules of a crate: their files, texts without tests, and imports. A module is a tuple of names."""

    def __init__(self, src):
        self.files, self.texts, self.imports = {}, {}, {}
        tests = []
        for file in sorted(src.rglob("*.rs")):
            relative = file.relative_to(src)
            names = relative.with_suffix("").parts
            module = names[:-1] if names[-1] in ("lib", "main", "mod") else names
            if module in self.files:
                print(f"{file}: the same module as {self.files[module]}", file=sys.stderr)
                sys.exit(2)
            text = NOISE.sub(lambda noise: " " if noise[0][0] == "/" else '""', file.read_text())
            while found := TEST_ONLY.search(text):
                end = end_of_item(text, found.start())
                tests += [module + (name,) for name in re.findall(r"\bmod (\w+)\s*;", text[found.start() : end])]
                text = text[: found.start()] + text[end:]
            self.add(module, str(relative), re.sub(r"\bpub\s*\([^)]*\)", "pub", text))
        for test in tests:
            for module in [module for module in self.files if module[: len(test)] == test]:
                del self.files[module], self.texts[module], self.imports[module]

    def add(self, module, file, text):
        while found := INLINE_MODULE.search(text):
            end = end_of_item(text, found.start())
            self.add(module + (found[1],), file, text[found.end() : end - 1])
            text = text[: found.start()] + text[end:]
        self.files[module] = file
        self.imports[module] = [
            (names, alias, bool(use[1])) for use in USE.finditer(text) for names, alias in leaves(use[2])
        ]
        self.texts[module] = USE.sub("", text)

    def definition(self, module, names, depth=0):
        """The module that defines what `names` means in `module`, and the names left there; None if it is another crate's."""
        if depth > 20:
            return None
        if names[0] in ("crate", "self", "super"):
            at, names = (() if names[0] == "crate" else module), names[:]
            while names and names[0] in ("crate", "self", "super"):
                at = at[:-1] if names.pop(0) == "super" else at
        elif module + (names[0],) in self.files:
            at = module
        else:
            for path, alias, _ in self.imports[module]:
                if alias == names[0] and path != names[:1]:
                    return self.definition(module, path + names[1:], depth + 1)
            return None
        while names and at + (names[0],) in self.files:
            at, names = at + (names[0],), names[1:]
        for path, alias, is_public in self.imports[at] if names else []:
            if is_public and alias == names[0]:
                return self.definition(at, path + names[1:], depth + 1) or (at, names)
        return at, names

    def added_methods(self):
        """Methods of `impl` blocks outside their type's file, by name: (the file of the block, that of the type)."""
        added, files_of = defaultdict(set), defaultdict(set)
        for module, text in self.texts.items():
            for name in re.findall(r"\bfn (\w+)", text):
                files_of[name].add(self.files[module])
            for block in IMPL.finditer(text):
                found = self.definition(module, block[1].split("::"))
                if found and self.files[found[0]] != self.files[module]:
                    body = text[block.end() : end_of_item(text, block.start())]
                    for name in re.findall(r"\bfn (\w+)", body):
                        added[name].add((self.files[module], self.files[found[0]]))
        return added, files_of

    def uses(self):
        """For each file: the files that it uses, each with the names by which it does."""
        uses = {file: defaultdict(set) for file in self.files.values()}
        added, files_of = self.added_methods()
        for module, text in self.texts.items():
            file = self.files[module]
            named = [names.split("::") for names in PATH.findall(text)]
            for names, alias, is_public in self.imports[module]:
                if not is_public or alias == "*" or re.search(rf"\b{alias}\b", text):
                    named.append(names)
            for names in named:
                found = self.definition(module, names)
                # An imported module is used by the paths that start with it.
                if found and found[1]:
                    uses[file][self.files[found[0]]].add("::".join(names))
            for receiver, name in re.findall(r"(\bself)?(?:\.|::)(\w+)\s*\(", text):
                for block, of_type in added.get(name, ()):
                    # Of a name that several files define, only this is known: `self.name()` in the type's own file.
                    if len(files_of[name]) == 1 or receiver and file == of_type and file not in files_of[name]:
                        uses[file][block].add(f".{name}()")
        for file, used in uses.items():
            used.pop(file, None)
        return uses


def circles(uses):
    """The largest sets of files that all reach each other."""

    def reached(file):
        seen, ahead = set(), [file]
        while ahead:
            new = set(uses[ahead.pop()]) - seen
            seen |= new
            ahead += new
        return seen

    reach = {file: reached(file) for file in uses}
    return sorted({tuple(sorted(b for b in reach[a] if a in reach[b])) for a in uses if a in reach[a]})


def report(crate_folder):
    """Prints the circles of a crate; returns how many there are."""
    uses = Crate(crate_folder / "src").uses()
    found = circles(uses)
    for circle in found:
        print(f"{crate_folder.name}: these files use each other: {', '.join(circle)}")
        for file in circle:
            for other in sorted(set(uses[file]) & set(circle)):
                print(f"    {file} uses {other}: {', '.join(sorted(uses[file][other]))}")
    return len(found)


# A crate for `self_test`: three circles, and next to each what looks like one but is none.
EXAMPLE = {
    "lib.rs": "mod a; mod b; mod below; mod session; pub use a::A; // crate::session::Session",
    "a.rs": "use crate::below::X; pub struct A(X); fn f() { crate::b::g() }",
    "b.rs": "pub fn g(_: crate::A) {} fn text() -> &'static str { \"crate::c::C\" }",
    "below.rs": "pub struct X; fn take() {} #[cfg(test)] mod tests { use crate::a::A; fn t() -> A { A } }",
    "session/mod.rs": "mod take; pub(crate) struct Session; impl Session { fn f(&self) { self.take() } }",
    "session/take.rs": "impl super::Session { pub(super) fn take(&self) {} }",
    "c/mod.rs": "mod d; pub(crate) use d::D; pub(crate) struct C; mod in_line { use super::super::b::g; }",
    "c/d.rs": "use super::{C, e::{self}}; pub struct D(C); fn f() -> e::E { todo!() }",
    "c/e.rs": "pub struct E(pub super::D);",
}


def self_test():
    """Fails if the circles of the example are not found, or any other is."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in EXAMPLE.items():
            file = Path(folder, name)
            file.parent.mkdir(exist_ok=True)
            file.write_text(text)
        uses = Crate(Path(folder)).uses()
    expected = [("a.rs", "b.rs"), ("c/d.rs", "c/e.rs"), ("session/mod.rs", "session/take.rs")]
    if circles(uses) != expected or uses["a.rs"]["b.rs"] != {"crate::b::g"}:
        print(f"self-test: expected {expected}, got {circles(uses)} of {uses}", file=sys.stderr)
        sys.exit(2)


def main():
    if any(argument.startswith("-") for argument in sys.argv[1:]):
        print(__doc__)
        sys.exit(0 if sys.argv[1] in ("-h", "--help") else 2)
    self_test()
    workspace = Path(__file__).resolve().parent.parent
    crates = [Path(argument) for argument in sys.argv[1:]] or sorted(
        manifest.parent for manifest in [*workspace.glob("crates/*/Cargo.toml"), workspace / "xtask/Cargo.toml"]
    )
    for crate in crates:
        if not (crate / "src").is_dir():
            print(f"{crate}: has no folder src; expected the folder of a crate", file=sys.stderr)
            sys.exit(2)
    count = sum(map(report, crates))
    if count:
        print(f"{count} circle(s): move what both files need into a file below them", file=sys.stderr)
        sys.exit(1)
    print(f"no circle between the files of any of {len(crates)} crates")


main()
