# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a run left in its output directory. Test code wrote it: nothing here is believed or followed."""

from __future__ import annotations

import gzip
import io
import os
import re
import stat
import tarfile
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from testyard.jsonobject import parse_object
from testyard.request import TestRequest
from testyard.result import MAX_MEMBER_BYTES, UNKNOWN, Result, read_packages
from testyard.run import PhaseTime
from testyard.secrets import masked_variable

#: autopkgtest ended by a Python traceback: an error of ours or its own.
_CRASHED = 1
_UNEXPECTED = 20
#: Killed by a signal, out of memory most of the time: the host's fault.
_TESTBED_FAILURE = 16
#: Artifacts nested deeper, and more of them, are left out: each costs memory while it is packed.
_DEEPEST = 64
_MOST_ENTRIES = 100_000
_VERSION = re.compile(r"[a-zA-Z0-9.+:~-]{1,200}")


def exit_code_of(status: int) -> int:
    """A process's exit status as one of autopkgtest's exit codes."""
    if status < 0 or status in (137, 143):
        return _TESTBED_FAILURE
    return _UNEXPECTED if status == _CRASHED else status


def read_output(
    out: Path,
    request: TestRequest,
    *,
    exit_code: int,
    phases: tuple[PhaseTime, ...],
    facts: Mapping[str, Any],
) -> Result:
    """The result of a run from its output directory, which need not exist."""
    version = _text(out, "testpkg-version").split()
    testinfo = _json_object(_text(out, "testinfo.json"))
    environment = [masked_variable(item) for item in request.env]
    if request.triggers:
        environment.append(f"ADT_TEST_TRIGGERS={' '.join(request.triggers)}")
    testinfo["custom_environment"] = environment  # the triggers are ours to tell, not the test's
    known = len(version) == 2 and version[0] == request.package and _VERSION.fullmatch(version[1])
    return Result(
        exit_code=exit_code,
        source=request.package,
        version=version[1] if known else UNKNOWN,
        duration=round(sum(p.seconds or 0 for p in phases if p.phase not in ("wait", "upload"))),
        testinfo=testinfo,
        testbed_packages=read_packages(_text(out, "testbed-packages")),
        requester=request.requester,
        summary=_text(out, "summary"),
        request_id=facts.get("request_id"),
        phases=phases,
        worker={key: value for key, value in facts.items() if key != "request_id"},
    )


def compress_log(log: Path) -> Path:
    """The log as ``log.gz`` beside it, at gzip's best."""
    packed = log.with_name("log.gz")
    with log.open("rb") as source, gzip.GzipFile(packed, "wb", compresslevel=9, mtime=0) as target:
        while chunk := source.read(1 << 20):
            target.write(chunk)
    return packed


def pack_artifacts(
    out: Path, target: Path, *, result: bytes, limit: int, most: int = _MOST_ENTRIES
) -> tuple[str, ...]:
    """Pack the output directory without the log, with the result's members; returns what was left out.

    Symbolic links go in as links, hard links as files, sockets and devices not at all; what would
    exceed ``limit`` bytes or ``most`` entries in all, or lies deeper than 64 folders, stays out.
    """
    left_out = []
    with tarfile.open(target, "w:gz", compresslevel=6, format=tarfile.PAX_FORMAT) as tar:
        names = add_members(tar, result)
        for number, (path, trouble) in enumerate(_entries(out, most)):
            if number >= most:
                left_out.append(f"all beyond the first {most} entries")
                break
            tar.members.clear()  # type: ignore[attr-defined]  # it keeps each entry's facts otherwise: 1 kB of memory
            name = str(path.relative_to(out))
            if name in names or name == "log":
                continue
            reason = trouble or _add(tar, path, name, room=limit - tar.offset)
            if reason:
                left_out.append(f"{name}: {reason}")
    return tuple(left_out)


def add_members(tar: tarfile.TarFile, result: bytes) -> set[str]:
    """Copy a result's members into the artifacts; returns their names."""
    names = set()
    with tarfile.open(fileobj=io.BytesIO(result)) as source:
        for info in source:
            tar.addfile(info, source.extractfile(info))
            names.add(info.name)
    return names


def _entries(out: Path, most: int) -> Iterator[tuple[Path, str]]:
    """Each entry, and a second time with the reason if what is in it cannot be had."""
    if not _is_ours(out):
        return
    waiting = [(out, 0)]
    while waiting:  # not os.walk: in Python 3.11 it recurses, and test code may nest 1,900 folders
        folder, depth = waiting.pop()
        if depth > _DEEPEST:
            yield folder, f"what is in it: more than {_DEEPEST} folders deep"
            continue
        try:
            with os.scandir(folder) as entries:
                found = sorted(islice(entries, most + 1), key=lambda entry: entry.name)
        except OSError as error:
            yield folder, f"what is in it: {error.strerror}"
            continue
        for entry in found:
            yield Path(entry.path), ""
            if entry.is_dir(follow_symlinks=False):
                waiting.append((Path(entry.path), depth + 1))


def _add(tar: tarfile.TarFile, path: Path, name: str, *, room: int) -> str:
    """Add one entry; returns why it was not added."""
    try:
        info = tar.gettarinfo(path, name)
        if info.islnk():  # a file of its own: the one that it links to may have been left out
            info.type, info.linkname, info.size = tarfile.REGTYPE, "", path.lstat().st_size
        info.uid = info.gid = 0
        info.uname = info.gname = "root"
        if not (info.isreg() or info.isdir() or info.issym()):
            return "neither file, folder nor symbolic link"
        if info.size + tarfile.BLOCKSIZE > room:
            return f"{info.size} bytes, too large"
        if not info.isreg():
            tar.addfile(info)
        else:
            with _open_regular(path) as stream:
                info.size = min(info.size, os.fstat(stream.fileno()).st_size)
                tar.addfile(info, stream)
    except (OSError, ValueError, AttributeError) as error:  # a socket has no member: AttributeError
        return str(error) or type(error).__name__
    return ""


def _open_regular(path: Path) -> BinaryIO:
    """Open a file that is a file: no link is followed, no pipe waited for. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(0, "not a regular file")
    return os.fdopen(descriptor, "rb")


def _is_ours(out: Path) -> bool:
    """True unless test code, which may write to ``out``'s parent, put something else in its place."""
    return not out.is_symlink() and out.is_dir()


def _text(out: Path, name: str) -> str:
    if not _is_ours(out):
        return ""
    try:
        with _open_regular(out / name) as stream:
            return stream.read(MAX_MEMBER_BYTES).decode("utf-8", errors="replace")
    except OSError:
        return ""


def _json_object(text: str) -> dict[str, Any]:
    """The object; empty if readers of the result could not read it again."""
    try:
        return parse_object(text)
    except ValueError:
        return {}
