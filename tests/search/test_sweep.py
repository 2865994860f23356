"""A sweep runs each trial once, whoever dies on the way, and tells what came of them."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from compress.errors import CompressError, InputError
from compress.recipe import read_recipe
from compress.search import claims, studies, working
from compress.search import sweep as sweeps
from compress.search.sweep import sweep
from compress.search.trial import COMPLETE, FAILED, Trial, write_outcome
from tests.pipeline.conftest import write_data
from tests.search.sweep_files import sweep_file

ROOT = Path(__file__).parents[2]


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Score trials here, without a process: (1 - |epochs - 3| / 10) in `epochs` ms; 5 epochs fail. The list is of what ran."""
    runs: list[dict[str, Any]] = []

    def run_trial(
        recipe: str, overrides: Mapping[str, Any], *, out: Path, judged_on: str = "selection", **limits: Any
    ) -> Trial:
        epochs = overrides["steps.distill.epochs"]
        runs.append({"overrides": dict(overrides), "out": out, "judged_on": judged_on, **limits})
        scores = {"quality": 1 - abs(epochs - 3) / 10, "p50_ms": float(epochs), "metric": "accuracy", "size_bytes": 7}
        trial = Trial(dict(overrides), COMPLETE, out, judged_on, seconds=36.0, **scores)  # type: ignore[arg-type]
        if epochs == 5:
            trial = Trial(dict(overrides), FAILED, out, seconds=36.0, error="no such layer", exit_code=1)
        out.mkdir(parents=True, exist_ok=True)
        write_outcome(trial, {"recipe": recipe})
        return trial

    monkeypatch.setattr(working, "run_trial", run_trial)
    monkeypatch.setattr(sweeps, "run_trial", run_trial)
    return runs


def run(folder: Path, *overrides: str, **options: Any) -> dict[str, Any]:
    """Run the small sweep of `sweep_files` in a folder."""
    return sweep(
        sweep_file(folder), out=folder / "out", cache=folder / "cache", overrides=overrides, **{"figures": False} | options
    )


def test_a_grid_runs_each_point_once_and_its_front_is_the_one_worked_out_by_hand(
    ran: list[dict[str, Any]], tmp_path: Path
) -> None:
    record = run(tmp_path, "sweep.sampler=grid")
    chosen = [(entry["overrides"]["steps.distill.epochs"], entry["overrides"]["steps.drop_layers.keep"]) for entry in ran]
    assert sorted(chosen) == [(epochs, [layer]) for epochs in (1, 2, 3, 4, 5) for layer in (0, 1)]
    epochs = {trial["number"]: trial["overrides"]["steps.distill.epochs"] for trial in record["trials"]}
    assert {epochs[number] for number in record["front"]} == {1, 2, 3}  # 4 is as good as 2, and slower
    assert len(record["front"]) == 6
    failed = [trial for trial in record["trials"] if trial["values"] is None]
    assert [trial["error"] for trial in failed] == ["no such layer"] * 2
    assert record["spent"] == {"hours": 0.1}
    assert json.loads((tmp_path / "out" / "sweep.json").read_text()) == record


def test_the_recipe_of_each_on_the_front_reads_back_with_what_was_chosen(ran: list[dict[str, Any]], tmp_path: Path) -> None:
    record = run(tmp_path, "sweep.trials=4")
    plans = [read_recipe(path) for path in sorted((tmp_path / "out" / "front").glob("*.yaml"))]
    assert [plan.name for plan in plans] == [f"small-{number:04d}" for number in record["front"]]
    trials = {trial["number"]: trial["overrides"] for trial in record["trials"]}
    for plan, number in zip(plans, record["front"], strict=True):
        assert plan.steps[2].arguments["epochs"] == trials[number]["steps.distill.epochs"]
        assert plan.steps[1].arguments["keep"] == trials[number]["steps.drop_layers.keep"]


def test_a_finished_sweep_runs_nothing_again_and_more_trials_may_be_asked_for(
    ran: list[dict[str, Any]], tmp_path: Path
) -> None:
    first = run(tmp_path, "sweep.trials=3")
    assert run(tmp_path, "sweep.trials=3") == first
    assert len(ran) == 3
    more = run(tmp_path, "sweep.trials=5")
    assert more["trials"][:3] == first["trials"]
    assert len(ran) == 5


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random", "grid"])
def test_what_is_chosen_depends_on_the_seed_and_not_on_stops(ran: list[dict[str, Any]], tmp_path: Path, sampler: str) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    at_once = run(tmp_path / "a", f"sweep.sampler={sampler}", "sweep.trials=4")
    run(tmp_path / "b", f"sweep.sampler={sampler}", "sweep.trials=2")
    stopped = run(tmp_path / "b", f"sweep.sampler={sampler}", "sweep.trials=4")
    assert [trial["overrides"] for trial in at_once["trials"]] == [trial["overrides"] for trial in stopped["trials"]]


