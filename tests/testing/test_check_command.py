"""`d3rlpy-mbo check MODULE`: a stranger's module in the current folder."""

import importlib
import sys

import pytest
from click.testing import CliRunner

from d3rlpy_mbo.cli import main

PENALTY = """
import dataclasses
import d3rlpy_mbo as mbo
from d3rlpy_mbo import NoTermination

@dataclasses.dataclass()
class {name}(mbo.Penalty):
    @staticmethod
    def get_type():
        return "{name}_of_check"

    def __call__(self, prediction, learner=None):
        return prediction.stds.amax(dim=(0, 2))[:, None] {change}
"""
HOOK = """
@mbo.hookimpl
def register_components():
    return [{components}]
"""


@pytest.fixture
def check(tmp_path, monkeypatch):
    """Writes modules into the current folder and checks the first."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def run(name, source=None):
        if source is not None:
            (tmp_path / f"{name}.py").write_text(source)
        importlib.invalidate_caches()
        return CliRunner().invoke(main, ["check", name])

    return run


def test_a_sound_module_is_a_table_of_passed_checks(check):
    result = check("their_sound", PENALTY.format(name="Spread", change=""))
    assert result.exit_code == 0, result.output
    *rows, summary = result.output.splitlines()
    assert summary == "15 checks of 1 components, 0 failed."
    assert len(rows) == 15
    assert {row.split()[0] for row in rows} == {"Spread"}
    assert {row.split()[2] for row in rows} == {"passed"}
    assert len({row.index("passed") for row in rows}) == 1


def test_a_failed_check_shows_its_message_and_exits_with_one(check):
    result = check("their_broken", PENALTY.format(name="Signed", change="- 1"))
    assert result.exit_code == 1
    (row,) = [row for row in result.output.splitlines() if "failed:" in row]
    assert row.split()[:2] == ["Signed", "check_penalty_non_negative"]
    assert "penalties must be at least 0" in row
    assert "Likely cause" in row
    assert "Traceback" not in result.output


def test_what_it_raised_is_shown_with_the_innermost_line_of_its_own(check):
    source = PENALTY.format(name="Undone", change="+ prediction.undone")
    (line,) = [i for i, text in enumerate(source.splitlines(), 1) if "undone" in text]
    result = check("their_undone", source)
    (row,) = [row for row in result.output.splitlines() if "check_pure" in row]
    assert f"'undone', at their_undone.py:{line}. Likely cause: a mistake in" in row
    (row,) = [row for row in result.output.splitlines() if "check_device" in row]
    assert f"'undone', at their_undone.py:{line}. Likely cause: torch.zeros" in row


REFUSED = """
import dataclasses
import d3rlpy_mbo as mbo

@dataclasses.dataclass()
class OneStep(mbo.ImaginationConfig):
    steps_per_row: int = 5
    @staticmethod
    def get_type():
        return "refused_of_check"
"""


@pytest.mark.training
def test_what_we_refuse_is_shown_as_that_and_as_no_mistake_in_its_code(check):
    result = check("their_refused", REFUSED)
    (row,) = [row for row in result.output.splitlines() if "check_time_order" in row]
    assert "failed: OneStep: CompositionError: steps_per_row is 5, but the rol" in row
    assert "mistake in its code" not in result.output
    assert "asks the learner for what" not in result.output
    assert "their_refused.py:" not in result.output  # no line of it was on the way


def test_registered_components_are_checked_and_each_once(check):
    source = PENALTY.format(name="Left", change="") + PENALTY.format(
        name="Out", change=""
    )
    hook = HOOK.format(components="Left, NoTermination, Left")
    result = check("their_registered", source + hook)
    assert result.exit_code == 0, result.output
    rows = [tuple(row.split()[:2]) for row in result.output.splitlines()[:-1]]
    assert {name for name, _ in rows} == {"Left", "NoTermination"}
    assert len(rows) == len(set(rows))


@pytest.mark.parametrize(
    ("name", "source", "words"),
    [
        (
            "their_comma",
            PENALTY.format(name="Comma", change="").replace(
                "@staticmethod", 'action_spaces = ("continuous")\n    @staticmethod'
            ),
            "Comma.action_spaces is 'continuous'",
        ),
        ("their_missing", None, "No module named 'their_missing'"),
        ("their_syntax", "def", "SyntaxError"),
        ("their_import", "import no_such_package", "no_such_package"),
        ("their_exit", "raise SystemExit(3)", "SystemExit"),
        ("their_empty", "from d3rlpy_mbo import NoTermination", "has no components"),
        (
            "their_bases",
            "import d3rlpy_mbo as mbo\nclass Base(mbo.Penalty): pass",
            "has no components",
        ),
        (
            "their_hook",
            "import d3rlpy_mbo as mbo" + HOOK.format(components="42"),
            "expected subclasses",
        ),
        (
            "their_decorator",
            PENALTY.format(name="Bare", change="")
            + HOOK.format(components="Bare").replace("@mbo.hookimpl", ""),
            "is not decorated, so that as a plugin it would not be loaded",
        ),
        (
            "their_nothing",
            PENALTY.format(name="Left", change="") + HOOK.format(components=""),
            "returns no components, so that as a plugin",
        ),
        (
            "their_spelling",
            PENALTY.format(name="Misspelt", change="")
            + HOOK.format(components="Misspelt").replace("components()", "component()"),
            "unknown hook 'register_component'",
        ),
    ],
)
def test_a_module_that_cannot_be_checked_is_an_error_that_says_why(
    check, name, source, words
):
    result = check(name, source)
    assert result.exit_code == 1
    assert words in result.output
    assert name in result.output
    assert "Traceback" not in result.output


NAMELESS = """
import dataclasses
import d3rlpy_mbo as mbo

class _Private(mbo.Penalty):
    def __call__(self, prediction, learner=None):
        return prediction.stds.amax(dim=(0, 2))[:, None]

class Abstract(mbo.Penalty):
    coef = 1.0

class Shared(_Private):
    pass

@dataclasses.dataclass()
class Named(Shared):
    @staticmethod
    def get_type():
        return "named_of_check"

@dataclasses.dataclass()
class OfInstances(_Private):
    def get_type(self):
        return "of_instances_of_check"

@dataclasses.dataclass()
class Nameless(_Private):
    pass
"""


def test_a_class_that_lacks_its_name_alone_fails_by_that_and_a_base_is_none(check):
    result = check("their_nameless", NAMELESS)
    assert result.exit_code == 1, result.output
    rows = [row.split()[:3] for row in result.output.splitlines()[:-1]]
    assert [row for row in rows if row[0] != "Named"] == [
        ["OfInstances", "check_unique_type_name", "failed:"],
        ["Nameless", "check_unique_type_name", "failed:"],
    ]
    assert "OfInstances.get_type() must return a name, called on the" in result.output
    assert "Found: NotImplementedError. Likely cause: get_type is " in result.output


@pytest.mark.slow
@pytest.mark.parametrize(
    "module",
    [
        "d3rlpy_mbo.core_plugin",
        "d3rlpy_mbo_mopo",
        "d3rlpy_mbo_romi",
        "d3rlpy_mbo_rambo",
    ],
)
def test_our_modules_pass_with_their_defaults(check, module):
    result = check(module)
    assert result.exit_code == 0, result.output
