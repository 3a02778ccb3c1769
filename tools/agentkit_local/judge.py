"""Which tools the embedded model is shown, and which of its calls leave it.

The engine's confidence alone lets through confident nonsense ("volume to 500" became 5 at 0.94). So every
value has to come from the user's text, every number of the text has to be used, and the request has to
have to do with the tool. Pure functions.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal

from agentkit.tooling.search import STOP_WORDS, TermIndex, stems_of
from agentkit.wire.content import FunctionCall, FunctionDeclaration, Json, JsonObject
from agentkit_local.schema import is_date, is_verbatim, plain, question_of, schema_of

RELATED_BONUS = 0.1
"""Below the threshold by this much is confident enough, if the request shares words with the tool."""
LESS_RELATED = 0.3
"""Above the threshold by this much is asked of a call if another tool shares more words with the request."""
UNRELATED = 0.9
"""Confidence asked of a call of a tool that shares no word with the request."""

_TIMES = frozenset(
    re.findall(
        "[a-z]+",
        "now today tonight tomorrow morning afternoon evening night week weekend "
        "monday tuesday wednesday thursday friday saturday sunday",
    )
)
_SMALL_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
)
_SMALL = {word: n for n, word in enumerate(_SMALL_WORDS.split())}
_TENS_WORDS = "twenty thirty forty fifty sixty seventy eighty ninety"
_TENS = {word: 10 * n for n, word in enumerate(_TENS_WORDS.split(), 2)}
_MONTHS = "january february march april may june july august september october november december"
_LARGE = {"dozen": 12, "hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9}
_DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?(?:e[+-]?\d+)?|\.\d+"
_WORDS = rf"(?:{'|'.join(_TENS)})(?:[- ](?:{'|'.join(list(_SMALL)[1:10])}))?\b|(?:{'|'.join([*_SMALL, *_LARGE])})\b"
_NUMBER = re.compile(rf"(?<!\w)(?<!\d\.)(?:(?P<digits>{_DIGITS})|(?P<words>{_WORDS}))")
# A minus is a sign, not a subtraction, where no number precedes it; a hyphen inside a word is neither.
_SIGN = re.compile(r"(?:^\s*|[^\w\s)%!]\s*|[^\W\d]\s+)(?:-|(?:minus|negative)\s+)$")
_FOLLOW_UP = re.compile(
    r"(?:and|also|but|or|then|what about|how about|(?:the )?same|again|instead)\b"
    r"|(?:in|for|on|at|tomorrow|tonight|today)\b(?=\W*(?:[\w'-]+\W*){0,3}$)"
)
_WHEN = re.compile(
    r"\b(?:yesterday|ago|last (?:night|week|weekend|month|year|summer|winter|spring|autumn|fall)"
    r"|day after tomorrow|(?:mon|tues|wednes|thurs|fri|satur|sun)day)\b"
)
"""Times that a tool has to be told: without them it answers another question."""

_NO_AMOUNT = re.compile(r"(?:who|whose|where|why|when|which)\b")
"""How a question begins that asks for no number, though it may have one."""
_HOW_MUCH = re.compile(r"\bhow (?:many|much)\b")


def shortlist(declarations: Sequence[FunctionDeclaration], text: str, size: int) -> list[FunctionDeclaration]:
    """Pick the tools that share most words with the text; rare words count more. Their order is kept."""
    if len(declarations) <= size:
        return list(declarations)
    index = TermIndex([dict.fromkeys(_tool_stems(declaration), 1.0) for declaration in declarations])
    scores = index.scores(set(stems_of(text)))
    best = sorted(range(len(scores)), key=lambda i: -scores[i])[:size]
    return [declarations[i] for i in sorted(best)]


# --- words and numbers --------------------------------------------------------------------------------------


def _tool_stems(declaration: FunctionDeclaration) -> set[str]:
    words = [declaration["name"], declaration.get("description") or ""]
    for name, schema in schema_of(declaration)["properties"].items():
        words += [name, schema.get("description", ""), *map(str, schema.get("enum", ()))]
    return set(stems_of(" ".join(words)))


def numbers_in(value: Json) -> Counter[Decimal]:
    """Count the numbers in a text, with their signs, in digits and in words, or in arguments at any depth."""
    if isinstance(value, bool) or value is None:
        return Counter()
    if isinstance(value, (int, float)):
        return Counter([Decimal(str(value))])
    if isinstance(value, Mapping):
        return sum((numbers_in(v) for v in value.values()), Counter())
    if isinstance(value, (list, tuple)):
        return sum((numbers_in(v) for v in value), Counter())
    text = str(value).replace("\N{MINUS SIGN}", "-").casefold()
    found: Counter[Decimal] = Counter()
    for match in _NUMBER.finditer(text):
        number = Decimal(match["digits"].replace(",", "")) if match["digits"] else _from_words(match["words"])
        if match["words"] == "one":
            continue  # "which one": a pronoun more often than a number
        found[-number if _SIGN.search(text[: match.start()]) else number] += 1
    return found


def _from_words(words: str) -> Decimal:
    return Decimal(sum((_SMALL | _TENS | _LARGE)[word] for word in re.split("[- ]", words)))


def names_in(text: str) -> list[str]:
    """List the capitalised words within sentences: names, days, months."""
    words = re.findall(r"(?<=[\w,;:'-] )[^\W\d_]\w+", text)
    return [word for word in words if word[0].isupper() and word.casefold() not in STOP_WORDS]


def is_follow_up(text: str) -> bool:
    """Return whether a text can't stand alone ("And in London?"), so that the turns before it are needed."""
    return len(text.split()) <= 8 and _FOLLOW_UP.match(text.strip().casefold()) is not None


