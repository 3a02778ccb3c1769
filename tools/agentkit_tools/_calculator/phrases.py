"""What people say for a calculation: tables of phrases, each with the expression that it stands for.

In a phrase, `a|b` is either word, `word?` may be missing, and slots take what is named:

    {a} {b}     an expression
    {t}         a term: an expression without a plus or minus outside brackets
    {n} {m}     an operand: a number, a bracket, a function; what binds as tightly as a power
    {p}         a percentage
    {o}         an ordinal: 5th, fifth
    {xs}        a list of operands: 3, 5 and 10
    {r} {rn}    whole numbers in a row, as first, step and last: 1 to 10; {rn}: with a word such as `numbers` before

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
DECIMALS = "decimal|decimals|dp places|place|digits|digit|points|figures?"
SIGNIFICANT = "significant|sig|s figures|figure|digits|digit|figs|fig|f"
THINGS = (
    "sweets|candies|apples|oranges|bananas|pears|grapes|eggs|cookies|biscuits|cakes|cupcakes|muffins|donuts|chocolates"
    "|marbles|pens|pencils|books|cards|coins|toys|balls|stickers|balloons|flowers|tickets|slices|pieces|items|things"
)
THEM = f"{THINGS}|people|persons|players|students|children"
LEFT = "left|remaining|remain over?"
_SHARED = f"are|is? split|shared|divided? {SHARE} {{m}} {PEOPLE}? equally|evenly?"
_IF_SHARED = f"if|when? i|you|we? split|shared|divided|share|divide? {{n}} {THINGS}? {_SHARED} ,?"

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
    "comb": ("choose", "c", "ncr"),
    "perm": ("p", "npr", "permute"),
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


def _less(a: Node, n: Node) -> Node | None:
    if n.is_part and a.is_part:  # a third less than a half: of one, or of the half?
        return None
    return a - (node("of", n, a) if n.is_part else n)


def _by(n: Node, m: Node) -> Node | None:
    return None if "%" in (n.op, m.op) else n * m


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


def _significant(a: Node, n: Node) -> Node:
    return node("significant", a, n)


def _upward(name: str) -> Builder:
    """Return a builder of rounding up or down; of a negative number either word has two meanings."""

    def build(a: Node, n: Node | None = None) -> Node | None:
        if a.op.startswith(("-", "negative")):
            return None
        return node(name, a / n) * n if n and n.value != 1 else node(name, a)

    return build


def _each(a: Node, n: Node) -> Node | None:
    """Share what isn't cut into pieces: only where it comes out even."""
    if a.value is None or not n.value or (a.value / n.value).denominator != 1:
        return None
    return a / n


def _quotient(n: Node, m: Node) -> Node:
    return node("as quotient", n, m)


def _times(a: Node, b: Node) -> Node:
    return _quotient(b, a)


