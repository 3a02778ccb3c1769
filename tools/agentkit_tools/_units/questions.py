"""What a question about units asks for: which measures are to be given in which units. Pure functions.

A question is split in every way that its words allow, and whoever knows the units decides which of these has
a meaning: in `5 ft 11 in cm` the `in` isn't an inch, in `5 ft 11 in in cm` the first one is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, localcontext

from agentkit_tools._calculator.numerals import numbers_in_digits

MAX_LENGTH = 200
MAX_MEASURES = 4
IMPLIED = {
    **dict.fromkeys(("foot", "feet", "ft", "'"), ("inch", 12)),
    **dict.fromkeys(("stone", "stones", "st"), ("pound", 14)),
    **dict.fromkeys(("pound", "pounds", "lb", "lbs"), ("ounce", 16)),
    **dict.fromkeys(("hour", "hours", "hr", "hrs", "h"), ("minute", 60)),
    **dict.fromkeys(("minute", "minutes", "min", "mins"), ("second", 60)),
    **dict.fromkeys(("meter", "meters", "metre", "metres", "m"), ("centimeter", 100)),
}
"""The unit that a bare number after a measure is in, and below which number: `5 foot 11`, `11 stone 6`."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One reading of a question."""

    measures: tuple[tuple[Decimal, str], ...]
    """Amounts with their units, to be added up."""
    targets: tuple[str, ...]
    """The units to give it in: more than one for `in feet and inches`."""


def _any(*forms: str) -> str:
    return f"(?:{'|'.join(forms)})"


_I_AM = _any(
    *(
        "i'm",
        "i am",
        "i weigh",
        "he's",
        "he is",
        "he weighs",
        "she's",
        "she is",
        "she weighs",
        "it is",
        "it's",
    ),
    *("it weighs", r"my \w+ is", "if i have", "i have", "if i(?:'m| am)", "i ran", "i drove", "i walked"),
)
_GREETING = _any(
    *("hey", "hi", "hello", "ok", "okay", "so", "well", "and", "also", "then", "now", "please", "pls"),
    *("quick question", "question"),
)
_HELLO = rf"(?:{_GREETING}\b[,:!.]* *)*"
_ASK = _any(
    *(
        "(?:can|could|would|will) (?:you|u|i) ",
        "please ",
        "how (?:do|would|can|should) (?:i|you|we) ",
        "let's ",
    ),
    *("i(?: would|'d)? (?:want|need|like) (?:you )?(?:to )?", "do you know ", "any idea ", "i wonder "),
)
_VERB = _any(
    *(
        "convert",
        "change",
        "turn",
        "translate",
        "transform",
        "express",
        "write",
        "put",
        "give",
        "tell",
        "show",
    ),
    *("calculate", "work out", "find", "know", "get", "compute", "figure out", "say"),
)
_DO = rf"(?:(?:please |just )?{_VERB}(?: me| us)?(?: what| how (?:much|long))?(?: is| are)? )?"
_BE = _any("is", "are", "would", "does", "do", "temperature", "length", "weight", "distance", "speed", "time")
_HOW = _any(
    "much",
    "long",
    "far",
    "tall",
    "high",
    "heavy",
    "hot",
    "cold",
    "warm",
    "fast",
    "big",
    "wide",
    "deep",
    "old",
    "large",
)
_WHAT = (
    rf"(?:(?:what|whats|what's|what're)(?: {_BE})*(?: be)? "
    rf"|how {_HOW}(?: is| are| does| do| would)?(?: a distance of)? )?"
)
_OPENER = rf"{_HELLO}{_ASK}*{_DO}{_WHAT}(?:the )?"
_COUNT_OPENER = (
    rf"{_HELLO}{_ASK}*{_DO}(?:what|what's|whats)?(?: is| are)? ?(?:the )?"
    "(?:how many|how much|what number of|number of|what is number of|amount of|what amount of)"
)
_END = _any(
    *(
        "please",
        "pls",
        "thanks",
        "thank you",
        "exactly",
        "for me",
        "be",
        "is",
        "equal",
        "equals",
        "equivalent",
    ),
    *(
        "approximately",
        "roughly",
        "then",
        "now",
        "make",
        "makes",
        "made",
        "long",
        "tall",
        "high",
        "have",
        "has",
    ),
    *("contain", "contains", "there", "total", "instead", "come to", "is it", "is that", "would that be"),
    *("are there", "is there", "are in it", "do i have", "i have", "would i have"),
)
_CLOSER = rf"(?: {_END})*"
_LINK = _any(
    *(
        "is",
        "are",
        "make",
        "makes",
        "equal",
        "equals",
        "=",
        "in",
        "to",
        "into",
        "per",
        "has",
        "have",
        "contains",
    ),
    *(
        "contain",
        "gives",
        "give",
        "was",
        "does",
        "do",
        "form",
        "fit",
        "fits",
        "go",
        "goes",
        "comprise",
        "long",
    ),
    *("tall", "high", "heavy", "equal to", "there", "up", "a", "of", "each", "every", "would", "be", "one"),
)
_GIVEN = _any("converted", "changed", "expressed", "written", "measured", "given", "equal", "is", "are", "be")
_EQUALS = _any("=", "equals", "is", "are", "makes?", "has", "have", "contains?", "equal to", "gives?")
_SO_MUCH = _any(
    *(
        "what",
        "whats",
        "what's",
        "how much",
        "how tall",
        "how long",
        "how far",
        "how heavy",
        "convert",
        "how many",
    ),
)
_AND = r"(?:tall|long|high|heavy|old)?[,.;]* *(?:and )?"
_THAT = "(?:that|it|this)"


