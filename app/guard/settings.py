"""The owner's limits, from environment variables."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass

MEGABYTE = 2**20


class SettingError(ValueError):
    """An unusable setting of the owner; its text is one sentence."""


@dataclass(frozen=True)
class Limits:
    """The limits of a visitor's requests."""

    body: int = MEGABYTE
    """Bytes of a request that is no upload."""
    upload: int = 20 * MEGABYTE
    """Bytes of an uploaded file."""
    uploads_per_hour: int = 200 * MEGABYTE
    """Bytes that one address may upload within an hour."""
    proxies: int = 0
    """The number of proxies in front of the server that append to X-Forwarded-For."""
    depth: int = 32
    """Levels of nested lists and objects in a request."""
    values: int = 100_000
    """Values in a request: numbers, texts, lists and objects."""
    address: int = 8192
    """Characters of a request's path with its query."""
    form: int = 65_536
    """Bytes of a login form, and of what an upload adds to its files."""
    files: int = 2048 * MEGABYTE
    """Bytes of uploads and generated pictures that are kept on the disk."""
    seconds: float = 30.0
    """Seconds in which a request that is no upload must have arrived."""
    upload_seconds: float = 600.0
    """Seconds in which an upload must have arrived: 20 MB over a slow line take 5 minutes."""


def limits(environment: Mapping[str, str] | None = None) -> Limits:
    """Return the limits that the environment sets. Raises SettingError."""
    env = os.environ if environment is None else environment
    return Limits(
        body=_megabytes(env, "REGVQ_BODY_MB", 1),
        upload=_megabytes(env, "REGVQ_UPLOAD_MB", 20),
        uploads_per_hour=_megabytes(env, "REGVQ_UPLOADS_PER_HOUR_MB", 200),
        files=_megabytes(env, "REGVQ_FILES_MB", 2048),
        # A Space is reached through one proxy.
        proxies=int(_number(env, "REGVQ_PROXIES", 1 if env.get("SPACE_ID") else 0, 0, 10)),
    )


def _megabytes(env: Mapping[str, str], name: str, default: float) -> int:
    return int(_number(env, name, default, 0.001, 10_000) * MEGABYTE)


def _number(
    env: Mapping[str, str], name: str, default: float, lowest: float, highest: float
) -> float:
    text = env.get(name, "").strip()
    if not text:
        return default
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not lowest <= found <= highest:
        raise SettingError(
            f"{name} must be a number from {lowest:g} to {highest:g}, not {text[:40]!r}."
        )
    return found
