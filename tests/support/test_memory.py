"""How much memory a process has: the machine's, its job's, its container's."""

import pytest

from d3rlpy_mbo.support import memory
from d3rlpy_mbo.support.memory import memory_allowed

GB = 10**9


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """A machine of 64 GB whose process is in groups with limits."""

    def arrange(membership: str, limits: dict[str, str]) -> None:
        (tmp_path / "membership").write_text(membership)
        for name, limit in limits.items():
            path = tmp_path / "groups" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{limit}\n")

    monkeypatch.setattr(memory, "_MEMBERSHIP", tmp_path / "membership")
    monkeypatch.setattr(memory, "_GROUPS", tmp_path / "groups")
    pages = {"SC_PHYS_PAGES": 64 * GB // 4000, "SC_PAGE_SIZE": 4000}
    monkeypatch.setattr("os.sysconf", pages.__getitem__)
    return arrange


@pytest.mark.parametrize(
    ("membership", "limits", "expected"),
    [
        ("0::/\n", {"memory.max": "max"}, 64),
        ("0::/\n", {"memory.max": str(8 * GB)}, 8),  # a container
        (  # a job of a cluster: the limit is that of a group above
            "0::/jobs/7/step\n",
            {"jobs/7/memory.max": str(4 * GB), "jobs/7/step/memory.max": "max"},
            4,
        ),
        (
            "5:cpu:/x\n4:hugetlb,memory:/jobs/7\n0::/\n",
            {
                "memory/jobs/7/memory.limit_in_bytes": str(2 * GB),
                "memory/memory.limit_in_bytes": "9223372036854771712",
            },
            2,
        ),
        ("4:memory:/not/seen/here\n", {"memory/memory.limit_in_bytes": str(3 * GB)}, 3),
        ("", {}, 64),
    ],
)
def test_it_is_the_machines_or_less_where_a_control_group_has_less(
    groups, membership, limits, expected
):
    groups(membership, limits)
    assert memory_allowed() == expected * GB


def test_where_nobody_says_it_is_unknown(groups, monkeypatch):
    monkeypatch.setattr(
        "os.sysconf", int
    )  # a ValueError, as of a name it does not know
    assert memory_allowed() is None


def test_this_machine_tells_its_memory():
    found = memory_allowed()
    assert found is not None
    assert found > 1e8
