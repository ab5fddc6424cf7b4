"""Direct calls: a few at a time for each address."""

from __future__ import annotations

import asyncio

import pytest

from app.guard.answers import Refusal
from app.guard.direct import AT_ONCE, WAITING, Turns


def test_an_address_has_a_few_turns_at_a_time() -> None:
    async def act() -> None:
        turns, running, most, end = Turns(4), 0, 0, asyncio.Event()

        async def call(address: str) -> None:
            nonlocal running, most
            async with turns.turn(address):
                running += 1
                most = max(most, running)
                await end.wait()
                running -= 1

        calls = [asyncio.create_task(call("a")) for _ in range(WAITING)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert running == 4
        with pytest.raises(Refusal) as caught:
            await call("a")
        assert caught.value.status == 429
        others = [asyncio.create_task(call(f"{n}")) for n in range(WAITING)]
        for _ in range(5):
            await asyncio.sleep(0)
        assert running == AT_ONCE
        calls[-1].cancel()  # its client has gone
        end.set()
        await asyncio.gather(*calls, *others, return_exceptions=True)
        assert running == 0 and most == AT_ONCE and not turns._count

    asyncio.run(act())