# --- calls --------------------------------------------------------------------------------------------------


def complete_verbatim(
    calls: Sequence[FunctionCall],
    tools: Mapping[str, FunctionDeclaration],
    text: str,
    earlier: Sequence[str] = (),
) -> list[FunctionCall]:
    """Give a parameter that asks for the user's text "word for word" just that.

    A tool that takes the whole question gets nothing else, unless earlier turns are needed to understand it.

    The engine copies, but it drops a sign ("-4 plus 9.5") or makes two calls of one question ("5! + 3").
    That is mended only where a single function is called: then the text is meant for it as a whole. Calls
    are alike then unless they differ in something else that the text has.
    """
    names = {call["name"] for call in calls}
    declaration = tools.get(next(iter(names), ""))
    if len(names) != 1 or declaration is None:
        return list(calls)
    properties = schema_of(declaration)["properties"]
    if (question := question_of(declaration)) is not None and len(properties) > 1:
        return list(calls) if earlier else [{"name": declaration["name"], "args": {question: text.strip()}}]
    verbatim = {name: text.strip() for name, schema in properties.items() if is_verbatim(schema)}
    if not verbatim:
        return list(calls)
    completed: list[FunctionCall] = [
        {"name": call["name"], "args": {**call.get("args", {}), **verbatim}} for call in calls
    ]
    said = text.casefold()
    copied = [call for call in completed if all(value.casefold() in said for value in _copied(call, tools))]
    return [call for n, call in enumerate(copied) if call not in copied[:n]] or completed[:1]


