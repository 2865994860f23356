"""The sizes of a model, told by its folder without its weights."""

from __future__ import annotations

from compress.errors import InputError
from compress.models.checkpoint.configuration import configuration, read_configuration
from compress.models.checkpoint.foreign import refuse_configuration
from compress.models.checkpoint.model_source import find_model
from compress.models.checkpoint.pair import reader_values
from compress.models.families import KNOWN, longest_text
from compress.models.families.family import Family


def outline(name: str) -> dict[str, int]:
    """The layers of a model's encoder, the width of its states, and how many tokens it reads: `layers`, `width`, `longest`.

    Raises:
        InputError: There is no such model, or it is of no family here, or has no layers to leave out.
    """
    folder = find_model(name)
    values = reader_values(read_configuration(folder))
    refuse_configuration(folder, values)
    family = KNOWN[values["model_type"]]
    if not isinstance(family, Family):
        raise InputError(f"model {name} is {values['model_type']}, which has no layers to leave out; give a transformer.")
    config, _ = configuration(folder, values, family, 2)
    return {"layers": config.num_hidden_layers, "width": config.hidden_size, "longest": longest_text(config)}
