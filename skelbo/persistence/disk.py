"""Files that are there whole or not at all: atomic writing, and bounded reading."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # no POSIX: an open file cannot be removed there, and needs no lock
    fcntl = None  # type: ignore[assignment]

# Largest file that is read unless the caller allows more.
MAX_BYTES = 2**30
CHUNK = 2**24

KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def as_path(path: Any) -> str:
    """Return a path as a string; TypeError for anything else, an open file say."""
    try:
        return os.fsdecode(path)
    except TypeError:
        raise TypeError(
            f"path={path!r}, expected a str or os.PathLike: the place of a file, which is opened "
            "here."
        ) from None


def read_file(path: Any, max_bytes: int = MAX_BYTES) -> bytes:
    """Return the content of a regular file.

    Parameters
    ----------
    path : path-like
    max_bytes : int
        Largest size accepted.

    Returns
    -------
    bytes
        Read, not mapped: a file that somebody cuts off meanwhile cannot end the process.

    Raises
    ------
    OSError
        If there is no such file, or if it is no regular file.
    ValueError
        If it is too large, or its size changes while it is read.
    """
    path = as_path(path)
    # Without O_NONBLOCK the opening of a FIFO waits for somebody to write to it.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        if not os.path.isdir(path):  # Windows does not open folders
            raise
        raise _not_regular(path, stat.S_IFDIR, "read") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _not_regular(path, status.st_mode, "read")
        if status.st_size > max_bytes:
            raise ValueError(
                f"{path} has {status.st_size} bytes, expected at most {max_bytes}; pass "
                "a larger max_bytes if you trust the file."
            )
        parts, size = [], 0
        while size <= status.st_size and (part := os.read(descriptor, CHUNK)):
            parts.append(part)
            size += len(part)
    finally:
        os.close(descriptor)
    if size != status.st_size:
        raise ValueError(
            f"{path} has changed its size while it was read, from {status.st_size} "
            "bytes; read it again when it is written."
        )
    return b"".join(parts)


def write_file(path: Any, data: bytes) -> None:
    """Write a file beside its place, sync it, and move it there.

    A symbolic link is followed; the file gets the mode that the umask gives. What processes that
    were killed have left of earlier writes to the same path is removed.

    Parameters
    ----------
    path : path-like
    data : bytes

    Raises
    ------
    OSError
        With the path, if it is no place for a regular file, or if it cannot be written; what was
        there before is then still there.
    """
    path = as_path(path)
    target = Path(os.path.realpath(path))
    _check_target(path, target)
    prefix = _prefix(target)
    try:
        with _temporary(target.parent, prefix) as file:
            view = memoryview(data)
            while view:
                view = view[file.write(view[:CHUNK]) :]
            os.fsync(file.fileno())
            if fcntl is None:
                file.close()  # only POSIX moves a file that is open
            os.replace(file.name, target)
    except OSError as error:
        cause = error.strerror or str(error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            cause += f"; {len(data)} bytes are needed: free some room or choose another disk"
        raise OSError(error.errno, f"{cause} (what was there before is unchanged)", path) from error
    _sync_folder(target.parent)
    _remove_leftovers(target.parent, prefix)


def remove_file(path: Any) -> None:
    """Remove the file at a path, if there is any, and leftovers of writes to it."""
    target = Path(os.path.realpath(path))
    target.unlink(missing_ok=True)
    _remove_leftovers(target.parent, _prefix(target))
    with contextlib.suppress(FileNotFoundError):
        _sync_folder(target.parent)


def _prefix(target: Path) -> str:
    """Return how the names of files begin that are being written in place of a target."""
    return f".skelbo-{hashlib.sha256(target.name.encode()).hexdigest()[:16]}-"


def _check_target(path: Any, target: Path) -> None:
    try:
        status = os.stat(target)
    except FileNotFoundError:
        if not target.parent.is_dir():
            raise FileNotFoundError(
                errno.ENOENT, f"the folder {target.parent} does not exist", path
            ) from None
        return
    if not stat.S_ISREG(status.st_mode):
        raise _not_regular(path, status.st_mode, "write")


def _not_regular(path: Any, mode: int, verb: str) -> OSError:
    kind = KINDS.get(stat.S_IFMT(mode), "no regular file")
    number = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
    return OSError(number, f"cannot {verb} {kind}, expected a regular file", path)


@contextmanager
def _temporary(folder: Path, prefix: str) -> Iterator[FileIO]:
    """Yield a new file, locked by this process, which is removed if it is still there at the end.

    The lock, which the system releases when a process ends, is what distinguishes a file that is
    being written from a leftover.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    while True:
        beside = folder / f"{prefix}{secrets.token_hex(8)}.tmp"
        with FileIO(beside, "w", opener=lambda path, _: os.open(path, flags, 0o666)) as file:
            try:
                # Between its opening and its locking it may be taken for a leftover.
                if not _lock(file.fileno(), wait=True) or os.fstat(file.fileno()).st_nlink:
                    yield file
                    return
            finally:
                beside.unlink(missing_ok=True)


def _lock(descriptor: int, wait: bool) -> bool:
    """Return whether the file could be locked; file systems without locks are no error."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True


def _remove_leftovers(folder: Path, prefix: str) -> None:
    """Remove what is left of earlier writes: files beside the target that no process has locked."""
    for leftover in folder.glob(f"{prefix}*.tmp"):
        try:
            descriptor = os.open(leftover, os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0))
        except OSError:
            continue
        try:
            if _lock(descriptor, wait=False):
                leftover.unlink(missing_ok=True)
        finally:
            os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    """Write the entry of a new file to the disk, where folders can be opened."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError as error:  # file systems that cannot sync folders
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
