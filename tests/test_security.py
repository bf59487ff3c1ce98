"""Upgrades never weaken a host without being asked; one place compares the security of captures."""

from __future__ import annotations

import json
from itertools import permutations, product
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from kvmfw.analysis.security import LEVELS, Protection, Security, compare_security, protection_of
from kvmfw.cli import main
from kvmfw.testing import capture_document

EXAMPLES = Path(__file__).parents[1] / "examples"
CAPTURES = sorted((EXAMPLES / "captures").glob("*.json"))
KNOWN = {path.stem: protection_of(json.loads(path.read_text())) for path in CAPTURES}
REVERSED = {
    Security.SAME: Security.SAME,
    Security.STRONGER: Security.WEAKER,
    Security.WEAKER: Security.STRONGER,
}

OPTIONS = st.lists(
    st.sampled_from(
        [
            "quiet",
            "mitigations=off",
            "mitigations=auto",
            "nospectre-bhb",
            "ssbd=force-off",
            "kpti=0",
            "nokaslr",
        ]
    )
).map(" ".join)
TEXTS = st.sampled_from(
    [
        "Not affected",
        "Vulnerable",
        "Mitigation: CSV2",
        "Mitigation: CSV2, BHB",
        "Mitigation: CSV2, but not BHB",
        "Mitigation: Branch predictor hardening",
        "Unknown",
        None,
    ]
)
PROTECTIONS = st.builds(
    Protection,
    st.none() | OPTIONS,
    st.none() | st.dictionaries(st.sampled_from(["spectre_v2", "spec_store_bypass"]), TEXTS),
    st.dictionaries(st.sampled_from(LEVELS), st.integers(0, 3)),
)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], env={"COLUMNS": "200"})


@given(PROTECTIONS, PROTECTIONS)
def test_weaker_one_way_is_never_the_same_or_weaker_the_other(one: Protection, other: Protection) -> None:
    there, back = (compare_security(*pair).security for pair in ((one, other), (other, one)))
    if there is Security.SAME:
        assert back is Security.SAME
    if there is Security.STRONGER:
        assert back is Security.WEAKER
    assert compare_security(one, one).security in (Security.SAME, Security.UNKNOWN)


@given(PROTECTIONS, PROTECTIONS, PROTECTIONS)
def test_what_is_not_weaker_twice_is_not_weaker(
    one: Protection, other: Protection, third: Protection
) -> None:
    steps = [compare_security(*pair).security for pair in ((one, other), (other, third))]
    if Security.UNKNOWN not in steps and Security.WEAKER not in steps:
        assert compare_security(one, third).security is max(steps, key=(Security.STRONGER).__eq__)


@given(PROTECTIONS, PROTECTIONS)
def test_something_weaker_is_never_outweighed(one: Protection, other: Protection) -> None:
    parts = [
        (Protection(one.boot_options, {}), Protection(other.boot_options, {})),
        (Protection("", one.vulnerabilities), Protection("", other.vulnerabilities)),
        (Protection("", {}, one.levels), Protection("", {}, other.levels)),
    ]
    found = {compare_security(*pair).security for pair in parts}
    order = (Security.WEAKER, Security.UNKNOWN, Security.STRONGER, Security.SAME)
    assert compare_security(one, other).security is next(word for word in order if word in found)


@pytest.mark.parametrize(("one", "other"), [*permutations(KNOWN, 2)])
def test_our_own_captures_are_compared_by_their_boot_options(one: str, other: str) -> None:
    off = ["mitigations-off" in name for name in (one, other)]
    if one.split("__")[1] == other.split("__")[1]:
        wanted = {(False, True): Security.WEAKER, (True, False): Security.STRONGER}
        assert compare_security(KNOWN[one], KNOWN[other]).security is wanted.get(
            (off[0], off[1]), Security.SAME
        )


def test_the_last_of_two_options_counts() -> None:
    for options, wanted in (
        ("mitigations=off mitigations=auto", Security.SAME),
        ("mitigations=auto mitigations=off", Security.WEAKER),
        ("nospectre-v2", Security.WEAKER),
        ("nospectre_v2", Security.WEAKER),
    ):
        assert compare_security(Protection("", {}), Protection(options, {})).security is wanted, options


def test_without_mitigations_page_tables_stay_apart_where_addresses_are_random() -> None:
    def beside(one: str, other: str) -> Security:
        return compare_security(Protection(one, {}), Protection(other, {})).security

    assert beside("mitigations=off", "mitigations=off kpti=0") is Security.WEAKER
    assert beside("nokaslr mitigations=off", "nokaslr mitigations=off kpti=0") is Security.SAME
    assert beside("quiet", "quiet arm64.nogcs") is Security.WEAKER


@pytest.mark.parametrize("verb", [("audit",), ("whatif", "--best", "20")], ids=str)
def test_upgrades_weaken_nobody_unless_asked(verb: tuple[str, ...]) -> None:
    for more, wanted in (((), False), (("--weaker",), True)):
        result = run(verb[0], EXAMPLES, *verb[1:], *more, "--format", "json")
        rows = json.loads(result.stdout)["upgrades"]
        assert rows
        assert ("weaker" in {row["security"] for row in rows}) is wanted
        now: dict[str, str] = {}
        for row in rows:
            compared = compare_security(KNOWN[now.get(row["capture"], row["capture"])], KNOWN[row["becomes"]])
            assert row["security"] == compared.security
            assert row["reasons"] == list(compared.reasons)
            now[row["capture"]] = row["becomes"]


def test_every_form_tells_the_security_of_an_upgrade() -> None:
    for form in ("table", "markdown", "html"):
        text = run("audit", EXAMPLES, "--weaker", "--format", form).stdout
        assert "weaker: with mitigations=off" in text, form
    assert "weaker: with mitigations=off" in run("whatif", EXAMPLES, "--best", "5", "--weaker").stdout


def test_what_is_supposed_or_compared_tells_its_security() -> None:
    on = next(path for path in CAPTURES if "5.10" in path.stem and "v1__default" in path.stem)
    off = next(path for path in CAPTURES if "5.10" in path.stem and "v1__mitigations-off" in path.stem)
    text = run("diff", on, off).stdout
    assert "security: weaker: with mitigations=off" in text
    assert json.loads(run("diff", off, on, "--format", "json").stdout)["security"] == "stronger"
    result = run("whatif", EXAMPLES, "--replace", f"{on.stem}={off}", "--format", "json")
    (row,) = json.loads(result.stdout)["security"]
    assert (row["capture"], row["security"]) == (on.stem, "weaker")
    lowered = run("whatif", EXAMPLES, "--level", f"{on.stem}:SMCCC_ARCH_WORKAROUND_3=0").stdout
    assert "weaker: SMCCC_ARCH_WORKAROUND_3 from level 1 to 0" in lowered


def test_what_was_not_recorded_is_unknown() -> None:
    recorded = Protection("quiet", {"spectre_v2": "Vulnerable"})
    for one, other in product((recorded, Protection()), repeat=2):
        if one != recorded or other != recorded:
            assert compare_security(one, other).security is Security.UNKNOWN


def test_the_flag_of_workaround_2_is_no_level() -> None:
    document = capture_document({LEVELS[1]: 0x12})
    flagged = protection_of(document)
    assert flagged.levels == {LEVELS[1]: 2}
    none_needed = Protection("", {}, {LEVELS[1]: 3})
    assert compare_security(Protection("", {}, flagged.levels), none_needed).security is Security.STRONGER
