"""A session as one HTML file: the page's own view of it, with nothing to load and nobody to ask."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html import escape
from pathlib import Path
from typing import Final

from starlette.responses import Response

from agentkit import Agent
from agentkit.serve.rows import usage_row
from agentkit.serve.stored import stored_rows, waiting
from agentkit.serve.turns import turns_of
from agentkit.stores.base import StoredSession
from agentkit.wire.arguments import checked

STATIC: Final = Path(__file__).parent / "static"
_MODULES: Final = ("dom.js", "table.js", "ask.js", "view.js", "timeline.js", "trace.js", "file.js")
_STYLES: Final = ("base.css", "chat.css")


@checked
def session_html(session: StoredSession, agent: Agent | None = None) -> str:
    """Make one HTML file of a session: the conversation, its trace, and the turns' requests and replies.

    With the agent, the requests show its instructions and tools.
    """
    script, style = _script(), "\n".join((STATIC / name).read_text("utf-8") for name in _STYLES)
    prices = agent.limits.prices if agent else None
    rows = stored_rows(session, len(session.messages), prices)
    if (waits := waiting(session)) is not None:
        rows.append(waits)
    title = session.info.title or "Session"
    data = {
        "title": title,
        "rows": rows,
        **turns_of(agent, session),
        "usage": usage_row(session.info.usage, prices),
    }
    text = json.dumps(data).replace("<", "\\u003c")
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'; "
        "form-action 'none'; require-trusted-types-for 'script'; trusted-types agentkit"
    )
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        f'<meta http-equiv="content-security-policy" content="{escape(policy)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{style}</style>\n"
        f'<body class="file"><script type="application/json" id="data">{text}</script>\n'
        f'<script type="module">{script}</script>\n</body>\n</html>\n'
    )


def _script() -> str:
    """Join the modules that show a session: what they import of each other is in the same file then."""
    texts = [(STATIC / name).read_text("utf-8") for name in _MODULES]
    joined = "\n".join(re.sub(r"^import [^;]*;\n", "", text, flags=re.M) for text in texts)
    return re.sub(r"^export ", "", joined, flags=re.M)


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def text_file(text: str, ending: str, kind: str) -> Response:
    """Answer with a text to be saved, never shown: it holds what a model said."""
    headers = {"content-disposition": f'attachment; filename="session.{ending}"'}
    return Response(text, media_type=f"{kind}; charset=utf-8", headers=headers)
