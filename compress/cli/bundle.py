"""Make one folder of a run that many readers read: the command `bundle`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from compress import log
from compress.cli.options import PATH, AsJson, Debug, Quiet, path_named
from compress.cli.printing import kept_from_stdout, print_json, say
from compress.cli.results import bundle_text

EXAMPLE = "bert-compress bundle runs/sst2_three_layers_int8 --out sst2-small"


def bundle(
    run: Annotated[Path, typer.Argument(parser=path_named, metavar="RUN", help="The folder of a finished run.")],
    out: Annotated[Path, typer.Option(**PATH, help="A new folder.")],
    variants: Annotated[
        str, typer.Option(metavar="NAMES", help="fp32, fp16, quantized, int8, q4, openvino, openvino-int8; all if left out.")
    ] = "",
    max_drop: Annotated[float, typer.Option(help="Of the metric, that a file may lose against the torch model.")] = 0.02,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Make a bundle anew that is there.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Make one folder of a run's last model that Transformers.js, sentence-transformers, fastembed and others read."""
    log.configure(quiet, debug)
    from compress.bundles import making

    names = [name.strip() for name in variants.split(",")] if variants else []
    with kept_from_stdout(sys.stderr):
        made = making.bundle(run, out, variants=names, max_drop=max_drop, overwrite=overwrite)
    if as_json:
        print_json({"path": str(made.path), "variants": made.variants, "left_out": made.left_out, "readers": made.readers})
        return
    say(f"{bundle_text(made.variants, made.left_out, made.readers)}\nbundle: {made.path}")
