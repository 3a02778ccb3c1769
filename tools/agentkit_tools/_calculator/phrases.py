"""What people say for a calculation: tables of phrases, each with the expression that it stands for.

In a phrase, `a|b` is either word, `word?` may be missing, and slots take what is named:

    {a} {b}     an expression
    {t}         a term: an expression without a plus or minus outside brackets
    {n} {m}     an operand: a number, a bracket, a function; what binds as tightly as a power
    {p}         a percentage
    {o}         an ordinal: 5th, fifth
    {xs}        a list of operands: 3, 5 and 10

A builder returns None where the phrase doesn't fit what its slots hold. `the`, `a`, `an` and money are gone
before a phrase is compared.
"""

from __future__ import annotations

from collections.abc import Callable

from agentkit_tools._calculator.expression import Node, node, number

Builder = Callable[..., Node | None]

TAX = "tip|tax|vat|gst|gratuity|duty|service|commission|surcharge"
SHARE = "equally|evenly? between|among|amongst|across|by|with"
BILL = "bill|meal|dinner|lunch|check|tab|purchase|order|amount|item|total|price"
WITH = "with|plus|and|including|adding"
PEOPLE = "people|persons|person|friends|guests|ways|kids|children|colleagues"
_WRITE = "convert|turn|change|express|write?"
PERCENT = "percent|percentage|%|pct"

INFIX: dict[str, tuple[str, ...]] = {
    "+": ("+", "plus", "added to", "add", "increased by"),
    "-": ("-", "minus", "take away", "takeaway", "subtract", "less", "decreased by", "reduced by"),
    "*": ("*", "x", "times", "multiplied by", "multiplied with", "multiply by", "multiply"),
    "/": ("/", "divided by", "divide by", "divide", "over"),
    "//": ("//",),
    "mod": ("mod", "modulo", "modulus"),
    "^": (
        "^",
        "to power of",
        "to power",
        "to",
        "raised to power of",
        "raised to power",
        "raised to",
        "power",
    ),
}
"""Operators between two operands; all their forms bind alike, words or symbols."""

NAMES: dict[str, str] = {
    "arcsin": "asin", "arccos": "acos", "arctan": "atan", "sine": "sin", "cosine": "cos", "tangent": "tan",
    "average": "mean", "avg": "mean", "maximum": "max", "minimum": "min", "prod": "product", "total": "sum",
    "ceiling": "ceil", "fact": "factorial", "ncr": "comb", "npr": "perm", "hcf": "gcd", "gcf": "gcd",
    "power": "pow", "modulo": "mod",
}  # fmt: skip
"""Other names of functions in call syntax."""


def _call(name: str) -> Builder:
    return lambda xs=(), n=None: node(name, *([n] if n else xs))


def _percent(part: Node, whole: Node) -> Node:
    return node("as percent", part / whole)


def _more(a: Node, n: Node) -> Node:
    """Return a increased by n; by a third means by a third of it, as a percentage does."""
    return a + (node("of", n, a) if n.is_part else n)


def _less(a: Node, n: Node) -> Node:
    return a - (node("of", n, a) if n.is_part else n)


def _shared(a: Node, n: Node, p: Node | None = None) -> Node:
    return (a + p if p else a) / n


def _grown(a: Node, p: Node, n: Node, times: int = 1) -> Node:
    """Return capital after n years of compound interest, credited so many times a year."""
    rate, periods = (p, n) if times == 1 else (p / number(times), n * number(times))
    return a * node("^", node("+", number(1), rate), periods)


def _to_multiple(a: Node, n: Node) -> Node:
    return node("round", a) if n.value == 1 else node("round", a / n) * n


def _to_place(a: Node, o: int) -> Node | None:
    places = {10: 1, 100: 2, 1000: 3}.get(o)
    return node("round", a, number(places)) if places else None


