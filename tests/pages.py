"""Markdown pages as programs: their fenced blocks, run in order in one namespace.

- ``python``: executed; with a title, written to that file instead, to be imported.
- ``toml``: parsed; with a title, written to that file.
- ``sh``: see `Shell`.
- ``text`` after ``sh``: every line must be in what the last command said, give or take
  spaces. Elsewhere it is not code.
"""

import dataclasses
import importlib
import re
import shlex
import sys
import tomllib
import types
from pathlib import Path
from typing import Optional

import pytest
from click.testing import CliRunner
from packaging.requirements import Requirement

from d3rlpy_mbo.cli import main

_FENCE = re.compile(r"^```(.*)\n((?s:.*?))^```$", re.MULTILINE)
_INFO = re.compile(r'(python|toml|sh|text)(?: title="([\w.-]+)")?')


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block: `line` is its first line of code in the page, from 1."""

    language: str
    title: Optional[str]
    code: str
    line: int


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    found = []
    for fence in _FENCE.finditer(text):
        info = _INFO.fullmatch(fence[1])
        assert info, f"{page.name}: nothing runs a block that begins ```{fence[1]}"
        line = text.count("\n", 0, fence.start(2)) + 1
        found.append(Block(info[1], info[2], fence[2], line))
    assert text.count("```") == 2 * len(found), f"{page.name}: a fence is not closed"
    return found


def run_page(page: Path, folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Runs a page in a folder, as a reader would who types all of it."""
    patch.chdir(folder)
    shell = Shell(patch)
    module = types.ModuleType(f"page_{page.stem.replace('-', '_')}")
    patch.setitem(sys.modules, module.__name__, module)
    previous = ""
    for block in blocks(page):
        if block.title is not None:
            Path(block.title).write_text(block.code)
            importlib.invalidate_caches()
        elif block.language == "python":
            above = "\n" * (block.line - 1)  # so that tracebacks name the page's line
            exec(compile(above + block.code, str(page), "exec"), vars(module))
        elif block.language == "sh":
            shell.run(block.code)
        elif block.language == "text" and previous == "sh":
            said = [line.split() for line in shell.output.splitlines()]
            for line in block.code.splitlines():
                assert line.split() in said, f"{page.name}: {line!r}, {shell.output}"
        if block.language == "toml":
            tomllib.loads(block.code)
        previous = block.language


class Shell:
    """A reader's shell, in this process.

    It does mkdir, cd, export, pytest and d3rlpy-mbo. ``pip install -e .`` leaves what
    pip would: a distribution's metadata beside an importable module. Commands that need
    the network, or minutes, are only parsed.
    """

    def __init__(self, patch: pytest.MonkeyPatch):
        self.output = ""
        self._patch = patch

    def run(self, code: str) -> None:
        for line in code.replace("\\\n", " ").splitlines():
            self._command(shlex.split(line, comments=True))

    def _command(self, words: list[str]) -> None:
        match words:
            case ["mkdir", folder]:
                Path(folder).mkdir()
            case ["cd", folder]:
                self._patch.chdir(folder)
                self._patch.syspath_prepend(str(Path.cwd()))
            case ["export", assignment]:
                self._patch.setenv(*assignment.split("=", 1))
            case ["python", "-m", "pytest", *arguments]:
                assert pytest.main([*arguments, "-p", "no:cacheprovider"]) == 0
            case ["python", "-m", "pip", "install", "-e", "."]:
                self._install()
            case ["python", "-m", "pip" | "build" | "twine", *_]:
                pass
            case ["d3rlpy-mbo", *arguments]:
                result = CliRunner().invoke(main, arguments)
                self.output = result.output
                shown = f"{words}: {result.output} {result.exception!r}"
                assert result.exit_code == 0, shown
            case _:
                raise AssertionError(f"Nobody knows how to test {words}.")

    def _install(self) -> None:
        project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
        name, version = project["name"], project["version"]
        folder = Path(f"{name.replace('-', '_')}-{version}.dist-info")
        folder.mkdir()

        def write(file: str, *lines: str) -> None:
            (folder / file).write_text("\n".join(lines) + "\n")

        required = [f"Requires-Dist: {Requirement(r)}" for r in project["dependencies"]]
        fields = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        write("METADATA", *fields, *required)
        points = project["entry-points"]["d3rlpy_mbo"]
        lines = [f"{key} = {value}" for key, value in points.items()]
        write("entry_points.txt", "[d3rlpy_mbo]", *lines)
        write("top_level.txt", *points.values())
        look_again()


def look_again() -> None:
    """Forgets what is installed, as a new process would."""
    importlib.invalidate_caches()
    for name, module in list(sys.modules.items()):
        if name.startswith("d3rlpy_mbo."):
            for value in list(vars(module).values()):
                if hasattr(value, "cache_clear"):
                    value.cache_clear()
