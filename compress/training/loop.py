"""The one loop that trains."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from torch import nn
from transformers import PreTrainedModel

from compress.errors import CompressError
from compress.log import libraries_silenced
from compress.measures import is_better
from compress.models.attention.kernel import attention_kernel
from compress.models.checkpoint.fingerprint import fingerprint
from compress.models.dropout import dropout_at, sixteen_bits
from compress.models.first_token import first_token_only
from compress.models.heads import logits_of
from compress.models.layout import encoder_layers
from compress.models.masked_places import at_places
from compress.models.states import recorded, whole_last_layer
from compress.models.surgery import copy_of
from compress.models.word_rows import rows_of, word_rows
from compress.objectives.outputs import Batch, Outputs
from compress.runtimes.writing import GIVEN_MASK
from compress.tasks.encoding import read_by
from compress.tasks.unknown import check_known, check_writes
from compress.training.average import Weights, sample_number, standing_in, taken_in
from compress.training.batches import epoch_batches, seed_of_step, share_of
from compress.training.checkpoint import Position, load_checkpoint, save_checkpoint
from compress.training.compatibility import check_fit
from compress.training.device import freed_memory_kept, has_fast_bf16, pick_device
from compress.training.layer_rates import check_layer_decay, rate_shares
from compress.training.masking import Masking, masking_of, unmasked
from compress.training.optimizer import optimizer_of
from compress.training.predict import on_device, predict
from compress.training.schedule import rate_factor
from compress.training.settings import Settings
from compress.training.step_context import StepContext
from compress.training.training_loss import TrainingLoss
from compress.training.ways import ALL, Way, features_kept, layers_lent

if TYPE_CHECKING:
    from compress.tasks.encoding import Encoded
    from compress.tasks.labelled import Task

logger = logging.getLogger(__name__)

CURVE_POINTS = 200
BeforeStep = Callable[[PreTrainedModel, int, int], None]


@dataclass
class _Training:
    """Everything that one training run holds on to."""

    accelerator: Accelerator
    model: Any
    learned: nn.ModuleDict
    optimizer: torch.optim.Optimizer
    goal: TrainingLoss
    settings: Settings
    run: StepContext
    task: Task
    encoded: Encoded
    selection: Encoded
    token_ids: torch.Tensor
    masking: Masking | None
    total_steps: int
    position: Position
    best: Weights | None
    mean: Weights | None
    what: str
    before_step: BeforeStep | None
    saved_at: float = 0.0

    @property
    def student(self) -> PreTrainedModel:
        student: PreTrainedModel = self.accelerator.unwrap_model(self.model)
        return student


def train(
    model: PreTrainedModel,
    *,
    task: Task,
    settings: Settings,
    goal: TrainingLoss,
    run: StepContext,
    before_step: BeforeStep | None = None,
    way: Way = ALL,
) -> PreTrainedModel:
    """Train a copy of the model on the task's training part; keep the epoch that does best on its selection part.

    Args:
        model: Stays as it is.
        task: Its training part is learned, its selection part picks the epoch. Its evaluation split is not touched.
        settings: How long, how fast.
        goal: What to make small.
        run: Seed, device, checkpoints, progress; its `facts` are filled in.
        before_step: Called with the copy, the number of the optimizer step (from 0) and that of all steps. The keywords of a
            `partial` tell one run's checkpoint from another's.
        way: What of the model learns.

    Returns:
        The trained copy, in evaluation mode, on the CPU.

    Raises:
        InputError: Model and task do not fit, or more than a third of the text is unknown to the tokenizer.
        CompressError: The loss is not finite.
    """
    check_fit(model, task, exits_learn=way.exits)
    check_layer_decay(model, settings.layer_decay)
    check_known(task.train, model.tokenizer, model.label, allow_unknown=task.allow_unknown)
    check_writes(task, task.train, model.tokenizer, model.label)
    task = task.read_by(model)
    if run.is_rehearsal:
        return way.rehearsed(copy_of(model), run.seed).eval()
    with freed_memory_kept(), torch.random.fork_rng(devices=[]), ExitStack() as stack:
        training = _prepare(model, task, settings, goal, run, before_step, way, stack)
        if training.accelerator.device.type == "cpu":
            stack.enter_context(sixteen_bits())
            stack.enter_context(attention_kernel(training.student, "eager"))
        stack.enter_context(dropout_at(training.student, settings.dropout))
        if not whole_last_layer(goal.states, len(encoder_layers(training.student))):
            stack.enter_context(first_token_only(training.student))
        while not training.position.done:
            _run_epoch(training)
            _finish_epoch(training)
        student = way.end(_take_best(training), run)
    return student


def _prepare(
    model: PreTrainedModel,
    task: Task,
    settings: Settings,
    goal: TrainingLoss,
    run: StepContext,
    before_step: BeforeStep | None,
    way: Way,
    stack: ExitStack,
) -> _Training:
    device = pick_device(run.device)
    with libraries_silenced():
        accelerator = Accelerator(
            cpu=device == "cpu",
            mixed_precision="bf16" if has_fast_bf16(device) else "no",
            log_with=list(run.log_with) or None,
            project_dir=str(run.logs or run.folder) if run.logs or run.folder else None,
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
        )
        if run.log_with:
            accelerator.init_trackers("bert-compress", config=asdict(settings))
    what = f"{settings} {goal.spelled()} seed {run.seed} task {task.fingerprint} model {fingerprint(model)}"
    what += f" {getattr(before_step, 'keywords', {})} teacher {goal.teacher and goal.teacher.identity}"
    what += f" hides {goal.mlm_probability} {way}"
    encoded = task.encode(task.train.require("train"), model.tokenizer)
    selection = task.encode(task.selection.require("selection"), model.tokenizer)
    fraction = goal.mlm_probability or encoded.hides
    read = np.union1d(read_by(encoded, selection), [model.tokenizer.mask_token_id] if fraction else [])
    encoded, selection = stack.enter_context(features_kept(model, way, goal, (encoded, selection), run))
    student, ids = copy_of(model), rows_of(model, read.astype(np.int64))
    encoded, selection = encoded.over(ids), selection.over(ids)
    token_ids = torch.from_numpy(ids).to(accelerator.device)
    stack.enter_context(word_rows(student, torch.from_numpy(ids)))
    student.train()
    way.begin(student, run.seed)
    stack.enter_context(layers_lent(student, encoded.features))
    batches = epoch_batches(encoded.lengths, settings.batch_size, run.seed, 0, encoded.groups)
    total = max(1, math.ceil(settings.epochs * math.ceil(len(batches) / settings.accumulate)))
    total = min(total, run.max_steps or total)
    if goal.teacher is not None:
        goal.teacher.moved(accelerator.device)
    learned = nn.ModuleDict({"student": student, "learned": goal.learned.to(accelerator.device)})
    prepared = accelerator.prepare(student)
    optimizer = optimizer_of(learned, settings, goal.rates, rate_shares(student, settings.layer_decay))
    what += f" {total} steps"
    position, best, mean = Position(), None, None
    if run.folder and (resumed := load_checkpoint(run.folder, learned, optimizer, what)):
        position, best, mean = resumed
        mean = mean and {name: tensor.to(accelerator.device) for name, tensor in mean.items()}
        logger.info("going on from step %d of %d", position.step, total)
    accelerator.wait_for_everyone()  # all of them read the checkpoint before one writes the next
    return _Training(
        accelerator,
        prepared,
        learned,
        optimizer,
        goal,
        settings,
        run,
        task,
        encoded,
        selection,
        token_ids,
        masking_of(fraction, model.tokenizer, token_ids) if fraction else None,
        total,
        position,
        best,
        mean,
        what,
        before_step,
        time.monotonic(),
    )


def _run_epoch(training: _Training) -> None:
    position, settings, encoded = training.position, training.settings, training.encoded
    batches = epoch_batches(encoded.lengths, settings.batch_size, training.run.seed, position.epoch, encoded.groups)
    while position.batch < len(batches) and position.step < training.total_steps:
        started = time.perf_counter()
        group = batches[position.batch : position.batch + settings.accumulate]
        if training.before_step is not None:
            training.before_step(training.student, position.step, training.total_steps)
        loss = _step(training, group)
        position.batch += len(group)
        position.step += 1
        position.examples += sum(len(indices) for indices in group)
        position.seconds += time.perf_counter() - started
        if number := sample_number(settings.average, position.step, training.total_steps):
            training.mean = taken_in(training.mean, training.student, number)
        _note(training, loss)
        run, accelerator = training.run, training.accelerator
        if run.folder and time.monotonic() - training.saved_at >= run.checkpoint_seconds and accelerator.is_main_process:
            _save(training)


def _step(training: _Training, group: list[np.ndarray]) -> float:
    """One optimizer step over a group of batches; the loss is the mean over all their examples and processes."""
    accelerator, settings, position = training.accelerator, training.settings, training.position
    rank, processes = accelerator.process_index, accelerator.num_processes
    torch.manual_seed(seed_of_step(training.run.seed, position.step, rank))
    factor = rate_factor(settings.schedule, position.step, training.total_steps, settings.warmup)
    for parameters in training.optimizer.param_groups:
        parameters["lr"] = parameters["highest"] * factor
    total, sum_of_losses, groups = sum(len(indices) for indices in group), 0.0, training.encoded.groups
    for number, indices in enumerate(group):
        mine = share_of(indices, rank, processes, groups)
        weight = len(mine) / total
        last = number == len(group) - 1
        with nullcontext() if last else accelerator.no_sync(training.model):
            loss = _loss(training, mine if len(mine) else share_of(indices, 0, processes, groups))
            if not torch.isfinite(loss):
                raise CompressError(
                    f"the loss is {loss.item()} in step {position.step + 1} of {training.total_steps}, epoch "
                    f"{position.epoch + 1}, batch {position.batch + number + 1}, at learning rate "
                    f"{settings.learning_rate * factor:.3g}; lower learning_rate, or raise warmup."
                )
            accelerator.backward(loss * weight * processes)
            sum_of_losses += loss.item() * weight
    _average_learned(training)
    nn.utils.clip_grad_norm_(training.learned.parameters(), settings.clip_norm)
    training.optimizer.step()
    training.optimizer.zero_grad(set_to_none=True)
    return sum_of_losses * processes


def _average_learned(training: _Training) -> None:
    """What the student's wrapper does for its own gradients: their mean over the processes."""
    if training.accelerator.num_processes > 1:
        for parameter in training.goal.learned.parameters():
            if parameter.grad is not None:
                parameter.grad = training.accelerator.reduce(parameter.grad, "mean")


