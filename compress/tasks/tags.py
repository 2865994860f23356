"""Tags of words: entities that begin with B- and go on with I-, and other tags as they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

OUTSIDE = "O"
_BEGINS, _GOES_ON = ("B-", "S-", "U-"), ("I-", "E-", "L-", "M-")
Entity = tuple[str, int, int]
"""Type, first word, and the word behind its last."""


def is_bio(names: Iterable[str]) -> bool:
    """Whether tags tell entities: each is O, or has B- or I- before its type."""
    tags = list(names)
    return OUTSIDE in tags and len(tags) > 1 and all(name == OUTSIDE or name[:2] in ("B-", "I-") for name in tags)


def bio(tags: Sequence[str]) -> list[str]:
    """Write the tags of a text as BIO2 does: every entity begins with B-.

    BIOES and BILOU (S-, E-, U-, L-, M-) are rewritten, and so is IOB1, where B- only parts neighbours: an I- that follows no
    tag of its type begins an entity. Other tags stay.

    Source: Tjong Kim Sang and Veenstra 1999, "Representing text chunks", EACL.
    """
    written: list[str] = []
    before = OUTSIDE
    for tag in tags:
        start, kind = tag[:2], tag[2:]
        if start in _BEGINS:
            tag = f"B-{kind}"
        elif start in _GOES_ON:
            goes_on = before[2:] == kind and before[:2] in (*_BEGINS, *_GOES_ON)
            tag = f"{'I' if goes_on and before[:2] not in ('S-', 'U-', 'E-', 'L-') else 'B'}-{kind}"
        written.append(tag)
        before = f"{start}{kind}" if start in (*_BEGINS, *_GOES_ON) else OUTSIDE
    return written


def names_of(tags: Iterable[str]) -> tuple[str, ...]:
    """Sort tags: O first, then the entities' types, each with B- and I- even where one of them never stands."""
    distinct = set(tags)
    if not is_bio(distinct | {OUTSIDE}) or not distinct - {OUTSIDE}:
        return tuple(sorted(distinct))
    kinds = sorted({name[2:] for name in distinct - {OUTSIDE}})
    return (OUTSIDE, *(f"{start}{kind}" for kind in kinds for start in ("B-", "I-")))


def types_of(names: Sequence[str]) -> tuple[str, ...]:
    """Name the types of entities that tags tell, sorted; none where they tell no entities."""
    return tuple(sorted({name[2:] for name in names if name != OUTSIDE})) if is_bio(names) else ()


def entities(tags: Sequence[str]) -> set[Entity]:
    """Find the entities of a text, strictly: each begins with B- and goes on with I- of its type; an I- without is none.

    Equal to seqeval 1.2.2 with mode="strict" and scheme=IOB2, which reads the same off two lists of texts and gives no numbers
    for each text.
    """
    spans: set[Entity] = set()
    start, kind = -1, ""
    for place, tag in enumerate([*tags, OUTSIDE]):
        if start >= 0 and tag != f"I-{kind}":
            spans.add((kind, start, place))
            start = -1
        if tag.startswith("B-"):
            start, kind = place, tag[2:]
    return spans


def spans_to_tags(offsets: Sequence[tuple[int, int]], spans: Iterable[tuple[int, int, str]]) -> list[str] | None:
    """Tag words by spans of characters; a word that a span cuts belongs to it.

    Args:
        offsets: First character of each word, and the one behind its last.
        spans: The same of each entity, and its type.

    Returns:
        The tags; None where two entities share a word, or one has none.
    """
    tags = [OUTSIDE] * len(offsets)
    for first, end, kind in spans:
        inside = [place for place, (start, stop) in enumerate(offsets) if start < end and stop > first]
        if not inside or any(tags[place] != OUTSIDE for place in inside):
            return None
        tags[inside[0]] = f"B-{kind}"
        for place in inside[1:]:
            tags[place] = f"I-{kind}"
    return tags
