"""The shared limit of requests and tokens per minute: on a clock of the tests, nobody sleeps."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentkit.errors import ConfigurationError
from agentkit.rate_limit import RateLimit


class Clock:
    """Stands still until it is moved; quarters of seconds, which floats add up exactly."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def limited(requests: int | None = None, tokens: int | None = None) -> tuple[RateLimit, Clock]:
    clock = Clock()
    return RateLimit(requests, tokens, clock=clock), clock


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
    assert [limit.reserve(size) for size in sizes] == waits


def test_a_place_is_free_again_a_minute_after_it_began() -> None:
    limit, clock = limited(requests=2)
    assert limit.reserve(0) == 0
    clock.now += 50
    assert (limit.reserve(0), limit.reserve(0)) == (0, 10)
    clock.now += 10
    assert limit.reserve(0) == 50


def test_nobody_is_overtaken_by_a_smaller_request_that_would_fit() -> None:
    limit, _ = limited(tokens=100)
    assert [limit.reserve(size) for size in (90, 50, 1)] == [0, 60, 60]


def test_tokens_that_were_not_used_are_given_back() -> None:
    limit, clock = limited(tokens=100)
    limit.reserve(100)
    clock.now += 1
    limit.settle(100, 30)
    assert [limit.reserve(size) for size in (70, 1)] == [0, 59]


@pytest.mark.parametrize("actual", [30, 100, 170])
def test_a_minute_later_nothing_is_left_of_what_a_request_took(actual: int) -> None:
    limit, clock = limited(tokens=100)
    limit.reserve(100)
    limit.settle(100, actual)
    clock.now += 60
    assert [limit.reserve(100), limit.reserve(1)] == [0, 60]


def test_tokens_beyond_what_was_reserved_are_counted() -> None:
    limit, clock = limited(tokens=100)
    limit.reserve(10)
    limit.settle(10, 90)
    clock.now += 1
    assert [limit.reserve(size) for size in (10, 1)] == [0, 59]


def test_a_request_that_failed_gives_its_tokens_back_but_stays_a_request() -> None:
    limit, _ = limited(requests=2, tokens=100)
    limit.reserve(100)
    limit.settle(100, 0)
    assert (limit.reserve(100), limit.reserve(0)) == (0, 60)


def test_a_large_request_that_took_less_lets_others_follow() -> None:
    limit, clock = limited(tokens=100)
    limit.reserve(5000)
    clock.now += 5
    limit.settle(5000, 20)
    assert limit.reserve(80) == 0


def test_a_reply_of_more_than_a_minute_ago_changes_nothing() -> None:
    limit, clock = limited(tokens=100)
    limit.reserve(60)
    clock.now += 61
    limit.reserve(60)
    limit.settle(60, 0)  # the first one's
    assert limit.reserve(60) == 60
    limit.settle(60, 0)
    assert limit.reserve(40) == 60, "places never go back, though there is room now"


def test_places_that_are_never_settled_are_forgotten() -> None:
    limit, clock = limited(tokens=100)
    limit.reserve(60)
    clock.now += 700
    limit.reserve(60)
    limit.settle(60, 0)
    assert limit.reserve(100) == 0


def test_what_was_never_reserved_settles_nothing() -> None:
    limit, _ = limited(tokens=100)
    limit.reserve(100)
    limit.settle(99, 0)
    assert limit.reserve(1) == 60


# -- pauses ----------------------------------------------------------------------------------------------------------


def test_nobody_sends_before_the_server_allows_it() -> None:
    limit, clock = limited(requests=100)
    assert limit.pause() == 0
    limit.slow_down(7.5)
    assert (limit.reserve(0), limit.pause()) == (7.5, 7.5)
    clock.now += 7.5
    assert (limit.reserve(0), limit.pause()) == (0, 0)


def test_a_pause_counts_the_longest_that_the_server_named() -> None:
    limit, clock = limited()
    limit.slow_down(10)
    clock.now += 1
    limit.slow_down(3)
    assert limit.pause() == 9
    limit.slow_down(20)
    assert limit.reserve(0) == 20


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
        pytest.param(lambda limit: limit.settle(5, 5), 1, id="a success does"),
        pytest.param(lambda limit: limit.settle(5, 0), 4, id="a failure does not"),
        pytest.param(lambda limit: None, 4, id="nothing does not"),
    ],
)
def test_a_row_of_refusals_ends_with(recover: Callable[[RateLimit], None], pause: float) -> None:
    limit, clock = limited()
    limit.reserve(5)
    for _ in range(2):
        limit.slow_down()
        clock.now += limit.pause()
    recover(limit)
    limit.slow_down()
    assert limit.pause() == pause


