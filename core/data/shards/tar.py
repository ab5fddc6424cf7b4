"""Tar files as webdataset writes them: the members of each item, and the place of each member.

Only headers are read, so that a tar of gigabytes is indexed in a moment, from any source that can
be read at a position: a file, or a server that sends parts of files.
"""

from __future__ import annotations

import posixpath
import re
import tarfile
from itertools import pairwise
from typing import BinaryIO

from ...errors import DataError
from ...formats import SUFFIXES, suffix_of
from .items import TEXT_SUFFIXES, Index, TarFile, index_of

COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
_RANGE = re.compile(r"(\d+)\.\.(\d+)$")


def members_of(stream: BinaryIO, size: int, name: str) -> Index:
    """Return the index of a tar of `size` bytes, read from `stream`, which must be seekable.

    Raises DataError, which gives `name`, if it is not a tar or truncated. Errors of `stream` itself
    are not caught.
    """
    files: dict[str, TarFile] = {}
    links: dict[str, str] = {}
    truncated = DataError(f"the shard {name} is truncated; copy it again.")
    end, block = 0, tarfile.BLOCKSIZE
    try:
        with tarfile.open(fileobj=stream, mode="r:") as archive:
            for member in archive:
                end = member.offset_data
                inside = posixpath.normpath(member.name)
                if member.islnk() or member.issym():
                    start = "" if member.islnk() else posixpath.dirname(inside)
                    links[inside] = posixpath.normpath(posixpath.join(start, member.linkname))
                if not member.isfile():
                    continue
                end += -(-member.size // block) * block
                if member.offset_data + member.size > size:
                    raise truncated
                if member.issparse():
                    links[inside] = ""  # its bytes do not lie in one place
                else:
                    files[inside] = TarFile(inside, member.offset_data, member.size)
    except tarfile.TarError as error:
        if "unexpected end" in str(error) or "truncated" in str(error):
            raise truncated from error
        raise DataError(f"{name} is not a tar file ({error}); give *.tar.") from error
    stream.seek(end)
    if stream.read(block) != bytes(block):
        raise truncated  # the members are complete, but the zero blocks that end a tar are missing
    lost = []
    for link, target in links.items():
        place = files.get(target) or files.get(links.get(target, ""))
        if place is None:
            lost.append(link)
        else:
            files[link] = TarFile(link, place.offset, place.size)
    index = index_of(files.values())
    for link in lost:
        if suffix_of(link) in (SUFFIXES | set(TEXT_SUFFIXES)):
            index.problems.add("link", link)
    return index


def expand_braces(pattern: str) -> list[str]:
    """Expand `{a-{08..10},b}.tar` to a-08.tar, a-09.tar, a-10.tar, b.tar, as a shell does.

    A range keeps the width of its first number. Braces that are not closed are kept as they are.
    """
    depth, cuts = 0, []
    for place, sign in enumerate(pattern):
        depth += (sign == "{") - (sign == "}" and depth > 0)
        if sign in "{," and depth == 1:
            cuts.append(place)
        if cuts and depth == 0:
            cuts.append(place)
            break
    else:
        return [pattern]
    span = _RANGE.match(pattern[cuts[0] + 1 : cuts[-1]])
    if span:
        low, high = span.groups()
        chosen = [f"{number:0{len(low)}d}" for number in range(int(low), int(high) + 1)]
    else:
        options = [pattern[a + 1 : b] for a, b in pairwise(cuts)]
        chosen = [each for option in options for each in expand_braces(option)]
    tails = expand_braces(pattern[cuts[-1] + 1 :])
    return [pattern[: cuts[0]] + each + tail for each in chosen for tail in tails]
