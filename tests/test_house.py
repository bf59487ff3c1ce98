"""The house: imports go one way, files are short, and what has one place has no second."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.imports import circles, python_graph, rust_graph

ROOT = Path(__file__).parents[1]
CORE = ROOT / "rust" / "kvmfw-core" / "src"
PACKAGE = ROOT / "python" / "kvmfw"
LONGEST_FILE = 400
LONG_FILES = {
    "python/kvmfw/probe.py": "one file that runs by itself on a host, without the package around it"
}


def sources() -> Iterator[Path]:
    for folder, pattern in (("rust", "*.rs"), ("python", "*.py"), ("tests", "*.py"), ("benches", "*.py")):
        found = (path for path in (ROOT / folder).rglob(pattern) if "target" not in path.parts)
        yield from sorted(found)


# --- imports --------------------------------------------------------------------------------------


def test_no_file_of_the_core_imports_one_that_imports_it() -> None:
    graph = rust_graph(CORE)
    assert len(graph) > 50
    assert sum(map(len, graph.values())) > 200
    assert "crate::fleet::classes::vms" in graph["crate::fleet::tables::parts"]
    assert "crate::rules::rule" in graph["crate::rules::derive::pmu"]
    assert circles(graph) == []


def test_no_module_of_the_package_imports_one_that_imports_it() -> None:
    graph = python_graph(PACKAGE)
    assert len(graph) > 60
    assert "kvmfw._native" in graph["kvmfw.sets"]
    assert circles(graph) == []


CORES_LAYERS = [
    ("id", "value", "errno"),
    ("catalog",),
    ("answers", "capture", "set"),
    ("rules",),
    ("acceptor", "host"),
    ("policy",),
    ("question", "list"),
    ("explain", "finding"),
    ("verdict",),
    ("audit", "fleet::classes"),
    ("fleet::tables",),
    ("fleet::store",),
    ("fleet::ask",),
]
PACKAGES_LAYERS = [
    ("errors", "ids", "registers", "rules", "sets", "verdict"),
    ("telling",),
    ("inventory", "readers"),
    ("arcs", "fleet", "questions", "roster", "snapshot"),
    ("analysis",),
    ("report",),
    ("planners", "serve"),
    ("cli",),
]


@pytest.mark.parametrize(
    ("graph", "root", "layers"),
    [
        (rust_graph(CORE), "crate::", CORES_LAYERS),
        (python_graph(PACKAGE), "kvmfw.", PACKAGES_LAYERS),
    ],
    ids=["core", "package"],
)
def test_no_layer_looks_up(graph: dict[str, set[str]], root: str, layers: list[tuple[str, ...]]) -> None:
    def layer_of(module: str) -> int | None:
        name = module.removeprefix(root)
        known = (number for number, names in enumerate(layers) for one in names if is_in(name, one))
        return next(known, None)

    def is_in(name: str, one: str) -> bool:
        return name == one or name.startswith((f"{one}::", f"{one}."))

    layer = {module: number for module in graph if (number := layer_of(module)) is not None}
    assert set(layer.values()) == set(range(len(layers))), "a layer without a module"
    arrows = [(one, other) for one in layer for other in graph[one] if layer.get(other, -1) >= 0]
    assert len(arrows) > 100
    assert [(one, other) for one, other in arrows if layer[other] > layer[one]] == []


def test_the_core_knows_nothing_of_fleets() -> None:
    graph = rust_graph(CORE)
    for name, imported in graph.items():
        if not name.startswith("crate::fleet") and name != "crate":
            assert not {other for other in imported if other.startswith("crate::fleet")}, name


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    "line",
    [
        "use crate::b::Two;",
        "use super::b::{Two, three};",
        "use crate::{b, c::Four};",
        "use crate::{\n    c::Four,\n    b::Two as Other,\n};",
        "use crate::Two;",
        "fn f() { crate::b::two() }",
        "use self::Inner;\nuse super::b;",
    ],
)
def test_a_circle_of_the_core_would_be_found(line: str, tmp_path: Path) -> None:
    source = write(
        tmp_path,
        {
            "lib.rs": "mod a;\nmod b;\nmod c;\npub use b::Two;\n",
            "a.rs": line + "\n\n#[cfg(test)]\nmod tests {\n    use crate::c::Four;\n}\n",
            "b.rs": "// use crate::c;\nuse crate::c::Four;\n",
            "c/mod.rs": "mod deep;\npub(in crate::a) use deep::Four;\n",
            "c/deep.rs": "pub(in crate::a) fn five() {}\nuse crate::a::Six;\n",
        },
    )
    graph = rust_graph(source)
    assert graph["crate::b"] == {"crate::c::deep"}, "what a folder passes on is its maker's"
    assert circles(graph) == [["crate::a", "crate::b", "crate::c::deep"]]
    assert circles(graph | {"crate::c::deep": set()}) == []


@pytest.mark.parametrize(
    "line",
    [
        "from kvm.b import two",
        "import kvm.b",
        "from . import b",
        "from .b import two",
        "def f():\n    from kvm import b",
        "if TYPE_CHECKING:\n    from kvm.b import Two",
        "b = importlib.import_module('kvm.b')",
    ],
)
def test_a_circle_of_the_package_would_be_found(line: str, tmp_path: Path) -> None:
    package = write(
        tmp_path / "kvm", {"__init__.py": "from kvm.a import one\n", "a.py": line, "b.py": "import kvm.a\n"}
    )
    graph = python_graph(package)
    assert circles(graph) == [["kvm.a", "kvm.b"]]
    assert graph["kvm"] == {"kvm.a"}


# --- files and places -----------------------------------------------------------------------------


def test_files_are_short() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in sources()}
    assert len(lengths) > 150
    long = {name for name, length in lengths.items() if length > LONGEST_FILE}
    assert long == set(LONG_FILES)


def test_helpers_of_tests_have_a_folder_of_their_own() -> None:
    """Beside tests only what makes documents is run by itself."""
    names = {path.name for path in (ROOT / "tests").glob("*.py") if not path.name.startswith("test_")}
    assert names == {"__init__.py", "conftest.py", "make_policies_doc.py", "make_registers_doc.py"}


def test_recipes_name_files_and_tests_that_there_are() -> None:
    """Each recipe of CONTRIBUTING says which files, which test fails first, and a commit that did it."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    recipes = re.split(r"^## Recipe: ", text, flags=re.MULTILINE)[1:]
    assert len(recipes) == 5
    written = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    for recipe in recipes:
        title = recipe.partition("\n")[0]
        places = [word for word in re.findall(r"`([^`\s]+/[^`\s]*)`", recipe) if not word.startswith("../")]
        assert places, title
        for place in places:
            found = [ROOT / place, CORE / place, PACKAGE / place]
            assert any(path.exists() for path in found), f"{title}: {place}"
        tests = re.findall(r"`(test_\w+)`", recipe)
        for name in tests:
            assert f"def {name}(" in written or (ROOT / "tests" / f"{name}.py").exists(), f"{title}: {name}"
        assert tests or "make agreement" in recipe, title
        assert re.search(r"Example: `[0-9a-f]{7}`", recipe), title


def test_the_newest_kernel_is_known_in_one_place() -> None:
    trees = (CORE / "rules" / "trees.rs").read_text()
    newest = max(
        re.findall(r"pub\(super\) const (T\d+(?:_\d+)+): Tree", trees),
        key=lambda name: [*map(int, name[1:].split("_"))],
    )
    for path in sorted(path for path in CORE.rglob("*.rs") if path.name != "tests.rs"):
        code = path.read_text().split("#[cfg(test)]")[0]
        uses = len(re.findall(rf"\b{newest}\b", code))
        assert uses == (2 if path.name == "trees.rs" else 0), (
            f"{path}: {newest} is not to be named outside of the table"
        )