def doubt(
    calls: Sequence[FunctionCall],
    tools: Mapping[str, FunctionDeclaration],
    *,
    text: str,
    earlier: Sequence[str] = (),
    already: Iterable[FunctionCall] = (),
) -> str | None:
    """Name the first reason not to trust calls whose arguments fit their schemas, or None.

    Args:
        calls: What the engine made of the text.
        tools: The declarations, by name.
        text: The user's request.
        earlier: Earlier requests, of which words may come too.
        already: The calls of those; a follow-up that repeats one was not understood.
    """
    arguments = [call.get("args", {}) for call in calls]
    if (when := _WHEN.search(text.casefold())) and when[0] not in str(arguments).casefold():
        return f'I don\'t know what to do with "{when[0]}"'
    defaults = [
        {n: s["default"] for n, s in _properties(tools, call).items() if n not in args and "default" in s}
        for call, args in zip(calls, arguments, strict=True)
    ]
    if missing := numbers_in(text) - numbers_in([arguments, defaults]):
        return f"I don't know what to do with the number {next(iter(missing)):f}"
    used = set(re.findall(r"\w+", f"{arguments} {_months(arguments)}".casefold()))
    served = set().union(*(_tool_stems(tools[call["name"]]) for call in calls))
    for name in names_in(text):
        if name.casefold() not in used and not served.issuperset(stems_of(name)):
            return f"I don't know what to do with {name}"
    if any(_is_doubled(call, tools, " ".join([text, *earlier])) for call in calls):
        return "I'd have to use one word of it for two things"
    words = set(re.findall(r"\w+", " ".join([text, *earlier]).casefold()))
    for call, args in zip(calls, arguments, strict=True):
        properties = _properties(tools, call)
        for name, value in args.items():
            if is_verbatim(properties[name]):
                continue
            if not _comes_from(value, properties[name], words, text):
                return f"it doesn't say which {plain(name)} is meant"
            if _is_glued(value):
                return f"I took several names for one {plain(name)}"
            if isinstance(value, str) and _is_cut(value, text, used, served):
                return f'"{value}" seems to be a part of a longer name'
    if len(calls) > 1 and (reason := _doubt_several(calls)):
        return reason
    known = [(call["name"], call.get("args", {})) for call in already]
    if any((call["name"], args) in known for call, args in zip(calls, arguments, strict=True)):
        return "I'd only repeat what I did before"
    return None


def _properties(tools: Mapping[str, FunctionDeclaration], call: FunctionCall) -> JsonObject:
    properties: JsonObject = schema_of(tools[call["name"]])["properties"]
    return properties


def _comes_from(value: Json, schema: JsonObject, words: set[str], text: str) -> bool:
    if isinstance(value, dict):
        fields = schema.get("properties", {})
        return all(_comes_from(v, fields.get(k, {}), words, text) for k, v in value.items())
    if isinstance(value, list):
        return all(_comes_from(item, schema.get("items", {}), words, text) for item in value)
    if not isinstance(value, str) or "enum" in schema or value == schema.get("default"):
        return True  # numbers: see numbers_in; "tomorrow" may become 1
    parts = re.findall(r"\w+", value.casefold())
    if parts and all(part in words or _abbreviates(part, words) for part in parts):
        return True
    return is_date(schema) and _names_day(value, text)


def _months(arguments: Sequence[JsonObject]) -> list[str]:
    """Name the months of the dates among the arguments."""
    dates = re.findall(r"\b\d{4}-(0[1-9]|1[0-2])-\d\d\b", str(arguments))
    months = [_MONTHS.split()[int(month) - 1] for month in dates]
    return months + [month[:3] for month in months]


def _is_doubled(call: FunctionCall, tools: Mapping[str, FunctionDeclaration], text: str) -> bool:
    """Return whether two parameters of a call took the same words, though they are said only once."""
    copied = Counter(value.casefold() for value in _copied(call, tools))
    return any(0 < text.casefold().count(value) < times for value, times in copied.items() if times > 1)


def _is_cut(value: str, text: str, used: set[str], served: set[str]) -> bool:
    """Return whether a word beside the value, as in "los angeles", belongs to it: nothing else knows that word.

    Of a name in capitals only such words can be a part: "Berlin" in "coat in Berlin or not" is whole.
    """
    pattern = rf"(?:(\w+)[ -])?\b({re.escape(value)})\b(?:[ -](\w+))?"
    found = re.search(pattern, text, re.IGNORECASE)
    if found is None:
        return False
    beside = [word for word in found.group(1, 3) if word and word.casefold() not in used | _TIMES]
    return any(
        (found[2].islower() or not word.islower()) and not served.issuperset(stems_of(word))
        for word in beside
    )


def _is_glued(value: Json) -> bool:
    """Return whether a value is a list of names in one text: "Oslo and Rome" (but not "Paris, Texas")."""
    if not isinstance(value, str):
        return False
    names = re.split(r"\s*(?:,|&|/|\b(?:and|or)\b)\s*", value)
    pair = re.search(r"&|/|\b(?:and|or)\b", value)
    return len(names) > (1 if pair else 2) and all(name[:1].isupper() for name in names if name)


