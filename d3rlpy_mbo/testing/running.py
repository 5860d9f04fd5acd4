"""Which checks there are, and how they run."""

import dataclasses
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Optional, Protocol

import d3rlpy

from ..registry.entry_points import component_name
from ..registry.kinds import kind_of
from ..support.errors import (
    CompositionError,
    ConformanceError,
    D3RLPyMBOError,
    suggest,
)
from ..support.generators import generators_kept
from ..support.progress import progress_shown
from .raised import raised
from .subject_kinds import subjects_of
from .subjects import Checkable, Subject, default_constructed

if TYPE_CHECKING:
    import pytest

__all__ = [
    "EVERY_KIND",
    "KINDS",
    "Check",
    "CheckResult",
    "check_component",
    "checks_for",
    "conformance_check",
    "parametrize_with_checks",
    "run_checks",
]


class Check(Protocol):
    """What may be asked of a component, an instance or a class."""

    __name__: str

    def __call__(self, component: Checkable) -> None:
        """Raises ConformanceError unless the component keeps its contract."""


KINDS = (
    "dynamics",
    "rollout_policy",
    "termination",
    "reward_function",
    "penalty",
    "halt",
    "dynamics_updater",
    "imagination",
)
EVERY_KIND = (*KINDS, "task", "learner")

_CHECKS: dict[
    str, tuple[Check, tuple[str, ...], bool, Optional[Callable[[Checkable], bool]]]
] = {}


def conformance_check(
    *kinds: str,
    learned_only: bool = False,
    where: Optional[Callable[[Checkable], bool]] = None,
) -> Callable[[Callable[[Subject], None]], Check]:
    """Makes a named check of a function of a subject.

    Args:
        kinds: It applies to.
        learned_only: Whether it needs a component with `create`.
        where: Says of a component, or a class that can be default-constructed, whether
            it applies; always by default.
    """

    def decorate(function: Callable[[Subject], None]) -> Check:
        def check(component: Checkable) -> None:
            if kind_of(component) not in kinds:
                raise CompositionError(
                    f"{function.__name__} is for {' and '.join(kinds)}, not for "
                    f"{component!r}."
                )
            with generators_kept(), progress_shown(False):
                name = _name(component)
                try:
                    for subject in subjects_of(component):
                        name = subject.name
                        d3rlpy.seed(0)
                        function(subject)
                except ConformanceError:
                    raise
                except D3RLPyMBOError as error:  # says itself what is wrong
                    raise ConformanceError(
                        f"{name}: {raised(error, component)}."
                    ) from error
                except Exception as error:
                    raise ConformanceError(
                        f"{name}: it raised an error where it should have worked. "
                        f"Found: {raised(error, component)}. Likely cause: a mistake in "
                        "its code; check_component shows the traceback."
                    ) from error

        check.__name__ = check.__qualname__ = function.__name__
        check.__doc__, check.__module__ = function.__doc__, function.__module__
        _CHECKS[function.__name__] = check, kinds, learned_only, where
        return check

    return decorate


def _name(component: Checkable) -> str:
    return (component if isinstance(component, type) else type(component)).__name__


def checks_for(component: Checkable) -> list[Check]:
    """Returns the checks that apply to a component.

    Args:
        component: An instance or a class.

    Raises:
        CompositionError: It is no component.
    """
    kind, learned = kind_of(component), hasattr(component, "create")
    if kind not in EVERY_KIND:
        raise CompositionError(
            f"{component!r} is no component: expected an instance or a subclass of one of "
            "the base classes, such as d3rlpy_mbo.Penalty, d3rlpy_mbo.DynamicsConfig or "
            "d3rlpy.base.LearnableConfig."
        )
    if inspect.isclass(component):
        try:
            default_constructed(component)
        except ConformanceError:  # then nothing else can be checked
            return [_CHECKS["check_default_construction"][0]]
    if (
        component_name(component if inspect.isclass(component) else type(component))
        is None
    ):
        return [_CHECKS["check_unique_type_name"][0]]  # others ask for its name
    return [
        check
        for check, kinds, learned_only, where in _CHECKS.values()
        if kind in kinds
        and (learned or not learned_only)
        and (where is None or where(component))
    ]


@dataclasses.dataclass(frozen=True)
class CheckResult:
    """What came of one check.

    Args:
        component: Name of the component's class.
        check: Name of the check.
        error: The violation, None if there is none.
    """

    component: str
    check: str
    error: Optional[ConformanceError] = None


def run_checks(component: Checkable) -> Iterator[CheckResult]:
    """Runs every check that applies to a component, one after the other.

    Args:
        component: An instance or a class; see `check_component`.

    Yields:
        What came of each.

    Raises:
        CompositionError: It is no component.
    """
    for check in checks_for(component):
        name = getattr(check, "__name__", "")
        try:
            check(component)
        except ConformanceError as error:
            yield CheckResult(_name(component), name, error)
        else:
            yield CheckResult(_name(component), name)


def check_component(component: Checkable) -> None:
    """Runs every check that applies to a component; on the CPU, without a network.

    With data of continuous actions, and with data of discrete ones if ``"discrete"`` is
    among its `action_spaces`, and those of the components inside it.

    Args:
        component: An instance, checked as it is; a learned component should be small, but
            able to learn s' = s + a in its steps. Or a class, which is
            default-constructed and then shortened: in it and in the components inside
            it, `n_steps` and `max_steps` become 50 at most, `n_updates` 10,
            `update_interval` 1 and `rollout_batch_size` 100.

    Raises:
        ConformanceError: It breaks its contract; says which checks failed, and why.
        CompositionError: It is no component.
    """
    results = list(run_checks(component))
    failed = [result for result in results if result.error is not None]
    if failed:
        lines = "\n".join(f"{result.check}: {result.error}" for result in failed)
        raise ConformanceError(
            f"{len(failed)} of {len(results)} checks of {_name(component)} failed.\n{lines}"
        ) from failed[0].error


def parametrize_with_checks(
    components: Iterable[Checkable],
    *,
    expected_failed_checks: Optional[Mapping[str, str]] = None,
) -> "pytest.MarkDecorator":
    """Makes one test of each component and check that applies to it.

    Decorates a test function with the arguments ``component`` and ``check``, which calls
    ``check(component)``. Needs pytest.

    Args:
        components: Instances or classes; see `check_component`.
        expected_failed_checks: Names of checks that are known to fail, each with the
            reason: their tests are expected failures (xfail).

    Raises:
        CompositionError: One of them is no component, or a check is named that applies to
            none of them.
    """
    import pytest

    expected, seen = dict(expected_failed_checks or {}), set()
    cases: list[Any] = []
    for component in components:
        for check in checks_for(component):
            name = getattr(check, "__name__", "")
            seen.add(name)
            marks = []
            if name in expected:
                marks.append(
                    pytest.mark.xfail(reason=expected[name], raises=ConformanceError)
                )
            case = f"{_name(component)}-{name}"
            cases.append(pytest.param(component, check, id=case, marks=marks))
    for name in expected:
        if name not in seen:
            raise CompositionError(
                f"expected_failed_checks names {name!r}, which applies to none of these "
                f"components. {suggest(name, seen)}"
            )
    return pytest.mark.parametrize(("component", "check"), cases)
