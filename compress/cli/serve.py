"""Answer over HTTP: the command `serve`."""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path
from typing import Annotated

import typer

from compress import log
from compress.cli.options import MOST_THREADS, AsJson, Debug, Quiet, named, whole_number
from compress.cli.printing import print_json, say
from compress.errors import InputError, shown
from compress.facts import folder_and_task, read_facts

EXAMPLE = "bert-compress serve runs/demo/export/onnxruntime-cpu-int8 --port 8080"
KEY = "BERT_COMPRESS_API_KEY"
NEEDED = ("fastapi", "uvicorn", "prometheus_client")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}")


def serve(
    folders: Annotated[
        list[str],
        typer.Argument(
            parser=named,
            metavar="FOLDERS",
            help="Exported folders, each alone or as NAME=FOLDER; FOLDER:TASK for one of several tasks.",
        ),
    ],
    host: Annotated[str, typer.Option(help="The address to listen on; 0.0.0.0 for all of this machine.")] = "127.0.0.1",
    port: Annotated[str, typer.Option(metavar="NUMBER", help="The port to listen on.")] = "8080",
    threads: Annotated[str, typer.Option(metavar="NUMBER", help="Of each model's runtime; 0 is one per core.")] = "0",
    max_wait_ms: Annotated[
        str, typer.Option(metavar="NUMBER", help="For which a text waits for others to stand beside.")
    ] = "2",
    max_batch_tokens: Annotated[str, typer.Option(metavar="NUMBER", help="Of a batch, padding counted.")] = "2048",
    max_queue: Annotated[
        str, typer.Option(metavar="NUMBER", help="Texts that wait for a model; more are refused: 429.")
    ] = "2048",
    max_client_batch: Annotated[
        str, typer.Option(metavar="NUMBER", help="Texts of one request; more are refused: 413.")
    ] = "1024",
    max_body_kb: Annotated[str, typer.Option(metavar="NUMBER", help="Of a request; larger ones are refused: 413.")] = "2048",
    auto_truncate: Annotated[
        bool, typer.Option("--auto-truncate", help="Cut texts that are too long where a request does not say.")
    ] = False,
    api_key: Annotated[
        str | None, typer.Option(metavar="TEXT", help=f"What clients have to send as a bearer token; or set {KEY}.")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Answer over HTTP with exported folders, in the forms of Text Embeddings Inference and OpenAI."""
    log.configure(quiet, debug)
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"serve needs {', '.join(missing)}; run pip install 'bert-compress[serve]'.")
    key = api_key if api_key is not None else os.environ.get(KEY)
    if key is not None and (not key.isascii() or not key.isprintable() or not key.strip()):
        raise InputError(f"the API key has to be a text of printable ASCII characters; correct --api-key or {KEY}.")
    from compress.serving.hosting import Host
    from compress.serving.limits import Limits
    from compress.serving.running import listening
    from compress.serving.running import serve as run

    limits = Limits(
        max_wait_seconds=whole_number("--max-wait-ms", max_wait_ms, 0, 10_000) / 1000,
        max_batch_tokens=whole_number("--max-batch-tokens", max_batch_tokens, 1, 1 << 20),
        max_queue=whole_number("--max-queue", max_queue, 1, 1 << 20),
        max_client_batch=whole_number("--max-client-batch", max_client_batch, 1, 1 << 16),
        max_body_bytes=whole_number("--max-body-kb", max_body_kb, 1, 1 << 17) * 1024,
        auto_truncate=auto_truncate,
    )
    number = whole_number("--port", port, 0, 65_535)
    models = Host(named_folders(folders), limits, whole_number("--threads", threads, 0, MOST_THREADS))
    with listening(host, number) as bound:
        url = f"http://{host}:{bound.getsockname()[1]}"
        if as_json:
            print_json({"url": url, "models": {name: model.folder.kind for name, model in models.models.items()}})
        else:
            say(url)
        run(models, bound, api_key=key)


def named_folders(folders: list[str]) -> dict[str, Path]:
    """Folders by the names that they are served under: NAME of NAME=FOLDER, or the folder's own.

    A file of several tasks is served as a model for each, FOLDER:TASK, but where one of them is named.

    Raises:
        InputError: Two have one name, or a name cannot stand in a path.
    """
    models: dict[str, Path] = {}
    for given in folders:
        name, is_named, rest = given.partition("=")
        path = Path(rest if is_named else given)
        folder, of_task = folder_and_task(path)
        name = name if is_named else folder.resolve().name + ("" if of_task is None else f":{of_task}")
        tasks = () if of_task is not None else read_facts(folder).tasks
        every = {f"{name}:{task['name']}": Path(f"{folder}:{task['name']}") for task in tasks} or {name: path}
        for called, place in every.items():
            if not NAME.fullmatch(called):
                raise InputError(
                    f"a model would be called {shown(called)}; allowed are letters, digits, '.', '_', ':' and '-', 100 at "
                    "most. Give another name: NAME=FOLDER, or NAME=FOLDER:TASK."
                )
            if called in models:
                raise InputError(
                    f"{models[called]} and {place} would both be called {shown(called)}; give them names: "
                    f"NAME={models[called]}."
                )
            models[called] = place
    return models