def test_a_trial_that_an_error_stopped_runs_again_with_the_same_choices(
    ran: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []

    def interrupted(recipe: str, overrides: Mapping[str, Any], **options: Any) -> Trial:
        given.append(dict(overrides))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(working, "run_trial", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, "sweep.trials=2")
    assert not (tmp_path / "out" / "sweep.json").exists()
    record = run(tmp_path, "sweep.trials=2")
    assert [trial["number"] for trial in record["trials"]] == [0, 1]
    assert ran[0]["overrides"] == given[0]


def test_a_trial_of_a_living_process_elsewhere_is_left_alone_until_it_gives_no_sign(
    ran: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = tmp_path / "owner.json"
    owner.write_text(json.dumps({"host": "another", "pid": 1, "started": 0.0}))
    assert claims._is_owned(tmp_path)
    monkeypatch.setattr(claims.time, "time", lambda: owner.stat().st_mtime + claims.STALE_SECONDS + 1)
    assert not claims._is_owned(tmp_path)
    owner.write_text(json.dumps(claims._myself()))
    assert claims._is_owned(tmp_path)
    owner.write_text(json.dumps(claims._myself() | {"started": 0.0}))  # the number is another process's now
    assert not claims._is_owned(tmp_path)


def test_those_on_the_front_are_judged_once_on_the_evaluation_part(ran: list[dict[str, Any]], tmp_path: Path) -> None:
    record = run(tmp_path, "sweep.trials=3", evaluate=True)
    judged = [entry for entry in ran if entry["judged_on"] == "evaluation"]
    assert [entry["number"] for entry in record["evaluation"]] == record["front"]
    assert len(judged) == len(record["front"])
    assert all(entry["judged_on"] == "evaluation" for entry in record["evaluation"])
    assert run(tmp_path, "sweep.trials=3") == record  # which is kept where it is not asked for again


def test_figures_show_the_front_what_decides_and_each_key(ran: list[dict[str, Any]], tmp_path: Path) -> None:
    record = run(tmp_path, "sweep.sampler=grid", figures=True)
    figures = {path.name: path.read_text() for path in (tmp_path / "out" / "figures").iterdir()}
    assert sorted(figures) == [
        "front-p50_ms.svg",
        "importance-p50_ms.svg",
        "importance-quality.svg",
        "slice-0-steps-distill-epochs.svg",
        "slice-1-steps-drop_layers-keep.svg",
    ]
    assert 'id="pareto"' in figures["front-p50_ms.svg"]
    assert figures["front-p50_ms.svg"].count('id="trial-') == 8  # 2 of 10 failed
    assert record["importance"]["p50_ms"]["steps.distill.epochs"] > 0.9  # it alone sets the time


def test_a_budget_ends_a_sweep_and_is_spent_over_all_starts(ran: list[dict[str, Any]], tmp_path: Path) -> None:
    record = run(tmp_path, "sweep.budget={cost: {amount: 1, price_per_hour: 40, currency: EUR}}")  # 90 s, of 36 s a trial
    assert record["ended"] == "cost"
    assert len(record["trials"]) == 3
    assert record["spent"] == {"hours": 0.03, "cost": 1.2, "currency": "EUR"}
    assert [entry["time_limit"] for entry in ran] == [90, 54, 18]
    run(tmp_path, "sweep.budget={hours: 0.03}")
    assert len(ran) == 3
    run(tmp_path, "sweep.budget={memory_gb: 2}", "sweep.trials=4")
    assert ran[-1]["memory_bytes"] == 2_000_000_000


def test_a_budget_that_is_too_small_for_one_trial_is_wrong_input_that_tells_what_was_spent(
    ran: list[dict[str, Any]], tmp_path: Path
) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "teacher").write_bytes(bytes(2000))
    with pytest.raises(InputError, match=r"disk_gb is 1e-06, but .* hold 2e-06 GB already"):
        run(tmp_path, "sweep.budget={disk_gb: 1e-6}")
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match=r"too small for one trial: .*0.0001.*Allow more"):
        run(tmp_path, "sweep.budget={hours: 0.0001}")
    assert ran == []


def test_a_sweep_without_one_completed_trial_has_failed(ran: list[dict[str, Any]], tmp_path: Path) -> None:
    with pytest.raises(
        CompressError, match="none of 1 trials was completed; the first failed: speedup was not measured"
    ) as failed:
        run(tmp_path, "sweep.objectives=[speedup]", "sweep.trials=1")
    assert failed.value.exit_code == 1


def test_a_folder_of_another_sweep_is_refused_and_stays_as_it_is(ran: list[dict[str, Any]], tmp_path: Path) -> None:
    run(tmp_path, "sweep.trials=1")
    before = (tmp_path / "out" / "sweep.yaml").read_text()
    with pytest.raises(InputError, match="holds another sweep called 'small'"):
        run(tmp_path, "sweep.trials=1", "seed=4")
    assert (tmp_path / "out" / "sweep.yaml").read_text() == before


