"""What can go wrong between agentkit and Gemini, told as `ModelError`s, without a key in any of them."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from reprlib import repr as short
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from agentkit.errors import AgentError, ConfigurationError, MissingCredentials, ModelError
from agentkit.gemini.times import Clock
from agentkit.wire.content import Json

_RETRYABLE_CODES = frozenset({408, 429, 500, 502, 503, 504})
_HTTP_PACKAGES = frozenset(
    {"httpx2", "httpx", "httpcore2", "httpcore", "h11", "aiohttp", "requests", "urllib3"}
)
_LASTING = frozenset({"InvalidURL", "LocalProtocolError", "TooManyRedirects", "UnsupportedProtocol"})
_BEFORE = _LASTING | {"ConnectError", "ConnectTimeout", "PoolTimeout", "ConnectionRefusedError"}
_LONGEST_MESSAGE = 2000
_MOST_PASSING = 4096
"""So many secrets of single requests are known: far more than those of the requests under way at a time."""
_TELLING_NOTHING = frozenset(
    {
        "accept", "accept-encoding", "connection", "content-length", "content-type", "host", "user-agent",
        "transfer-encoding", "x-goog-api-client", "x-server-timeout",
    }
)  # fmt: skip
"""Headers whose values aren't secret."""
_WIRES_WORD = re.compile(r"[A-Z_]+|[a-z]+/[a-z0-9.+-]+|[a-z]+")

CREDENTIALS_HELP = (
    "Set GOOGLE_API_KEY or GEMINI_API_KEY (https://aistudio.google.com/apikey), or for Vertex AI "
    "GOOGLE_GENAI_USE_VERTEXAI=true with GOOGLE_CLOUD_PROJECT and GOOGLE_CLOUD_LOCATION"
)


