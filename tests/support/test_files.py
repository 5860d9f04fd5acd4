"""Files are there whole or not at all, as open() would have made them."""

import errno
import os
import stat

import pytest

from d3rlpy_mbo.support.errors import CompositionError
from d3rlpy_mbo.support.files import atomic_write


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
