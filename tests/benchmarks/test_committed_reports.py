"""Reports that are committed are what the results beside them say."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from d3rlpy_mbo.cli import main
from d3rlpy_mbo.study import intervals

pytest.importorskip("rliable")

ROOT = Path(__file__).parents[2]
REPORTS = sorted(ROOT.glob("benchmarks/results/*/report.md"))


def content(text: str) -> list[list[str]]:
    """Returns the cells of each line, without pictures and ends of bootstraps.

    A bootstrap takes ten thousand draws for each cell: too long for a test.
    """
    lines: list[list[str]] = []
    header: list[str] = []
    for line in text.splitlines():
        if not line.startswith("|"):
            header = []  # of the next table: its first line
            lines += [[line]] if line and not line.startswith("![") else []
            continue
        cells = line.strip("| ").split(" | ")
        header = header or cells
        lines.append(
            [
                cell.partition(" [")[0] if _is_bootstrap(title) else cell
                for title, cell in zip(header, cells, strict=True)
            ]
        )
    return lines


def _is_bootstrap(title: str) -> bool:
    return title in ("mean [95 %]", "interquartile mean [95 %]")


@pytest.mark.training  # nothing trains, but many files are read
@pytest.mark.parametrize("path", REPORTS, ids=lambda path: path.parent.name)
def test_a_report_is_the_one_that_would_be_written_today(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(intervals, "_N_RESAMPLES", 20)
    folder = str(path.parent.relative_to(ROOT))
    said = CliRunner().invoke(main, ["report", folder])
    assert said.exit_code == 0, said.output
    assert content(said.stdout) == content(path.read_text())
