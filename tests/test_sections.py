"""docs/agreement.md has two writers, neither of which may lose what the other wrote."""

from __future__ import annotations

from tests.support import sections

TEXT = "# Title\n\nwords\n\n## One\n\na\n\n### Part\n\nb\n\n## Two\n\nc\n"


def test_a_section_goes_from_its_heading_to_the_next() -> None:
    assert sections.of(TEXT, "One") == "## One\n\na\n\n### Part\n\nb\n\n"
    assert sections.of(TEXT, "Two") == "## Two\n\nc\n"
    assert sections.of(TEXT, "Part") is None
    assert sections.of("", "One") is None


def test_a_section_is_replaced_in_its_place() -> None:
    assert sections.replaced(TEXT, "## One\n\nnew") == "# Title\n\nwords\n\n## One\n\nnew\n\n## Two\n\nc\n"
    assert sections.replaced(TEXT, "## Two\n\nc\n\n\n") == TEXT


def test_a_new_section_is_put_at_the_end() -> None:
    assert sections.replaced(TEXT, "## Three\n\nd\n") == TEXT + "\n## Three\n\nd\n"
    assert sections.replaced("", "## Three\n\nd\n") == "## Three\n\nd\n"
