"""What is said of a processor follows from the instruction sets that it has."""

from __future__ import annotations

import platform

import pytest

from compress import processor
from compress.processor import has_vnni, int8_processors


@pytest.mark.parametrize(
    ("architecture", "flags", "expected"),
    [
        ("x86_64", {"avx2", "fma"}, False),
        ("x86_64", set(), False),
        ("AMD64", {"avx512_bf16", "avx512f"}, False),
        ("x86_64", {"avx2", "avx_vnni"}, True),
        ("AMD64", {"avx512_vnni"}, True),
        ("x86_64", {"amx_int8"}, True),
        ("aarch64", {"asimd"}, True),
        ("arm64", set(), True),
    ],
)
def test_only_x86_without_vnni_and_amx_adds_eight_bit_products_wrong(
    monkeypatch: pytest.MonkeyPatch, architecture: str, flags: set[str], expected: bool
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: architecture)
    monkeypatch.setattr(processor, "processor_flags", lambda: frozenset(flags))
    assert has_vnni() is expected


@pytest.mark.parametrize(
    ("bits", "unsigned", "everywhere"),
    [
        (8, True, False),
        (7, True, True),
        (8, False, True),
        (7, False, True),
    ],
)
def test_a_file_is_right_everywhere_unless_unsigned_values_meet_eight_bit_weights(
    bits: int, unsigned: bool, everywhere: bool
) -> None:
    """Two products of 255 and 127 do not fit into 16 bits; of 255 and 63, or of 128 and 127, they do."""
    assert (2 * (255 if unsigned else 128) * (127 if bits == 8 else 63) <= 32767) is everywhere
    processors = int8_processors(bits, unsigned=unsigned)
    assert processors["safe_on"] == ("every processor" if everywhere else "x86 with VNNI or AMX; ARM")
    assert "VNNI" in processors["fast_on"]
