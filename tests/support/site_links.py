"""Hook of mkdocs: what documents link to outside of docs/ is named in the site, since it is not in it."""

from __future__ import annotations

import re
from typing import Any

_OUTSIDE = re.compile(r"\[([^\]]+)\]\(((?:\.\./)+(?!docs/)[^)]*)\)")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn links that leave docs/ into names; `tests/test_docs.py` looks whether they lead somewhere in the tree."""
    depth = page.file.src_uri.count("/")

    def named(match: re.Match[str]) -> str:
        leaves = match[2].count("../") > depth
        return f"{match[1]} (`{match[2].replace('../', '')}`)" if leaves else match[0]

    return _OUTSIDE.sub(named, markdown)
