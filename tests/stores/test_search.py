"""How every store lists sessions and finds messages; see `agentkit.stores.base`."""

from __future__ import annotations

import time

import pytest

from agentkit.limits import Usage
from agentkit.stores.base import AddUsage, Cut, SaveSummary
from agentkit.stores.search import INDEXED, indexed
from agentkit.stores.store import SessionStore
from agentkit.wire.content import model_content
from tests.helpers.stored_chats import CALL, LEDGER, NOON, RAIN, added, made, say


def test_sessions_are_listed_the_last_updated_first(store: SessionStore) -> None:
    for id in "abcd":
        store.create(id)
        time.sleep(0.002)
    writer = store.write("b")
    say(writer, "x")
    time.sleep(0.002)
    say(store.write("a"), "y")
    time.sleep(0.002)
    assert [info.id for info in store.list()] == ["a", "b", "d", "c"]
    writer.append([AddUsage(Usage(total_tokens=1)), SaveSummary(1, "x")])
    store.rename("d", "a title is no use")
    store.expire("c", 1e12)
    assert [info.id for info in store.list()] == ["a", "b", "d", "c"]
    writer.append([Cut(0)])
    assert [info.id for info in store.list()] == ["b", "a", "d", "c"]
    assert store.list(limit=1) == [store.info("b")]


def test_pages_have_each_session_once(store: SessionStore) -> None:
    ids = {f"s{n}" for n in range(23)}
    for id in ids:
        store.create(id)
    whole = [info.id for info in store.list(limit=100)]
    paged: list[str] = []
    page = store.list(limit=5)
    while page:
        assert len(page) <= 5
        paged += [info.id for info in page]
        page = store.list(limit=5, after=page[-1])
    assert paged == whole and set(paged) == ids
    assert list(store.list(limit=0)) == []
    first = store.list(limit=1)[0]
    say(store.write(whole[-1]), "moved to the front")
    assert [info.id for info in store.list(limit=100, after=first)] == whole[1:-1]


def test_a_search_finds_messages_with_all_the_words(store: SessionStore) -> None:
    made(store, "The cat sat on the mat.", "A dog, and a Cat!", "Concatenated dogs").release()
    made(store, "catalogue", "CAT and DOG again", id="eve").release()

    def found(text: str) -> set[tuple[str, int]]:
        return {(hit.session_id, hit.seq) for hit in store.search(text)}

    assert found("cat") == {("ann", 0), ("ann", 1), ("eve", 1)}
    assert found("dog cat") == found("CAT dog") == {("ann", 1), ("eve", 1)}
    assert found("mat.") == {("ann", 0)}
    assert found("cat unicorn") == found("unicorn") == set()


def test_a_hit_says_where_it_is(store: SessionStore) -> None:
    long = " ".join(f"w{n}" for n in range(300)) + " needle " + " ".join(f"v{n}" for n in range(300))
    made(store, "x").append([added(model_content(long))])
    (hit,) = store.search("needle")
    message = store.load("ann").messages[1]
    assert (hit.session_id, hit.seq, hit.role, hit.created) == ("ann", 1, "model", message.created)
    assert "needle" in hit.snippet and "w299" in hit.snippet and len(hit.snippet) < 300


def test_a_search_has_a_limit(store: SessionStore) -> None:
    made(store, *(f"cat {n}" for n in range(30)))
    assert len(store.search("cat")) == 20
    assert len(store.search("cat", limit=7)) == 7
    assert list(store.search("cat", limit=0)) == []


def test_thoughts_calls_and_responses_are_not_searched(store: SessionStore) -> None:
    writer = made(store)
    writer.append([added(model_content({"text": "secretly", "thought": True}, "openly"))])
    writer.append([added(CALL, calls=LEDGER), added({"role": "user", "parts": [RAIN, NOON]})])
    assert [hit.seq for hit in store.search("openly")] == [0]
    for word in ("secretly", "weather", "oslo", "rain", "output"):
        assert list(store.search(word)) == []


