"""Which commit a result was made by."""

import shutil
import subprocess

import pytest

from d3rlpy_mbo.support.version import commit_of

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs Git")


@pytest.fixture
def checkout(tmp_path):
    def git(*arguments):
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        command = ["git", "-C", str(tmp_path), *who, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    (tmp_path / "package").mkdir()
    for name in ("package/one.py", "package/two.py", "README.md"):
        (tmp_path / name).write_text("first\n")
    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    (tmp_path / "package" / "installed.py").write_text("not of this project\n")
    return tmp_path, git("rev-parse", "HEAD")


@pytest.fixture(autouse=True)
def asked_anew():
    commit_of.cache_clear()
    yield
    commit_of.cache_clear()


def test_a_file_of_a_checkout_has_its_commit_whatever_else_was_written_there(checkout):
    root, commit = checkout
    (root / "README.md").write_text("another\n")
    (root / "results.json").write_text("{}")
    found = commit_of(str(root / "package" / "one.py"))
    assert found is not None
    assert len(found) >= 12
    assert commit.startswith(found)


def test_changed_code_is_said_to_be_changed_also_elsewhere_in_the_checkout(checkout):
    root, commit = checkout
    (root / "package" / "two.py").write_text("another\n")
    found = commit_of(str(root / "package" / "one.py"))
    assert found is not None
    assert found.endswith(" + changes")
    assert commit.startswith(found.removesuffix(" + changes"))


def test_what_is_installed_below_a_project_is_not_of_that_project(checkout):
    root, _ = checkout
    assert commit_of(str(root / "package" / "installed.py")) is None


def test_there_is_none_without_a_checkout_or_without_git(
    checkout, tmp_path_factory, monkeypatch
):
    root, _ = checkout
    lone = tmp_path_factory.mktemp("lone") / "one.py"
    lone.write_text("")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(lone.parent.parent))
    assert commit_of(str(lone)) is None
    monkeypatch.setenv("PATH", "")
    assert commit_of(str(root / "package" / "one.py")) is None


def test_whatever_git_says_in_any_encoding_ends_no_run(checkout, tmp_path, monkeypatch):
    # Such as that the checkout is another user's, in a folder whose name is Latin-1.
    git = tmp_path / "git"
    git.write_text("#!/bin/sh\nprintf 'fatal: \\351' >&2\nexit 128\n")
    git.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert commit_of(str(checkout[0] / "package" / "one.py")) is None
