"""What the package index shows leads nowhere but where something is."""

import re
import runpy
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest

from environments import LITTER

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
LINK = re.compile(r"\]\((?!https?://|#)([^)\s#]+)[^)]*\)")

pytest.importorskip("setuptools")
long_description = runpy.run_path(str(ROOT / "setup.py"))["long_description"]


def test_links_and_pictures_are_absolute_at_the_tag_once_there_is_an_address():
    text = "# A\n[b](c.md#d), ![e](f.png) and [g](https://h)\n```\n[i](j)\n```\n"
    assert long_description(text, "https://k/l", "1.2") == (
        "# A\n[b](https://k/l/blob/v1.2/c.md#d), ![e](https://k/l/raw/v1.2/f.png) and "
        "[g](https://h)\n```\n[i](j)\n```\n"
    )


def test_links_are_names_of_files_as_long_as_there_is_none():
    text = "# A\n[b](c.md#d), [c.md](c.md) and [g](https://h)\n```\n[i](j)\n```\n"
    note = "*Files that are named here are in the source distribution.*"
    assert long_description(text, None, "1.2") == (
        f"# A\n\n{note}\nb (`c.md`), c.md and [g](https://h)\n```\n[i](j)\n```\n"
    )


def test_no_link_of_the_readme_is_left_relative():
    assert len(LINK.findall(README)) > 10
    for address in ("https://k/l", None):
        assert not LINK.findall(long_description(README, address, "1.2"))


@pytest.mark.training
def test_the_source_distribution_holds_every_file_that_the_readme_names(tmp_path):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    copy = tmp_path / "copy"
    for name in ("d3rlpy_mbo", "plugins"):
        shutil.copytree(ROOT / name, copy / name, ignore=LITTER)
    files = ["pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "tests/toys.py"]
    for name in [*files, *LINK.findall(README)]:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
    build = "from setuptools.build_meta import build_sdist as b; b('.')"
    done = subprocess.run(
        [sys.executable, "-c", build], cwd=copy, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    [archive] = copy.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        held = {Path(name) for name in file.getnames()}
        top = f"d3rlpy_mbo-{project['version']}"
        information = file.extractfile(f"{top}/PKG-INFO").read().decode()
    for name in LINK.findall(README):
        assert Path(top, name) in held
    assert Path(top, "tests", "toys.py") in held
    assert "Description-Content-Type: text/markdown" in information
    described = information.partition("\n\n")[2]
    if "Repository" not in project.get("urls", {}):
        assert described.strip() == long_description(README, None, "").strip()
