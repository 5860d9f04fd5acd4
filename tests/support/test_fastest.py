"""What is faster is measured once, and stays as it was decided."""

import errno
import json

import pytest

from d3rlpy_mbo.support.fastest import about_processor, cache_folder, fastest


@pytest.fixture(autouse=True)
def empty(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def ways(calls, slow="a"):
    def way(name):
        def work():
            calls.append(name)
            sum(range(200_000 if name == slow else 2_000))

        return work

    return {name: way(name) for name in "ab"}


def test_the_way_that_takes_less_time_is_chosen_and_remembered():
    calls = []
    assert fastest("work", {"processor": 1}, ways(calls)) == "b"
    calls.clear()

    assert fastest("work", {"processor": 1}, ways(calls, slow="b")) == "b"

    assert calls == []  # not measured again: another way would round differently


def test_another_processor_is_measured_anew():
    assert fastest("work", {"processor": 1}, ways([])) == "b"
    assert fastest("work", {"processor": 2}, ways([], slow="b")) == "a"


ARM = """processor\t: 0
BogoMIPS\t: 2100.00
Features\t: fp asimd
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x1
CPU part\t: {part}
CPU revision\t: 1
"""


def test_processors_of_arm_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.setattr("d3rlpy_mbo.support.fastest._ABOUT_CPUS", tmp_path / "cpuinfo")
    found = []
    for part in ("0xd0c", "0xd40"):
        (tmp_path / "cpuinfo").write_text(ARM.format(part=part))
        found.append(about_processor()["processor"])
    assert found == ["0x41 0x1 0xd0c", "0x41 0x1 0xd40"]


@pytest.mark.parametrize("content", ["", '{"fastest": "b', "[]", '{"fastest": "gone"}'])
def test_what_cannot_be_used_is_measured_anew(content):
    fastest("work", {}, ways([]))
    (file,) = cache_folder().iterdir()
    file.write_text(content)

    assert fastest("work", {}, ways([])) == "b"
    assert json.loads(file.read_text())["fastest"] == "b"


def test_where_nothing_can_be_remembered_the_first_is_taken_unmeasured(
    tmp_path, monkeypatch
):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    calls = []

    assert fastest("work", {}, ways(calls)) == "a"
    assert calls == []


def test_a_relative_cache_is_none_so_that_no_folder_decides_what_is_fast(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "here")
    monkeypatch.setenv("HOME", "/a/home")
    assert str(cache_folder()) == "/a/home/.cache/d3rlpy-mbo"


def test_a_user_without_a_home_takes_the_first_unmeasured(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(
        "pwd.getpwuid", lambda uid: {}[uid]
    )  # a container's, of no name
    calls = []

    assert cache_folder() is None
    assert fastest("work", {}, ways(calls)) == "a"
    assert calls == []


def test_a_full_disk_leaves_nothing_that_is_remembered_in_part(monkeypatch):
    dumps = json.dumps

    def full(content, **options):
        if "fastest" in content:
            raise OSError(errno.ENOSPC, "no space")
        return dumps(content, **options)

    monkeypatch.setattr(json, "dumps", full)
    assert fastest("work", {}, ways([])) == "a"
    assert list(cache_folder().iterdir()) == []


def test_of_two_processes_the_first_one_decides():
    def other():
        cache_folder().mkdir(exist_ok=True)
        for path in known:
            path.write_text(json.dumps({"fastest": "a"}))

    fastest("work", {}, ways([]))
    known = list(cache_folder().iterdir())
    known[0].unlink()

    assert fastest("work", {}, {"a": other, "b": lambda: None}) == "a"
