"""Hostile tables for all estimators: do they answer in finite numbers, or refuse by name?

    python benchmarks/fuzz.py --minutes 10 [--seed 0] [--estimator MCEM]
    python benchmarks/fuzz.py --cases 1000 [--seed 0]
    python benchmarks/fuzz.py --case 123456 [--shrink]

Every case is drawn from one integer: an estimator with options, a table of awkward scale, offset,
rank, precision, completeness, weight and container, and a law. The fit is asked for every answer;
what is not finite, not of the dtype of X, raised but not documented, or against a law is printed
with the integer that makes it again. Prints how many inputs were tried, refused and failed.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator

for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(threads, "1")

from hostile.case import Outcome, draw_case, mechanism, run_case  # noqa: E402
from hostile.shrinking import code_of, shrink  # noqa: E402
from hostile.subjects import SUBJECTS  # noqa: E402
from hostile.workers import outcomes  # noqa: E402

# Failures of one mechanism that are printed.
EXAMPLES = 3


def parse() -> argparse.Namespace:
    """Return the arguments of the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--cases", type=int, help="this many, however long it takes")
    parser.add_argument("--seed", type=int, default=0, help="the first case")
    parser.add_argument("--estimator", choices=SUBJECTS, help="only this one")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--limit", type=float, default=60.0, help="CPU seconds of a case")
    parser.add_argument("--case", type=int, help="run this case alone")
    parser.add_argument("--shrink", action="store_true", help="find a smaller case that fails")
    return parser.parse_args()


def one_case(arguments: argparse.Namespace) -> bool:
    """Run and print one case; return whether it failed."""
    case = draw_case(arguments.case, arguments.estimator)
    outcome = run_case(case)
    if arguments.shrink and outcome.status == "failed":
        case = shrink(case, outcome)
        outcome = run_case(case)
    print(code_of(case))
    print(f"{outcome.status}: {outcome.kind}: {outcome.detail}")
    return outcome.status == "failed"


def flood(arguments: argparse.Namespace) -> bool:
    """Run cases and print their outcomes; return whether one failed."""
    counts: dict[str, Counter] = defaultdict(Counter)
    refusals: Counter = Counter()
    failures = defaultdict(list)
    seconds_of: Counter = Counter()
    start = time.time()
    seconds = 60 * arguments.minutes if arguments.cases is None else math.inf
    n_cases = sys.maxsize - arguments.seed if arguments.cases is None else arguments.cases
    workers, limit, only = arguments.workers, arguments.limit, arguments.estimator
    run = outcomes(arguments.seed, n_cases, seconds, workers, limit, only)
    for seed, outcome in _until_interrupted(run):
        name = draw_case(seed, arguments.estimator).name
        counts[name][outcome.status] += 1
        seconds_of[name] += outcome.seconds
        if outcome.status == "refused":
            refusals[outcome.kind] += 1
        if outcome.status == "failed":
            failures[name, mechanism(outcome)].append((seed, outcome))
            print(f"{name} --case {seed}: {outcome.kind}: {outcome.detail[:100]}", flush=True)
    report(counts, seconds_of, refusals, failures)
    print(f"{time.time() - start:.0f} s, cases from {arguments.seed} on")
    return bool(failures)


def _until_interrupted(run: Iterator[tuple[int, Outcome]]) -> Iterator[tuple[int, Outcome]]:
    """Yield outcomes; Ctrl-C ends the search, not its report."""
    try:
        yield from run
    except KeyboardInterrupt:
        print("interrupted", flush=True)


def report(
    counts: dict[str, Counter], seconds_of: Counter, refusals: Counter, failures: dict
) -> None:
    """Print failures by mechanism, refusals by kind, and the table of all estimators."""
    for (name, kind), found in sorted(failures.items(), key=lambda item: -len(item[1])):
        print(f"{len(found)} x {name}: {kind}")
        for seed, outcome in sorted(found, key=lambda pair: pair[0])[:EXAMPLES]:
            print(f"    --case {seed} --estimator {name}  {outcome.detail[:200]}")
    print("refused:", ", ".join(f"{kind} {n}" for kind, n in refusals.most_common()) or "none")
    heads = "tried", "answered", "refused", "failed", "CPU s"
    print(f"{'':22s}" + "".join(f"{head:>10s}" for head in heads))
    total: Counter = sum(counts.values(), Counter())
    seconds_of["all"] = sum(seconds_of.values())
    for name, count in [*sorted(counts.items()), ("all", total)]:
        numbers = [sum(count.values()), *(count[s] for s in ("answered", "refused", "failed"))]
        print(f"{name:22s}" + "".join(f"{n:10d}" for n in numbers) + f"{seconds_of[name]:10.0f}")


if __name__ == "__main__":
    chosen = parse()
    sys.exit((flood if chosen.case is None else one_case)(chosen))
