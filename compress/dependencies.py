"""What a result depends on besides the values of its arguments, as their annotations say it. Imports nothing of ours.

A method's argument that names a file is `Annotated[str, ...]` of one of these kinds, and whoever keeps results asks for them
all: what the file holds counts, not its name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from typing_extensions import is_typeddict

What = Literal["file", "checkpoint", "adapters", "machine", "target", "objectives"]


@dataclass(frozen=True)
class DependsOn:
    """What an argument brings in.

    Args:
        what: "file", the content of the file that it names; "checkpoint", the files of the model that it names; "adapters",
            those of the folder of `compress.save_adapters` that it names; "machine", how fast this machine is; "target", how
            files are written for the target that it names, where the machine counts; "objectives", the source of those that it
            names.
        when: Values for which it does; None for all but null.
    """

    what: What
    when: tuple[Any, ...] | None = None


InputFile = Annotated[str, DependsOn("file")]
Checkpoint = Annotated[str, DependsOn("checkpoint")]


def dependencies(annotation: Any, value: Any) -> Iterator[tuple[What, Any]]:
    """What a value of an annotation brings in, each with the value that says which; inside of mappings and lists too.

    Args:
        annotation: Of the argument, evaluated.
        value: That was given; null brings in nothing.
    """
    if value is None:
        return
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        for extra in arguments[1:]:
            if isinstance(extra, DependsOn) and (extra.when is None or value in extra.when):
                yield extra.what, value
        yield from dependencies(arguments[0], value)
    elif is_typeddict(annotation) and isinstance(value, Mapping):
        for name, inner in get_type_hints(annotation, include_extras=True).items():
            yield from dependencies(inner, value.get(name))
    elif isinstance(value, Sequence) and not isinstance(value, str) and len(arguments) == 1:
        for element in value:
            yield from dependencies(arguments[0], element)
    else:  # a union, or no part of it
        for member in arguments:
            yield from dependencies(member, value)
