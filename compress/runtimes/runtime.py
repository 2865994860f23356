"""What a runtime is: what runs a file, said once for all who ask. Imports no runtime, and no
numpy, since a recipe is checked fast."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.errors import InputError
from compress.runtimes.graph_files import PLAIN, file_in

if TYPE_CHECKING:
    import numpy as np

    Batch = Mapping[str, np.ndarray]

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
LOGITS = "logits"
SPAN_LOGITS = ("start_logits", "end_logits")
TASK = "task"
"""Of a file of several tasks: which of them is asked; 0 where it is not told."""
VECTORS, STATES = "sentence_embedding", "last_hidden_state"
"""Of a sentence embedder: its vectors, and the states that they were pooled from."""
OUTPUTS = ((LOGITS,), SPAN_LOGITS, (VECTORS,))
"""What a file's outputs are called; several are columns of what `Session.run` gives as logits."""
EXIT = "exit"
"""What a file tells beside its logits whose texts leave early: the number of the exit at which each has left, (batch,)."""
ANSWERED = "answered"
"""What a batch may tell besides its inputs: 1 where an answer is wanted, (batch, length); of masked words those alone are
given, (1, places, pieces)."""
Dimensions = tuple[int | None, ...]
Call = Callable[[], object]
Version = Callable[[str], str | None]


def outputs_among(names: Sequence[str], path: Path) -> tuple[str, ...]:
    """Which of a file's outputs are the answers.

    Raises:
        InputError: None is.
    """
    answers = next((outputs for outputs in OUTPUTS if set(outputs) <= set(names)), None)
    if answers is None:
        raise InputError(
            f"{path} gives {', '.join(names)}; an output called logits is needed (or {' and '.join(SPAN_LOGITS)}, or "
            f"{VECTORS}). Export it again."
        )
    return answers