@pytest.mark.parametrize(
    "text",
    [
        *('"', "'", '"cat', 'cat"', '""', "*", "cat*", "^cat", "(cat", "cat)", "cat)(", "+cat", "-cat"),
        *("cat:", ":cat", "text:cat", "{text}: cat", "& cat", "cat |", "!cat", "<-> cat", "cat <-> cat"),
        *(
            "cat\\",
            "\\cat",
            "%cat%",
            "cat;--",
            "cat\0",
            "\0cat",
            "cat \ud800",
            "cat\n\tcat",
            "…cat…",
            "🦉 cat",
        ),
    ],
)
def test_whatever_a_search_has_in_it_is_words(store: SessionStore, text: str) -> None:
    made(store, "a cat here: text", "nothing at all")
    expected = [0] if "cat" in text else []
    assert [hit.seq for hit in store.search(text)] == expected


@pytest.mark.parametrize(
    "text",
    ["née", "NEE", "ne\u0301e", "straße", "हिन्दी", "한국어 문장", "слово", "3.14", "snake_case", "don't"],
)
def test_words_of_many_scripts_are_found(store: SessionStore, text: str) -> None:
    made(store, "née Straße हिन्दी में 한국어 문장 Слово 3.14 snake_case don't", "neem Straßen हिम् 한국 слова")
    assert [hit.seq for hit in store.search(text)] == [0]


@pytest.mark.parametrize(
    "text", ["cat AND dog", "cat OR dog", "NOT cat dog", "NEAR(cat dog)", "cat NEAR/2 dog"]
)
def test_an_operator_is_a_word(store: SessionStore, text: str) -> None:
    made(store, "a cat and a dog", "a cat or a dog", "not a cat or dog", "near a cat 2 a dog", "a cat a dog")
    operator = {"AND": 0, "OR": 1, "NOT": 2, "NEAR": 3}[
        text.replace("(", " ").replace("/", " ").split()[0 if text.startswith("N") else 1]
    ]
    hits = {hit.seq for hit in store.search(text)}
    assert operator in hits and 4 not in hits


def test_a_search_without_words_or_with_far_too_many_finds_nothing(store: SessionStore) -> None:
    made(store, "a cat here", "?! -")
    for text in ("", "  ", "?! -", "\0", "🦉", " ".join(f"w{n}" for n in range(20_000)), "x" * 100_000):
        assert list(store.search(text)) == []


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        *(
            ("Straße", "strasse"),
            ("Straße", "STRASSE"),
            ("ﬁsh", "fish"),
            ("déjà vu", "deja"),
            ("Ｆｕｌｌ", "full"),
        ),
        *(
            ("Σίσυφος", "σισυφοσ"),
            ("שָׁלוֹם", "שלום"),
            ("İstanbul", "istanbul"),
            ("Ω", "ω"),
            ("nai\u0308ve", "naïve"),
        ),
        *(
            ("今日は良い天気です", "天気"),
            ("今天天气很好", "天气"),
            ("今天天气很好", "天"),
            ("東京タワーへ行く", "タワー"),
        ),
        *(
            ("ガラス", "カ\u3099ラス"),
            ("วันนี้อากาศดีมาก", "อากาศ"),
            ("ປະເທດລາວ", "ລາວ"),
            ("한국어 문장", "문장"),
        ),
        ("mixed天気text", "天気"),
    ],
)
def test_words_are_compared_as_people_read_them(store: SessionStore, said: str, asked: str) -> None:
    made(store, "nothing of it", f"and {said} there", "カラス 大 ประเทศ strase fsh")
    (hit,) = store.search(asked)
    assert hit.seq == 1 and hit.snippet == f"and {said} there"


def test_the_newest_is_found_first(store: SessionStore) -> None:
    made(store, "cat cat cat", "one cat", "a dog").release()
    made(store, "my cat", id="eve")
    assert [(hit.session_id, hit.seq) for hit in store.search("cat")] == [("eve", 0), ("ann", 1), ("ann", 0)]


def test_of_a_query_the_first_32_different_words_count(store: SessionStore) -> None:
    words = [f"w{n}" for n in range(40)]
    made(store, " ".join(words[:32]), " ".join(words[:31]))
    assert [hit.seq for hit in store.search(" ".join([*words[:32] * 3, *words]))] == [0]


def test_a_snippet_shows_a_hit_in_a_long_text_without_spaces(store: SessionStore) -> None:
    made(store, "中" * 5000 + "天気" + "文" * 5000)
    (hit,) = store.search("天気")
    assert "中天気文" in hit.snippet and len(hit.snippet) < 300


