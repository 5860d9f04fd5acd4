"""Locks keep a second process out, and where there are none nothing is lost."""

import errno
import fcntl
import os
import stat

import pytest

from d3rlpy_mbo.study.execution import _alone
from d3rlpy_mbo.support.errors import CompositionError
from d3rlpy_mbo.support.files import atomic_write
from d3rlpy_mbo.support.locks import held_alone, held_if_free
from d3rlpy_mbo.tasks.places import staging, write_alone


@pytest.fixture(params=[errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EBADF])
def without_locks(request, monkeypatch):
    """A file system over a network that has none: Lustre, NFS without its service."""

    def flock(file, operation):
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.fixture
def from_another_machine(monkeypatch):
    """NFS: what folders are locked for stays on a machine, and writers alone lock."""
    flock = fcntl.flock

    def of_nfs(file, operation):
        if stat.S_ISDIR(os.fstat(file).st_mode):
            return
        if fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        flock(file, operation)

    monkeypatch.setattr(fcntl, "flock", of_nfs)


def test_what_one_machine_writes_no_other_takes_for_left(
    minari_root, from_another_machine
):
    path = minari_root / "toys" / "one-v0"
    with staging(path) as folder, write_alone("toys/another-v0"):
        assert folder.is_dir()
    assert not folder.exists()


def test_what_killed_processes_left_is_removed_on_nfs_too(
    minari_root, from_another_machine
):
    (minari_root / ".d3rlpy-mbo-writing-dead").mkdir(parents=True)
    (minari_root / ".kept.abc.tmp").touch()
    with write_alone("toys/another-v0"), atomic_write(minari_root / "kept"):
        pass
    assert os.listdir(minari_root) == ["kept"]


def test_files_are_written_where_nothing_can_be_locked(tmp_path, without_locks):
    left = tmp_path / ".kept.abc.tmp"
    left.touch()
    with atomic_write(tmp_path / "kept") as file:
        file.write(b"new")
    assert (tmp_path / "kept").read_bytes() == b"new"
    # Whose that file is nobody can tell there: it stays.
    assert sorted(os.listdir(tmp_path)) == [".kept.abc.tmp", "kept"]


def test_nobody_is_taken_for_a_holder_where_nothing_can_be_locked(
    tmp_path, without_locks
):
    with held_alone(tmp_path / "lock", "the run"), _alone(tmp_path / "job"):
        pass
    with held_if_free(tmp_path) as held:
        assert not held


def test_a_holder_is_named_by_its_process(tmp_path):
    # In each container its number may be this one's too.
    (tmp_path / "lock").write_text(str(os.getpid()))
    expected = rf"Another process \(process {os.getpid()}\) is writing the run"
    with (tmp_path / "lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with (
            pytest.raises(CompositionError, match=expected),
            held_alone(tmp_path / "lock", "the run"),
        ):
            pass


def test_a_holder_that_is_this_process_is_said_to_be(tmp_path):
    with (
        held_alone(tmp_path / "lock", "the run"),
        pytest.raises(
            CompositionError, match="Another call in this process is writing"
        ),
        held_alone(tmp_path / "lock", "the run"),
    ):
        pass
    assert os.listdir(tmp_path) == []


def test_a_folder_is_held_by_one(tmp_path):
    with held_if_free(tmp_path) as first, held_if_free(tmp_path) as second:
        assert (first, second) == (True, False)
