"""The application: a page to talk to an agent and decide what it may do, and endpoints for other programs."""

from __future__ import annotations

import contextlib
import inspect
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket

from agentkit import Agent, AgentError, ConfigurationError, MemoryStore, Output
from agentkit.memory.base import Memory
from agentkit.serve.agui import AgUi
from agentkit.serve.api import Api, failed
from agentkit.serve.export import STATIC
from agentkit.serve.guard import (
    BodyLimit,
    KnownHosts,
    SafeHeaders,
    SameOrigin,
    TokenGate,
    error_response,
    path_in,
)
from agentkit.serve.live import RunSettings
from agentkit.serve.log import EventLog, MemoryEventLog
from agentkit.serve.runs import Runs
from agentkit.serve.sessions import Identify, User
from agentkit.serve.socket import Watcher
from agentkit.stores.store import SessionStore
from agentkit.wire.arguments import checked

if TYPE_CHECKING:
    from agentkit.durable import Queue

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")

IdentifyUser = Callable[[HTTPConnection], str | Awaitable[str | None] | None]
"""Says who asks, by a cookie or a header that the host application trusts; None is nobody: 401.

It may raise Starlette's `HTTPException` instead, to answer something else, or with headers of its own."""


@checked
def create_app(
    agent: Agent,
    store: SessionStore | None = None,
    *,
    identify: IdentifyUser | None = None,
    token: str | None = None,
    hosts: Iterable[str] = (),
    memory: Memory | Iterable[Memory] | None = None,
    deps: Callable[[str | None], Any] | None = None,
    output: Any = None,
    log: EventLog | None = None,
    queue: Queue | None = None,
    concurrency: int = 200,
    seconds: float | None = 600.0,
    body_limit: int = 20_000_000,
) -> Starlette:
    """Make the application, to be served or mounted anywhere.

    It has the page at `/`, AG-UI at `/agui`, `/healthz` and `/readyz`. Mounted, its lifespan is the host
    application's to enter (`app.router.lifespan_context(app)`): leaving it ends the runs that go on as cancelled.

    Args:
        agent: Answers.
        store: Where sessions are kept; by default in memory.
        identify: Says who asks. Sessions belong to users, and nobody sees another's. Without it there is one user,
            who has to show the token.
        token: What lets in, if there is no `identify`; by default a new one, in `app.state.token`.
        hosts: The names, beside those of loopback, under which it is served, without ports; `"*"` is any.
        memory: What part of a history is sent; see `Agent.chat`.
        deps: A function of the user that gives what tools get as `ctx.deps`.
        output: The type of answers; see `Agent.run`. The page shows it as a table.
        log: Where is told what happens; by default in memory.
        queue: Runs what is said, on its workers, in place of this process. A run goes on when this server ends, and
            any other server of the queue shows it, also from the midst of an answer. Store, memory, `deps` (made of
            the user's name) and output are the queue's then. The page lists its tasks.
        concurrency: How many runs may go on at a time; more are answered with 429.
        seconds: How long a run may take, if the agent's limits don't say less.
        body_limit: How large a request may be, in bytes.

    Raises:
        ConfigurationError: Something is given beside `queue` that is the queue's.
    """
    if output is not None and not isinstance(output, Output):
        output = Output(output)
    settings = RunSettings(memory=memory, deps=deps, output=output, concurrency=concurrency, seconds=seconds)
    runs = _runs(agent, store, log or MemoryEventLog(), settings, queue)
    token = token or secrets.token_urlsafe(24)
    app = Starlette(
        routes=_routes(runs, _identifier(identify)),
        middleware=_guards(hosts, None if identify is not None else token, body_limit),
        exception_handlers={AgentError: failed, HTTPException: _refused},
        lifespan=_lifespan,
    )
    app.state.token, app.state.runs = token, runs
    return app


def _runs(
    agent: Agent, store: SessionStore | None, log: EventLog, settings: RunSettings, queue: Queue | None
) -> Runs:
    """Make what runs the agent: this process, or the workers of a queue."""
    if queue is None:
        return Runs(agent, MemoryStore() if store is None else store, log, settings)
    from agentkit.serve.queued import QueuedRuns

    _leave_to_workers(
        memory=settings.memory,
        deps=settings.deps,
        output=settings.output,
        store=None if store is queue.store else store,
    )
    return QueuedRuns(agent, queue, log, settings)


def _guards(hosts: Iterable[str], token: str | None, body_limit: int) -> list[Middleware]:
    return [
        Middleware(SafeHeaders),
        Middleware(KnownHosts, hosts=(*LOOPBACK, *hosts)),
        Middleware(SameOrigin),
        *([] if token is None else [Middleware(TokenGate, token=token)]),
        Middleware(BodyLimit, limit=body_limit),
    ]


def _leave_to_workers(**given: Any) -> None:
    """Refuse settings that only the workers of a queue could obey. Raises ConfigurationError."""
    if odd := [name for name, value in given.items() if value is not None]:
        raise ConfigurationError(
            f"create_app(queue=..., {', '.join(f'{name}=...' for name in odd)}): the queue's workers run what is "
            "said. Give store, memory, deps and output to Queue(...)."
        )


def _routes(runs: Runs, who: Identify) -> list[BaseRoute]:
    async def watch(socket: WebSocket) -> None:
        try:
            user = await who(socket)
        except HTTPException:
            await socket.close(4401)
            return
        await Watcher(socket, user, runs.log).serve()

    async def page(request: Request) -> Response:
        await who(request)
        return FileResponse(STATIC / "index.html")

    return [
        Route("/", page),
        Route("/healthz", _healthy),
        Route("/readyz", _ready),
        WebSocketRoute("/api/events", watch),
        *Api(runs, who).routes(),
        *runs.routes(who),
        Route("/agui", AgUi(runs, who).answer, methods=["POST"]),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]


def _identifier(identify: IdentifyUser | None) -> Identify:
    async def find(connection: HTTPConnection) -> User:
        if identify is None:
            return User()
        name = identify(connection)
        if inspect.isawaitable(name):
            name = await name
        if not name:
            raise HTTPException(401, "Sign in first.")
        return User(str(name))

    return find


@contextlib.asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    app.state.runs.reopen()
    yield
    await app.state.runs.close()


async def _healthy(_: Request) -> Response:
    return PlainTextResponse("ok")


async def _ready(request: Request) -> Response:
    runs: Runs = request.app.state.runs
    try:
        await runs.ready()
    except AgentError as error:
        return PlainTextResponse(type(error).__name__, 503)
    return PlainTextResponse("ok")


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    response = error_response(path_in(request.scope), error.status_code, error.detail)
    response.headers.update(error.headers or {})
    return response
