"""The page in a web application with users: python -m examples.web_app, then open the address that it prints.

Ann (password `tea`) and Bob (password `mint`) share a tea shop. Each sees only their own conversations; an order of
more than ten items waits until the one who asked approves it. The sessions are kept in web_app.db.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from agentkit import Agent, Context, SQLiteStore, tool
from agentkit.serve import create_app
from agentkit.stores.store import SessionStore
from examples.common import arguments, choose_model, say

PASSWORDS = {"ann": "tea", "bob": "mint"}  # of a demo: use your application's own sign-in
STOCK = {"TEA-1": 3, "TEA-2": 40, "MINT-1": 12}


@tool
def stock(sku: str) -> int:
    """Look up how many items of a product are in stock, left or available."""
    return STOCK.get(sku.strip().upper(), 0)


@tool(effect="write", approval=lambda args, _: args["items"] > 10 and "more than ten items")
def order(sku: str, ctx: Context[str], items: int = 1) -> str:
    """Order, buy or restock items of a product from the supplier."""
    return f"ordered {items} x {sku} for {ctx.deps}"


def identify(connection: HTTPConnection) -> str:
    """Say who asks: by HTTP Basic authentication, which browsers ask for by themselves."""
    kind, _, given = connection.headers.get("authorization", "").partition(" ")
    try:
        name, _, password = base64.b64decode(given).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        name = password = ""
    known = PASSWORDS.get(name, "")
    if kind.lower() != "basic" or not known or not hmac.compare_digest(password.encode(), known.encode()):
        raise HTTPException(401, "Sign in.", headers={"www-authenticate": 'Basic realm="tea shop"'})
    return name


def make_app(model: str | None, store: SessionStore) -> Starlette:
    """Make the web application, with the agent's page at /agent/."""
    agent = Agent(model, tools=[stock, order], instructions="You run a small tea shop.", name="tea_shop")
    page = create_app(agent, store, identify=identify, deps=lambda user: user)

    async def home(_: Request) -> PlainTextResponse:
        return PlainTextResponse("The tea shop. Talk to its agent at /agent/")

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with page.router.lifespan_context(page):  # its runs end with the application
            yield

    return Starlette(routes=[Route("/", home), Mount("/agent", page)], lifespan=lifespan)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = arguments(__doc__ or "", example="examples.web_app")
    parser.add_argument("--port", type=int, default=8000, help="where to listen on 127.0.0.1")
    args = parser.parse_args(argv)
    with SQLiteStore("web_app.db") as store:
        app = make_app(choose_model(args.model), store)
        say(
            f"Open http://127.0.0.1:{args.port}/agent/ and sign in as ann (tea) or bob (mint). Ctrl-C ends it."
        )
        uvicorn.run(app, host="127.0.0.1", port=args.port, log_level="warning", timeout_graceful_shutdown=5)
    return 0


if __name__ == "__main__":
    sys.exit(main())
