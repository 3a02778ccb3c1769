"""Greetings, thanks and calls for help: what asks for no tool, told by its words. Pure functions."""

from __future__ import annotations

import re
from typing import Literal

Kind = Literal["greeting", "thanks", "help"]


def _any(*forms: str) -> str:
    return f"(?:{'|'.join(forms)})"


_HELLO = _any(
    *("hey", "hi", "hello", "hallo", "hiya", "howdy", "yo", "greetings"),
    "good (?:morning|afternoon|evening|day)",
)
_YOU = _any(
    *("there", "you", "again", "everyone", "everybody", "all", "bot", "assistant", "calculator", "gemini"),
    *("my friend", "friend", "mate", "dear"),
)
_OK = _any(
    *("ok", "okay", "great", "good", "perfect", "cool", "nice", "awesome", "super", "excellent", "wonderful"),
    *("lovely", "alright", "fine", "yes", "no"),
)
_HOW_ARE_YOU = "(?:how are you(?: doing)?(?: today)?|how's it going|what's up)"
_THANKS = _any(
    *("thanks", "thank you", "thank u", "thankyou", "thx", "ty", "tysm", "cheers", "ta", "much appreciated"),
    *("merci", "danke"),
)
_MUCH = _any(
    *("a lot", "a million", "so much", "very much", "again", "then", _YOU, "bye", "that's all", _OK),
    *(r"that was \w+", r"for (?:the|your|that|all|this|helping)(?: \w+)?"),
)
_BYE = "(?:(?:good)?bye(?: bye| then)?|see you(?: later)?|you're welcome|well done|good (?:job|bot|work))"
_CAN = "(?:can|could|do|will|should|may)"
_HELP = _any(
    *("help(?: me)?", "i need (?:some |your )?help", f"{_CAN} you help(?: me)?", "usage", "commands", "menu"),
    *("options", "examples?", "instructions", "info", "about", "start", "who are you", "what do you do"),
    f"(?:what|which) (?:else )?{_CAN} you (?:do|help|offer|know|answer)(?: for me| me)?(?: with)?",
    f"what (?:kind of |sort of )?(?:things|questions|stuff) {_CAN} (?:you|i) (?:do|ask|answer|know)(?: you)?",
    f"what {_CAN} i (?:ask|do|say|type)(?: you| here)?(?: about| for)?",
    "what(?:'s| is| are) (?:you|this|your (?:purpose|capabilities|features|functions|tools|skills|abilities))",
    *(
        "what(?:'s| are) you(?: able to do| (?:good )?(?:for|at)| capable of)?",
        "what tools do you have",
        "what are your options",
    ),
    *("how (?:can|could|do) you help(?: me)?", "how (?:do|can) i (?:use|talk to) (?:this|you|it)"),
    *("how does (?:this|it) work", "tell me (?:more )?about (?:you|yourself)"),
    "(?:show|give|tell) me (?:some |an |a few |your )?(?:examples?|options|what you can do|what i can ask(?: you)?)",
)
_BEFORE = _any(_HELLO, _OK, "so", "and", "please", _YOU)
_KINDS: tuple[tuple[Kind, str], ...] = (
    (
        "greeting",
        rf"{_HELLO}(?: {_HELLO}| {_YOU})*(?: {_HOW_ARE_YOU})?|{_HOW_ARE_YOU}|sup|hola|bonjour|ciao|moin",
    ),
    ("thanks", rf"(?:{_OK} )*(?:many |no )?{_THANKS}(?: {_MUCH})*|{_OK}(?: {_OK})*|{_BYE}"),
    ("help", rf"(?:{_BEFORE} )*{_HELP}(?: please| now| today| for me| here)*"),
)


def small_talk(text: str) -> Kind | None:
    """Return what kind of small talk a text is, or None where it is more than that."""
    words = " ".join(re.sub(r"[^\w' ]+", " ", text.casefold().replace("’", "'")).split())
    for kind, pattern in _KINDS:
        if re.fullmatch(pattern, words):
            return kind
    return "help" if text.strip() == "?" else None
