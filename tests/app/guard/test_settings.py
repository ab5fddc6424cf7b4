"""The owner's limits, addresses of visitors, and the hourly quota."""

from __future__ import annotations

import pytest

from app.guard.addresses import visitor
from app.guard.quota import ADDRESSES, HOUR, Quota
from app.guard.settings import Limits, SettingError, limits


def test_the_environment_sets_the_limits() -> None:
    assert limits({}) == Limits()
    found = limits({"REGVQ_BODY_MB": "2", "REGVQ_UPLOAD_MB": "0.5", "REGVQ_PROXIES": "2"})
    assert (found.body, found.upload, found.proxies) == (2 * 2**20, 2**19, 2)
    assert limits({"REGVQ_UPLOADS_PER_HOUR_MB": "7"}).uploads_per_hour == 7 * 2**20
    assert limits({"SPACE_ID": "ada/space"}).proxies == 1


@pytest.mark.parametrize("name", ["REGVQ_BODY_MB", "REGVQ_UPLOAD_MB", "REGVQ_PROXIES"])
@pytest.mark.parametrize("text", ["a", "-1", "nan", "1e9"])
def test_an_unusable_limit_is_one_sentence(name: str, text: str) -> None:
    with pytest.raises(SettingError, match=f"{name} must be a number from"):
        limits({name: text})


def scope(client: str, *forwarded: str) -> dict:
    headers = [(b"x-forwarded-for", one.encode()) for one in forwarded]
    return {"client": (client, 1), "headers": headers}


def test_a_visitor_cannot_write_the_address() -> None:
    assert visitor(scope("1.2.3.4", "9.9.9.9")) == "1.2.3.4"
    assert visitor(scope("10.0.0.1", "9.9.9.9, 1.2.3.4"), proxies=1) == "1.2.3.4"
    assert visitor(scope("10.0.0.1", "9.9.9.9", "1.2.3.4"), proxies=1) == "1.2.3.4"
    assert visitor(scope("10.0.0.2", "8.8.8.8, 1.2.3.4, 10.0.0.1"), proxies=2) == "1.2.3.4"
    assert visitor(scope("10.0.0.1"), proxies=1) == "10.0.0.1"
    assert visitor(scope("10.0.0.1", "x" * 999), proxies=1) == "unknown"
    assert visitor({"headers": []}) == "unknown"


def test_one_household_of_ipv6_is_one_visitor() -> None:
    assert visitor(scope("2001:db8:1:2:3::4")) == visitor(scope("2001:db8:1:2:ffff::1"))
    assert visitor(scope("2001:db8:1:3::4")) != visitor(scope("2001:db8:1:2::4"))
    assert visitor(scope("::ffff:1.2.3.4")) == "1.2.3.4"


def test_the_quota_slides_and_forgets() -> None:
    now = [0.0]
    quota = Quota(100, lambda: now[0])
    quota.add("a", 70)
    now[0] = 10
    quota.add("a", 20)
    assert quota.left("a") == 10 and quota.left("b") == 100
    now[0] = HOUR + 5
    assert quota.left("a") == 80
    for number in range(ADDRESSES + 50):
        quota.add(f"x{number}", 1)
    assert len(quota._seen) == ADDRESSES and quota.left("a") == 100