OPERANDS: tuple[tuple[str, Builder], ...] = (
    ("square|squared root of? {n}", _call("sqrt")),
    ("squareroot|sqrt|root of? {n}", _call("sqrt")),
    ("cube|cubed|cubic root of? {n}", _call("cbrt")),
    ("cbrt of? {n}", _call("cbrt")),
    ("{o} root of? {n}", lambda o, n: node("root", n, number(o))),
    ("square of {n}", lambda n: node("^", n, number(2))),
    ("cube of {n}", lambda n: node("^", n, number(3))),
    ("{o} power of {n}", lambda o, n: node("^", n, number(o))),
    ("log|logarithm to? base {m} of? {n}", lambda m, n: node("logbase", n, m)),
    ("log|logarithm of? {n} to|in|with? base {m}", lambda m, n: node("logbase", n, m)),
    ("natural log|logarithm of? {n}", _call("ln")),
    ("ln of? {n}", _call("ln")),
    ("log|logarithm of? {n}", _call("log10")),
    ("log2 of? {n}", _call("log2")),
    ("log10 of? {n}", _call("log10")),
    ("exp of? {n}", _call("exp")),
    ("absolute value of? {n}", _call("abs")),
    ("abs of? {n}", _call("abs")),
    ("factorial of? {n}", _call("factorial")),
    ("floor of? {n}", _call("floor")),
    ("ceiling|ceil of? {n}", _call("ceil")),
    ("reciprocal of {n}", lambda n: number(1) / n),
    ("twice|double {n}", lambda n: number(2) * n),
    ("triple|treble|thrice {n}", lambda n: number(3) * n),
    ("quadruple {n}", lambda n: number(4) * n),
    ("sum|total up? of? {xs}", _call("sum")),
    ("product of {xs}", _call("product")),
    ("average|mean|avg value? of? {xs}", _call("mean")),
    ("median|middle value|number? of? {xs}", _call("median")),
    ("max|maximum|largest|biggest|greatest|highest number? of|among|out? of? {xs}", _call("max")),
    ("min|minimum|smallest|lowest|least number? of|among|out? of? {xs}", _call("min")),
    ("greatest|highest|largest|biggest common divisor|factor of|between? {xs}", _call("gcd")),
    ("gcd|hcf|gcf of? {xs}", _call("gcd")),
    ("least|lowest|smallest common multiple|denominator of|between? {xs}", _call("lcm")),
    ("lcm of? {xs}", _call("lcm")),
    ("difference between|of {a} and {n}", lambda a, n: node("difference", a, n)),
    ("quotient of {a} and {n}", lambda a, n: a / n),
    ("remainder of|when|from|in|if? {n} is? divided by {m}", lambda n, m: node("mod", n, m)),
    ("left over when|if you|i|we? divide|dividing {n} by {m}", lambda n, m: node("mod", n, m)),
    ("remainder of {n} over|/ {m}", lambda n, m: node("mod", n, m)),
    ("remainder when|if|of? dividing|you? divide? {n} by {m}", lambda n, m: node("mod", n, m)),
)
"""Phrases that are an operand of what stands around them."""

