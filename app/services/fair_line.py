"""A waiting line with a fair share per visitor and per address.

Visitors are served in turns: each has one job per round, and a job joins the first round in which
its visitor has none. So a visitor with a single job waits for at most one job of each other
visitor, however many jobs those have sent. A program can call itself many visitors; so those of one
address have a few jobs per round together, and a part of the line's places.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from typing import SupportsIndex, TypeVar

J = TypeVar("J")

REPLACED = "Your newer request has replaced this one and kept its place in the line."
"""The answer of a waiting job that its visitor has replaced."""

LONGEST_ROUND = 64
"""Visitors who are served in a round before the next one begins, so that a crowd of new visitors
cannot keep the others waiting for ever."""

SHARE = 8
"""Jobs of one address in a round: a class behind one address is served, one program does not hold
up everybody else."""

FULL = "Too many requests wait for the models already; try again in a minute."
"""The answer of a job for which the line has no place."""


def too_many(most: int) -> str:
    """Return the answer of a job whose visitor has ``most`` waiting jobs."""
    return f"You have {most} requests waiting for a model already; wait for one of them to end."


class FairLine(list[J]):
    """The waiting jobs, in the order in which they will be served: the first one is next.

    visitor: whose job it is. replaces: what the job shows, so that it takes the place of a waiting
    job of its visitor that shows the same; None for a job that replaces none. dropped: called with
    a job that leaves the line unserved, and the sentence that says why. most: the jobs of one
    visitor that may wait. address: whence a job comes; by default each visitor has an address of
    their own. places: the jobs that may wait; those of one address may take a quarter of them.
    """

    def __init__(
        self,
        visitor: Callable[[J], Hashable],
        replaces: Callable[[J], Hashable | None],
        dropped: Callable[[J, str], object],
        most: int = 16,
        address: Callable[[J], Hashable] | None = None,
        places: int = 256,
    ) -> None:
        super().__init__()
        self._address, self._places = address or visitor, places
        self._visitor, self._replaces, self._dropped = visitor, replaces, dropped
        self._most = most
        self._rounds: list[int] = []
        """The round of each waiting job, in the order of the line."""
        self._now = 0
        """The round that is being served."""
        self._served: set[Hashable] = set()
        """The visitors who were served in this round."""
        self._shares: Counter[Hashable] = Counter()
        """The jobs of each address that were served in this round."""

    def append(self, job: J) -> None:
        """Let a job join the line: in the place of the one that it replaces, or in its round."""
        visitor, kind = self._visitor(job), self._replaces(job)
        own = [place for place, one in enumerate(self) if self._visitor(one) == visitor]
        for place in own:
            if kind is not None and self._replaces(self[place]) == kind:
                before, self[place] = self[place], job
                self._dropped(before, REPLACED)
                return
        if len(own) >= self._most:
            self._dropped(job, too_many(self._most))
            return
        address = self._address(job)
        rounds = zip(self._rounds, self, strict=True)
        taken = Counter(turn for turn, one in rounds if self._address(one) == address)
        if taken.total() >= self._places // 4 or len(self) >= self._places:
            self._dropped(job, FULL)
            return
        taken[self._now] += self._shares[address]
        turn = self._rounds[own[-1]] + 1 if own else self._now + (visitor in self._served)
        while taken[turn] >= SHARE:
            turn += 1
        place = next((n for n, one in enumerate(self._rounds) if one > turn), len(self))
        super().insert(place, job)
        self._rounds.insert(place, turn)

    def remove(self, job: J) -> None:
        """Take a job out of the line: the first one to serve it, another one if it is cancelled."""
        self.pop(self.index(job))

    def pop(self, place: SupportsIndex = -1) -> J:
        """Take out and return the job at a place; the first one is served now."""
        place = range(len(self))[place]
        turn = self._rounds.pop(place)
        job = super().pop(place)
        if place == 0:
            if turn > self._now or len(self._served) >= LONGEST_ROUND:
                self._now = max(turn, self._now + 1)
                self._served.clear()
                self._shares.clear()
            self._served.add(self._visitor(job))
            self._shares[self._address(job)] += 1
        return job
