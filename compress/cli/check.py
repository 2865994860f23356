"""Check a recipe: the command `check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from compress import log
from compress.cli.options import AsJson, Debug, Overrides, Quiet, path_named
from compress.cli.printing import print_json, say
from compress.errors import InputError

EXAMPLE = "bert-compress check recipes/sst2/three_layers_int8.yaml seed=3"


def check(
    recipe: Annotated[Path | None, typer.Argument(parser=path_named, metavar="RECIPE", help="A recipe.")] = None,
    overrides: Overrides = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema of recipes, for editors.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Check a recipe without running it: every mistake at once, with line and suggestion."""
    log.configure(quiet, debug)
    from compress.recipe import json_schema, read_recipe

    if schema:
        print_json(json_schema())
        return
    if recipe is None:
        raise InputError("no recipe was given; name a recipe file to check, or ask for --schema.")
    plan = read_recipe(recipe, overrides or [])
    if as_json:
        print_json({"ok": True, "recipe": plan.resolved()})
        return
    steps = ", ".join(step.name for step in plan.steps) or "none"
    exports = ", ".join(export.target for export in plan.exports) or "none"
    say(f"ok: {plan.name}, {len(plan.steps)} steps ({steps}), {len(plan.exports)} exports ({exports}), seed {plan.seed}")
