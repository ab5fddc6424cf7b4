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
_LETTERS = re.compile(r"([a-z])\.\.([a-z])$|([A-Z])\.\.([A-Z])$")
_META = re.compile(r"__[^/]*__(/|$)")
"""Files and folders that webdataset leaves out, such as `__MACOSX__/`."""


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
                if _META.match(inside):
                    end = member.offset_data + -(-member.size // block) * block
                    continue
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

    A range of numbers has the width of the longer one if one begins with 0; it may also be of
    letters. Braces that are not closed, or around a single word, are kept as they are.
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
    inside = pattern[cuts[0] + 1 : cuts[-1]]
    if span := _RANGE.match(inside):
        low, high = span.groups()
        padded = any(each.startswith("0") and len(each) > 1 for each in (low, high))
        width = max(len(low), len(high)) if padded else 1
        chosen = [f"{number:0{width}d}" for number in range(int(low), int(high) + 1)]
    elif span := _LETTERS.match(inside):
        low, high = (ord(each) for each in span.groups() if each)
        chosen = [chr(number) for number in range(low, high + 1)]
    elif len(cuts) == 2:
        chosen = [f"{{{each}}}" for each in expand_braces(inside)]
    else:
        options = [pattern[a + 1 : b] for a, b in pairwise(cuts)]
        chosen = [each for option in options for each in expand_braces(option)]
    tails = expand_braces(pattern[cuts[-1] + 1 :])
    return [pattern[: cuts[0]] + each + tail for each in chosen for tail in tails]
