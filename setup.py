"""The long description of a release: the README, with links that work outside.

Everything else stands in `pyproject.toml`. There, ``Repository`` under ``[project.urls]``
is the one place where the repository's address belongs: links become absolute by it.
Without it they become the names of files, which the source distribution holds.
"""

import re
import tomllib
from pathlib import Path
from typing import Optional

from setuptools import setup

_FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(!?)\[([^\]]+)\]\((?!https?://|#)([^)\s]+)\)")
_NOTE = "\n*Files that are named here are in the source distribution.*\n"


def long_description(readme: str, repository: Optional[str], version: str) -> str:
    """Returns the README with no relative link; code is left as it is.

    Args:
        readme: Markdown.
        repository: Its address, None if there is none.
        version: Whose files links lead to, by the tag of its release.
    """

    def outside(link: re.Match[str]) -> str:
        picture, words, path = link.groups()
        if repository is not None:
            kind = "raw" if picture else "blob"
            return f"{picture}[{words}]({repository}/{kind}/v{version}/{path})"
        path = path.partition("#")[0]
        return words if path in words else f"{words} (`{path}`)"

    parts = _FENCE.split(readme)
    parts[::2] = [_LINK.sub(outside, part) for part in parts[::2]]
    text = "".join(parts)
    if repository is not None or text == readme:
        return text
    title, newline, rest = text.partition("\n")
    return title + newline + _NOTE + rest


if __name__ == "__main__":
    root = Path(__file__).parent
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    setup(
        long_description=long_description(
            (root / "README.md").read_text("utf-8"),
            project.get("urls", {}).get("Repository"),
            project["version"],
        ),
        long_description_content_type="text/markdown",
    )