def _loss(training: _Training, indices: np.ndarray) -> torch.Tensor:
    goal, device = training.goal, training.accelerator.device
    inputs = on_device(training.encoded.batch(indices), device)
    stage = 1 + training.position.step * goal.stages // training.total_steps if goal.stages else None
    words = hidden = teacher = places = masked = None
    targets = training.encoded.rules.collate(training.encoded, indices, inputs["input_ids"].shape[1]).to(device)
    if training.masking is not None:
        if training.encoded.hides:
            inputs["input_ids"] = unmasked(inputs["input_ids"], targets)
        words = training.token_ids[inputs["input_ids"]]
        inputs["input_ids"], hidden = training.masking.applied(inputs["input_ids"])
        if training.encoded.hides:
            places, targets = hidden, words[hidden][None]
            masked = torch.ones_like(targets)
    marks = training.encoded.answering(indices, inputs["input_ids"].shape[1]) if goal.compares_answering else None
    answering = None if marks is None else torch.from_numpy(marks).to(device)
    groups = None if training.encoded.groups is None else torch.from_numpy(training.encoded.groups[indices]).to(device)
    rules, given = training.encoded.rules, inputs.get(GIVEN_MASK)
    batch = Batch(targets, inputs["attention_mask"], stage, words, hidden, answering, rules, groups, given, masked)
    with training.accelerator.autocast():
        with recorded(training.student, goal.states) as states, at_places(training.student, places):
            student = Outputs(logits_of(training.model(**inputs)), states)
        if goal.teacher is not None:
            whole = {**inputs, "input_ids": training.token_ids[inputs["input_ids"]]}  # the teacher's word table is not cut
            teacher = goal.teacher.outputs(indices, whole, places)
    terms = [weight * term(student, teacher, batch) for weight, term in goal.terms.values()]
    return torch.stack(terms).sum()


