"""Chats, in each kind of store, and many of them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from agentkit import Agent, Approve, ChatManager, Deny, Edit, Limits, Result
from agentkit.testing import call, fault, reply
from tests.golden.recorder import STREAMS, SYNC, Scene, SceneChat, scenario
from tests.golden.shop import Shop, later, look, said, signed

ALL = ("none", "memory", "sqlite")
KEPT = ("memory", "sqlite")


class Talk:
    """A chat that is opened anew for each thing, where a store keeps it."""

    def __init__(self, s: Scene, agent: Agent, **options: Any) -> None:
        self._s, self.store, self._agent, self._options = s, s.store(), agent, options
        self._chat = None if self.store else s.chat(agent, **options)

    @property
    def chat(self) -> SceneChat:
        """The chat."""
        return self._chat or self._s.chat(self._agent, "ann", self.store, **self._options)

    def rows(self) -> None:
        """Record what is stored."""
        self._s.rows(self.store)


@scenario(stores=ALL)
def two_messages(s: Scene) -> None:
    shop = Shop()
    script = [
        signed(call("stock", sku="A")),
        "Three.",
        [call("order", sku="A"), call("stock", sku="B")],
        "Done.",
    ]
    talk = Talk(s, Agent(s.model(*script), tools=[shop.order(), shop.stock()], instructions="Be short."))
    talk.chat.send("How many A?")
    talk.chat.send("Order one.", deps="ann")
    talk.chat.state()
    talk.rows()


@scenario(stores=ALL)
def undone_and_cleared(s: Scene) -> None:
    talk = Talk(s, Agent(s.model("One.", call("look"), "Two.", "Three.", "Four."), tools=[look]))
    for n in range(3):
        talk.chat.send(f"Say {n + 1}.")
    talk.chat.do("undo")
    talk.chat.do("undo")
    talk.chat.state()
    talk.chat.send("Say four.")
    talk.rows()
    talk.chat.do("clear")
    talk.chat.do("undo")
    talk.chat.state()
    talk.rows()


@scenario(stores=ALL)
def forked(s: Scene) -> None:
    talk = Talk(s, Agent(s.model("One.", "Two.", "Three.", "Four.", "Five.")))
    talk.chat.send("Say one.")
    talk.chat.send("Say two.")
    fork = talk.chat.do("fork", at=2, id="bob")
    fork.send("Say three.")
    fork.state()
    talk.chat.do("fork", at=1)
    whole = talk.chat.do("fork")
    whole.send("Say four.")
    talk.chat.state()
    talk.rows()
    if talk.store:
        s.rows(talk.store, "bob")
        talk.chat.do("fork", id="bob")


@scenario(stores=ALL)
def saved_and_loaded(s: Scene) -> None:
    file = s.folder / "chat.json"
    talk = Talk(s, Agent(s.model(signed(call("look")), "One.", "Two.", "Three."), tools=[look]))
    talk.chat.send("Say one.")
    talk.chat.do("save", file)
    talk.chat.send("Say two.")
    talk.chat.do("load", file)
    talk.chat.state()
    talk.chat.send("Say three.")
    talk.rows()
    file.write_text("{}")
    talk.chat.do("load", file)
    talk.chat.do("load", s.folder / "nothing.json")
    talk.rows()


@scenario(stores=ALL)
def begun_with_a_history(s: Scene) -> None:
    history = [
        {"role": "user", "parts": [{"text": "I am Ann."}]},
        {"role": "model", "parts": [{"text": "Hello."}]},
    ]
    talk = Talk(s, Agent(s.model("Ann.")), history=history)
    talk.chat.send("Who am I?")
    talk.chat.state()
    talk.rows()


@scenario(
    stores=ALL,
    cases={
        "at once": [fault(400)],
        "after a call": [call("look"), fault(400)],
        "refused": [reply("No.", finish_reason="SAFETY")],
        "blocked": [{"promptFeedback": {"blockReason": "OTHER"}}],
        "at a limit": [call("look", n=1), call("look", n=2)],
    },
)
def messages_that_fail(s: Scene, script: list[Any]) -> None:
    agent = Agent(s.model("One.", *script, "Two.", "Three."), tools=[look], limits=Limits(turns=2))
    talk = Talk(s, agent)
    talk.chat.send("Say one.")
    talk.chat.send("Say two.")
    talk.chat.state()
    talk.chat.do("get_history", curated=True)
    talk.chat.resume()
    talk.chat.send("Say three.")
    talk.chat.state()
    talk.rows()


@scenario(stores=ALL)
def nothing_to_resume(s: Scene) -> None:
    talk = Talk(s, Agent(s.model("One.")))
    talk.chat.resume()
    talk.chat.send("Say one.")
    talk.chat.resume()
    talk.chat.resume({"nobody": Approve()})
    talk.rows()


@scenario(
    stores=ALL,
    cases={"approve": Approve(), "deny": Deny("no"), "edit": Edit({"sku": "Z"}), "result": Result(5)},
)
def approvals_in_a_chat(s: Scene, decision: Any) -> None:
    shop = Shop()
    script = [[call("stock", sku="A"), call("order", sku="A"), call("later")], "Done.", "Bye."]
    agent = Agent(s.model(*script), tools=[shop.order(approval=True), shop.stock(), later])
    talk = Talk(s, agent)
    talk.chat.send("Order.")
    talk.rows()
    talk.chat.state()
    (first,) = talk.chat.pending
    talk.chat.send("Hurry.")
    talk.chat.resume({first.call_id: decision})
    talk.rows()
    (second,) = talk.chat.pending
    talk.chat.resume({second.call_id: Result("came")})
    talk.chat.send("Bye.")
    talk.rows()
    s.note("ran", shop.ran)


@scenario(stores=("sqlite",))
def a_run_of_a_chat_is_resumed_by_its_agent(s: Scene) -> None:
    shop, store = Shop(), s.store()
    agent = Agent(s.model(call("order", sku="A"), "Done."), tools=[shop.order(approval=True)])
    run = s.chat(agent, "ann", store).send("Order.")
    decisions = {run.pending[0].call_id: Approve()}
    s.resume(agent, run, decisions, json=True)
    s.resume(agent, run, decisions, json=True, store=store)
    s.rows(store)


@scenario(ways=STREAMS, stores=ALL, cases={"in a text": "TextDelta", "after a call": "ToolFinished"})
def left_early_in_a_chat(s: Scene, event: str) -> None:
    shop = Shop()
    script = [[call("order", sku="A"), call("order", sku="B")], "It is done.", "Bye."]
    talk = Talk(s, Agent(s.model(*script), tools=[shop.order()]))
    talk.chat.send("Order.", watch=lambda stream, told: type(told).__name__ == event)
    talk.chat.state()
    talk.rows()
    talk.chat.send("Bye.")
    talk.rows()
    s.note("ran", len(shop.ran) > 0)


@scenario(ways=STREAMS, stores=KEPT)
def two_writers(s: Scene) -> None:
    store = s.store()
    agent = Agent(s.model(call("look"), "One.", "Two."), tools=[look])
    other = s.chat(agent, "ann", store, wait=0)
    tried: list[Any] = []

    def watch(stream: Any, event: Any) -> None:
        if type(event).__name__ == "ToolStarted" and not s.is_async:
            tried.append(other.send("Me too."))

    s.chat(agent, "ann", store).send("Me.", watch=watch)
    other.send("And me.")
    s.rows(store)


@scenario(ways=STREAMS, stores=ALL)
def a_second_message_in_a_stream(s: Scene) -> None:
    chat = s.chat(Agent(s.model(call("look"), "One.", "Two."), tools=[look]), None, s.store())

    def watch(stream: Any, event: Any) -> None:
        if type(event).__name__ == "ToolStarted" and not s.is_async:
            s.attempt("second", lambda: chat.chat.send_message("Me too."))

    chat.send("Me.", watch=watch)
    chat.send("And me.")


@scenario(stores=KEPT)
def misuse(s: Scene) -> None:
    shop, store = Shop(), s.store()
    agent = Agent(s.model(call("order", sku="A")), tools=[shop.order(approval=True)])
    chat = s.chat(agent, "ann", store)
    chat.send("Order.")
    chat.do("fork")
    chat.do("resolve", chat.pending[0].call_id, result=1)
    history = [{"role": "user", "parts": [{"text": "a"}]}, {"role": "model", "parts": [{"text": "b"}]}]
    s.chat(agent, "ann", store, history=history).send("Again.")
    chat.send("x", history=[])
    s.rows(store)


@scenario(stores=("sqlite",))
def a_large_result_is_saved_and_loaded(s: Scene) -> None:
    def log() -> str:
        """Read the log."""
        return "all is well " * 100

    agent = Agent(s.model(call("log"), "Read.", "Fine."), tools=[log], max_result_chars=600)
    chat = s.chat(agent, "ann", s.store())
    chat.send("Read.")
    chat.do("save", s.folder / "chat.json")
    chat.do("clear")
    chat.do("load", s.folder / "chat.json")
    chat.send("And?")
    s.rows(s.store())


@scenario(stores=KEPT)
def usage_in_the_store(s: Scene) -> None:
    store = s.store()
    agent = Agent(
        s.model(said("", tokens=5), said(call("look"), tokens=7), said("Ok.", tokens=9)), tools=[look]
    )
    chat = s.chat(agent, "ann", store)
    chat.send("Look.")
    chat.state()
    s.rows(store)


@scenario(ways=SYNC, stores=KEPT)
def manager(s: Scene) -> None:
    store = s.store()
    agent = Agent(s.model(call("look"), "Bonjour.", "Salut.", "Hello.", "Good."), tools=[look])
    chats = ChatManager(agent, store)
    s.attempt("create", lambda: chats.create("ann", instructions="In French.", title="Ann's chat").id)
    s.attempt("create", lambda: chats.create("ann").id)
    for text in ("Hello!", "Hi!"):
        if s.streamed:
            s.note("text", list(chats.send_message("ann", text, stream=True).texts()))
        else:
            s.note("text", chats.send_message("ann", text).text)
    s.attempt("send", lambda: chats.send_message("bob", "Hi!"))
    s.rows(store)
    s.note("history", [each.content for each in chats.get_history("ann")])
    s.note("markdown", chats.export_session("ann", format="markdown"))
    copy = chats.import_session(chats.export_session("ann"), id="ann-2")
    s.note("copy", copy.send_message("And you?").text)
    s.rows(store, "ann-2")
    s.attempt("import", lambda: chats.import_session("{}").id)
    s.attempt("import", lambda: chats.import_session(chats.export_session("ann")).id)
    fork = chats.fork("ann", at=4, new_id="ann-3")
    s.note("fork", fork.send_message("How are you?").text)
    s.rows(store, "ann-3")
    chats.rename("ann-3", "Another")
    s.note("found", sorted([hit.session_id, hit.seq, hit.role] for hit in chats.search("salut")))
    s.note("not found", list(chats.search('salut" OR nobody')))
    s.note("list", sorted([info.id, info.title, info.messages, info.parent] for info in chats.list()))
    chats.expire("ann-2", timedelta(seconds=-1))
    s.attempt("delete_expired", chats.delete_expired)
    s.attempt("delete", lambda: chats.delete_session("ann"))
    s.attempt("delete", lambda: chats.delete_session("ann"))
    s.attempt("get", lambda: chats.get("ann").id)
    s.note("left", sorted(info.id for info in chats.list(limit=2)))
