"""Tools on demand, chosen tools, large results, messages on the way, strangers' words."""

from __future__ import annotations

from typing import Any

from agentkit import Agent, Approve, Deny, Limits, Tool, ToolRegistry
from agentkit.testing import call, fault
from tests.golden.recorder import STREAMS, Scene, scenario
from tests.golden.shop import Shop, add, fail, look


def _on_demand() -> Any:
    registry = ToolRegistry("shop")
    for tool in (Tool.of(add), Shop().stock(), Tool.of(look), Shop().order()):
        registry.add(tool)
    return registry.on_demand()


@scenario(
    cases={
        "found": [call("find_tools", query="add numbers"), call("add", a=1, b=2), "Three."],
        "not found": [call("find_tools", query="xyzzy"), "No."],
        "not declared yet": [
            call("add", a=1, b=2),
            call("find_tools", query="add"),
            call("add", a=1, b=2),
            "ok",
        ],
        "twice": [
            call("find_tools", query="stock"),
            call("find_tools", query="order items"),
            call("stock", sku="A"),
            "ok",
        ],
        "bad query": [call("find_tools"), call("find_tools", query=""), "ok"],
    }
)
def tools_on_demand(s: Scene, script: list[Any]) -> None:
    s.run(Agent(s.model(*script), tools=[_on_demand(), fail]))


@scenario(stores=("memory", "sqlite"))
def tools_found_stay_in_a_chat(s: Scene) -> None:
    store = s.store()
    script = [call("find_tools", query="add numbers"), "Found.", call("add", a=1, b=2), "Three."]
    agent = Agent(s.model(*script), tools=[_on_demand()])
    s.chat(agent, "ann", store).send("Find.")
    s.chat(agent, "ann", store).send("Add.")
    s.rows(store)


@scenario(
    cases={
        "by turn": lambda ctx: ["look"] if ctx.turn == 0 else ["add"],
        "none": lambda ctx: None,
        "empty": lambda ctx: [],
        "unknown": lambda ctx: ["nobody"],
        "wrong": lambda ctx: 7,
    }
)
def chosen_tools(s: Scene, choose: Any) -> None:
    script = [call("look", n=1), call("look", n=2), "ok"]
    s.run(Agent(s.model(*script), tools=[look, add], choose_tools=choose))


@scenario()
def chosen_tools_and_a_choice(s: Scene) -> None:
    agent = Agent(
        s.model(call("add", a=1, b=2), "ok"),
        tools=[look, add],
        tool_choice=["add"],
        choose_tools=lambda ctx: ["look"] if ctx.deps else ["add"],
    )
    s.run(agent)
    s.run(agent, deps=1)


def _log() -> str:
    """Read the log."""
    return "".join(f"line {n}: all is well\n" for n in range(100))


LOG = Tool.of(_log, name="log")


def _read_on(offset: int) -> Any:
    def script(request: Any) -> Any:
        """Read on where the mark says."""
        text = str(request["contents"][2]["parts"][0]["functionResponse"]["response"]["output"])
        name = text.partition("read_result(id=")[2].partition(",")[0].strip("\"'")
        return call("read_result", id=name, offset=offset)

    return script


@scenario(
    cases={
        "read on": [call("log"), _read_on(600), "ok"],
        "beyond": [call("log"), _read_on(99_999), "ok"],
        "wrong id": [call("log"), call("read_result", id="x", offset=0), "ok"],
        "too early": [call("read_result", id="x"), call("log"), "ok"],
    }
)
def large_results(s: Scene, script: list[Any]) -> None:
    s.run(Agent(s.model(*script), tools=[LOG], max_result_chars=600))


@scenario(stores=("none", "memory", "sqlite"))
def large_results_in_a_chat(s: Scene) -> None:
    store = s.store()
    agent = Agent(s.model(call("log"), "Read.", _read_on(500), "More."), tools=[LOG], max_result_chars=600)
    chat = s.chat(agent, "ann" if store else None, store)
    chat.send("Read.")
    if store:
        chat = s.chat(agent, "ann", store)
    chat.send("Read on.")
    s.rows(store)


@scenario(cases={"object": False, "json": True})
def large_results_and_a_resume(s: Scene, json: bool) -> None:
    shop = Shop()
    script = [[call("log"), call("order", sku="A")], _read_on(500), "ok"]
    agent = Agent(s.model(*script), tools=[LOG, shop.order(approval=True)], max_result_chars=600)
    run = s.run(agent)
    s.resume(agent, run, {run.pending[0].call_id: Approve()}, json=json)


# -- messages on the way ---------------------------------------------------------------------------------------------


