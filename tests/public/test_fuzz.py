"""Hostile requests over every endpoint of the explorer's schema."""

from __future__ import annotations

import pytest

from tests.public.hostile import SLOWEST_LOOP, attack
from tests.public.listening import Listener
from tests.public.serving import Watched

pytestmark = pytest.mark.slow


def test_each_hostile_request_gets_a_sentence(public: Watched, listener: Listener) -> None:
    report = attack(public, listener, 100)
    assert len(report.answers) == 100
    assert report.complaints() == []
    assert (report.traces, report.fetched, report.names) == (0, 0, 0)
    assert report.longest < SLOWEST_LOOP
    assert report.alive
    names = {one.request.path.split("/")[-1] for one in report.answers}
    assert names >= {"reconstruct", "code_map", "generate_text", "lab_pictures", "join", "upload"}


@pytest.mark.long
def test_many_hostile_requests_get_a_sentence(public: Watched, listener: Listener) -> None:
    report = attack(public, listener, 5000, 1)
    assert report.complaints() == []
    assert (report.traces, report.fetched, report.names) == (0, 0, 0)
    assert report.longest < SLOWEST_LOOP and report.alive
