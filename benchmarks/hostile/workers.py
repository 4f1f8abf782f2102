"""Processes that run cases, and the watch over them: a hang and a crash are failures too."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait

from hostile.case import Outcome, draw_case, run_case

# Seconds between two looks at the clock.
TICK = 0.5
# The timer counts the CPU time of a process; its signal ends it.
HANG, HANG_SIGNAL = signal.ITIMER_PROF, signal.SIGPROF
# Seconds of the clock for each of the CPU, on a machine that is busy with other work.
BUSY = 20


@dataclass(frozen=True)
class Share:
    """Cases of one process: every `step`-th one of a flood.

    Parameters
    ----------
    step : int
        Distance of two cases.
    end : int
        Case at which none begins any more.
    deadline : float
        Time after which none begins any more.
    limit : float
        Seconds of CPU after which a case counts as a hang, and its process is ended.
    name : str or None
        The estimator, if it is to be one.
    """

    step: int
    end: int
    deadline: float
    limit: float
    name: str | None = None


def _work(seed: int, share: Share, pipe: Connection) -> None:
    """Run the cases of a share from a seed on; send what came out."""
    while seed < share.end and time.time() < share.deadline:
        pipe.send((seed, None))
        signal.setitimer(HANG, share.limit)
        pipe.send((seed, run_case(draw_case(seed, share.name))))
        seed += share.step
    pipe.send((None, None))


class Worker:
    """A process, the case that it is at, and since when."""

    def __init__(self, seed: int, share: Share):
        context = multiprocessing.get_context("spawn")
        self.pipe, there = context.Pipe(duplex=False)
        self.share = share
        self.process = context.Process(target=_work, args=(seed, share, there), daemon=True)
        self.process.start()
        there.close()
        self.seed, self.since, self.is_done = seed, float("inf"), False

    def receive(self) -> tuple[int, Outcome] | None:
        """Return a finished case, None if one has begun; a process that died is one that failed."""
        try:
            seed, outcome = self.pipe.recv()
        except EOFError:
            self.process.join()
            if self.process.exitcode == -HANG_SIGNAL:
                return self.stop("hang", f"no answer after {self.share.limit:g} s of CPU")
            return self.stop("crash", f"the process died, exit code {self.process.exitcode}")
        self.is_done = seed is None
        if outcome is None:
            self.seed, self.since = (self.seed if seed is None else seed), time.time()
            return None
        return seed, outcome

    def stop(self, kind: str, detail: str) -> tuple[int, Outcome]:
        """End the process; return its case as failed."""
        self.process.kill()
        self.process.join()
        return self.seed, Outcome("failed", kind, detail)

    def successor(self) -> Worker:
        """Return a worker that goes on behind the case of this one."""
        return Worker(self.seed + self.share.step, self.share)


def outcomes(
    seed: int,
    n_cases: int,
    seconds: float,
    n_workers: int,
    limit: float,
    name: str | None = None,
) -> Iterator[tuple[int, Outcome]]:
    """Run cases for some time.

    Parameters
    ----------
    seed : int
        The first case.
    n_cases : int
        Number of cases.
    seconds : float
        Time after which no case begins.
    n_workers : int
        Number of processes.
    limit : float
        Seconds of CPU after which a case counts as a hang, and its process is ended.
    name : str, optional
        The estimator, if it is to be one.

    Yields
    ------
    seed, outcome : int, Outcome
        As they finish.
    """
    deadline = time.time() + seconds
    share = Share(n_workers, seed + n_cases, deadline, limit, name)
    workers = [Worker(seed + i, share) for i in range(n_workers)]
    while workers:
        ready = set(wait([worker.pipe for worker in workers], timeout=TICK))
        for place, worker in enumerate(workers):
            waits = time.time() - worker.since > BUSY * limit
            if worker.pipe in ready:
                finished = worker.receive()
            elif waits:
                finished = worker.stop("hang", f"no answer after {BUSY * limit:g} s")
            else:
                continue
            if finished is not None:
                yield finished
                if finished[1].kind in ("hang", "crash"):
                    workers[place] = worker.successor()
        workers = [worker for worker in workers if not worker.is_done]