@dataclass(frozen=True, slots=True)
class _Form:
    """A way to ask: an opener, two sides with a link between them, and a closer."""

    opener: str
    link: str
    closer: str = _CLOSER
    unit_first: bool = False
    """Whether the left side is the unit that is asked for."""
    bare: bool = False
    """Whether `a` may be missing before the other unit: `how many feet in mile`."""


_FORMS = (
    _Form(_OPENER, rf"(?:{_GIVEN} )?(?:to|in|into|as|in terms of|using)"),
    _Form(_OPENER, rf"{_EQUALS}?[ ,]*(?:to )?(?:how many|what in|how much in|\?)"),
    _Form(rf"{_HELLO}{_I_AM} (?:about )?", rf"{_AND}{_SO_MUCH}(?: is| are)? ?{_THAT} (?:in|to|into|as)"),
    _Form(rf"{_HELLO}{_I_AM} ", rf"{_AND}how many", rf" (?:is|are|does|do) {_THAT}(?: make| equal)?"),
    _Form(_COUNT_OPENER, rf"{_LINK}(?: {_LINK})*", unit_first=True, bare=True),
    _Form(
        rf"{_HELLO}in",
        "(?:,|what|what's|how)(?: (?:what|what's|how|much|far|long|tall|is|are|heavy|fast|hot))*",
        unit_first=True,
    ),
    _Form(rf"{_HELLO}in", "[ ,]*how many", "(?: are| is)?(?: there)?"),
    _Form(_HELLO, "in", unit_first=True),
)

_SIGN = "(?:-|minus |negative )?"
_AMOUNT = (
    rf"(?:{_SIGN}(?:\d+ )?\d+⁄\d+"
    rf"|{_SIGN}(?:\d{{1,3}}(?:,\d{{3}})+|\d+)?(?:\.\d+|(?<=\d)\.)?(?:e[+-]?\d+)?(?<=[\d.]))"
)
_POWER = r"(?:\^|\*\*)-?\d"
_MEASURE = re.compile(
    rf"(?P<amount>{_AMOUNT}) ?(?:(?:of )?an? )?(?P<unit>(?:[^\W\d_]|['\"°µ])(?:[^\d,&+]|{_POWER})*?)?"
    r"(?<![\^*])(?P<join>\s*(?:,? ?\band\b|,|&|\+|\bplus\b|)\s*)(?=[-\d.]|$)"
)


def readings(text: str) -> Iterator[Asked]:
    """Yield every way to read a question; none of its units is looked up."""
    text = _tidied(text)
    for form in _FORMS:
        start = re.match(form.opener, text, re.IGNORECASE)
        if start is None:
            continue
        body = text[start.end() :].strip(" ,")
        link = rf"(?<=\W)(?:{form.link})(?!\w)|(?<=\w) *[=,](?: ?(?:{form.link}))?(?!\w)"
        for match in re.finditer(link, body, re.IGNORECASE):
            left, right = body[: match.start()].strip(" ,"), body[match.end() :].strip(" ,")
            ended = re.fullmatch(rf"(.+?){form.closer}", right, re.IGNORECASE)
            for end in dict.fromkeys((right, ended[1] if ended else right)):
                asked = (
                    _read(_of_one(end) if form.bare else end, left) if form.unit_first else _read(left, end)
                )
                if asked:
                    yield asked


def _read(measures: str, targets: str) -> Asked | None:
    read = _measures(measures)
    units = _targets(targets)
    return Asked(read, units) if read and units else None


