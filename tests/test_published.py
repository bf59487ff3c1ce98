"""What verbs print for machines: each document says what it is, and is what its published schema says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner

from kvmfw.analysis.tables import TABLES
from kvmfw.cli import main
from kvmfw.provenance import digest
from kvmfw.published import FORMATS
from kvmfw.published.schemas import schema_of
from tests.support.kernels import image_like
from tests.support.schemas import strict

EXAMPLES = Path(__file__).parents[1] / "examples"
CAPTURES = sorted((EXAMPLES / "captures").glob("*.json"))
OLD, NEW = (
    EXAMPLES / "captures" / f"{kernel}__neoverse-v1__default.json"
    for kernel in ("5.10.0-32-arm64", "6.12.117+deb13-arm64")
)
VM = EXAMPLES / "vm.json"
INPUTS = {"capture", "register-set"}

CALLS: dict[str, list[tuple[object, ...]]] = {
    "verdicts": [
        ("validate", VM, OLD),
        ("validate", VM, EXAMPLES / "captures"),
        ("validate", EXAMPLES / "vms.jsonl", NEW),
    ],
    "audit": [
        ("audit", EXAMPLES),
        ("audit", EXAMPLES, "--group-by", "cpu"),
        ("audit", EXAMPLES, "--vmm", "qemu-10.2", "--few", "5", "--weaker"),
        ("audit", Path("homeless")),
    ],
    "capture-diff": [("diff", OLD, NEW), ("diff", NEW, NEW)],
    "fleet-diff": [
        ("diff", EXAMPLES, EXAMPLES),
        ("whatif", EXAMPLES, "--replace", f"{OLD.stem}={NEW}"),
        ("whatif", EXAMPLES, "--hide", "VENDOR_HYP_BMAP_2"),
    ],
    "upgrades": [("whatif", EXAMPLES, "--best", "2")],
    "baseline": [
        ("baseline", EXAMPLES),
        ("baseline", EXAMPLES, "--share", "0.2"),
        ("emit", EXAMPLES, "json"),
    ],
    "schemes": [("schemes", EXAMPLES), ("schemes", EXAMPLES, "--gates")],
    "rollout": [("rollout", EXAMPLES, "--to", NEW.stem)],
    "registers": [("registers",)],
    "rules": [("rule",), ("rule", "KVMFW-WA3-LEVEL")],
    "vmms": [("vmms",)],
    "messages": [
        ("why", "Could not set register fw reg 3 to 2 (is 1)"),
        ("why", "0x6030000000140003", "0x9", "--host", OLD),
    ],
    "kernel": [("kernel", Path("vmlinuz"))],
    "prediction": [("predict", OLD, "--kernel", Path("vmlinuz"))],
    "trend": [("trend", Path("history.parquet"))],
    "ingest": [("ingest", EXAMPLES / "vms.jsonl", EXAMPLES / "captures", "-o", "fleet")],
}


def run(*words: object) -> Any:
    form = () if words[0] == "emit" else ("--format", "json")
    result = CliRunner().invoke(main, [*map(str, words), *form])
    assert result.exit_code in (0, 2), result.output
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Audits of a fleet, twice the same question."""
    file = tmp_path_factory.mktemp("audits") / "history.parquet"
    for _ in range(2):
        words = [
            "audit",
            str(EXAMPLES),
            "--where",
            "cpu=Cortex-A76",
            "--record",
            str(file),
            "--fail-on",
            "none",
        ]
        assert CliRunner().invoke(main, words).exit_code == 0
    return file


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, history: Path) -> None:
    """A folder to work in, with a fleet whose VMs have no home."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(EXAMPLES / "captures", "homeless/captures")
    lines = [json.loads(line) for line in (EXAMPLES / "vms.jsonl").read_text().splitlines()[:9]]
    shutil.copy(history, "history.parquet")
    Path("vmlinuz").write_bytes(image_like((7, 3, 4)))
    Path("homeless/vms.jsonl").write_text("".join(json.dumps(line | {"host": None}) + "\n" for line in lines))


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.usefixtures("here")
def test_documents_are_what_their_schemas_say(name: str) -> None:
    schema = schema_of(name)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(strict(schema))
    for call in CALLS.get(name, []):
        document = run(*call)
        validator.validate(document)
        assert (document["format"], document["version"]) == (f"kvmfw-{name}", 1)
        assert [word for word in call if isinstance(word, Path)][:1] == [
            Path(one["name"]) for one in document["inputs"]
        ][:1] or call[0] in ("why", "emit")
        for one in document["inputs"]:
            assert one["sha256"] == digest(Path(one["name"]))


def test_every_format_is_printed_by_a_verb() -> None:
    elsewhere = {"collect"}  # tests/test_collect.py, with hosts to ask
    assert CALLS.keys() | elsewhere == set(FORMATS)


def test_every_table_of_an_audit_is_in_its_schema() -> None:
    properties = schema_of("audit")["properties"]
    assert {table.name for table in TABLES} <= properties.keys()
    for table in TABLES:
        told = properties[table.name]
        rows = next(one for one in told.get("anyOf", [told]) if one.get("type") == "array")
        row = schema_of("audit")["$defs"][rows["items"]["$ref"].rpartition("/")[2]]
        assert not table.keys or set(table.keys) == set(row["properties"])


def test_schemas_are_printed() -> None:
    for name in (*INPUTS, *FORMATS):
        result = CliRunner().invoke(main, ["schema", name])
        assert result.exit_code == 0
        assert json.loads(result.stdout)["type"] == "object"


def test_one_and_many_have_the_same_shape() -> None:
    one, many = run("validate", VM, OLD), run("validate", VM, EXAMPLES / "captures")
    assert one.keys() == many.keys()
    assert len(one["verdicts"]) == 1
    assert len(many["verdicts"]) == len(CAPTURES)


def test_documents_are_the_same_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1767225600")
    first = run("audit", EXAMPLES)
    assert first == run("audit", EXAMPLES)
    assert first["made"] == "2026-01-01T00:00:00Z"
