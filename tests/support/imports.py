"""Import graphs of the core and of the package, and the circles in them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

Graph = dict[str, set[str]]


def circles(graph: Graph) -> list[list[str]]:
    """Give the groups of modules that import each other, however long the way round (Tarjan)."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:
        number[module] = low[module] = len(number)
        stack.append(module)
        for other in sorted(graph.get(module, ())):
            if other not in number:
                visit(other)
                low[module] = min(low[module], low[other])
            elif other in stack:
                low[module] = min(low[module], number[other])
        if low[module] == number[module]:
            group = stack[stack.index(module) :]
            del stack[stack.index(module) :]
            if len(group) > 1 or module in graph.get(module, ()):
                found.append(sorted(group))

    for module in sorted(graph):
        if module not in number:
            visit(module)
    return found


def python_graph(package: Path) -> Graph:
    """Read who imports whom in a package, wherever the import stands: in a function, for types only, or by name."""
    modules = {
        _python_name(path, package): path
        for path in sorted((*package.rglob("*.py"), *package.rglob("*.pyi")))
    }
    read = {name: path for name, path in modules.items() if path.suffix == ".py"}
    return {name: set(_python_imports(name, path, modules)) - {name} for name, path in read.items()}


def _python_name(path: Path, package: Path) -> str:
    parts = path.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _python_imports(name: str, path: Path, modules: dict[str, Path]) -> Iterator[str]:
    here = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom):
            base = here.rsplit(".", node.level - 1)[0] if node.level else ""
            source = ".".join(filter(None, (base, node.module)))
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                if inner in modules or source in modules:
                    yield inner if inner in modules else source
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (text for text in _texts(node) if text in modules)


def _texts(node: ast.AST) -> Iterator[str]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
            yield inner.value


def rust_graph(source: Path) -> Graph:
    """Read who names whom in a crate, tests left out. What a folder's file only passes on counts as its maker's."""
    files = {_rust_name(path, source): path for path in sorted(source.rglob("*.rs"))}
    texts = {name: _without_tests(path.read_text()) for name, path in files.items()}
    passed_on = {
        name: dict(_named(text, name, files, r"pub(?:\([^)]*\))? use")) for name, text in texts.items()
    }
    graph: Graph = {}
    for name, text in texts.items():
        paths = [path for _, path in _named(text, name, files, r"use")]
        paths += [_absolute(path.split("::"), name) for path in _inline(text, name, files)]
        graph[name] = {_owner(path, files, passed_on) for path in paths} - {name, ""}
    return graph


def _inline(text: str, name: str, files: dict[str, Path]) -> list[str]:
    """Give the paths that stand in the code itself; those of children start with the child."""
    code = re.sub(r"(?m)^\s*(?:pub(?:\([^)]*\))? )?(?:use|mod) [^;]*;|\bpub\([^)]*\)|//.*$", "", text)
    children = (other.rpartition("::")[2] for other in files if other.rpartition("::")[0] == name)
    starts = "|".join(("crate", "self", "super", *children))
    return re.findall(rf"\b((?:{starts})(?:::\w+)+)", code)


def _rust_name(path: Path, source: Path) -> str:
    parts = path.relative_to(source).with_suffix("").parts
    return "::".join(("crate", *(part for part in parts if part not in ("mod", "lib"))))


def _without_tests(text: str) -> str:
    return re.split(r"#\[cfg\(test\)\]\n(?:pub\([^)]*\) )?mod tests", text, maxsplit=1)[0]


def _named(text: str, name: str, files: dict[str, Path], keyword: str) -> Iterator[tuple[str, list[str]]]:
    """Give the names that `use` lines bring in, each with its path."""
    for tree in re.findall(rf"(?m)^\s*{keyword} ([^;]*);", text):
        for path in _branches(re.sub(r"\s+", " ", tree).strip()):
            parts, _, other = path.partition(" as ")
            parts_of = [part.strip() for part in parts.split("::")]
            if parts_of[-1] == "self":
                parts_of.pop()
            first = parts_of[0]
            if first in ("crate", "self", "super") or f"{name}::{first}" in files:
                absolute = _absolute(parts_of, name)
                yield other.strip() or parts_of[-1], absolute


def _branches(tree: str) -> Iterator[str]:
    """Write out the braces of a `use`."""
    start = tree.find("{")
    if start < 0:
        yield tree
        return
    depth, piece = 0, ""
    for letter in tree[start + 1 : tree.rindex("}")] + ",":
        depth += (letter == "{") - (letter == "}")
        if letter == "," and depth == 0:
            if piece.strip():
                yield from _branches(tree[:start] + piece.strip())
            piece = ""
        else:
            piece += letter


def _absolute(path: list[str], name: str) -> list[str]:
    here = name.split("::")
    if path[0] == "crate":
        return path
    if path[0] not in ("self", "super"):
        return here + path
    while path and path[0] in ("self", "super"):
        if path[0] == "super":
            here = here[:-1]
        path = path[1:]
    return here + path


def _owner(path: list[str], files: dict[str, Path], passed_on: dict[str, dict[str, list[str]]]) -> str:
    for length in range(len(path), 0, -1):
        module = "::".join(path[:length])
        if module in files:
            rest = path[length:]
            if rest and rest[0] in passed_on[module]:
                return _owner(passed_on[module][rest[0]] + rest[1:], files, passed_on)
            return module
    return ""
