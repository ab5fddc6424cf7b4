"""What several commands need: where to compute, and which pictures stand for many."""

from __future__ import annotations

from train.errors import UsageError


def pick_device(name: str) -> str:
    """The device called ``name``; ``auto`` is a GPU if there is one. Raises UsageError."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"--device {name} cannot be used here: {reason}") from None
    return name


def spread_over(length: int, limit: int | None) -> list[int]:
    """``limit`` indices spread evenly over range(length): the first ones may all be of one kind."""
    if limit is None or limit >= length:
        return list(range(length))
    return [i * length // limit for i in range(limit)]
