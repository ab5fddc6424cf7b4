"""The lock that lets one model call run at a time."""

from __future__ import annotations

import threading

from app.services.model_lock import ModelLock


def test_the_lock_admits_one_thread_which_may_take_it_twice() -> None:
    lock, inside = ModelLock(), []
    with lock, lock:
        other = threading.Thread(target=lambda: [lock.__enter__(), inside.append(1)])
        other.start()
        other.join(0.2)
        assert inside == []
    other.join(10)
    assert inside == [1]