SENTENCES: tuple[tuple[str, Builder], ...] = (
    ("{a}", lambda a: a),
    # Imperatives
    (f"add|put {{p}} sales? {TAX} to|onto|on {{t}}", lambda p, t: t + p),
    ("add {a} to|onto {n}", lambda a, n: n + a),
    ("add together|up? {xs} together|up?", _call("sum")),
    ("{xs} added|summed together|up?", _call("sum")),
    ("subtract|deduct|take|minus|remove away? {a} away? from {n}", lambda a, n: _less(n, a)),
    ("multiply|times {a} by|with|and {n}", lambda a, n: a * n),
    ("multiply together? {xs} together?", _call("product")),
    ("{xs} multiplied together", _call("product")),
    ("divide {a} by {n}", lambda a, n: a / n),
    ("square {n}", lambda n: node("^", n, number(2))),
    ("cube {n}", lambda n: node("^", n, number(3))),
    ("halve {n}", lambda n: n / number(2)),
    ("raise {a}", lambda a: a if a.op == "^" else None),
    ("increase|raise|grow {a} by {n}", _more),
    ("decrease|reduce|lower|cut|drop|discount {a} by {n}", _less),
    # Comparisons
    ("{n} more|greater|larger|bigger|higher than {t}", lambda n, t: _more(t, n)),
    ("{n} less|fewer|smaller|lower than {t}", lambda n, t: _less(t, n)),
    ("{n} subtracted|taken|deducted away? from {m}", lambda n, m: m - n),
    ("{n} times as? much|many|big|large as {m}", lambda n, m: n * m),
    ("how many times does|do|can|will|would|could {a} go|goes|fit|fits|divide into|in {b}", lambda a, b: b / a),
    ("do? {xs} add|sum|come up? to", _call("sum")),
    ("do? {xs} make|total", _call("sum")),
    ("how much is|are|makes {xs}", _call("sum")),
    ("{a} goes into {b} how many times", lambda a, b: b / a),
    ("how many times {a} goes|fits|go into|in {b}", lambda a, b: b / a),
    ("how much more|bigger|larger|greater|higher is {a} than {b}", lambda a, b: a - b),
    ("how much less|smaller|lower is {a} than {b}", lambda a, b: b - a),
    ("{n} choose {m}", lambda n, m: node("comb", n, m)),
    # Percentages
    (f"what|which {PERCENT} of {{b}} is|are|makes|equals {{a}}", lambda a, b: _percent(a, b)),
    (f"what|which {PERCENT} is|are {{a}} out? of {{b}}", lambda a, b: _percent(a, b)),
    (f"{{a}} is|are what|which {PERCENT} out? of {{b}}", lambda a, b: _percent(a, b)),
    (f"{{a}} as {PERCENT} of {{b}}", lambda a, b: _percent(a, b)),
    (f"{{a}} out of {{b}} as|in|is what? {PERCENT}", lambda a, b: _percent(a, b)),
    (f"{PERCENT} of|for? {{a}} out of {{b}}", lambda a, b: _percent(a, b)),
    (f"{_WRITE} {{a}} equal|equals? as|to|into|in {PERCENT}", lambda a: node("as percent", a)),
    (f"{_WRITE} {{a}} equal|equals? as|to|into|in decimal number?", lambda a: node("as decimal", a)),
    (f"{_WRITE} {{a}} equal|equals? as|to|into|in fraction", lambda a: node("as fraction", a)),
    ("what|which fraction of {b} is|are {a}", lambda a, b: node("as fraction", a / b)),
    ("{a} is {p} of what|which number|amount|value?", lambda a, p: a / p),
    ("{p} of what|which number|amount|value? is|equals|makes {a}", lambda a, p: a / p),
    (f"{PERCENT} change|increase|growth|rise from|between {{a}} to|and {{b}}", lambda a, b: _percent(b - a, a)),
    (f"{PERCENT} decrease|drop|fall|reduction|loss from {{a}} to {{b}}", lambda a, b: _percent(a - b, a)),
    (f"{PERCENT} change|increase|growth|rise is|if {{a}} to {{b}}", lambda a, b: _percent(b - a, a)),
    (f"by? what {PERCENT} does|did|would|must? {{a}} increase|grow|rise|go up? to get|reach|make|become? {{b}}",
     lambda a, b: _percent(b - a, a)),
    # Prices
    ("{p} discount? off of? {t}", lambda p, t: t - p),
    ("{n} off of? {t}", lambda n, t: _less(t, n)),
    ("{b} be? after|with|at|and|for {p} discount|off|reduction", lambda p, b: b - p),
    ("{a} discount|off|reduction", lambda a: a if a.op == "-%" else None),
    ("take {n} off of? {t}", lambda n, t: _less(t, n)),
    (f"{{p}} sales? {TAX} on|for|of {BILL}? of|for? {{t}} {BILL}?", lambda p, t: node("of", p, t)),
    (f"{TAX} of|at? {{p}} on|for|of {BILL}? of|for? {{t}} {BILL}?", lambda p, t: node("of", p, t)),
    (f"sales? {TAX} on|for {BILL}? of|for? {{t}} {BILL}? at|with {{p}}", lambda p, t: node("of", p, t)),
    (f"{{b}} {BILL}? with|and|plus {{p}} sales? {TAX} added|included|on?", lambda p, b: b + p),
    (f"{BILL} of {{b}} with|and|plus {{p}} sales? {TAX} added|included|on?", lambda p, b: b + p),
    (f"{BILL}? of? {{a}} sales? {TAX}", lambda a: a if a.op == "+%" else None),
    (f"total|cost|price with|after|including {{p}} {TAX} on|to|for {BILL}? of? {{t}} {BILL}?", lambda p, t: t + p),
    (f"if? {BILL} is|was|comes to? {{t}} what|how is|much? is? {{p}} sales? {TAX}", lambda p, t: node("of", p, t)),
    # Sharing
    (f"{BILL}? of? {{a}} {BILL}? {WITH} {{p}} {TAX} split|shared|divided {SHARE} {{n}} {PEOPLE}?", _shared),
    (f"{BILL}? of? {{a}} {BILL}? {WITH} {{p}} {TAX} split|shared|divided {{n}} ways", _shared),
    (f"split|share|divide {BILL}? of? {{a}} {TAX}? {BILL}? {SHARE} {{n}} {PEOPLE}? equally|evenly?", _shared),
    (f"split|share|divide {BILL}? of? {{a}} {TAX}? {BILL}? equally|evenly? in|into? {{n}} ways", _shared),
    (f"{BILL}? of? {{a}} {TAX}? {BILL}? split|shared|divided {SHARE} {{n}} {PEOPLE}?", _shared),
    (f"{BILL}? of? {{a}} {TAX}? {BILL}? split|shared|divided {{n}} ways", _shared),
    (f"split|share|divide {BILL}? of? {{a}} {BILL}? {SHARE} {{n}} {PEOPLE}? {WITH} {{p}} {TAX}", _shared),
    (f"split|share|divide {BILL}? of? {{a}} {BILL}? {{n}} ways {WITH} {{p}} {TAX}", _shared),
    (f"split|share|divide {BILL}? of? {{a}} {BILL}? {WITH} {{p}} {TAX} {SHARE} {{n}} {PEOPLE}?", _shared),
    (f"split|share|divide {BILL}? of? {{a}} {BILL}? {WITH} {{p}} {TAX} {{n}} ways", _shared),
    (f"{TAX} on {{t}} at {{p}}", lambda t, p: node("of", p, t)),
    (f"how much {TAX} should|would|do|will? i|we? leave|pay|give? on|for {BILL}? of? {{t}} {BILL}? at {{p}}",
     lambda t, p: node("of", p, t)),
    ("how much do|would|will? i|we|you? save with|at|on {p} off|discount on? {t}", lambda p, t: node("of", p, t)),
    # Rounding
    ("round {a} to {n} decimal|decimals places|place?", lambda a, n: node("round", a, n)),
    ("round {a}", lambda a: node("round", a)),
    ("round {a} to nearest whole|integer|unit number?", lambda a: node("round", a)),
    ("round {a} to nearest {n}", _to_multiple),
    ("round {a} to nearest {o}", _to_place),
    # Interest
    ("simple interest on {a} at {p} for|over {n} years|year", lambda a, p, n: a * p * n),
    ("compound interest on {a} at {p} for|over {n} years|year", lambda a, p, n: _grown(a, p, n) - a),
    *(
        (pattern, builder)
        for word, times in (
            ("annually", 1), ("yearly", 1), ("quarterly", 4), ("monthly", 12), ("weekly", 52), ("daily", 365)
        )
        for pattern, builder in (
            (
                f"{{a}} at {{p}} interest? for|over {{n}} years|year compounded {word}",
                lambda a, p, n, times=times: _grown(a, p, n, times),
            ),
            (
                f"compound interest on {{a}} at {{p}} for|over {{n}} years|year compounded {word}",
                lambda a, p, n, times=times: _grown(a, p, n, times) - a,
            ),
        )
    ),
    # Shapes
    ("area of circle with|of radius of? {n}", lambda n: node("pi") * node("^", n, number(2))),
    ("circumference of circle with|of radius of? {n}", lambda n: number(2) * node("pi") * n),
    ("circumference of circle with|of diameter of? {n}", lambda n: node("pi") * n),
    ("area of rectangle|room|field? of? {n} by {m}", lambda n, m: n * m),
    ("area of rectangle with|of? sides|width|length? {n} and {m}", lambda n, m: n * m),
    ("hypotenuse of right? triangle with|of sides|legs {n} and {m}", lambda n, m: node("hypot", n, m)),
)  # fmt: skip
"""Phrases that are a whole question."""

