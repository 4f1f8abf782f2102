"""Altered files of every estimator: how many are read?

    python benchmarks/fuzz_files.py [--n 1000000] [--seed 0]

Files of small fitted estimators, those of the tests, are altered at random: bits flipped in the
header and in the arrays, bytes cut off, inserted, overwritten, chunks swapped. None may be read.
Then values of the header are changed and the checksum is made anew, as somebody would who means
harm: such a file may be read only as a valid estimator that is, written again, the same file.
Prints how many were tried, how many were read, and for the last kind how many as what they state.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(threads, "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np  # noqa: E402

from skelbo.persistence.container import DIGITS, pack, unpack  # noqa: E402
from skelbo.persistence.estimator_file import packed, unpacked  # noqa: E402
from tests.persistence.fitted import SUBJECTS, file_of  # noqa: E402

Alteration = Callable[[bytearray, np.random.Generator], None]


def _header_end(data: bytearray) -> int:
    return 8 + int.from_bytes(data[:8], "little")


def flip_header(data: bytearray, rng: np.random.Generator) -> None:
    """Flip a bit of the header, its length and the checksum included."""
    data[rng.integers(_header_end(data))] ^= 1 << rng.integers(8)


def flip_arrays(data: bytearray, rng: np.random.Generator) -> None:
    """Flip a bit of the arrays."""
    data[rng.integers(_header_end(data), len(data))] ^= 1 << rng.integers(8)


def truncate(data: bytearray, rng: np.random.Generator) -> None:
    """Cut the file off."""
    del data[rng.integers(len(data)) :]


def insert(data: bytearray, rng: np.random.Generator) -> None:
    """Insert up to 64 bytes anywhere, at the end too."""
    place = rng.integers(len(data) + 1)
    data[place:place] = rng.bytes(rng.integers(1, 65))


def delete(data: bytearray, rng: np.random.Generator) -> None:
    """Delete up to 64 bytes."""
    place = rng.integers(len(data))
    del data[place : place + rng.integers(1, 65)]


def swap(data: bytearray, rng: np.random.Generator) -> None:
    """Swap two chunks of up to 64 bytes."""
    size = int(rng.integers(1, min(65, len(data) // 2)))
    first = int(rng.integers(len(data) - 2 * size + 1))
    second = int(rng.integers(first + size, len(data) - size + 1))
    data[first : first + size], data[second : second + size] = (
        data[second : second + size],
        data[first : first + size],
    )


def overwrite(data: bytearray, rng: np.random.Generator) -> None:
    """Overwrite up to 64 bytes by others."""
    place, size = rng.integers(len(data)), rng.integers(1, 65)
    data[place : place + size] = rng.bytes(len(data[place : place + size]))


ALTERATIONS: dict[str, Alteration] = {
    "bit of the header": flip_header,
    "bit of the arrays": flip_arrays,
    "truncation": truncate,
    "insertion": insert,
    "deletion": delete,
    "swapped chunks": swap,
    "overwritten bytes": overwrite,
}
# What a value of the header becomes.
VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    1,
    2,
    3,
    2**31,
    10**30,
    0.0,
    0.5,
    -1.0,
    1e308,
    "",
    "full",
    "auto",
    "C",
    "scalar",
    "__class__",
    "os.system",
    [],
    [2, 1],
    [-1, 2],
    {},
    {"float": "nan"},
    {"float": "inf"},
    {"tuple": [1]},
    {"dict": {}},
    {"array": "C"},
    {"given": "system"},
    {"class": "FactorModel", "params": {}},
    {"object": "poisson"},
    {"same": "params.random_state"},
]


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all values of a header."""
    found = [path] if path else []
    if not isinstance(node, (dict, list)):
        return found
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        found += places(value, (*path, key))
    return found


def edit_header(data: bytes, rng: np.random.Generator) -> bytes:
    """Return the file with one value of its header changed, removed, renamed or exchanged."""
    header, tensors = unpack(data)
    paths = places(header)
    path = paths[rng.integers(len(paths))]
    parent = header
    for key in path[:-1]:
        parent = parent[key]
    action = rng.integers(10)
    if action == 0 and isinstance(parent, dict):
        parent[str(rng.choice(["fit", "__dict__", "net_", "_log_prob"]))] = parent.pop(path[-1])
    elif action == 1:
        del parent[path[-1]]
    elif action == 2:
        other = header
        for key in paths[rng.integers(len(paths))]:
            other = other[key]
        parent[path[-1]] = json.loads(json.dumps(other))
    else:
        parent[path[-1]] = VALUES[rng.integers(len(VALUES))]
    return pack(header, {name: tensor.array() for name, tensor in tensors.items()})


def reads(name: str, data: bytes) -> Any:
    """Return the estimator of a file, None if it is refused."""
    subject = SUBJECTS[name]
    try:
        return unpacked(type(subject.estimator), data, subject.given)
    except ValueError:
        return None


def is_what_it_states(name: str, data: bytes, estimator: Any) -> bool:
    """Return whether an estimator, written again, is the file, and answers or refuses by name."""
    subject = SUBJECTS[name]
    again, stated = unpack(packed(estimator))[0], unpack(data)[0]
    stated["version"] = again["version"]
    for parameter in subject.given:  # the caller's, whatever stands in the file
        stated["params"][parameter] = again["params"][parameter]
    if json.dumps(again, sort_keys=True) != json.dumps(stated, sort_keys=True):
        return False
    try:
        return bool(np.all(np.isfinite(estimator.transform(subject.X[:3]))))
    except ValueError:
        return True
    except Exception:
        # A model of the user's own may not check the hyperparameters that it gets.
        return "model" in subject.given


def run(
    n: int, seed: int, between_edits: int = 64
) -> tuple[Counter[str], Counter[str], Counter[str]]:
    """Alter `n` files; return by kind how many were tried, read, and read as something else.

    Every so many files it is a value of the header that is edited, which takes longer to check.
    """
    rng, names = np.random.default_rng(seed), list(SUBJECTS)
    tried: Counter[str] = Counter()
    read: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    kinds = list(ALTERATIONS)
    warnings.simplefilter("ignore")
    for number in range(n):
        kind, name = kinds[number % len(kinds)], names[rng.integers(len(names))]
        if number % between_edits == between_edits - 1:
            kind = "edited header"
            data = edit_header(file_of(name), rng)
        else:
            altered = bytearray(file_of(name))
            ALTERATIONS[kind](altered, rng)
            data = bytes(altered)
        if data == file_of(name):
            continue
        tried[kind] += 1
        estimator = reads(name, data)
        if estimator is None:
            continue
        read[kind] += 1
        if kind != "edited header" or not is_what_it_states(name, data, estimator):
            wrong[kind] += 1
            print(f"seed {seed}, case {number}: {name}, {kind}, was read")
    return tried, read, wrong


def main() -> None:
    """Alter files and print the counts."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--n", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    assert DIGITS.stop < min(len(file_of(name)) for name in SUBJECTS)
    begin = time.process_time()
    tried, read, wrong = run(args.n, args.seed)
    print(f"{'altered':<20}{'tried':>10}{'read':>8}{'read as another':>17}")
    for kind in tried:
        print(f"{kind:<20}{tried[kind]:>10}{read[kind]:>8}{wrong[kind]:>17}")
    print(f"{'all':<20}{tried.total():>10}{read.total():>8}{wrong.total():>17}", end="")
    print(f"   ({len(SUBJECTS)} estimators, {time.process_time() - begin:.0f} s of CPU)")
    sys.exit(wrong.total() > 0)


if __name__ == "__main__":
    main()
