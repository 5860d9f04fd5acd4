"""Virtual environments in which our wheel is installed, and no checkout is near."""

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent
LITTER = shutil.ignore_patterns("__pycache__", "*.egg-info")


class Environment:
    """A virtual environment that sees what this one has, beside what it installs."""

    def __init__(self, folder: Path):
        self.folder = folder
        venv.create(folder / "env", symlinks=True)
        [site] = (folder / "env").glob("lib/python*/site-packages")
        borrowed = [path for path in sys.path if Path(path).name == "site-packages"]
        (site / "borrowed.pth").write_text("\n".join(borrowed))

    def run(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        return subprocess.run(
            [str(self.folder / "env" / "bin" / name), *arguments],
            cwd=self.folder,
            env={**inherited, "MINARI_DATASETS_PATH": str(self.folder / "minari")},
            capture_output=True,
            text=True,
        )

    def pip(self, *arguments: str) -> None:
        """Runs this environment's pip on that one, without an index."""
        python = str(self.folder / "env" / "bin" / "python")
        pip = [sys.executable, "-m", "pip", "--isolated", "--python", python]
        done = subprocess.run(
            [*pip, "--disable-pip-version-check", *arguments],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def install(self, *paths: Path) -> None:
        """Installs wheels and projects, without what they depend on."""
        self.pip(
            "install", "--no-index", "--no-deps", "--no-build-isolation",
            "--ignore-installed", *map(str, paths),
        )  # fmt: skip


def our_wheel(folder: Path) -> Path:
    """Builds our wheel from a copy, so that the checkout stays as it is."""
    ours = folder / "ours"
    for name in ("d3rlpy_mbo", "plugins"):
        shutil.copytree(ROOT / name, ours / name, ignore=LITTER)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, ours)
    pip = [sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check"]
    build = ["wheel", "--no-index", "--no-deps", "--no-build-isolation", "-w"]
    done = subprocess.run(
        [*pip, *build, str(folder), str(ours)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    shutil.rmtree(ours)
    [wheel] = folder.glob("*.whl")
    return wheel