_IT = "it|that|this|result|answer?"
_THEN = "and|then|, and|then? then?"
CONTINUATIONS: tuple[tuple[str, Builder], ...] = (
    (",? and? then? add|plus on? {n}", lambda a, n: a + n),
    (",? and? then? subtract|minus|deduct|take away? {n}", lambda a, n: a - n),
    (f"{_THEN} multiply|times {_IT} by? {{n}}", lambda a, n: a * n),
    (f"{_THEN} multiplied by {{n}}", lambda a, n: a * n),
    (f"{_THEN} divide|divided {_IT} by {{n}}", lambda a, n: a / n),
    (f"{_THEN} double {_IT}", lambda a: number(2) * a),
    (f"{_THEN} halve {_IT}", lambda a: a / number(2)),
    (f"{_THEN} square|squared {_IT}", lambda a: node("^", a, number(2))),
    (
        f",? and? then? round|rounded|correct? {_IT} to {{n}} decimal|decimals|dp places|place?",
        lambda a, n: node("round", a, n),
    ),
    (f",? and? then? round|rounded {_IT} to nearest whole|integer|unit number?", lambda a: node("round", a)),
    (f",? and? then? round|rounded {_IT} to nearest {{n}}", _to_multiple),
    (f",? and? then? round|rounded {_IT} to nearest {{o}}", _to_place),
)
"""What goes on from a whole calculation `a`: `3 plus 4, then times 2` is (3 + 4) * 2."""