class Faults:
    """Makes the errors of one model: it knows the model's name and the secrets that no message may hold."""

    def __init__(self, name: str, *, is_model: bool = True) -> None:
        self._name = name
        self._is_model = is_model
        self._secrets: set[str] = set()
        self._passing: deque[str] = deque(maxlen=_MOST_PASSING)
        """Those of single requests, each of which may have others."""

    def hide(self, secrets: Iterable[object], *, shortest: int = 8, passing: bool = False) -> None:
        """Keep these out of every message from now on; `passing` ones until many other requests have been made."""
        keep = self._passing.extend if passing else self._secrets.update
        for secret in secrets:
            if isinstance(secret, str):
                # An error may quote it, of bytes or not, with its line breaks escaped.
                forms = {
                    secret,
                    secret.strip(),
                    repr(secret)[1:-1],
                    repr(secret.encode(errors="backslashreplace"))[2:-1],
                }
                # A secret of a few letters would be "found" in ordinary words; no service gives one out.
                keep(form for form in forms - {self._name} if len(form) >= shortest)

    def hide_headers(self, headers: Mapping[str, str] | None, *, passing: bool = False) -> None:
        """Keep request headers out of every message, but for those that say nothing about anybody."""
        for name, value in (headers or {}).items():
            if name.lower() not in _TELLING_NOTHING:
                self.hide([value, value.rpartition(" ")[2]], passing=passing)

    def hide_url(self, url: object) -> None:
        """Keep the credentials in an address, and its parameters, out of every message."""
        try:
            parts = urlsplit(str(url))
            self.hide([parts.password, parts.username, *(value for _, value in parse_qsl(parts.query))])
        except ValueError:
            return
        if parts.password:
            found = f"{unquote(parts.username or '')}:{unquote(parts.password)}"
            self.hide([parts.netloc.rpartition("@")[0], found, b64encode(found.encode()).decode()])
            self.hide([unquote(parts.password)], shortest=4)

    def hide_all_in(self, value: Json) -> None:
        """Keep all texts in JSON of the user's out of every message, but for the wire's own words."""
        if isinstance(value, Mapping):
            value = list(value.values())
        if isinstance(value, list):
            for each in value:
                self.hide_all_in(each)
        elif isinstance(value, str) and not _WIRES_WORD.fullmatch(value):
            self.hide([value])

    def scrub(self, text: str) -> str:
        """Replace the secrets in a text."""
        # A longer secret may hold a shorter one: "Bearer KEY" and "KEY".
        for secret in sorted({*self._secrets, *self._passing}, key=len, reverse=True):
            text = text.replace(secret, "[secret]")
        return text

    def mapped(self, clock: Clock | None = None) -> AbstractContextManager[None]:
        """Turn what the SDK and the HTTP client raise inside the block into errors of agentkit.

        `clock` is what a timeout there went by.
        """
        return _Mapped(self, clock)

    def of_exception(self, exc: Exception, clock: Clock | None) -> AgentError | None:
        """Say what an exception of the SDK or the HTTP client means; None if it is neither's."""
        self._hide_request_of(exc)
        kind, package = type(exc).__name__, type(exc).__module__.partition(".")[0]
        if isinstance(exc, TimeoutError) or "Timeout" in kind:
            if kind == "ConnectTimeout" and clock is not None:
                clock.connect()
            return self.timed_out(clock)
        if package in _HTTP_PACKAGES or isinstance(exc, ConnectionError):
            text = str(exc)
            return self._error(
                f"The connection to {self._name} failed: {kind}" + (f": {text}" if text else ""),
                reached=kind not in _BEFORE,
                retryable=kind not in _LASTING and "CERTIFICATE_VERIFY_FAILED" not in text,
            )
        if type(exc).__module__ == "google.genai.errors" and hasattr(exc, "details"):
            api_error: Any = exc
            headers = getattr(api_error.response, "headers", None)
            return self.of_reply(api_error.code, api_error.details, headers)
        if type(exc).__module__ == "google.auth.exceptions":
            return self._of_auth(exc, kind)
        if kind == "ValidationError" and (wrong := _of_schema(exc)):
            return ConfigurationError(f"config['response_schema'] is not valid: {wrong}.")
        if kind in ("JSONDecodeError", "UnknownApiResponseError", "ValidationError", "RecursionError"):
            return self.malformed(str(exc))
        if _is_the_sdks(exc):
            if isinstance(exc, RuntimeError) and "token" in str(exc):
                return self._of_auth(exc, kind)
            if isinstance(exc, (AttributeError, TypeError, LookupError)):  # it reads what has no such shape
                return self.malformed(f"{kind}: {exc}")
        if isinstance(exc, ValueError):
            return ConfigurationError(self.scrub(f"google-genai refused the request to {self._name}: {exc}"))
        return None

    def of_reply(self, code: object, body: Json, headers: Mapping[str, str] | None = None) -> ModelError:
        """Say what an HTTP error, or an error inside a stream, means; `body` is JSON or text.

        A code that is none is taken for 500.
        """
        code = code if type(code) is int else 500
        error = _error_object(body)
        details = _objects_in(error.get("details"))
        word = error.get("status")
        status = self.scrub(word) if isinstance(word, str) else None
        said = error.get("message") or "no message"
        message = self.scrub(said if isinstance(said, str) else short(said))[:_LONGEST_MESSAGE]
        quota_gone = code == 429 and _is_daily_quota(details)
        hint = self._hint(code, message, details, quota_gone)
        delay = _retry_info(details)
        return self._error(
            f"{self._name} answered {code}{f' {status}' if status else ''}: {message}{hint}",
            code=code,
            status=status,
            # A daily quota is back tomorrow, though the server adds a RetryInfo of seconds to it.
            retryable=code in _RETRYABLE_CODES and not quota_gone,
            retry_after=delay if delay is not None else _retry_after((headers or {}).get("retry-after")),
        )

    def timed_out(self, clock: Clock | None) -> ModelError:
        """Say which time is up."""
        said = "didn't answer in time" if clock is None else clock.said()
        reached = clock is None or clock.reached
        return self._error(f"{self._name} {said}", retryable=True, reached=reached)

    def malformed(self, what: str) -> ModelError:
        """Say that a reply can't be read."""
        what = self.scrub(what)[:_LONGEST_MESSAGE]
        return self._error(f"{self._name} sent a reply that can't be read: {what}", retryable=True)

    def truncated(self) -> ModelError:
        """Say that a stream ended before its reply was complete."""
        return self._error(
            f"The stream of {self._name} was truncated: it ended without a finish reason", retryable=True
        )

    def missing_credentials(self, why: str = "there is no API key") -> MissingCredentials:
        """Say which variables to set."""
        return MissingCredentials(
            self.scrub(f"{self._name} needs credentials: {why}. {CREDENTIALS_HELP}. ")
            + 'Without a key, model="local" runs the embedded model.'
        )

    def _of_auth(self, exc: Exception, kind: str) -> AgentError:
        if kind == "DefaultCredentialsError":
            return self.missing_credentials("Vertex AI is chosen, but no application default credentials")
        return self._error(
            f"There is no access token for {self._name}: {kind}: {exc}",
            status="UNAUTHENTICATED",
            retryable=kind == "TransportError" or bool(getattr(exc, "retryable", False)),
        )

    def _hint(self, code: int, message: str, details: list[dict[str, Any]], quota_gone: bool) -> str:
        reasons = [detail.get("reason") for detail in details]
        bad_key = "API_KEY_INVALID" in reasons or "api key not valid" in message.lower()
        if code in (401, 403) or (code == 400 and bad_key):
            return (
                ". Check the API key in GOOGLE_API_KEY (which wins) or GEMINI_API_KEY; for Vertex AI, the "
                "application default credentials and GOOGLE_CLOUD_PROJECT"
            )
        if code == 404 and not self._is_model:
            return ". Check base_url and api_version, or for Vertex AI the location"
        if code == 404:
            return (
                f". Check the model's name, {self._name!r}: does it exist for this key, project and "
                "location? The *-latest names exist in API version v1beta only"
            )
        return ". A daily quota is used up: a retry won't help today" if quota_gone else ""

    def _hide_request_of(self, exc: Exception) -> None:
        holder: Any = getattr(exc, "response", exc)
        try:
            request = holder.request
        except (AttributeError, RuntimeError):  # httpx raises RuntimeError where no request was made yet
            return
        self.hide_headers(getattr(request, "headers", None))

    def _error(self, message: str, **fields: Any) -> ModelError:
        return ModelError(self.scrub(message), **fields)