LONG = {
    "words": " ".join(f"word{n}" for n in range(120_000)),
    "one word": "x" * 1_000_000,
    "one word again and again": "cat " * 250_000,
    "accents": "déjà vu naïve " * 70_000,
    "Chinese": "".join(chr(0x4E00 + n * 7919 % 20_000) for n in range(330_000)),
    "what becomes eighteen letters": "\ufdfa" * 300_000,
    "what becomes words of two scripts": "\u32c0" * 330_000,
    "what becomes a word in kana": "".join(chr(0x3300 + n * 7 % 88) for n in range(330_000)),
    "Hebrew with points": "\ufb2c" * 330_000,
    "Thai": "".join(chr(0x0E01 + n * 7 % 46) for n in range(333_000)),
    "marks": "a" + "\u0301\u0323" * 200_000,
    "spaces": " \n" * 500_000,
    "odd": "\0\ud800🦉" * 200_000,
}


@pytest.mark.slow
@pytest.mark.parametrize("what", LONG)
def test_a_megabyte_is_stored_searched_and_shown_in_linear_time(store: SessionStore, what: str) -> None:
    text = LONG[what]
    began = time.process_time()
    made(store, text, "a small needle")
    store.search(text)
    for hit in store.search(text[:50]):
        assert len(hit.snippet) < 300
    assert [hit.seq for hit in store.search("needle")] == [1]
    assert time.process_time() - began < 30  # of minutes, were it quadratic


def test_an_index_has_each_word_once() -> None:
    assert indexed("Cat cats CAT " * 100_000) == "cat cats"
    assert len(indexed("\ufdfa" * 100_000)) < 100  # each is eighteen letters, in four words
    long = indexed(" ".join(f"\ufdfa{n}" for n in range(100_000)))
    assert INDEXED - 100 < len(long.encode()) <= INDEXED


def test_what_is_beyond_the_first_megabyte_of_different_words_is_not_found(store: SessionStore) -> None:
    words = [f"word{n:06}" for n in range(110_000)]
    made(store, " ".join(words))
    assert [hit.seq for hit in store.search(words[80_000])] == [0]
    assert list(store.search(words[-1])) == []
    assert [hit.seq for hit in store.search(words[0] + " " + words[1])] == [0]


def test_a_search_looks_into_the_sessions_whose_ids_begin_so(store: SessionStore) -> None:
    ids = ["a", "a/1", "a/2", "a0", "A/1", "b/1", "a\\1", "a%2Fx/1", "%/1", "_/1", "\ud7ff1", "\ue0001"]
    for id in ids:
        made(store, "a cat", "a dog", "the cat", id=id).release()
    for prefix in (
        "",
        "a",
        "a/",
        "A",
        "a\\",
        "a%",
        "%",
        "%/",
        "_",
        "_/",
        "a_",
        "'",
        "c",
        "\ud7ff",
        "\U0010ffff",
    ):
        own = [id for id in reversed(ids) if id.startswith(prefix)]
        hits = [(hit.session_id, hit.seq) for hit in store.search("cat", prefix=prefix, limit=100)]
        assert hits == [(id, seq) for id in own for seq in (2, 0)], prefix
        once = [(hit.session_id, hit.seq) for hit in store.search("cat", prefix=prefix, distinct=True)]
        assert once == [(id, 2) for id in own], prefix
    assert [hit.session_id for hit in store.search("cat", prefix="a/", limit=1)] == ["a/2"]
    assert [hit.session_id for hit in store.search("cat", prefix="a/", limit=2, distinct=True)] == [
        "a/2",
        "a/1",
    ]
    assert list(store.search("unicorn", prefix="a/", distinct=True)) == []


def test_what_others_said_hides_nothing_of_a_prefix(store: SessionStore) -> None:
    made(store, "a cat", id="ann/1").release()
    made(store, *["a cat"] * 50, id="ann/2").release()
    made(store, *["a cat"] * 300, id="bob/1").release()
    assert len(store.search("cat", prefix="ann/", limit=100)) == 51
    once = store.search("cat", prefix="ann/", limit=2, distinct=True)
    assert [(hit.session_id, hit.seq) for hit in once] == [("ann/2", 49), ("ann/1", 0)]