def _of_one(text: str) -> str:
    """Add the number that is left out of `feet in a mile` where it is `feet in mile`."""
    bare = re.fullmatch(
        r"(?!degree|celsius|centigrade|fahrenheit|kelvin)[^\W\d_]+[^\W\d_s](?: [^\W\d_]+)?", text
    )
    return f"1 {text}" if bare else text


def _tidied(text: str) -> str:
    """Write the numbers in digits, and drop what ends a question; capitals stay where they tell units apart."""
    text = text.translate(str.maketrans("’‘′“”″−–", "'''\"\"\"--"))
    if text.isupper() and len(text.split()) > 2:
        text = text.lower()
    text = re.sub(
        r"[^\W\d_]{3,}",
        lambda m: m[0].lower() if m[0][1:].islower() and m[0][:7] != "Calorie" else m[0],
        text,
    )
    text = re.sub(r"((?<=\d)[ckdm]?m|(?<=\s)(?:[ckdm]?m|ft|in|yd|mi))([23])\b", r"\1^\2", text)
    text = re.sub(r"(?<=\d)(?=[^\W\d_]{2,}|°)(?!e[+-]?\d)", " ", " ".join(text.split()))
    text = text.replace("½", " 1⁄2").replace("¼", " 1⁄4").replace("¾", " 3⁄4")
    text = re.sub(
        r"\((\d+) \* (\d+)\)", lambda m: str(int(m[1]) * int(m[2])), numbers_in_digits(text)
    )  # 3 dozen
    text = re.sub(r"(?<![\d/⁄.])(\d+)/(\d+)(?![\d/.])", r"\1⁄\2", text)
    return " ".join(text.split()).rstrip("?!. ")


def _measures(text: str) -> tuple[tuple[Decimal, str], ...]:
    """Read amounts with units; empty where it isn't that."""
    text = re.sub(r"^(?:each |every |an? )(?=[^\W\d_])", "1 ", text, flags=re.IGNORECASE)
    found: list[tuple[Decimal, str]] = []
    place, joined = 0, ""
    while place < len(text):
        match = _MEASURE.match(text, place)
        if match is None or match.end() == place or len(found) == MAX_MEASURES:
            return ()
        amount, unit = _decimal(match["amount"]), (match["unit"] or "").strip()
        if amount is None or re.search(r" (?:in|to|into|as) ", unit, re.IGNORECASE):
            return ()
        said, unit = unit, unit or _unit_left_out(match["amount"], amount, found, joined)
        if not unit:
            return ()
        if unit == "m" and found and found[-1][1] in ("h", "hr", "hrs", "hour", "hours"):
            unit = "minute"
        if not said and unit == found[-1][1]:  # an hour and a half
            amount += found.pop()[0]
        found.append((amount, unit))
        place, joined = match.end(), match["join"].strip(" ,")
    if joined or (len(found) > 1 and any(amount < 0 for amount, _ in found)):
        return ()
    return tuple(found)


def _unit_left_out(digits: str, amount: Decimal, found: list[tuple[Decimal, str]], joined: str) -> str:
    """Return the unit of a number without one: the inches of `5 foot 11`, the hours of `an hour and a half`."""
    if not found:
        return ""
    before = found[-1][1]
    if joined == "and":
        return before if "⁄" in digits and 0 < amount < 1 else ""
    unit, below = IMPLIED.get(before.lower(), ("", 0))
    return unit if not joined and 0 <= amount < below else ""


def _decimal(text: str) -> Decimal | None:
    sign = -1 if text.startswith(("-", "minus", "negative")) else 1
    text = re.sub("^(?:-|minus |negative )", "", text).replace(",", "")
    whole, _, part = text.rpartition(" ")
    if "⁄" not in part:
        return sign * Decimal(text) if text and not whole else None
    top, bottom = part.split("⁄")
    if not int(bottom):
        return None
    with localcontext(prec=40):
        return sign * (Decimal(whole or 0) + Decimal(top) / Decimal(bottom))


def _targets(text: str) -> tuple[str, ...]:
    """Read the names of units; empty where it isn't that."""
    text = re.sub(
        r"^(?:the |an? )|^1 (?=\D)| of (?:water|milk|liquid|juice|oil|air|wine|beer)$",
        "",
        text,
        flags=re.IGNORECASE,
    )
    if re.search(r" (?:in|to|into|as) ", text, re.IGNORECASE):
        return ()
    names = re.split(r" ?(?:,| and |&|\+) ?(?:and )?", text)
    if not all(re.fullmatch(r"[^\d?]+(?:[23]|\^-?\d)?", name) for name in names) or len(names) > 3:
        return ()
    return tuple(name.strip() for name in names)