def test_a_row_of_refusals_does_not_end_with_a_success_from_before_the_pause() -> None:
    limit, clock = limited()
    limit.reserve(5)
    limit.slow_down()
    limit.settle(5, 5)
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
    wait = limit.reserve(80)
    clock.now += 59
    limit.slow_down(30)
    clock.now += 1
    assert wait == 60
    assert limit.pause() == 29
    limit.settle(80, 0)
    assert limit.reserve(80) == 29


# -- what always holds -----------------------------------------------------------------------------------------------

QUARTERS = st.integers(0, 300).map(lambda n: n / 4)
ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("reserve"), st.integers(0, 120)),
        st.tuples(st.just("pass"), QUARTERS),
        st.tuples(st.just("slow"), st.none() | QUARTERS),
        st.tuples(st.just("settle"), st.tuples(st.integers(0, 99), st.integers(0, 100))),
    ),
    max_size=60,
)


@settings(max_examples=500)
@given(requests=st.none() | st.integers(1, 6), tokens=st.none() | st.integers(1, 100), actions=ACTIONS)
def test_no_window_of_a_minute_has_more_than_the_limit(
    requests: int | None, tokens: int | None, actions: list[tuple[str, Any]]
) -> None:
    limit, clock = limited(requests, tokens)
    places: list[list[Any]] = []  # when it begins, tokens, whether it was settled
    for action, value in actions:
        if action == "reserve":
            pause, wait = limit.pause(), limit.reserve(value)
            assert wait >= pause
            assert wait <= max(0.0, pause, places[-1][0] - clock.now if places else 0.0) + 60
            places.append([clock.now + wait, value, False])
        elif action == "pass":
            clock.now += value
        elif action == "slow":
            limit.slow_down(value)
        elif open_places := [place for place in places if not place[2]]:  # in any order, and sizes repeat
            place = open_places[value[0] % len(open_places)]
            reserved, actual = place[1], place[1] * value[1] // 100
            if clock.now - open_places[0][0] < 600:
                limit.settle(reserved, actual)
                place[1:] = actual, True
    begins = [place[0] for place in places]
    assert begins == sorted(begins)
    for begin in begins:
        window = [place for place in places if begin <= place[0] < begin + 60]
        assert requests is None or len(window) <= requests
        sizes = [place[1] for place in window if place[1]]
        assert tokens is None or len(sizes) <= 1 or sum(sizes) <= tokens


@given(
    sizes=st.lists(st.integers(0, 50), max_size=40), requests=st.integers(1, 5), tokens=st.integers(50, 90)
)
def test_no_one_waits_longer_than_the_limit_demands(sizes: list[int], requests: int, tokens: int) -> None:
    limit, _ = limited(requests, tokens)
    begins: list[float] = []
    for n, size in enumerate(sizes):
        begins.append(limit.reserve(size))
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
            waits.append(limit.reserve(20))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(waits) == sorted([60.0 * minute for minute in range(8)] * 50)


@pytest.mark.usefixtures("restless")
def test_threads_that_settle_at_once_leave_no_token_behind() -> None:
    limit, _ = limited(tokens=10**9)
    for _ in range(200):
        limit.reserve(1)

    def ask(size: int) -> None:
        for _ in range(1500):
            limit.reserve(size)
            limit.settle(size, 0)

    threads = [threading.Thread(target=ask, args=(size,)) for size in (2, 2, 3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [limit.reserve(10**9 - 200), limit.reserve(1)] == [0, 60]


# -- misuse ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, "5", float("inf")])
def test_a_limit_that_is_no_whole_number_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"requests_per_minute=.*whole number above 0"):
        RateLimit(requests_per_minute=wrong)
    with pytest.raises(ConfigurationError, match="tokens_per_minute="):
        RateLimit(tokens_per_minute=wrong)


@pytest.mark.parametrize("wrong", [-1, 1.5, True, None])
def test_tokens_that_are_no_count_are_refused(wrong: Any) -> None:
    limit, _ = limited(tokens=5)
    with pytest.raises(ConfigurationError, match="no count of tokens"):
        limit.reserve(wrong)
    with pytest.raises(ConfigurationError, match="no count of tokens"):
        limit.settle(5, wrong)
    assert limit.reserve(5) == 0


def test_it_shows_its_limits_and_reads_the_real_clock() -> None:
    limit = RateLimit(2, 1000)
    assert repr(limit) == "RateLimit(requests_per_minute=2, tokens_per_minute=1000)"
    limit.reserve(1)
    limit.reserve(1)
    assert 59 < limit.reserve(1) <= 60