def _abbreviates(short: str, words: Iterable[str]) -> bool:
    """Return whether a word of two or three letters stands for one of the words, as km does for kilometers."""
    pattern = re.compile(".*".join(map(re.escape, short)))
    return len(short) in (2, 3) and short.isalpha() and any(pattern.match(word) for word in words)


def _names_day(value: str, text: str) -> bool:
    try:
        day = date.fromisoformat(value[:10])
    except ValueError:
        return False
    return Decimal(day.day) in numbers_in(text)


def _doubt_several(calls: Sequence[FunctionCall]) -> str | None:
    """Several calls at once are trusted only if each took its own words, and alike calls have alike values."""
    seen: set[tuple[str, str]] = set()
    shapes: dict[str, set[str]] = {}
    for call in calls:
        args = call.get("args", {})
        key = (call["name"], str({k: v for k, v in args.items() if isinstance(v, str)} or args).casefold())
        if key in seen:
            return "I'd have to do the same thing twice"
        seen.add(key)
        if shapes.setdefault(call["name"], set(args)) != set(args):
            return "I can only do one thing at a time"
    return None


def needed_confidence(
    calls: Sequence[FunctionCall], tools: Mapping[str, FunctionDeclaration], text: str, threshold: float
) -> float:
    """Give the confidence that these calls need, by whether the text has to do with their tools."""
    needed = 0.0
    for call in calls:
        asked = set(stems_of(text)) - set(stems_of(" ".join(_copied(call, tools))))
        shared = {name: len(asked & _tool_stems(tool)) for name, tool in tools.items()}
        own = shared[call["name"]]
        topic = asked - set(stems_of(" ".join(_TIMES)))  # a time tells tools apart, no more
        if not topic:
            asks = threshold
        elif not topic & _tool_stems(tools[call["name"]]):
            asks = UNRELATED
        else:
            asks = threshold + (LESS_RELATED if max(shared.values()) > own else -RELATED_BONUS)
        needed = max(needed, asks)
    return needed


def _copied(call: FunctionCall, tools: Mapping[str, FunctionDeclaration]) -> list[str]:
    """List the texts that a call took from the request, but for those that take all of it."""
    properties = _properties(tools, call)
    return [
        value
        for name, value in call.get("args", {}).items()
        if isinstance(value, str) and "enum" not in properties[name] and not is_verbatim(properties[name])
    ]


def hand_over(
    tools: Mapping[str, FunctionDeclaration], text: str, tried: Collection[str] = ()
) -> list[FunctionCall]:
    """Hand a request as it is to the tool that takes it word for word, if that may be the one meant.

    The engine seldom dares to choose such a tool among others. The tool reads the text by itself, and says so
    when it can't: so one that takes the whole question gets any request that shares words with it, that asks how
    many, or that has a number and shares words with no tool
    or only with those that couldn't read it; the one that shares most words comes first. Another one gets a
    request with a number only, and only if no tool shares more words with it.

    Args:
        tools: The declarations, by name.
        text: The user's request.
        tried: Names of the tools that couldn't read it.
    """
    if _WHEN.search(text.casefold()):
        return []
    asked, numbers = set(stems_of(text)), numbers_in(text)
    amounts = numbers and not _NO_AMOUNT.match(text.strip().casefold())
    shared = related(tools, text)
    for name in sorted(set(tools) - set(tried), key=lambda name: (-shared[name], list(tools).index(name))):
        verbatim = [n for n, s in schema_of(tools[name])["properties"].items() if is_verbatim(s)]
        if question := question_of(tools[name]):
            if (
                shared[name]
                or (amounts and (tried or not any(shared.values())))
                or _HOW_MUCH.search(text.casefold())
            ):
                return [{"name": name, "args": {question: text.strip()}}]
        elif (
            numbers
            and verbatim
            and set(schema_of(tools[name]).get("required", ())) <= set(verbatim)
            and (not asked or (shared[name] and shared[name] == max(shared.values())))
        ):
            return [{"name": name, "args": dict.fromkeys(verbatim, text.strip())}]
    return []


def related(tools: Mapping[str, FunctionDeclaration], text: str) -> dict[str, int]:
    """Count the words that each tool's declaration shares with a request."""
    asked = set(stems_of(text))
    return {name: len(asked & _tool_stems(tool)) for name, tool in tools.items()}
