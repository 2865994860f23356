"""The page about the command line, from its own parser."""

from __future__ import annotations

from typing import Any

import typer

from compress.cli.commands import app
from compress.record import MISSING
from tools.reference.prose import cell, page, table, value


def commands_page() -> str:
    """Tell every command with its arguments and options."""
    parts = []
    for name, command in parser().items():
        parts += [f"## {name}", cell(command.help), f"```sh\n{str(command.epilog).removeprefix('Example: ')}\n```"]
        parts.append(
            table(
                ("argument or option", "default", "what it means"),
                [_row(parameter) for parameter in shown_parameters(command)],
            )
        )
    return page(
        "Command line",
        "Progress goes to stderr; with `--json` stdout carries one JSON document and nothing else. Exit codes: 0 done, 1 the "
        "work failed, 2 the input was wrong (recipe, data, arguments), 3 a gate was missed.",
        *parts,
    )


def parser() -> dict[str, Any]:
    """The commands as the command line parses them, by name, in the order of the help."""
    group: Any = typer.main.get_command(app)
    return dict(group.commands)


def shown_parameters(command: Any) -> list[Any]:
    """The arguments and options that the help shows."""
    return [parameter for parameter in command.params if not getattr(parameter, "hidden", False)]


def _row(parameter: Any) -> tuple[str, str, str]:
    is_argument = parameter.param_type_name == "argument"
    name = (parameter.metavar or parameter.name.upper()) if is_argument else ", ".join(parameter.opts)
    takes = "" if is_argument or parameter.is_flag else f" {parameter.metavar or _kind(parameter)}"
    many = " ..." if parameter.nargs == -1 else ""
    if parameter.required:
        default = "required"
    elif parameter.default is None or parameter.default is False:
        default = MISSING
    else:
        default = value(parameter.default)
    return f"`{name}{takes}{many}`", default, cell(parameter.help or "")


def _kind(parameter: Any) -> str:
    return "NUMBER" if isinstance(parameter.default, int | float) else "TEXT"
