"""The models' line: one job per visitor and round; a newer job replaces a waiting one."""

from __future__ import annotations

import random

from app.services.fair_line import FULL, LONGEST_ROUND, REPLACED, SHARE, FairLine, too_many

Job = tuple[str, str]


def line(dropped: list[tuple[Job, str]] | None = None, most: int = 16) -> FairLine[Job]:
    """Return a line of (visitor, number) jobs; those that begin with "show" replace one another."""
    gone = [] if dropped is None else dropped
    return FairLine(
        lambda job: job[0],
        lambda job: "show" if job[1].startswith("show") else None,
        lambda job, words: gone.append((job, words)),
        most,
        places=max(256, 4 * most),
    )


def test_each_visitor_has_one_job_per_round() -> None:
    waiting = line()
    for job in [("a", "1"), ("a", "2"), ("a", "3"), ("b", "1"), ("c", "1"), ("b", "2")]:
        waiting.append(job)
    served = [waiting.pop(0) for _ in range(3)]
    assert served == [("a", "1"), ("b", "1"), ("c", "1")]
    # A visitor who was just served waits for the others, also when the line was empty for a moment.
    waiting.append(("c", "2"))
    assert list(waiting) == [("a", "2"), ("b", "2"), ("c", "2"), ("a", "3")]
    waiting.append(("d", "1"))
    assert waiting[0] == ("d", "1")
    for job in list(waiting):
        waiting.remove(job)
    waiting.append(("a", "4"))
    waiting.append(("d", "2"))
    assert [job[0] for job in waiting] == ["d", "a"]


def test_whatever_a_visitor_sends_another_waits_for_one_job_of_each() -> None:
    draw = random.Random(0)
    for _ in range(50):
        waiting = line(most=1000)
        busy = [f"busy {n}" for n in range(draw.randrange(1, 8))]
        for number in range(200):
            waiting.append((draw.choice(busy), str(number)))
            if draw.random() < 0.3:
                waiting.pop(0)
        waiting.append(("calm", "1"))
        assert waiting.index(("calm", "1")) <= len(busy)
        assert len(waiting._rounds) == len(waiting) and waiting._rounds == sorted(waiting._rounds)


def test_a_crowd_of_new_visitors_does_not_starve_the_others() -> None:
    waiting = line()
    waiting.append(("old", "1"))
    waiting.pop(0)
    waiting.append(("old", "2"))
    for number in range(10 * LONGEST_ROUND):
        waiting.append((f"new {number}", "1"))
        if waiting.pop(0) == ("old", "2"):
            break
    assert number <= LONGEST_ROUND + 1


def test_a_newer_job_takes_the_place_of_the_visitors_own_waiting_one() -> None:
    dropped: list[tuple[Job, str]] = []
    waiting = line(dropped)
    for job in [("a", "show 1"), ("b", "show 1"), ("c", "1"), ("b", "show 2"), ("c", "2")]:
        waiting.append(job)
    assert list(waiting) == [("a", "show 1"), ("b", "show 2"), ("c", "1"), ("c", "2")]
    assert dropped == [(("b", "show 1"), REPLACED)]
    # The one that is served already is not replaced.
    waiting.pop(0)
    waiting.append(("a", "show 2"))
    assert list(waiting) == [("b", "show 2"), ("c", "1"), ("c", "2"), ("a", "show 2")]
    assert len(dropped) == 1


def test_a_visitor_cannot_fill_the_line() -> None:
    dropped: list[tuple[Job, str]] = []
    waiting = line(dropped, most=3)
    for number in range(5):
        waiting.append(("a", str(number)))
    waiting.append(("b", "0"))
    assert [job for job, _ in dropped] == [("a", "3"), ("a", "4")] and len(waiting) == 4
    assert {words for _, words in dropped} == {too_many(3)}


def crowd(dropped: list[tuple[Job, str]], places: int = 256) -> FairLine[Job]:
    """Return a line in which visitors "a 1", "a 2", … have the address "a"."""
    gone: list[tuple[Job, str]] = dropped
    return FairLine(
        lambda job: job[0],
        lambda job: None,
        lambda job, words: gone.append((job, words)),
        address=lambda job: job[0].split()[0],
        places=places,
    )


def test_one_address_that_calls_itself_many_visitors_holds_up_nobody() -> None:
    dropped: list[tuple[Job, str]] = []
    waiting = crowd(dropped)
    for number in range(300):
        waiting.append((f"hog {number}", "1"))
    assert len(waiting) == 64 and {words for _, words in dropped} == {FULL}
    waiting.append(("calm 1", "1"))
    assert waiting.index(("calm 1", "1")) == SHARE
    for _ in range(3):  # the same in the middle of a round
        waiting.pop(0)
    waiting.append(("another 1", "1"))
    assert waiting.index(("another 1", "1")) <= SHARE
    waiting.append(("hog 0", "2"))
    assert waiting._rounds == sorted(waiting._rounds)
    served = [waiting.pop(0)[0].split()[0] for _ in range(len(waiting))]
    assert served[:7] == ["hog"] * 5 + ["calm", "another"] and served.count("hog") == 62


def test_a_class_behind_one_address_takes_turns_within_it() -> None:
    waiting = crowd([])
    for number in range(10):
        waiting.append(("class busy", str(number)))
    for number in range(20):
        waiting.append((f"class {number}", "1"))
    served = [waiting.pop(0)[0] for _ in range(30)]
    assert (
        served[:30].index("class 19") <= 23
    )  # 20 visitors' first jobs, and busy's of three rounds


def test_the_line_has_an_end() -> None:
    dropped: list[tuple[Job, str]] = []
    waiting = crowd(dropped, places=8)
    for number in range(10):
        waiting.append((f"{number} a", "1"))
    assert len(waiting) == 8 and [words for _, words in dropped] == [FULL, FULL]
