"""Files that are there whole or not at all."""

import errno
import os
import resource
import signal
import socket
import stat
import subprocess
import sys
import threading

import pytest

from skelbo import GaussianMLE
from skelbo.persistence import disk
from skelbo.persistence.disk import read_file, remove_file, write_file

POSIX = pytest.mark.skipif(os.name != "posix", reason="files of POSIX")


def test_what_is_written_is_read(tmp_path):
    for data in (b"", b"one", os.urandom(3 * 2**20)):
        write_file(tmp_path / "file", data)
        assert read_file(tmp_path / "file") == data
    assert os.listdir(tmp_path) == ["file"]
    remove_file(tmp_path / "file")
    remove_file(tmp_path / "file")
    assert os.listdir(tmp_path) == []


def test_a_file_beyond_the_cap_is_not_read(tmp_path):
    GaussianMLE().fit([[0.0], [1.0]]).to_file(tmp_path / "file")
    with pytest.raises(ValueError, match="bytes, expected at most 100; pass a larger max_bytes"):
        GaussianMLE.from_file(tmp_path / "file", max_bytes=100)


@POSIX
@pytest.mark.parametrize("kind", ["folder", "FIFO", "socket", "device"])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path, kind):
    place = tmp_path / "it"
    if kind == "folder":
        place.mkdir()
    elif kind == "FIFO":
        os.mkfifo(place)
    elif kind == "device":
        place = "/dev/null"
    else:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(place))
            with pytest.raises(OSError, match="cannot write a socket, expected a regular file"):
                write_file(place, b"x")
        return
    with pytest.raises(OSError, match=f"cannot read a {kind}, expected a regular file.*{place}"):
        read_file(place)
    with pytest.raises(OSError, match=f"cannot write a {kind}, expected a regular file.*{place}"):
        write_file(place, b"x")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing"):
        read_file(tmp_path / "missing")
    with pytest.raises(FileNotFoundError, match="the folder .*no does not exist.*no/file"):
        write_file(tmp_path / "no" / "file", b"")


def test_a_file_that_is_cut_off_while_it_is_read_is_an_error(tmp_path, monkeypatch):
    place = tmp_path / "file"
    place.write_bytes(b"x" * 1000)
    fstat = os.fstat

    def cut_off(descriptor):
        status = fstat(descriptor)
        os.truncate(place, 10)
        return status

    monkeypatch.setattr(os, "fstat", cut_off)
    with pytest.raises(ValueError, match="changed its size while it was read, from 1000 bytes"):
        read_file(place)


@POSIX
def test_modes_and_links(tmp_path):
    (tmp_path / "target").write_bytes(b"before")
    (tmp_path / "target").chmod(0o600)
    (tmp_path / "link").symlink_to(tmp_path / "target")
    mask = os.umask(0o027)
    try:
        write_file(tmp_path / "link", b"after")
    finally:
        os.umask(mask)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"after"
    assert stat.S_IMODE((tmp_path / "target").stat().st_mode) == 0o640
    (tmp_path / "dangling").symlink_to(tmp_path / "new")
    write_file(tmp_path / "dangling", b"new")
    assert (tmp_path / "new").read_bytes() == b"new"


def test_threads_that_write_to_one_path_do_not_collide(tmp_path):
    errors, sizes = [], [10**4, 2 * 10**4, 3 * 10**4]

    def write(size):
        try:
            for _ in range(40):
                write_file(tmp_path / "file", b"x" * size)
                assert len(read_file(tmp_path / "file")) in sizes
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(size,)) for size in sizes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert os.listdir(tmp_path) == ["file"]


@POSIX
def test_a_full_disk_is_named_and_leaves_what_was_there(tmp_path, monkeypatch):
    write_file(tmp_path / "file", b"before")
    code = (
        "import resource, sys\n"
        "from skelbo.persistence.disk import write_file\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
        "try:\n    write_file(sys.argv[1], b'x' * 9000)\n"
        "except OSError as error:\n    print(error)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "file")]
    message = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "9000 bytes are needed: free some room or choose another disk" in message
    assert "what was there before is unchanged" in message
    assert str(tmp_path / "file") in message
    assert os.listdir(tmp_path) == ["file"]
    assert read_file(tmp_path / "file") == b"before"
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 5000

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device; 1 bytes are needed.*file") as info:
        write_file(tmp_path / "file", b"x")
    assert info.value.errno == errno.ENOSPC
    assert read_file(tmp_path / "file") == b"before"


@POSIX
def test_leftovers_of_a_killed_process_are_removed_and_no_others(tmp_path):
    code = (
        "import os, sys, time\n"
        "from skelbo.persistence import disk\n"
        "fsync = os.fsync\n"
        "disk.os.fsync = lambda fd: (print('writing', flush=True), time.sleep(100))\n"
        "disk.write_file(sys.argv[1], b'x' * 100)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "file")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "writing\n"
        (being_written,) = os.listdir(tmp_path)
        write_file(tmp_path / "file", b"mine")  # the other process is alive: its file stays
        assert sorted(os.listdir(tmp_path)) == sorted(["file", being_written])
        process.send_signal(signal.SIGKILL)
        process.wait()
    others = tmp_path / ".skelbo-of-somebody.tmp", tmp_path / f"{being_written}.kept"
    for other in others:
        other.write_bytes(b"")
    write_file(tmp_path / "other", b"")
    assert being_written in os.listdir(tmp_path)  # it belongs to another path
    write_file(tmp_path / "file", b"mine")
    assert sorted(os.listdir(tmp_path)) == sorted(["file", "other", *(o.name for o in others)])


@POSIX
def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(disk.os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_file(tmp_path / "file", b"x")
    assert os.listdir(tmp_path) == []
