"""Parameters that stand in several modules, by their names; see `compress.models.sharing`."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedModel

from compress.errors import InputError
from compress.models.sharing import share, shared_parameters, tied_parameters
from compress.models.traits.trait import Trait


def _read(model: PreTrainedModel) -> dict[str, str]:
    tied = tied_parameters(model)
    return {name: known for name, known in shared_parameters(model).items() if name not in tied}


def _left_out(model: PreTrainedModel) -> set[str]:
    return set(shared_parameters(model))


def _apply(model: PreTrainedModel, shared: Any, _: int | None) -> None:
    parameters = dict(model.named_parameters())
    pairs = shared.items() if isinstance(shared, dict) else [("shared", shared)]
    wrong = [
        name
        for name, known in pairs
        if name not in parameters
        or not isinstance(known, str)
        or known not in parameters
        or known in shared
        or parameters[name].shape != parameters[known].shape
    ]
    if wrong:
        raise InputError(
            f"structure.json: shared names {wrong[0]}, which is not two parameters of one shape; restore the file."
        )
    share(model, shared)


TRAIT = Trait(
    key="shared",
    read=_read,
    apply=_apply,
    left_out=_left_out,
    made_by=("share_layers", "layers of the model share their weights"),
)
