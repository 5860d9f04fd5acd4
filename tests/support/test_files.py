"""Files are there whole or not at all, as open() would have made them."""

import errno
import os
import stat
from pathlib import Path

import pytest

from d3rlpy_mbo.support import files
from d3rlpy_mbo.support.errors import CompositionError
from d3rlpy_mbo.support.files import atomic_write, utf8, validate_writable


def test_until_it_is_complete_the_old_file_stands(tmp_path):
    path = tmp_path / "kept"
    path.write_bytes(b"old")
    with atomic_write(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["kept"]


def interrupted_write(path, error):
    with atomic_write(path) as file:
        file.write(b"half")
        raise error


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_what_was_interrupted_leaves_the_old_file_and_no_litter(tmp_path, error):
    path = tmp_path / "kept"
    path.write_bytes(b"old")
    with pytest.raises(error):
        interrupted_write(path, error)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["kept"]


def test_others_may_read_it_as_far_as_the_umask_lets_them(tmp_path):
    before = os.umask(0o027)
    try:
        with atomic_write(tmp_path / "shared") as file:
            file.write(b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "shared").stat().st_mode) == 0o640


def test_a_link_stays_and_its_file_is_written(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere" / "kept")
    with atomic_write(tmp_path / "link") as file:
        file.write(b"x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "elsewhere" / "kept").read_bytes() == b"x"


def test_a_device_is_refused_and_never_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for name in ("pipe", "link"):
        with pytest.raises(CompositionError, match="a device or a pipe"):
            interrupted_write(tmp_path / name, KeyboardInterrupt)
    assert sorted(os.listdir(tmp_path)) == ["link", "pipe"]


def test_what_is_there_stays_where_it_is_not_to_be_replaced(tmp_path):
    path = tmp_path / "kept"
    with atomic_write(path, replace=False) as file:
        file.write(b"first")
    with pytest.raises(FileExistsError), atomic_write(path, replace=False) as file:
        file.write(b"second")
    assert path.read_bytes() == b"first"
    assert os.listdir(tmp_path) == ["kept"]


def test_where_there_are_no_hard_links_what_is_there_stays_too(tmp_path, monkeypatch):
    def link(*_):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", link)
    test_what_is_there_stays_where_it_is_not_to_be_replaced(tmp_path)


def test_a_file_that_another_process_swept_before_it_was_locked_is_made_again(
    tmp_path, monkeypatch
):
    lock, swept = files.lock, []

    def late(descriptor):
        if not swept:
            swept.append(Path(f"/proc/self/fd/{descriptor}").readlink())
            swept[0].unlink()
        return lock(descriptor)

    monkeypatch.setattr(files, "lock", late)
    with atomic_write(tmp_path / "kept") as file:
        file.write(b"x")
    assert os.listdir(tmp_path) == ["kept"]


def test_what_cannot_be_written_is_refused_before_the_work(tmp_path):
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    for name, why in [
        ("", "is a folder"),
        ("pipe", "a device or a pipe"),
        ("missing/kept", "no folder '.*missing' for --save"),
        ("file/kept", "no folder '.*file' for --save"),
    ]:
        with pytest.raises(CompositionError, match=why):
            validate_writable(tmp_path / name, "--save")
    with pytest.raises(CompositionError, match="cannot be written"):
        validate_writable(Path("/proc/kept"), "--save")
    validate_writable(tmp_path / "kept", "--save")
    assert sorted(os.listdir(tmp_path)) == ["file", "pipe"]


def test_text_that_utf8_has_no_form_for_is_escaped():
    assert utf8("a\udce9 ±") == "a\\udce9 ±".encode()


def test_what_a_killed_process_left_is_swept_and_what_another_writes_is_not(tmp_path):
    left, others = tmp_path / ".kept.abc.tmp", tmp_path / ".other.abc.tmp"
    left.touch()
    others.touch()
    path = tmp_path / "kept"
    with atomic_write(path) as file:
        assert not left.exists()
        with atomic_write(path) as second:  # does not sweep what the first writes
            second.write(b"second")
        assert path.read_bytes() == b"second"
        file.write(b"first")
    assert path.read_bytes() == b"first"
    assert sorted(os.listdir(tmp_path)) == [".other.abc.tmp", "kept"]


def test_a_full_disk_is_named_and_the_old_file_stands(tmp_path):
    path = tmp_path / "kept"
    path.write_bytes(b"old")
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(CompositionError, match="the disk is full"):
        interrupted_write(path, full)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["kept"]