class _Mapped:
    """The block of `Faults.mapped`: each request goes through some."""

    __slots__ = ("_clock", "_faults")

    def __init__(self, faults: Faults, clock: Clock | None) -> None:
        self._faults, self._clock = faults, clock

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: object, raised: BaseException | None, traceback: object) -> None:
        if not isinstance(raised, Exception) or isinstance(raised, AgentError):
            return
        error = self._faults.of_exception(raised, self._clock)
        if error is None:
            return
        try:
            raise error from None
        finally:
            # The chain ends here: the exceptions below hold requests, and requests hold the key.
            error.__context__ = None


def _of_schema(exc: Any) -> str:
    """Say what is wrong with a schema, which no reply has; empty if an exception of pydantic's is of something else."""
    if getattr(exc, "title", "") != "Schema":
        return ""
    first = exc.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


def _is_the_sdks(exc: Exception) -> bool:
    """Return whether an exception was raised by the SDK's own code."""
    trace = exc.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and str(trace.tb_frame.f_globals.get("__name__")).startswith("google.genai")


def parse_body(body: bytes) -> Json:
    """Read an error's body: JSON if it is, else text."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return " ".join(body.decode("utf-8", "replace").split())


def _error_object(body: Json) -> dict[str, Any]:
    if isinstance(body, list) and len(body) == 1:
        body = body[0]
    if isinstance(body, str):
        return {"message": body}
    if not isinstance(body, dict):
        return {}
    error = body.get("error", body)
    if not isinstance(error, dict):
        return {"message": error}
    message = error.get("message")
    if isinstance(message, str) and message.lstrip().startswith("{"):
        # The SDK puts a body that it couldn't read as JSON here whole.
        inner = parse_body(message.encode())
        if isinstance(inner, dict) and isinstance(inner.get("error"), dict):
            return _error_object(inner)
    return error


def _is_daily_quota(details: list[dict[str, Any]]) -> bool:
    quotas = [each.get("quotaId") for detail in details for each in _objects_in(detail.get("violations"))]
    return any(isinstance(quota, str) and "PerDay" in quota for quota in quotas)


def _objects_in(value: Json) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _retry_info(details: list[dict[str, Any]]) -> float | None:
    for detail in details:
        kind, delay = detail.get("@type"), detail.get("retryDelay")
        if isinstance(kind, str) and kind.endswith("RetryInfo"):
            return _seconds(delay.removesuffix("s")) if isinstance(delay, str) else None
    return None


def _retry_after(header: str | None) -> float | None:
    if header is None:
        return None
    seconds = _seconds(header)
    if seconds is not None:
        return seconds
    try:
        moment = parsedate_to_datetime(header)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max((moment - datetime.now(UTC)).total_seconds(), 0.0)


def _seconds(text: str) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if 0 <= seconds < float("inf") else None
