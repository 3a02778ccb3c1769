"""Files of messages: uploaded before a message is stored, and looked after as long as it is sent."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, cast

from agentkit.core.effects import EXPIRED, Effect, Upload
from agentkit.core.end import RunEnd
from agentkit.core.history import History
from agentkit.core.repair import Retries
from agentkit.errors import ModelError
from agentkit.events import Event, FileLost
from agentkit.model import Model
from agentkit.stores.message import Message
from agentkit.tooling.results import decoded
from agentkit.wire.content import Content, JsonObject, Part, Request, keep
from agentkit.wire.files import FilePart, LocalFile, UploadedFile, file_uri, inline_size

Uploading = Generator[Event | Effect, Any, Any]
MOST_INLINE: Final = 90_000_000
"""Characters of data in the user's contents of a request. The Gemini API takes 100 MB of a request in all
(https://ai.google.dev/gemini-api/docs/file-input-methods)."""


class Files:
    """Sees to it that the model can read the files that it is sent."""

    def __init__(self, history: History, end: RunEnd, retries: Callable[[], Retries]) -> None:
        self._history = history
        self._end = end
        self._retries = retries
        self._lost: set[tuple[str, str | None]] = set()
        """Those that were found to be lost, and for whom: nobody looks again."""
        self._moved: dict[tuple[int, str], tuple[Part, Part]] = {}
        """Parts whose data was uploaded, by their identity and where it was, and those that stand for them."""
        self._forgotten: dict[Any, str] = {}
        """What the server had no more when it was sent, and under which URI: nothing is uploaded again twice."""

    def upload(self, file: LocalFile | UploadedFile, model: Model) -> Uploading:
        """Return a file as it is where the model reads it, uploaded if need be; None if it is to be had nowhere.

        Transient failures are met as ever; `EXPIRED` if the time of the run is up.

        Raises:
            ModelError: It can't be uploaded.
        """
        retries = self._retries()
        while isinstance(result := (yield Upload(file, model)), ModelError):
            in_time = yield from retries.wait(result)
            if in_time is None:
                raise result
            if not in_time:
                return EXPIRED
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
        known, changed, at = self._history.files, dict[str, Part](), model.uploads_to
        for uri in _files_in(request) & known.keys() if known and at != "" else ():
            file = known[uri]
            now = None if (uri, at) in self._lost else (yield from self.upload(file, model))
            if now is EXPIRED:
                return None
            if now is None:
                changed[uri] = {
                    "text": f"[The file {file.name!r} ({file.mime_type}) is no longer available.]"
                }
                if (uri, at) not in self._lost:
                    self._lost.add((uri, at))
                    yield FileLost(file.name, uri)
                continue
            if now != file:
                self._history.renew(uri, now)
            if now.uri != uri:
                changed[uri] = now.part()
        if changed:
            request = _with_parts(request, lambda part: changed.get(file_uri(part), part))
        return (yield from self._lightened(request, model))

    def _lightened(self, request: Request, model: Model) -> Generator[Event | Effect, Any, Request | None]:
        """Return a request with the data in its user's contents uploaded, if that is more than a request may have.

        All of it is, once and for this run: requests to come extend this one.
        """
        at = model.uploads_to
        if self._history.inline <= MOST_INLINE or not at:
            return request
        blobs = _blobs_in(request)
        if sum(map(inline_size, blobs)) <= MOST_INLINE:
            return request
        for part in blobs:
            blob: Any = part["inlineData"]
            if (id(part), at) not in self._moved and (data := decoded(blob["data"])) is not None:
                kind, name = str(blob.get("mimeType", "")), str(blob.get("displayName") or "file")
                lost = self._forgotten.get((id(part), at), "")
                file = yield from self.upload(
                    LocalFile(name=name, mime_type=kind, size=len(data), data=data, lost=lost), model
                )
                if file is EXPIRED:
                    return None
                rest = {key: value for key, value in part.items() if key != "inlineData"}
                self._moved[id(part), at] = part, cast(Part, rest | file.part())
        return _with_parts(request, lambda part: self._moved.get((id(part), at), (part, part))[1])

    def forget(self, request: Request, error: ModelError) -> bool:
        """Note that a server has none of the files in a request, if it says so; return whether that is new."""
        if error.code not in (403, 404) or "file" not in str(error).lower():
            return False
        sent, known, files = _files_in(request), self._forgotten, self._history.files
        uploaded = {key: file.uri for key, file in files.items() if file.expires != 0}
        gone = {key: uri for key, uri in uploaded.items() if uri in sent and key not in known}
        stand_in = {key: file_uri(part) for key, (_, part) in self._moved.items()}
        moved = {key: uri for key, uri in stand_in.items() if uri in sent and key not in known}
        self._forgotten |= gone | moved
        self._history.files |= {key: replace(files[key], expires=0.0) for key in gone}
        self._moved = {key: each for key, each in self._moved.items() if key not in moved}
        return bool(gone or moved)


def _files_in(request: Request) -> set[str]:
    """Collect the URIs of the files in a request."""
    return {
        file_uri(part) for content in request["contents"] for part in content["parts"] if "fileData" in part
    }


def _blobs_in(request: Request) -> list[Part]:
    """List the parts with data in the user's contents; what a model made is signed, and stays as it is."""
    return [
        part
        for content in request["contents"]
        for part in (content["parts"] if content["role"] == "user" else ())
        if inline_size(part)
    ]


def _with_parts(request: Request, instead: Callable[[Part], Part]) -> Request:
    """Return a request with other parts in the place of some."""

    def made(content: Content) -> Content:
        parts = [instead(part) for part in content["parts"]]
        if all(new is old for new, old in zip(parts, content["parts"], strict=True)):
            return content
        return keep({"role": content["role"], "parts": parts})

    return cast(Request, {**request, "contents": [made(content) for content in request["contents"]]})
