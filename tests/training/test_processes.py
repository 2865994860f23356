"""Two processes give what one gives."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

ROOT = Path(__file__).parents[2]
SCRIPT = """
import sys
from accelerate.state import PartialState
from safetensors.torch import save_file
import compress.training.loop as loop
from compress.training.step_context import StepContext
from tests.tiny_models import tiny_bert, toy_task, without_dropout
from tests.training.settings import LABELS_LOSS, settings

loop.has_fast_bf16 = lambda device: False
task = toy_task(train=37)  # the last batch has five examples: three for one process, two for the other
weights = {}
for accumulate in (1, 2):
    how = settings(batch_size=8, accumulate=accumulate)
    run = StepContext(device="cpu")
    trained = loop.train(tiny_bert(**without_dropout()), task=task, settings=how, goal=LABELS_LOSS, run=run)
    weights |= {f"{accumulate}.{name}": tensor for name, tensor in trained.state_dict().items()}
    assert run.facts["examples"] == 74
    assert run.facts["optimizer_steps"] == {1: 10, 2: 6}[accumulate]
state = PartialState()
state.wait_for_everyone()
save_file(weights, f"{sys.argv[1]}/{state.num_processes}-{state.process_index}.safetensors")
state.destroy_process_group()
"""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.mark.matrix
@pytest.mark.slow
def test_two_processes_give_the_weights_of_one_at_the_same_global_batch(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    # on CPUs, `accelerate launch` leaves starting several processes to MPI or to torch's own launcher, which is always there
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", str(free_port())]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    for command in ([sys.executable], launch):
        done = subprocess.run(
            [*command, str(script), str(tmp_path)], env=environment, capture_output=True, text=True, timeout=240, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
    alone, first, second = (load_file(tmp_path / f"{name}.safetensors") for name in ("1-0", "2-0", "2-1"))
    for name, tensor in alone.items():
        assert first[name].equal(second[name]), name
        if not name.endswith("key.bias"):  # nothing depends on it: it follows the noise of its gradient
            assert (first[name] - tensor).abs().max() < 2e-5, name
