"""The pages of the documentation and the code blocks in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "agentkit" / "docs"
FENCE = re.compile(r"^([ ]*)```python\n(.*?)^\1```$", re.M | re.S)
BEFORE = re.compile(r"^```py\n(.*?)^```$", re.M | re.S)
"""A block of another library, beside the one of agentkit's: it is looked at, and not run."""


def pages() -> list[Path]:
    """List README and every page, those in folders too."""
    return [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


def name_of(page: Path) -> str:
    """Return a short name: `limits`, `coming-from-google-adk`."""
    return page.stem if page.parent in (ROOT, DOCS) else f"{page.parent.name}-{page.stem}"


def blocks() -> Iterator[tuple[str, str]]:
    """Go through the blocks of all pages, each with its name: `limits-2`."""
    for page in pages():
        for number, match in enumerate(FENCE.finditer(page.read_text()), 1):
            yield f"{name_of(page)}-{number}", match[2]