def once(kind: str, *messages: Any) -> Any:
    """Send messages at the first event of a kind."""
    left = list(messages)

    def watch(stream: Any, event: Any) -> None:
        while type(event).__name__ == kind and left:
            stream.send(left.pop(0))

    return watch


@scenario(
    ways=STREAMS,
    cases={
        "at a call": ("ToolStarted", "Also Rome."),
        "after a call": ("ToolFinished", "Also Rome.", {"text": "And Bern."}),
        "in the answer": ("TextDelta", "One more thing."),
        "at the end": ("TurnFinished", "Wait."),
    },
)
def messages_on_the_way(s: Scene, given: Any) -> None:
    script = [call("look", n=1), "It is seen.", "And that too."]
    s.run(Agent(s.model(*script), tools=[look]), watch=once(*given))


@scenario(ways=STREAMS)
def messages_that_come_too_late(s: Scene) -> None:
    def watch(stream: Any, event: Any) -> None:
        if type(event).__name__ == "ToolStarted":
            stream.send("Unheard.")
        if type(event).__name__ == "RunFinished":
            s.attempt("send", lambda: stream.send("Late."))

    agent = Agent(s.model(call("look"), "never"), tools=[look], limits=Limits(turns=1))
    s.run(agent, watch=watch)


@scenario(ways=STREAMS)
def wrong_messages_on_the_way(s: Scene) -> None:
    def watch(stream: Any, event: Any) -> None:
        if type(event).__name__ == "ToolStarted":
            s.attempt("send", lambda: stream.send(7))
            s.attempt("run", lambda: stream.run)
            s.note("usage", stream.usage_now())

    s.run(Agent(s.model(call("look"), "ok"), tools=[look]), watch=watch)


@scenario(ways=STREAMS, stores=("sqlite",))
def messages_on_the_way_in_a_chat(s: Scene) -> None:
    store = s.store()
    chat = s.chat(Agent(s.model(call("look"), "Seen.", "Both."), tools=[look]), "ann", store)
    chat.send("Look.", watch=once("TextDelta", "And Rome."))
    s.rows(store)


@scenario(
    ways=STREAMS, cases={"at a call": "ToolStarted", "in a text": "TextDelta", "after a turn": "TurnFinished"}
)
def left_early(s: Scene, kind: str) -> None:
    seen: list[str] = []

    def watch(stream: Any, event: Any) -> bool:
        seen.append(type(event).__name__)
        return seen[-1] == kind

    agent = Agent(
        s.model(["So", call("look", n=1)], "A longer answer."), tools=[Tool.of(look, effect="write")]
    )
    run = s.run(agent, watch=watch)
    s.resume(agent, run, json=True)


# -- strangers' words ------------------------------------------------------------------------------------------------


@scenario(cases={"auto": "auto", "approve": "approve", "allow": "allow"})
def after_strangers_words(s: Scene, after: Any) -> None:
    shop = Shop()
    tools = [shop.stock(untrusted=True), shop.order(), Tool.of(look, sensitive=True), add]
    script = [call("order", sku="A"), call("stock", sku="A"), call("add", a=1, b=1), call("order", sku="B")]
    agent = Agent(s.model(*script, call("look"), "ok"), tools=tools, limits=Limits(after_untrusted=after))
    run = s.run(agent)
    while run.pending:
        run = s.resume(agent, run, {each.call_id: Approve() for each in run.pending}, json=True)
    s.note("ran", shop.ran)


@scenario()
def an_approver_after_strangers_words(s: Scene) -> None:
    shop = Shop()
    tools = [shop.stock(untrusted=True), shop.order()]
    script = [[call("stock", sku="A"), call("order", sku="A")], call("order", sku="B"), "ok"]
    s.run(Agent(s.model(*script), tools=tools), approver=lambda pending, ctx: Deny(pending.why))
    s.note("ran", shop.ran)


@scenario(stores=("none", "sqlite"))
def strangers_words_in_a_chat(s: Scene) -> None:
    shop, store = Shop(), s.store()
    script = [call("stock", sku="A"), "Read.", call("order", sku="A"), "Done.", "Ordered."]
    agent = Agent(s.model(*script), tools=[shop.stock(untrusted=True), shop.order()])
    chat = s.chat(agent, "ann" if store else None, store)
    chat.send("Read.")
    chat.send("Order.")
    chat.resume({each.call_id: Approve() for each in chat.pending})
    s.rows(store)
    s.note("ran", shop.ran)


@scenario()
def failures_of_untrusted_tools(s: Scene) -> None:
    shop = Shop()
    tools = [Tool.of(fail, untrusted=True), shop.order()]
    script = [call("fail", how="error"), call("order", sku="A"), fault(400)]
    s.run(Agent(s.model(*script), tools=tools, limits=Limits(after_untrusted="approve")))
    s.note("ran", shop.ran)
