"""The page of the command line is what click says; run as a script: writes it anew."""

import inspect
from pathlib import Path

import click

from d3rlpy_mbo.cli import main

PAGE = Path(__file__).parents[2] / "docs" / "command-line.md"
MARK = "<!-- From here on: python tests/documents/test_command_line_page.py -->\n"


def generated() -> str:
    """Returns a section for each verb, in the order in which they are listed."""
    top = click.Context(main, info_name="d3rlpy-mbo")
    return "".join(
        section(main.commands[name], top) for name in main.list_commands(top)
    )


def section(command: click.Command, parent: click.Context) -> str:
    """Returns heading, usage, help and options of a verb."""
    context = click.Context(command, info_name=command.name, parent=parent)
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    given = [p for p in command.get_params(context) if isinstance(p, click.Option)]
    records = [option.get_help_record(context) for option in given]
    options = [f"- `{name}`: {text}\n" for name, text in filter(None, records)]
    help_ = inspect.cleandoc(command.help or "")
    return f"\n## {command.name}\n\n`{usage}`\n\n{help_}\n\n{''.join(options)}"


def test_the_page_of_the_command_line_is_what_click_says():
    written = PAGE.read_text().split(MARK)[1]
    assert written == generated(), "python tests/documents/test_command_line_page.py"


def test_a_verb_is_shown_with_usage_help_and_every_option_but_hidden_ones():
    @click.command(name="brew")
    @click.argument("leaf")
    @click.option("--minutes", default=3, show_default=True, help="How long.")
    @click.option("--secret", hidden=True)
    def brew() -> None:
        """Make tea.

        LEAF is any.
        """

    shown = section(brew, click.Context(main, info_name="d3rlpy-mbo"))
    assert shown == (
        "\n## brew\n\n`d3rlpy-mbo brew [OPTIONS] LEAF`\n\nMake tea.\n\nLEAF is any.\n\n"
        "- `--minutes INTEGER`: How long.  [default: 3]\n"
        "- `--help`: Show this message and exit.\n"
    )


if __name__ == "__main__":
    PAGE.write_text(PAGE.read_text().split(MARK)[0] + MARK + generated())