def _note(training: _Training, loss: float) -> None:
    position, total = training.position, training.total_steps
    position.loss_sum += loss
    position.loss_count += 1
    rate = position.examples / max(position.seconds, 1e-9)
    training.run.progress("train", position.step, total, loss=loss, examples_per_second=rate)
    if position.step % max(1, total // CURVE_POINTS) == 0:
        position.curve.append([position.step, round(loss, 5)])
    if training.run.log_with:
        training.accelerator.log({"loss": loss, "examples_per_second": rate}, step=position.step)


def _finish_epoch(training: _Training) -> None:
    position = training.position
    with standing_in(training.mean, training.student):
        _judge(training)
    position.epoch, position.batch, position.loss_sum, position.loss_count = position.epoch + 1, 0, 0.0, 0
    patience = training.settings.patience
    tired = patience is not None and position.best_epoch >= 0 and position.epoch - 1 - position.best_epoch >= patience
    position.done = tired or position.step >= training.total_steps
    if training.run.folder and training.accelerator.is_main_process:
        _save(training)


def _judge(training: _Training) -> None:
    """Score the epoch that has ended on the selection part, and keep its weights if it is the best so far."""
    position = training.position
    loss = position.loss_sum / max(1, position.loss_count)
    scores = _selection_scores(training) if training.goal.teaches_logits else {}
    position.history.append({f"selection_{name}": score for name, score in scores.items()} | {"loss": loss})
    metric = f"selection_{training.task.metric}"
    best = position.history[position.best_epoch].get(metric) if position.best_epoch >= 0 else None
    counts = position.step - 1 >= training.goal.picks_from * (training.total_steps - 1)
    if counts and (best is None or is_better(metric, position.history[-1][metric], best)):
        position.best_epoch = position.epoch
        training.best = {name: tensor.detach().cpu().clone() for name, tensor in training.student.state_dict().items()}
    said = f"{metric} {scores[training.task.metric]:.4f}, " if scores else ""
    logger.info(
        "epoch %d: %sloss %.4f, %.0f examples/s",
        position.epoch + 1,
        said,
        loss,
        position.examples / max(position.seconds, 1e-9),
    )


def _selection_scores(training: _Training) -> dict[str, float]:
    accelerator = training.accelerator
    share = (accelerator.process_index, accelerator.num_processes)
    logits = predict(
        training.student,
        training.selection,
        accelerator.device,
        progress=training.run.progress,
        what="select",
        share=share,
        bf16=accelerator.mixed_precision == "bf16",
        beams=1,
    )
    if accelerator.num_processes > 1:
        summed = accelerator.reduce(torch.from_numpy(logits).to(accelerator.device), "sum")
        logits = summed.cpu().numpy()
    scores: dict[str, float] = training.task.score(logits, training.selection.labels)
    return scores


def _save(training: _Training) -> None:
    assert training.run.folder is not None
    kept = (training.best, training.mean, training.what)
    save_checkpoint(training.run.folder, training.position, training.learned, training.optimizer, *kept)
    training.saved_at = time.monotonic()


def _take_best(training: _Training) -> PreTrainedModel:
    position = training.position
    student = training.accelerator.unwrap_model(training.model, keep_fp32_wrapper=False)
    assert training.best is not None
    student.load_state_dict(training.best)
    best = position.history[position.best_epoch]
    metric = f"selection_{training.task.metric}"
    training.run.facts.update(
        metrics={metric: best[metric]} if metric in best else {},
        examples_per_second=position.examples / max(position.seconds, 1e-9),
        examples=position.examples,
        optimizer_steps=position.step,
        best_epoch=position.best_epoch + 1,
        epochs=position.history,
        curve=position.curve,
        precision="bf16" if training.accelerator.mixed_precision == "bf16" else "float32",
    )
    if training.run.log_with:
        training.accelerator.end_training()
    if training.goal.teacher is not None:
        training.goal.teacher.moved("cpu")
    return student.requires_grad_(True).cpu().eval()
