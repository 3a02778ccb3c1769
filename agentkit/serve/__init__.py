"""A page to talk to an agent, and endpoints for other programs; needs the extra `serve`.

`create_app` makes the page's application, to be mounted anywhere, `create_gemini_app` a server that clients of the
Gemini API use as a model. `serve_page` and `serve_gemini` serve them on this machine.
"""

from agentkit.serve.app import IdentifyUser, create_app
from agentkit.serve.export import session_html
from agentkit.serve.gemini import create_gemini_app
from agentkit.serve.log import EventLog, MemoryEventLog, Row
from agentkit.serve.serving import serve_gemini, serve_page

__all__ = [
    "EventLog",
    "IdentifyUser",
    "MemoryEventLog",
    "Row",
    "create_app",
    "create_gemini_app",
    "serve_gemini",
    "serve_page",
    "session_html",
]
