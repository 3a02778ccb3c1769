"""The shared limit of requests and tokens per minute: on a clock of the tests, nobody sleeps."""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentkit.core.rate_limit import RateLimit, Slot
from agentkit.errors import ConfigurationError


class Clock:
    """Stands still until it is moved; quarters of seconds, which floats add up exactly."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def limited(requests: int | None = None, tokens: int | None = None) -> tuple[RateLimit, Clock]:
    clock = Clock()
    return RateLimit(requests, tokens, clock=clock), clock


def waits_of(limit: RateLimit, *sizes: int) -> list[float]:
    """Reserve places one after the other; return how long each waits."""
    return [limit.reserve(size).seconds for size in sizes]


# -- tables ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("requests", "tokens", "sizes", "waits"),
    [
        pytest.param(None, None, [5, 10**9, 0], [0, 0, 0], id="no limit lets all through"),
        pytest.param(
            3, None, [9] * 8, [0, 0, 0, 60, 60, 60, 120, 120], id="requests go a minute's worth at once"
        ),
        pytest.param(
            None, 100, [60, 40, 1, 99, 100], [0, 0, 60, 60, 120], id="tokens fill a minute to the brim"
        ),
        pytest.param(
            2, 100, [10, 10, 10, 95, 5], [0, 0, 60, 120, 120], id="the tighter of both limits counts"
        ),
        pytest.param(None, 100, [0, 0, 100, 0, 1], [0, 0, 0, 0, 60], id="nothing weighs nothing"),
        pytest.param(None, 100, [101], [0], id="a request above the limit goes if nothing else counts"),
        pytest.param(None, 100, [1, 500, 0, 100], [0, 60, 120, 120], id="and is alone in its minute else"),
        pytest.param(1, 1, [1, 1, 1], [0, 60, 120], id="one a minute"),
    ],
)
def test_requests_at_one_moment_wait(
    requests: int | None, tokens: int | None, sizes: list[int], waits: list[float]
) -> None:
    limit, _ = limited(requests, tokens)
    assert waits_of(limit, *sizes) == waits


def test_a_place_is_free_again_a_minute_after_it_began() -> None:
    limit, clock = limited(requests=2)
    assert waits_of(limit, 0) == [0]
    clock.now += 50
    assert waits_of(limit, 0, 0) == [0, 10]
    clock.now += 10
    assert waits_of(limit, 0) == [50]


def test_nobody_is_overtaken_by_a_smaller_request_that_would_fit() -> None:
    limit, _ = limited(tokens=100)
    assert waits_of(limit, 90, 50, 1) == [0, 60, 60]


def test_tokens_that_were_not_used_are_free_again() -> None:
    limit, clock = limited(tokens=100)
    place = limit.reserve(100)
    clock.now += 1
    limit.settle(place, 30)
    assert waits_of(limit, 70, 1) == [0, 59]


@pytest.mark.parametrize("actual", [30, 100, 170])
def test_a_minute_later_nothing_is_left_of_what_a_request_took(actual: int) -> None:
    limit, clock = limited(tokens=100)
    limit.settle(limit.reserve(100), actual)
    clock.now += 60
    assert waits_of(limit, 100, 1) == [0, 60]


def test_tokens_beyond_what_was_reserved_are_counted() -> None:
    limit, clock = limited(tokens=100)
    limit.settle(limit.reserve(10), 90)
    clock.now += 1
    assert waits_of(limit, 10, 1) == [0, 59]


def test_a_request_that_failed_frees_its_tokens_but_stays_a_request() -> None:
    limit, _ = limited(requests=2, tokens=100)
    limit.settle(limit.reserve(100), 0)
    assert waits_of(limit, 100, 0) == [0, 60]


def test_a_large_request_that_took_less_lets_others_follow() -> None:
    limit, clock = limited(tokens=100)
    place = limit.reserve(5000)
    clock.now += 5
    limit.settle(place, 20)
    assert waits_of(limit, 80) == [0]


def test_a_reply_of_more_than_a_minute_ago_changes_nothing() -> None:
    limit, clock = limited(tokens=100)
    early = limit.reserve(60)
    clock.now += 61
    late = limit.reserve(60)
    limit.settle(early, 0)
    assert waits_of(limit, 60) == [60]
    limit.settle(late, 0)
    assert waits_of(limit, 40) == [60], (
        "who waits keeps the place, and nobody overtakes, though there is room"
    )


def test_a_place_is_settled_or_given_back_once() -> None:
    limit, _ = limited(requests=2, tokens=100)
    settled, given_back = limit.reserve(40), limit.reserve(60)
    limit.settle(settled, 30)
    limit.settle(settled, 0)
    limit.give_back(settled)
    limit.give_back(given_back)
    limit.give_back(given_back)
    limit.settle(given_back, 100)
    assert waits_of(limit, 70, 0) == [0, 60]


def test_places_of_more_than_a_minute_ago_are_forgotten() -> None:
    limit, clock = limited()
    place = limit.reserve(0)
    held = sys.getrefcount(place)
    clock.now += 60
    limit.reserve(0)
    assert sys.getrefcount(place) == held - 1


def test_a_place_of_another_limit_changes_nothing() -> None:
    limit, _ = limited(tokens=100)
    other, _ = limited(tokens=100)
    limit.reserve(100)
    limit.settle(other.reserve(100), 0)
    limit.give_back(other.reserve(100))
    assert waits_of(limit, 1) == [60]


# -- given back ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limits", [(1, None), (None, 100)], ids=["requests", "tokens"])
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_impatient_ones_hold_nobody_up(limits: tuple[int | None, int | None], order: tuple[int, int]) -> None:
    limit, clock = limited(*limits)
    assert waits_of(limit, 100) == [0]
    clock.now += 10
    impatient = [limit.reserve(100), limit.reserve(100)]
    assert [place.seconds for place in impatient] == [50, 110]
    clock.now += 10
    for index in order:
        limit.give_back(impatient[index])
    assert waits_of(limit, 100, 100) == [40, 100]


def test_a_place_that_began_but_was_not_used_is_free_at_once() -> None:
    limit, clock = limited(requests=1)
    place = limit.reserve(0)
    clock.now += 5
    limit.give_back(place)
    assert waits_of(limit, 0, 0) == [0, 60]


def test_who_asks_next_takes_the_place_that_was_given_back_and_those_who_wait_keep_theirs() -> None:
    limit, _ = limited(requests=1)
    places = [limit.reserve(0) for _ in range(4)]
    limit.give_back(places[2])
    limit.give_back(places[1])
    assert waits_of(limit, 0, 0, 0) == [60, 120, 240]


def test_who_asks_next_goes_behind_those_who_wait_if_the_gap_is_too_small() -> None:
    limit, _ = limited(tokens=100)
    limit.reserve(100)
    gap = limit.reserve(10)
    assert waits_of(limit, 90) == [60]
    limit.give_back(gap)
    assert waits_of(limit, 11, 10) == [120, 120], "and who comes then overtakes nobody"


def test_a_gap_is_filled_only_where_the_minute_after_it_has_room_too() -> None:
    limit, clock = limited(requests=2)
    limit.reserve(0)
    clock.now += 30
    assert waits_of(limit, 0) == [0]
    gap = limit.reserve(0)
    assert (gap.seconds, *waits_of(limit, 0, 0)) == (30, 60, 90)
    limit.give_back(gap)  # places are at 0, 30, 90, and 120
    clock.now += 1
    assert waits_of(limit, 0) == [29], "at 60, since at 31 there are those of 0 and 30"
    clock.now += 30
    assert waits_of(limit, 0) == [89], "at 150, since at 61 there are those of 60 and 90"


# -- pauses ----------------------------------------------------------------------------------------------------------


def test_nobody_sends_before_the_server_allows_it() -> None:
    limit, clock = limited(requests=100)
    assert limit.pause() == 0
    limit.slow_down(7.5)
    assert (limit.reserve(0).seconds, limit.pause()) == (7.5, 7.5)
    clock.now += 7.5
    assert (limit.reserve(0).seconds, limit.pause()) == (0, 0)


def test_a_pause_counts_the_longest_that_the_server_named() -> None:
    limit, clock = limited()
    limit.slow_down(10)
    clock.now += 1
    limit.slow_down(3)
    assert limit.pause() == 9
    limit.slow_down(20)
    assert waits_of(limit, 0) == [20]


def test_refusals_in_a_row_make_longer_pauses_up_to_a_minute() -> None:
    limit, clock = limited()
    pauses = []
    for _ in range(2000):
        limit.slow_down()
        pauses.append(limit.pause())
        clock.now += limit.pause() + 60
    assert pauses[:8] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert pauses[-1] == 60


def test_refusals_of_what_was_sent_before_make_a_pause_no_longer() -> None:
    limit, clock = limited()
    for _ in range(5):
        limit.slow_down()
    assert limit.pause() == 1
    clock.now += 1
    limit.slow_down()
    assert limit.pause() == 2


@pytest.mark.parametrize(
    ("recover", "pause"),
    [
        pytest.param(lambda limit, place: limit.settle(place, 5), 1, id="a success does"),
        pytest.param(lambda limit, place: limit.settle(place, 0), 4, id="a failure does not"),
        pytest.param(lambda limit, place: limit.give_back(place), 4, id="a place given back does not"),
        pytest.param(lambda limit, place: None, 4, id="nothing does not"),
    ],
)
def test_a_row_of_refusals_ends_with(recover: Callable[[RateLimit, Slot], None], pause: float) -> None:
    limit, clock = limited()
    place = limit.reserve(5)
    for _ in range(2):
        limit.slow_down()
        clock.now += limit.pause()
    recover(limit, place)
    limit.slow_down()
    assert limit.pause() == pause


def test_a_row_of_refusals_does_not_end_with_a_success_from_before_the_pause() -> None:
    limit, clock = limited()
    place = limit.reserve(5)
    limit.slow_down()
    limit.settle(place, 5)
    clock.now += 1
    limit.slow_down()
    assert limit.pause() == 2


def test_a_row_of_refusals_is_over_after_a_quiet_minute() -> None:
    limit, clock = limited()
    for _ in range(3):
        limit.slow_down()
        clock.now += limit.pause()
    clock.now += 60.25
    limit.slow_down()
    assert limit.pause() == 1


def test_refusals_with_a_time_count_in_the_row_too() -> None:
    limit, clock = limited()
    limit.slow_down(5)
    clock.now += 5
    limit.slow_down()
    assert limit.pause() == 2


def test_who_waited_into_a_pause_gives_the_place_back_and_takes_another() -> None:
    limit, clock = limited(requests=10, tokens=100)
    limit.reserve(100)
    place = limit.reserve(80)
    clock.now += 59
    limit.slow_down(30)
    clock.now += 1
    assert place.seconds == 60
    assert limit.pause() == 29
    limit.give_back(place)
    assert waits_of(limit, 80, 80) == [29, 89]


# -- what always holds -----------------------------------------------------------------------------------------------

QUARTERS = st.integers(0, 300).map(lambda n: n / 4)
ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("reserve"), st.integers(0, 120)),
        st.tuples(st.just("pass"), QUARTERS),
        st.tuples(st.just("slow"), st.none() | QUARTERS),
        st.tuples(st.just("settle"), st.tuples(st.integers(0, 99), st.integers(0, 100))),
        st.tuples(st.just("give back"), st.integers(0, 99)),
    ),
    max_size=60,
)


def has_room(
    at: float, size: int, counted: dict[Slot, int], requests: int | None, tokens: int | None
) -> bool:
    """Tell, the long way, whether one more place may begin at a time."""
    for begin in [at, *[place.at for place in counted if at - 60 < place.at < at]]:
        window = [taken for place, taken in counted.items() if begin <= place.at < begin + 60]
        if requests is not None and len(window) >= requests:
            return False
        if tokens is not None and sum(window) > 0 and sum(window) + size > tokens:
            return False
    return True


@pytest.mark.slow
@settings(max_examples=500)
@given(requests=st.none() | st.integers(1, 6), tokens=st.none() | st.integers(1, 100), actions=ACTIONS)
def test_no_window_of_a_minute_has_more_than_the_limit(
    requests: int | None, tokens: int | None, actions: list[tuple[str, Any]]
) -> None:
    limit, clock = limited(requests, tokens)
    counted: dict[Slot, int] = {}  # the tokens of those that were not given back
    unsettled: list[Slot] = []
    in_order = True
    for action, value in actions:
        if action == "reserve":
            pause, last = limit.pause(), max([place.at for place in counted], default=clock.now)
            place = limit.reserve(value)
            assert place.at == clock.now + place.seconds
            assert pause <= place.seconds <= max(0.0, pause, last - clock.now) + 60
            assert place.at >= last or not in_order
            first = max(clock.now + pause, place.earliest)
            for sooner in {first, *[other.at + 60 for other in counted]}:
                assert not first <= sooner < place.at or not has_room(
                    sooner, value, counted, requests, tokens
                ), "it is the first time with room"
            counted[place] = value
            unsettled.append(place)
        elif action == "pass":
            clock.now += value
        elif action == "slow":
            limit.slow_down(value)
        elif unsettled and action == "settle":  # in any order
            place = unsettled.pop(value[0] % len(unsettled))
            counted[place] = place.tokens * value[1] // 100
            limit.settle(place, counted[place])
        elif unsettled:
            place = unsettled.pop(value % len(unsettled))
            del counted[place]
            limit.give_back(place)
            in_order = False
    for begin in {place.at for place in counted}:
        window = [size for place, size in counted.items() if begin <= place.at < begin + 60]
        assert requests is None or len(window) <= requests
        sizes = [size for size in window if size]
        assert tokens is None or len(sizes) <= 1 or sum(sizes) <= tokens


@settings(max_examples=300)
@given(
    requests=st.none() | st.integers(1, 4),
    tokens=st.none() | st.integers(1, 100),
    steps=st.lists(st.tuples(QUARTERS, st.lists(st.integers(0, 120), max_size=4), st.integers(0, 120))),
    shuffled=st.randoms(use_true_random=False),
)
def test_places_that_were_given_back_leave_no_trace(
    requests: int | None,
    tokens: int | None,
    steps: list[tuple[float, list[int], int]],
    shuffled: random.Random,
) -> None:
    limit, clock = limited(requests, tokens)
    twin = RateLimit(requests, tokens, clock=clock)
    for seconds, impatient, patient in steps:
        places = [limit.reserve(size) for size in impatient]
        shuffled.shuffle(places)
        clock.now += seconds
        for place in places:
            limit.give_back(place)
        assert limit.reserve(patient).seconds == twin.reserve(patient).seconds


@given(
    sizes=st.lists(st.integers(0, 50), max_size=40), requests=st.integers(1, 5), tokens=st.integers(50, 90)
)
def test_no_one_waits_longer_than_the_limit_demands(sizes: list[int], requests: int, tokens: int) -> None:
    limit, _ = limited(requests, tokens)
    begins: list[float] = []
    for n, size in enumerate(sizes):
        begins.append(limit.reserve(size).seconds)
        sooner = begins[n] - 60
        if sooner >= 0 and (
            n == 0 or begins[n - 1] < begins[n]
        ):  # the first of its minute: the last one was full
            before = [i for i in range(n) if begins[i] == sooner]
            assert len(before) == requests or sum(sizes[i] for i in before) + size > tokens


@pytest.fixture
def restless() -> Iterator[None]:
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("restless")
def test_threads_share_one_limit_and_each_gets_a_place_of_its_own() -> None:
    limit, _ = limited(requests=50, tokens=1000)
    waits: list[float] = []
    start = threading.Barrier(8)

    def ask() -> None:
        start.wait()
        for _ in range(50):
            waits.append(limit.reserve(20).seconds)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(waits) == sorted([60.0 * minute for minute in range(8)] * 50)


@pytest.mark.usefixtures("restless")
def test_threads_that_settle_and_give_back_at_once_leave_nothing_behind() -> None:
    limit, _ = limited(requests=1401, tokens=10**9)
    for _ in range(200):
        limit.reserve(1)

    def ask(size: int) -> None:
        for _ in range(300):
            limit.settle(limit.reserve(size), 0)
            limit.give_back(limit.reserve(size))

    threads = [threading.Thread(target=ask, args=(size,)) for size in (2, 2, 3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert waits_of(limit, 10**9 - 200, 0) == [0, 60]


# -- misuse ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, "5", float("inf")])
def test_a_limit_that_is_no_whole_number_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"requests_per_minute=.*whole number"):
        RateLimit(requests_per_minute=wrong)
    with pytest.raises(ConfigurationError, match="tokens_per_minute="):
        RateLimit(tokens_per_minute=wrong)


@pytest.mark.parametrize("wrong", [-1, 1.5, True, None])
def test_tokens_that_are_no_count_are_refused(wrong: Any) -> None:
    limit, _ = limited(tokens=5)
    with pytest.raises(ConfigurationError, match=r"RateLimit.*a whole number"):
        limit.reserve(wrong)
    with pytest.raises(ConfigurationError, match=r"RateLimit.*a whole number"):
        limit.settle(limit.reserve(5), wrong)
    assert waits_of(limit, 1) == [60], "the place is as it was"


def test_it_shows_its_limits_and_reads_the_real_clock() -> None:
    limit = RateLimit(2, 1000)
    assert repr(limit) == "RateLimit(requests_per_minute=2, tokens_per_minute=1000)"
    now, _, later = waits_of(limit, 1, 1, 1)
    assert now == 0
    assert 59 < later <= 60
