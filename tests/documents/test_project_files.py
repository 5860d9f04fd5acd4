"""What project files say of one another: pictures, pages, versions and promises."""

import re
import tomllib
from pathlib import Path

from packaging.specifiers import SpecifierSet
from packaging.version import Version

import d3rlpy_mbo as mbo

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
WORKFLOW = (ROOT / ".github/workflows/tests.yml").read_text()


def verbs() -> set[str]:
    makefile = (ROOT / "Makefile").read_text()
    return set(re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)[1].split())


def test_the_picture_of_the_wings_is_the_one_that_the_import_contract_holds():
    page = (ROOT / "ARCHITECTURE.md").read_text()
    picture = page.split("```text\n")[1].split("```")[0]
    shown = [re.split(r" {3,}", line.strip()) for line in picture.splitlines()]
    wings = {path.stem for path in (ROOT / "d3rlpy_mbo").iterdir()}
    drawn = [set(row) & wings for row in shown if set(row) & wings]
    [layers] = [
        contract["layers"]
        for contract in PROJECT["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers"
    ]
    assert drawn == [
        {wing.strip().removeprefix("d3rlpy_mbo.") for wing in layer.split("|")}
        for layer in layers
    ]
    folders = {p.name for p in (ROOT / "d3rlpy_mbo").iterdir() if p.is_dir()}
    assert folders - {"__pycache__"} <= set().union(*drawn)


def test_no_page_holds_the_two_sides_of_a_merge():
    for page in PAGES:
        assert not re.search(r"^(<{7}|>{7}) ", page.read_text(), re.MULTILINE), page


def test_tests_mirror_the_wings_and_no_two_files_share_a_name():
    tests = ROOT / "tests"
    beside = {"benchmarks", "documents", "example_plugin", "hard", "plugins"}
    beside |= {"version_0_1"}
    folders = {p.name for p in tests.iterdir() if p.is_dir()} - {"__pycache__"}
    wings = {p.name for p in (ROOT / "d3rlpy_mbo").iterdir() if p.is_dir()}
    assert folders - beside <= wings
    ours = [p for p in tests.rglob("test_*.py") if "example_plugin" not in p.parts]
    names = [path.name for path in ours]
    assert sorted(names) == sorted(set(names))


def test_rooms_that_the_architecture_names_exist():
    page = (ROOT / "ARCHITECTURE.md").read_text()
    for wing, rooms in re.findall(r"^\| `(\w+)` \| (.+?) \|", page, re.MULTILINE):
        for room in re.findall(r"`(\w+)`", re.sub(r"\([^)]*\)", "", rooms)):
            found = [*(ROOT / "d3rlpy_mbo" / wing).rglob(f"{room}*")]
            assert found or room in ("interface",), f"{wing}: {room}"


def test_verbs_that_are_named_exist():
    named = set()
    for page in [*PAGES, ROOT / ".github/workflows/tests.yml"]:
        named |= set(
            re.findall(r"\bmake ([a-z]+)\b(?=`|$|\s+#|\s*\n)", page.read_text())
        )
    assert {"fast", "test", "check", "format", "coverage", "docs", "demo"} <= named
    assert named <= verbs()


def test_every_python_that_is_promised_is_tested_with_the_newest_dependencies():
    stated = [c for c in PROJECT["project"]["classifiers"] if ":: 3." in c]
    promised = [c.rsplit(" ", 1)[1] for c in stated]
    newest = WORKFLOW.split("\n  newest:")[1]
    tested = re.findall(r'"(3\.\d+)"', re.search(r"python: \[(.+)\]", newest)[1])
    assert promised == tested
    assert PROJECT["project"]["requires-python"] == f">={promised[0]}"


def test_the_version_is_one_everywhere():
    stated = PROJECT["project"]["version"]
    version = Version(stated)
    assert mbo.__version__ == stated, "python -m pip install --no-deps --editable ."
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {stated}\n" in citation
    assert ("\ndate-released: " in citation) != version.is_devrelease
    changes = (ROOT / "CHANGELOG.md").read_text()
    released = re.findall(r"^## (\d\S+)", changes, re.MULTILINE)
    if not version.is_devrelease:
        assert released[0] == stated
        return
    [unreleased] = re.findall(r"^## Unreleased: (\d\S*)$", changes, re.MULTILINE)
    assert Version(unreleased) == Version(version.base_version)
    assert Version(released[0]) < version
    status = (ROOT / "README.md").read_text().split("## Status\n")[1]
    assert f"Version {unreleased} in the making (`{stated}`)" in status


def test_every_plugin_of_ours_says_a_version_that_this_one_and_its_release_satisfy():
    version = Version(PROJECT["project"]["version"])
    files = [*ROOT.glob("examples/plugins/*/pyproject.toml")]
    files.append(ROOT / "benchmarks" / "edge_parts" / "pyproject.toml")
    texts = [path.read_text() for path in files]
    pages = [ROOT / "docs" / "tutorial.md", ROOT / "docs" / "compatibility.md"]
    texts += [page.read_text() for page in pages]
    last = re.findall(
        r"^## (\d\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )[0]
    for text in texts:
        [bounds] = re.findall(r'"d3rlpy-mbo([<>=][^"]+)"', text)
        specifier = SpecifierSet(bounds, prereleases=True)
        assert version in specifier, bounds
        assert Version(version.base_version) in specifier, bounds
        # What they use is newer than the last release.
        assert version == Version(last) or last not in specifier, bounds


def test_results_name_no_path_of_the_machine_that_made_them():
    absolute = re.compile(r'"(?:/|[A-Z]:\\\\)\w')
    files = [*ROOT.glob("benchmarks/**/*.json"), *ROOT.glob("benchmarks/**/*.md")]
    assert files
    assert not [path for path in files if absolute.search(path.read_text())]


def test_the_results_begin_with_one_table_of_claims_and_verdicts():
    text = (ROOT / "benchmarks" / "RESULTS.md").read_text()
    title, lead, table = text.split("\n\n")[:3]
    assert title.startswith("# ")
    assert len(lead) < 200
    assert table.startswith("| claim | paper | here | verdict |")
    assert "(#how-to-read-the-table)" in lead
    assert "\n## How to read the table\n" in text


def test_every_folder_of_results_is_named_by_the_page_of_results():
    text = (ROOT / "benchmarks" / "RESULTS.md").read_text()
    folders = [
        path for path in (ROOT / "benchmarks/results").iterdir() if path.is_dir()
    ]
    assert folders
    assert [path.name for path in folders if f"results/{path.name}" not in text] == []


def test_every_paper_that_the_readme_names_can_be_cited():
    papers = (ROOT / "README.md").read_text().split("\nMIT licence. Papers: ")[1]
    titles = re.findall(r"\*(.+?)\*", papers)
    citation = (ROOT / "CITATION.cff").read_text()
    assert len(titles) >= 7
    assert [title for title in titles if title not in citation] == []
