"""Files of messages: uploaded before a message is stored, and looked after as long as it is sent."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from agentkit.core.effects import EXPIRED, Effect, Upload, Wait
from agentkit.core.end import RunEnd
from agentkit.core.history import History
from agentkit.core.repair import RetryPolicy
from agentkit.errors import ModelError
from agentkit.events import Event, FileLost, ModelRetry
from agentkit.model import Model
from agentkit.stores.message import Message
from agentkit.wire.content import Content, JsonObject, Part, Request, keep
from agentkit.wire.files import FilePart, LocalFile, UploadedFile, file_uri

Uploading = Generator[Event | Effect, Any, Any]


class Files:
    """Sees to it that the model can read the files that it is sent."""

    def __init__(
        self, history: History, end: RunEnd, *, retry: RetryPolicy, jitter: Callable[[], float]
    ) -> None:
        self._history = history
        self._end = end
        self._retry = retry
        self._jitter = jitter
        self._told: set[str] = set()
        """Those that were told to be lost."""

    def upload(self, file: LocalFile | UploadedFile, model: Model) -> Uploading:
        """Return a file as it is where the model reads it, uploaded if need be; None if it is to be had nowhere.

        Transient failures are met as ever; `EXPIRED` if the time of the run is up.

        Raises:
            ModelError: It can't be uploaded.
        """
        attempt, waited = 1, 0.0
        while True:
            result = yield Upload(file, model)
            if isinstance(result, ModelError):
                delay = self._retry.delay(result, attempt=attempt, waited=waited, jitter=self._jitter())
                if delay is None:
                    raise result
                attempt, waited = attempt + 1, waited + delay
                yield ModelRetry(attempt, delay, str(result))
                result = yield Wait(delay)
                if result is not EXPIRED:
                    continue
            if result is EXPIRED:
                self._end.end("seconds")
            return result

    def added(self, message: Message, model: Model) -> Generator[Event | Effect, Any, Message | None]:
        """Return a message with its files uploaded and noted; None if the time of the run is up."""
        parts: list[Part] = []
        files: list[JsonObject] = [*message.files]
        for index, part in enumerate(cast("Sequence[Mapping[str, Any]]", message.content["parts"])):
            if not isinstance(part, FilePart):
                parts.append(cast(Part, part))
                continue
            file: Any = part.file
            if isinstance(file, LocalFile):
                file = yield from self.upload(file, model)
                if file is EXPIRED:
                    return None
            files.append({"part": index, **file.to_wire()})
            parts.append(file.part())
        if len(files) == len(message.files):
            return message
        return replace(message, content=keep({"role": message.content["role"], "parts": parts}), files=files)

    def sent(self, request: Request, model: Model) -> Generator[Event | Effect, Any, Request | None]:
        """Return a request whose files the model can read: of those that are lost, a line has the names.

        None if the time of the run is up.
        """
        known, changed = self._history.files, dict[str, Part]()
        for uri in _files_in(request) & known.keys() if known and model.uploads_to != "" else ():
            file = known[uri]
            now = yield from self.upload(file, model)
            if now is EXPIRED:
                return None
            if now is None:
                changed[uri] = {
                    "text": f"[The file {file.name!r} ({file.mime_type}) is no longer available.]"
                }
                if uri not in self._told:
                    self._told.add(uri)
                    yield FileLost(file.name, uri)
                continue
            if now != file:
                self._history.renew(uri, now)
            if now.uri != uri:
                changed[uri] = now.part()
        return _with_parts(request, changed) if changed else request

    def forget(self, request: Request, error: ModelError) -> bool:
        """Note that a server has none of the files in a request, if it says so; return whether it does."""
        if error.code not in (403, 404) or "file" not in str(error).lower():
            return False
        sent = _files_in(request)
        gone = {
            uri: file for uri, file in self._history.files.items() if file.uri in sent and file.expires != 0
        }
        self._history.files |= {uri: replace(file, expires=0.0) for uri, file in gone.items()}
        return bool(gone)


def _files_in(request: Request) -> set[str]:
    """Collect the URIs of the files in a request."""
    return {
        file_uri(part) for content in request["contents"] for part in content["parts"] if "fileData" in part
    }


def _with_parts(request: Request, changed: Mapping[str, Part]) -> Request:
    """Return a request with other parts in the place of some files, by their URIs."""

    def made(content: Content) -> Content:
        if not any(file_uri(part) in changed for part in content["parts"]):
            return content
        parts = [changed.get(file_uri(part), part) for part in content["parts"]]
        return keep({"role": content["role"], "parts": parts})

    return cast(Request, {**request, "contents": [made(content) for content in request["contents"]]})