def test_a_database_keeps_a_sweep(ran: list[dict[str, Any]], tmp_path: Path) -> None:
    address = f"sweep.storage=sqlite:///{tmp_path / 'study.db'}"
    record = run(tmp_path, address, "sweep.trials=2")
    assert run(tmp_path, address, "sweep.trials=2") == record
    assert len(ran) == 2


@pytest.mark.parametrize(
    ("storage", "said"),
    [
        ("sqlite:////no/such/folder/a.db", "is the database '.*', which cannot be used"),
        ("nosuchkind://user:secret@host/a", "is the database 'host/a', which cannot be used"),
        ("/no/such/folder/a.journal", "cannot be written"),
    ],
)
def test_a_storage_that_cannot_be_used_is_wrong_input_and_leaves_nothing(tmp_path: Path, storage: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as refused:
        run(tmp_path, f"sweep.storage={storage}")
    assert "secret" not in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_without_optuna_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(InputError, match=r"bert-compress\[search\]"):
        run(tmp_path)


def test_a_line_that_somebody_died_in_is_cut_off_the_journal(tmp_path: Path) -> None:
    journal = tmp_path / "study.journal"
    lock = studies._JournalLock(journal)
    for before, after in ((b"", b""), (b"{}\n", b"{}\n"), (b'{}\n{"op', b"{}\n"), (b'{"op', b"")):
        journal.write_bytes(before)
        lock.acquire()
        assert journal.read_bytes() == after
        lock.release()


def start(file: Path, out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.search.stub_worker", "sweep", str(file), str(out)]
    with file.with_suffix(".log").open("ab") as log:
        return subprocess.Popen(command, cwd=ROOT, stderr=log)


@pytest.mark.slow
@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.matrix)])
def test_kill_after_kill_no_trial_is_lost_or_run_twice(tmp_path: Path, kills: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes work on one sweep; one of them, by lot, is killed and started anew, again and again."""
    monkeypatch.setenv("STUB_SECONDS", "0.2")
    trials, lots = 2 + kills, random.Random(kills)
    file, out = sweep_file(tmp_path, trials=trials), tmp_path / "out"
    processes = [start(file, out) for _ in range(2)]
    done = 0
    for kill in range(kills):
        while len(list(out.glob("trials/*/starts"))) <= min(kill, trials - 2):
            assert all(process.poll() in (None, 0) for process in processes), file.with_suffix(".log").read_text()
            time.sleep(0.02)
        time.sleep(lots.random())
        which = lots.randrange(2)
        processes[which].send_signal(signal.SIGKILL)
        done += processes[which].wait() == -signal.SIGKILL
        processes[which] = start(file, out)
    for process in processes:
        assert process.wait() == 0, file.with_suffix(".log").read_text()
    assert done > 0
    record = json.loads((out / "sweep.json").read_text())
    assert [trial["number"] for trial in record["trials"]] == list(range(trials))
    for trial in record["trials"]:
        folder = out / trial["folder"]
        chosen = {line.split(" ", 1)[1] for line in (folder / "starts").read_text().splitlines()}
        assert chosen == {json.dumps(trial["overrides"], sort_keys=True)}
        assert len((folder / "ends").read_text().splitlines()) == 1


@pytest.mark.slow
def test_local_workers_share_the_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeps, "WORKER", "tests.search.stub_worker")
    monkeypatch.setattr("compress.search.trial.CHILD", "tests.search.stub_runs")
    record = run(tmp_path, "sweep.trials=4", workers=2)
    starts = [line for path in (tmp_path / "out").glob("trials/*/starts") for line in path.read_text().splitlines()]
    assert len(starts) == len(record["trials"]) == 4
    assert not list((tmp_path / "out" / "workers").glob("request*"))


@pytest.mark.slow
@pytest.mark.matrix
def test_the_sweep_of_the_repository_runs_in_its_tiny_form(tmp_path: Path) -> None:
    rows = write_data(tmp_path, rows=400)
    wanted = ["sweep.trials=2", f"task.data={{train: {rows}}}"]
    record = sweep(
        ROOT / "sweeps" / "sst2_three_layers.yaml",
        out=tmp_path / "out",
        cache=tmp_path / "cache",
        overrides=wanted,
        tiny=True,
        device="cpu",
        evaluate=True,
    )
    assert [trial["error"] for trial in record["trials"]] == ["", ""]
    assert {trial["target"] for trial in record["trials"]} == {"onnxruntime-cpu-int8"}
    runs = [json.loads((tmp_path / "out" / trial["folder"] / "run" / "run.json").read_text()) for trial in record["trials"]]
    assert [run["steps"][0]["status"] for run in runs] == ["computed", "reused"]  # one teacher for all
    assert [entry["status"] for entry in record["evaluation"]] == [COMPLETE] * len(record["front"])
    assert read_recipe(next((tmp_path / "out" / "front").glob("*.yaml"))).exports
