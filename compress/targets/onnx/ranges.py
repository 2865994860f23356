"""Where the ranges of a file's activations come from, and which options of its target that leaves without a reader.

Imports no torch, so that a recipe is checked with it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Literal

from compress.errors import raise_together

CALIBRATED = ("calibration", "percentile", "symmetric", "smooth", "correct_bias")
Source = Literal["none", "dynamic", "model", "calibration"]
Target = Callable[..., Any]

_UNREAD: dict[Source, tuple[tuple[str, ...], str]] = {
    "dynamic": ((*CALIBRATED, "max_drop"), "activations are dynamic here; set activations: static, or remove it"),
    "model": (
        (*CALIBRATED, "per_channel"),
        "the model brings its own ranges; remove it, or export the model as it was before quantize_aware",
    ),
}


def is_static(activations: str, max_drop: float | None, *, brings_ranges: bool) -> bool:
    """Whether activations have fixed ranges: "auto" is static for a model that brings ranges and with `max_drop`."""
    return activations == "static" or (activations == "auto" and (brings_ranges or max_drop is not None))


def source_of_ranges(target: Target, options: Mapping[str, Any], *, brings_ranges: bool) -> Source:
    """Where the ranges of activations come from: nowhere (a float file), each call anew, the model, or calibration.

    Args:
        target: A target's function; a static one without an option `activations` is always static.
        options: Those that are given.
        brings_ranges: Whether the model has learned them.
    """
    settings = {**_defaults(target), **options}
    if "calibration" not in settings:
        return "none"
    if not is_static(settings.get("activations", "static"), settings.get("max_drop"), brings_ranges=brings_ranges):
        return "dynamic"
    return "model" if brings_ranges else "calibration"


def unread_options(target: Target, options: Mapping[str, Any], *, brings_ranges: bool | None) -> dict[str, str]:
    """The options that are not as by default though they play no part, each with the reason and what to do.

    Args:
        target: A target's function.
        options: Those that are given.
        brings_ranges: Whether the model has learned its ranges; None where that is not known yet, which gives the options
            that play no part either way.
    """
    if brings_ranges is None:
        quantized = unread_options(target, options, brings_ranges=True)
        plain = unread_options(target, options, brings_ranges=False)
        return {name: why for name, why in plain.items() if name in quantized}
    names, why = _UNREAD.get(source_of_ranges(target, options, brings_ranges=brings_ranges), ((), ""))
    defaults = _defaults(target)
    return {name: why for name in names if name in defaults and options.get(name, defaults[name]) != defaults[name]}


def refuse_unread(name: str, target: Target, options: Mapping[str, Any], *, brings_ranges: bool) -> None:
    """Raise InputError that names every option of a target that plays no part."""
    unread = unread_options(target, options, brings_ranges=brings_ranges)
    raise_together([f"{name}.{option} is {options[option]!r}, but nothing reads it: {why}." for option, why in unread.items()])


def _defaults(target: Target) -> dict[str, Any]:
    return {
        name: parameter.default
        for name, parameter in inspect.signature(target).parameters.items()
        if parameter.default is not parameter.empty
    }