_ASKER = "i|you|we|u"
OPENERS = (
    "hey|hi|hello|hiya|yo|ok|okay|so|um|uh|erm|hmm|well|alright|sorry|please|pls|plz|just|quick|quickly|real|now|approximately|approx|roughly",
    "also|and|then|there|math|maths|mate|buddy|bro|dude|bot|assistant|calculator|gemini|google|siri|alexa|kindly",
    "question|problem|homework|following|actually|exactly|gimme|good|dear|again|this|these",
    "good morning|afternoon|evening|day",
    "excuse me",
    "what|whats|what's|wats|wat|wht|how's",
    "what|wat|wht|how is|are|was|be|does|do|would|will|equals|makes|number",
    "is there any|a? chance|way",
    "any idea",
    "for my? homework|math|maths|class|test",
    "would|do|can|could you mind|please?",
    "i was|am|i'm wondering if|what?",
    "how do|would|can|could|should i|you|we",
    "calculating|computing|working|figuring|telling|giving|finding|solving out|me?",
    "start|starting|begin|beginning with|from|at",
    "what|how much|many is|are|was|does|do|would|will|left|remains",
    "what number is",
    "how much|many do|would|will|does|should each|everyone|person? person? pay|get|owe|receive",
    "when|if you|we|i",
    f"do|would|will|if|when|can|could {_ASKER}",
    f"{_ASKER} get|have|know|like|want|need if|when|by|for?",
    f"{_ASKER} would|will|do|just|really? like|want|need to|know?",
    "i'd|i'm|we're like|want|trying to|know?",
    f"{_ASKER} wanna|gotta|must|should know?",
    "to? know|find|see",
    "tell|give|show|help me|us with?",
    _ASKER,
    "let me know",
    "work|figure|find out",
    "calculate|calc|compute|evaluate|solve|simplify|find|determine|get|do|make|figure",
    "answer|result|value|outcome|solution to|of|for",
    "total? cost|price of|for",
    "total for",
)
"""What may stand before a calculation and says nothing of it; any number of these."""
CLOSERS = (
    "is|equals|equal|make|makes|be|give|gives|get|come|comes to?",
    "is|equals|equal|makes to? what",
    "is equal|equals to what?",
    "come|comes|work|works|amount|amounts|add|adds out|up? to|as what?",
    f"what do|would|will {_ASKER} get|have",
    "what is it|that|this|answer|result",
    "how much is|does it|that make?",
    "how much|what does|do|would|will|should each|everyone|we|i person|of? us? pay|get|owe|receive",
    "please|pls|plz|thanks|thx|ta|cheers|exactly|then|now|mate|quickly|ok|okay|each|again|hey|buddy|bro|dude|lol|today",
    "thank you|u so|very? much?",
    "for me",
    "per|for each? person",
    "if you can|could|may|would",
    "can|could|would you|u do|calculate|tell|work? that|me|it|this|out? for|out? me?",
)
"""What may stand after it."""