def as_logits(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """The outputs of a file as one array of float32, in which several are columns."""
    import numpy as np

    return np.asarray(arrays[0] if len(arrays) == 1 else np.stack(arrays, axis=-1), dtype=np.float32)


PLACES = {"cpu": "the CPU", "cuda": "a GPU"}


@dataclass(frozen=True)
class Kernels:
    """What a runtime made of a file's operators.

    Args:
        integer_ops: Operators that multiply integers.
        fused_ops: Operators that do the work of several.
        stayed_float: Names of the products with constant weights that do not run on integers.
    """

    integer_ops: int = 0
    fused_ops: int = 0
    stayed_float: tuple[str, ...] = ()


@dataclass(frozen=True)
class Session:
    """What a runtime has open.

    Args:
        run: Turns named arrays into the outputs by name. Of a classifier (`Runtime.open`) it takes a batch, (batch, length)
            each, of which it picks the inputs that the file asks for, and gives `logits`, float32, and `exit` (EXIT) where
            texts leave early; of a graph of any ends (`Runtime.open_graph`) it takes exactly the inputs, and gives every
            output.
        inputs: Names and shapes, None for sizes that are free.
        outputs: Names of what `run` gives.
        kernels: Looks at what became of the file's operators.
        prepare: Turns a batch into the call that is timed, which returns when the work is done; where it is None, `run` is
            timed with all that it does.
        model: The torch model, if it is one.
        of_task: The same file, asked for the task of a number; None where it answers one task alone.
    """

    run: Callable[[Batch], Mapping[str, np.ndarray]]
    inputs: Mapping[str, Dimensions] = field(default_factory=dict)
    outputs: tuple[str, ...] = (LOGITS,)
    kernels: Callable[[], Kernels] = Kernels
    prepare: Callable[[Batch], Call] | None = None
    model: Any = None
    of_task: Callable[[int], Session] | None = None

    def call_of(self, batch: Batch) -> Call:
        """The call that is timed."""
        return self.prepare(batch) if self.prepare else lambda: self.run(batch)


@dataclass(frozen=True)
class Usage:
    """How the model card says that a file is run without this package, as lines of Python.

    Args:
        module: What is imported.
        opened: Opens `{folder}/model.onnx`.
        run: Makes the outputs of `columns`, a dictionary of lists; `{outputs}` stands for the list of their names, `{names}`
            for the variables that are called like them.
        writing: The whole example of a model that writes; `{folder}` and `{max_length}` stand for these. Empty where the
            runtime has no files of such models.
        loaded_by: What else loads the folder; `{head}` stands for how their classes for such a model are called.
    """

    module: str
    opened: str
    run: str
    loaded_by: str = ""
    writing: str = ""


@dataclass(frozen=True)
class Runtime:
    """What runs a file, and all that the toolkit has to know of it.

    Args:
        name: In RUNTIMES, in run.json's `kind`, and in a target's RUNTIME.
        title: What it calls itself.
        package: What is imported.
        install: The command that installs it.
        distributions: Whose versions stand in run.json, and decide what in the cache is still good; the first is the one that
            is needed.
        purpose: What it is for, for `doctor`.
        open: Opens a classifier: `open(path, *, threads=0, device="cpu", **options) -> Session`. `path` is the file, 0 threads
            is one per core, the options are those of `options`. It is called in a process of its own, which may crash.
        open_graph: The same for a file of any ends, `segment.onnx` for instance, on the CPU; None where there is none.
        devices: Kinds of devices that it runs on here: "cpu", "cuda".
        check_device: Raises InputError where one of these is not there, given "cpu", "cuda" or "cuda:N".
        options: Of a target's options those that `open` is told too, and their allowed values.
        file: What it opens in a folder, or, in the place of model.onnx, the files of a model that writes (`graph_files`); None
            for the folder itself, in this process, with the torch model in it.
        usage: For the model card.
        tag: What the hub calls files that it runs, on the card; empty for nothing.
        instead: What to do where it is not installed, but for installing it.
        diagnose: Says for `doctor` what is installed and what that means, given what looks up a distribution's version; None
            for the version of the first distribution and `purpose`.
    """

    name: str
    title: str
    package: str
    install: str
    distributions: tuple[str, ...]
    purpose: str
    open: Callable[..., Session]
    open_graph: Callable[..., Session] | None = None
    devices: tuple[str, ...] = ("cpu",)
    check_device: Callable[[str], None] | None = None
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    file: str | None = PLAIN
    usage: Usage | None = None
    tag: str = ""
    instead: str = ", or choose an onnxruntime target"
    diagnose: Callable[[Version], tuple[str, str]] | None = None

    def available(self) -> bool:
        """Whether it is installed."""
        return importlib.util.find_spec(self.package) is not None

    def need(self) -> None:
        """Raise InputError where it is not installed."""
        if not self.available():
            raise InputError(f"{self.title} is not installed, and this target runs on it; run {self.install}{self.instead}.")

    def need_device(self, device: str) -> None:
        """Raise InputError where it is not installed, or does not run on a device ("cpu", "cuda", "cuda:N")."""
        self.need()
        if not self.runs_on(device):
            raise InputError(
                f"device is {device!r}, but {self.name} files run on {self.places} here; measure them on {self.devices[0]}."
            )
        if self.check_device is not None:
            self.check_device(device)

    @property
    def places(self) -> str:
        """The devices that it runs on, in words."""
        return " and ".join(PLACES[device] for device in self.devices)

    def runs_on(self, device: str) -> bool:
        """Whether it runs on such a device, if that is there."""
        return device.partition(":")[0] in self.devices

    def place(self, folder: Path) -> Path:
        """What it opens in a folder."""
        return file_in(folder) if self.file == PLAIN else folder / self.file if self.file else folder

    def graph(self, path: Path, **how: Any) -> Session:
        """Open a file of any ends, see `open_graph`.

        Raises:
            InputError: It cannot, or the file cannot be loaded.
        """
        if self.open_graph is None:
            raise InputError(f"{path} is not read by {self.title} here; open it in another runtime, or leave memory out.")
        return self.open_graph(path, **how)

    def diagnosis(self, version: Version) -> tuple[str, str]:
        """What `doctor` says: what is installed, and what that means."""
        if self.diagnose is not None:
            return self.diagnose(version)
        installed = version(self.distributions[0])
        return (installed, self.purpose) if installed else ("missing", f"optional: {self.install} ({self.purpose})")