def _of_range(name: str) -> Builder:
    return lambda r: node(f"{name} of range", *r)


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
    ("sum|total up? of? {r}", _of_range("sum")),
    ("product of? {r}", _of_range("product")),
    ("average|mean|avg|median|middle value|number? of? {r}", _of_range("mean")),
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
    ("add up {r}", _of_range("sum")),
    ("add together|up? {rn} together|up?", _of_range("sum")),
    ("{r} added|summed together|up?", _of_range("sum")),
    ("add together|up? {xs} together|up?", _call("sum")),
    ("{xs} added|summed together|up?", _call("sum")),
    ("subtract|deduct|take|minus|remove away? {a} away? from {n}", lambda a, n: _less(n, a)),
    ("multiply|times {a} by|with|and {n}", lambda a, n: a * n),
    ("multiply {n} by|with {m} by|with {k}", lambda n, m, k: n * m * k),
    ("multiply {n} by|with {m} by|with {k} by|with {j}", lambda n, m, k, j: n * m * k * j),
    ("{n} by {m}", _by),
    ("{n} by {m} by {k}", lambda n, m, k: n * m * k),
    ("multiply together? {rn} together?", _of_range("product")),
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
    ("how many times does|do|can|will|would|could {a} go|goes|fit|fits|divide into|in {b}", _times),
    ("{n} divided|/ by? {m} with|and|including|plus remainder", _quotient),
    ("divide {n} by {m} with|and|including|plus give|find|show? remainder", _quotient),
    ("quotient and remainder of|when|for? {n} is? divided|/ by? {m}", _quotient),
    ("{n} divided|/ by? {m} as|in quotient|whole and|with remainder", _quotient),
    ("do? {xs} add|sum|come up? to", _call("sum")),
    ("do? {xs} make|total", _call("sum")),
    ("how much is|are|makes {xs}", _call("sum")),
    ("{a} goes into {b} how many times", _times),
    ("how many times {a} goes|fits|go into|in {b}", _times),
    ("how much more|bigger|larger|greater|higher is {a} than {b}", lambda a, b: a - b),
    ("how much less|smaller|lower is {a} than {b}", lambda a, b: b - a),
    *(
        (f"{asked} {{m}} {THEM}? from|of|in|out|among of? {{n}} {THEM}?", lambda m, n: node("comb", n, m))
        for asked in (
            "how many ways|combinations are? there? to|of choose|choosing|pick|picking|select|selecting?",
            "how many ways can|could i|you|we|one choose|pick|select",
            "number? of? ways|combinations to|of choose|choosing|pick|picking?",
        )
    ),
    ("combinations of {n} choose|taken {m} at? time?", lambda n, m: node("comb", n, m)),
    ("how? many? permutations of {m} from|out|of of? {n}", lambda m, n: node("perm", n, m)),
    (f"permutations of {{n}} {THEM}? taken {{m}} at? time?", lambda n, m: node("perm", n, m)),
    (f"how many ways to|can i|you|we? arrange|order|line {{n}} {THEM}? up? arranged?", _call("factorial")),
    (f"how many ways can|could {{n}} {THEM}? be arranged|ordered|seated|lined up? in|on? row|line|shelf?",
     _call("factorial")),
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
    (f"if|when? {{n}} {PEOPLE} split|share|divide {BILL}? of? {{a}} {TAX}? {BILL}? equally|evenly?", _shared),
    (f"if|when? {{n}} of us|them split|share|divide {BILL}? of? {{a}} {TAX}? {BILL}? equally|evenly?", _shared),
    (f"if|when? {{n}} split|share {BILL}? of? {{a}} {TAX}? {BILL}? equally|evenly?", _shared),
    (f"there|we? are? {{n}} {PEOPLE}|of? us? and {BILL} is|was|comes|came to? {{a}}", _shared),
    (f"if|when? {BILL} is|was|comes|came to? {{a}} and|, there? are|for|we? are? {{n}} {PEOPLE}|of? us?", _shared),
    (f"each person's? share of {BILL}? of? {{a}} {TAX}? {BILL}? for|{SHARE} {{n}} {PEOPLE}?", _shared),
    (f"{BILL}? of? {{a}} {BILL} for {{n}} {PEOPLE}", _shared),
    (f"{BILL} of? {{a}} for {{n}} {PEOPLE}", _shared),
    (f"split|share|divide {{a}} {THINGS} {SHARE} {{n}} {PEOPLE}? equally|evenly?", _each),
    (f"if|when? {{a}} {THINGS} are? split|shared|divided equally|evenly? {SHARE} {{n}} {PEOPLE}?", _each),
    (f"if|when? {{n}} {PEOPLE} split|share|divide {{a}} {THINGS} equally|evenly?", _each),
    (f"{_IF_SHARED} how many|much {THINGS}? are|is|will|would? be? {LEFT}", lambda n, m: node("mod", n, m)),
    (f"{_IF_SHARED} what|how is|much? remainder|left|over over?", lambda n, m: node("mod", n, m)),
    (f"how many {THINGS}? are|is|will|would? be? {LEFT} {_IF_SHARED}", lambda n, m: node("mod", n, m)),
    # Rounding
    (f"round {{a}} to|at {{n}} {DECIMALS}", lambda a, n: node("round", a, n)),
    ("round {a} to|at {n} places|place", lambda a, n: node("round", a, n)),
    (f"round {{a}} to|at {{n}} {SIGNIFICANT}", _significant),
    ("round {a} to|at {n} sigfigs|sf|sigfig", _significant),
    ("round {a} to nearest cent|cents|penny|pence", lambda a: node("round", a, number(2))),
    ("round up {a} to? nearest? whole|integer|unit? number?", _upward("ceil")),
    ("round {a} up to? nearest? whole|integer|unit? number?", _upward("ceil")),
    ("{a} rounded up to? nearest? whole|integer|unit? number?", _upward("ceil")),
    ("round down {a} to? nearest? whole|integer|unit? number?", _upward("floor")),
    ("round {a} down to? nearest? whole|integer|unit? number?", _upward("floor")),
    ("{a} rounded down to? nearest? whole|integer|unit? number?", _upward("floor")),
    ("round {a} up to nearest {n}", _upward("ceil")),
    ("round {a} down to nearest {n}", _upward("floor")),
    ("round up {a} to nearest {n}", _upward("ceil")),
    ("round down {a} to nearest {n}", _upward("floor")),
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
        f",? and? then? round|rounded|correct|accurate? {_IT} to {{n}} {DECIMALS}",
        lambda a, n: node("round", a, n),
    ),
    (
        f",? and? then? round|rounded|correct|accurate? {_IT} to {{n}} places|place",
        lambda a, n: node("round", a, n),
    ),
    (f",? and? then? round|rounded|correct|accurate? {_IT} to {{n}} {SIGNIFICANT}", _significant),
    (
        f",? and? then? round|rounded {_IT} to nearest cent|cents|penny|pence",
        lambda a: node("round", a, number(2)),
    ),
    (f",? and? then? round|rounded {_IT} to nearest whole|integer|unit number?", lambda a: node("round", a)),
    (f",? and? then? round|rounded {_IT} to nearest {{n}}", _to_multiple),
    (f",? and? then? round|rounded {_IT} to nearest {{o}}", _to_place),
)
"""What goes on from a whole calculation `a`: `3 plus 4, then times 2` is (3 + 4) * 2."""
