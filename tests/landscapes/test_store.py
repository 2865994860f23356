"""Numbers that are kept one by one: none is computed twice, and what was torn is computed anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from compress.landscapes.store import ROOM, VALUES, Store
from compress.pipeline.cache import Cache

KEY = {"model": "a"}


def computed(
    store: Store, asked: list[int], count: int = 4, stop: int | None = None, key: dict[str, str] | None = None
) -> list[float]:
    """The squares, and a note of each that was computed; `stop` breaks off there."""

    def square(index: int) -> float:
        if index == stop:
            raise KeyboardInterrupt
        asked.append(index)
        return index**2 / 3

    return store.numbers("squares", key or KEY, count, square)


def test_without_a_cache_everything_is_computed_and_told() -> None:
    told_of: list[tuple[str, int, int]] = []
    store = Store(progress=lambda what, done, total, **_: told_of.append((what, done, total)))
    asked: list[int] = []
    assert computed(store, asked, 2) == computed(store, asked, 2) == [0.0, 1 / 3]
    assert asked == [0, 1, 0, 1]
    assert told_of[:2] == [("squares", 1, 2), ("squares", 2, 2)]


def test_a_second_call_computes_nothing_and_another_key_everything(tmp_path: Path) -> None:
    asked: list[int] = []
    first = computed(Store(Cache(tmp_path)), asked)
    assert computed(Store(Cache(tmp_path)), asked) == first == [index**2 / 3 for index in range(4)]
    assert asked == [0, 1, 2, 3]
    computed(Store(Cache(tmp_path)), asked, key={"model": "b"})
    assert asked == [0, 1, 2, 3] * 2
    computed(Store(Cache(tmp_path)), asked, 5)  # another number of them
    assert len(asked) == 13


def test_what_was_stopped_goes_on_and_gives_the_same(tmp_path: Path) -> None:
    asked: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        computed(Store(Cache(tmp_path)), asked, stop=2)
    assert computed(Store(Cache(tmp_path)), asked) == computed(Store(), [])
    assert asked == [0, 1, 2, 3]


@pytest.mark.parametrize("torn", ["0.33", "0.3\nnull\n", "0.0\nwords\n"])
def test_a_line_that_is_torn_and_all_behind_it_are_computed_anew(torn: str, tmp_path: Path) -> None:
    asked: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        computed(Store(Cache(tmp_path)), asked, stop=1)
    (partial,) = (tmp_path / ROOM).glob("*.partial")
    (partial / VALUES).write_text(f"0.0\n{torn}")
    before = len(asked)
    values = computed(Store(Cache(tmp_path)), asked)
    kept = [0.0, *(float(line) for line in torn.splitlines()[:-1])][: 4 - len(asked[before:])]
    assert values == [*kept, *(index**2 / 3 for index in asked[before:])]
    assert asked[before:] == list(range(len(kept), 4))


def test_a_result_that_was_damaged_is_computed_anew(tmp_path: Path) -> None:
    first = computed(Store(Cache(tmp_path)), [])
    (values,) = (tmp_path / ROOM).glob(f"*/{VALUES}")
    values.write_text("9.0\n")
    asked: list[int] = []
    assert computed(Store(Cache(tmp_path)), asked) == first
    assert asked == [0, 1, 2, 3]
