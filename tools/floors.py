"""Tell the lowest versions that setup.cfg states as constraints for pip, and whether they are what is installed.

    python tools/floors.py write --keep torch > floors.txt     # then: pip install --constraint floors.txt --editable .
    python tools/floors.py check --keep torch                  # with the python of that environment

`make floors` does both and runs tests. Only the standard library is used: the first runs before anything is installed.
"""

from __future__ import annotations

import argparse
import configparser
import importlib.metadata
import re
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENT = re.compile(r"([A-Za-z0-9][\w.-]*)(.*)")
LOWEST = re.compile(r"(?:>=|==)([0-9][0-9A-Za-z.]*)")


def normalized(name: str) -> str:
    """Spell a package's name as pip compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def release(version: str) -> tuple[int, ...]:
    """Read a version's numbers, for comparing: 5.17 is 5.17.0, and 2.13.0+cpu is 2.13.0."""
    numbers = [int(part) for part in re.findall(r"\d+", version.partition("+")[0])]
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)


def requirements(setup: Path = ROOT / "setup.cfg") -> dict[str, str]:
    """Read what setup.cfg asks for, with every extra: name -> what is asked of its version, "" where nothing is."""
    config = configparser.ConfigParser()
    config.read_string(setup.read_text(encoding="utf-8"))
    lists = [config["options"]["install_requires"], *config["options.extras_require"].values()]
    specifiers: dict[str, str] = {}
    for line in (line.strip() for text in lists for line in text.splitlines() if line.strip()):
        matched = REQUIREMENT.fullmatch(line)
        if matched is None or specifiers.setdefault(normalized(matched[1]), matched[2]) != matched[2]:
            raise SystemExit(f"setup.cfg asks for {line!r}; use NAME>=VERSION or NAME==VERSION, the same wherever it stands.")
    return specifiers


def floors(setup: Path = ROOT / "setup.cfg") -> dict[str, str]:
    """Read the lowest version of each requirement: name -> version."""
    lowest = {}
    for name, asked in requirements(setup).items():
        matched = LOWEST.fullmatch(asked)
        if matched is None:
            raise SystemExit(f"setup.cfg asks for {name + asked!r}, which tells no lowest version; use {name}>=VERSION.")
        lowest[name] = matched[1]
    return lowest


def pins(constraints: Path = ROOT / "constraints.txt") -> dict[str, str]:
    """Read the versions in constraints.txt: name -> version."""
    lines = (line.strip() for line in constraints.read_text(encoding="utf-8").splitlines())
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {normalized(name): version for name, version in pairs}


def wanted(keep: Iterable[str] = ()) -> dict[str, str]:
    """Tell which version of each requirement the environment of the floors holds.

    Args:
        keep: NAME==VERSION of what is not put at its floor, or NAME for the version in constraints.txt.
    """
    versions, pinned = floors(), pins()
    for pin in keep:
        name, _, version = pin.partition("==")
        if normalized(name) not in versions:
            raise SystemExit(f"--keep is {pin!r}, which setup.cfg does not ask for; use one of {', '.join(sorted(versions))}.")
        versions[normalized(name)] = version or pinned[normalized(name)]
    return versions


def written(keep: Iterable[str] = ()) -> str:
    """Write constraints for pip: the requirements at their floors, and what they bring along as constraints.txt has it."""
    lines = {name: f"{name}=={version}" for name, version in (pins() | wanted(keep)).items()}
    return "".join(f"{lines[name]}\n" for name in sorted(lines))


def mistakes(keep: Iterable[str] = ()) -> list[str]:
    """Compare what is installed with the floors; one sentence for each difference."""
    problems = []
    for name, version in wanted(keep).items():
        try:
            installed = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            problems.append(f"{name} is not installed, but setup.cfg asks for it.")
            continue
        if release(installed) != release(version):
            problems.append(f"{name} is {installed}, but its floor is {version}; raise it in setup.cfg if it cannot be held.")
    return problems


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("action", choices=("write", "check"))
    parser.add_argument("--keep", action="append", default=[], metavar="NAME[==VERSION]", help="what is not put at its floor")
    given = parser.parse_args(arguments)
    if given.action == "write":
        sys.stdout.write(written(given.keep))
    elif differences := mistakes(given.keep):
        raise SystemExit("\n".join(differences))


if __name__ == "__main__":
    main()
