"""Where a sweep's trials are kept: an optuna study in a journal or a database, which any number of processes share."""

from __future__ import annotations

import itertools
import math
import os
import random
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.disk import lock_of
from compress.errors import InputError, first_line, shown
from compress.search.reading import GRID, Sweep

if TYPE_CHECKING:
    from optuna import Study
    from optuna.samplers import BaseSampler
    from optuna.storages import BaseStorage

JOURNAL = "study.journal"
DIGEST = "digest"
MOST_POPULATION, LEAST_POPULATION, GENERATIONS = 50, 4, 5


class _JournalLock:
    """Keeps writers of a journal apart by a lock that the system frees with its holder, however that ends."""

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._lock = lock_of(journal.with_name(f"{journal.name}.lock"))

    def acquire(self) -> bool:
        """Wait for the lock; then cut off a line that somebody died in."""
        self._lock.acquire()
        with self._journal.open("rb+") as file:
            if file.seek(0, os.SEEK_END) and file.seek(-1, os.SEEK_END) is not None and file.read() != b"\n":
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
        return True

    def release(self) -> None:
        """Let the next one write."""
        self._lock.release()


def check_optuna() -> None:
    """Raise InputError where optuna is not installed."""
    try:
        import optuna
    except ImportError as err:
        raise InputError(f"a sweep needs optuna ({err}); install it: pip install 'bert-compress[search]'.") from err
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def is_address(storage: str) -> bool:
    """Whether a storage is a database's address, not a file."""
    return "://" in storage


def place_of(sweep: Sweep, out: Path) -> str:
    """Where the study is kept, for people: a file, or an address without its password."""
    if sweep.storage is None or not is_address(sweep.storage):
        return str(Path(sweep.storage).expanduser().absolute() if sweep.storage else out / JOURNAL)
    from sqlalchemy.engine import make_url

    return make_url(sweep.storage).render_as_string(hide_password=True)


def open_study(sweep: Sweep, out: Path) -> Study:
    """Open the sweep's study, or make it.

    Raises:
        InputError: The storage cannot be used, or holds another sweep of this name.
    """
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # optuna's journal is called experimental
        study = optuna.create_study(
            storage=_storage(sweep, out),
            study_name=sweep.plan.name,
            directions=list(sweep.objectives.values()),
            load_if_exists=True,
        )
    kept = study.user_attrs.get(DIGEST)
    if kept is None:
        study.set_user_attr(DIGEST, sweep.digest())
    elif kept != sweep.digest():
        raise InputError(
            f"{place_of(sweep, out)} holds another sweep called {shown(sweep.plan.name)}: its recipe, space, objectives, "
            "sampler or seed differ; name another folder or storage, or give the sweep another name."
        )
    return study


def _storage(sweep: Sweep, out: Path) -> BaseStorage:
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend

    if sweep.storage is not None and is_address(sweep.storage):
        from sqlalchemy.exc import SQLAlchemyError

        try:
            return RDBStorage(sweep.storage)
        except (SQLAlchemyError, ImportError, ValueError, OSError) as err:
            where = shown(sweep.storage.rpartition("@")[2])
            raise InputError(
                f"sweep.storage is the database {where}, which cannot be used ({first_line(err)}); start it, mend the "
                "address, or name a file."
            ) from err
    journal = Path(place_of(sweep, out))
    try:
        journal.touch()
    except OSError as err:
        raise InputError(
            f"sweep.storage is {shown(str(journal))}, which cannot be written ({err.strerror}); name a file in a folder "
            "that is there."
        ) from err
    return JournalStorage(JournalFileBackend(str(journal), lock_obj=_JournalLock(journal)))


def sampler_of(sweep: Sweep, number: int) -> BaseSampler:
    """The sampler for one trial; its draws depend on the seed, the trial's number and the trials before, on no process."""
    from optuna import samplers

    seed = random.Random(f"{sweep.seed}-{number}").getrandbits(32)
    if sweep.sampler == "tpe":
        return samplers.TPESampler(seed=seed)
    if sweep.sampler == "nsga2":
        population = min(MOST_POPULATION, max(LEAST_POPULATION, sweep.trials // GENERATIONS))
        return samplers.NSGAIISampler(seed=seed, population_size=population)
    return samplers.RandomSampler(seed=seed)


def most_trials(sweep: Sweep) -> int:
    """How many trials there will be: a grid has no more than its points."""
    if sweep.sampler != GRID:
        return sweep.trials
    return min(sweep.trials, math.prod(len(dimension.points() or ()) for dimension in sweep.space.values()))


def grid_point(sweep: Sweep, number: int) -> dict[str, Any]:
    """The point of a grid that a trial runs, as optuna keeps it; the seed shuffles them, so that a part is spread."""
    points = list(itertools.product(*(dimension.points() or () for dimension in sweep.space.values())))
    random.Random(sweep.seed).shuffle(points)
    return dict(zip(sweep.space, points[number], strict=True))
