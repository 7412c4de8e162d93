"""Where work runs that falls into many independent calls: in this process, in several of this machine, or on Dask.

A call that is lost with its worker runs again on another one; so calls write whole files or none, under names of their
own, and a second time writes the same. What they return is small, since all of it comes together here.
"""

import asyncio
import hashlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from functools import cache
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, TypeVar

from joblib import cpu_count
from tqdm import tqdm

from .errors import Problem

WAIT = 300  # seconds for a first worker: a cluster may have to add a node for it
ANSWER = 30  # seconds for the scheduler, which may start together with this process
OTHER_CODE = "the workers run other code than this: start scheduler and workers from this job's image"
Result = TypeVar("Result")


def results(
    task: Callable[..., Result], calls: Iterable[tuple[Any, ...]], compute: int | str, label: str
) -> Generator[Result, None, None]:
    """Give what a function returns for each tuple of arguments, in the order in which the calls are through.

    Args:
        task: A function of a module of this project, which workers import.
        calls: Its arguments, which can be pickled.
        compute: The number of processes, or the address of a Dask scheduler, such as tcp://dask:8786.
        label: What the calls do, for the progress bar.

    Raises:
        Problem: If there is no such number or scheduler, or if workers run other code or are lost again and again;
            and whatever a call raises.
    """
    listed = list(calls)
    if not listed:
        return  # nor is there anything to start workers for
    done = _here(task, listed) if compute == 1 else _elsewhere(task, listed, compute)
    with closing(done):
        yield from tqdm(done, desc=label, unit=" shards", total=len(listed), disable=None)


def _here(task: Callable[..., Result], calls: list[tuple[Any, ...]]) -> Generator[Result, None, None]:
    yield from (task(*arguments) for arguments in calls)


def _elsewhere(
    task: Callable[..., Result], calls: list[tuple[Any, ...]], compute: int | str
) -> Generator[Result, None, None]:
    """Have Dask's workers do the calls; a worker that is lost is no reason to stop, up to three times a call."""
    from distributed import CancelledError, KilledWorker, as_completed  # Dask takes a second, which few need

    # What matters to people is raised; the rest tells of every worker that comes and goes.
    for name in ("asyncio", "distributed", "tornado"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    with ExitStack() as stack:
        client = stack.enter_context(_client(compute, stack))
        _await_workers(client)
        futures = client.map(_call, [(task, arguments, code()) for arguments in calls], pure=False)
        try:
            for future in as_completed(futures, loop=client.loop):
                yield future.result()
                future.release()
        except KilledWorker as error:
            raise Problem(
                "four workers in a row were lost with the same shard: most likely their memory is too small; "
                "give them more, or set a smaller shard_bytes, and run this again: what is done is kept"
            ) from error
        except RuntimeError as error:
            if "deserialization of the task graph" not in str(error):
                raise
            raise Problem(OTHER_CODE) from error
        except CancelledError as error:
            raise Problem(
                f"compute={compute}: the Dask scheduler is gone; run this again when it is back: what is done is kept"
            ) from error


def _client(compute: int | str, stack: ExitStack) -> AbstractContextManager[Any]:
    """Connect to a scheduler, or start one with workers in processes of this machine until the stack ends."""
    from distributed import Client, LocalCluster
    from distributed.utils import LoopRunner

    if isinstance(compute, str):
        try:
            client: AbstractContextManager[Any] = Client(compute, timeout=ANSWER, set_as_default=False)
        except (OSError, ValueError) as error:
            raise Problem(f"compute={compute}: no Dask scheduler answers there; see that it runs") from error
        return client
    # Libraries count their threads when they are imported. Dask lets what is set here win over its own settings.
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "POLARS_MAX_THREADS"), str(max(cpu_count() // compute, 1)))
    options: dict[str, Any] = {"memory_limit": 0, "dashboard_address": "127.0.0.1:0", "silence_logs": logging.CRITICAL}
    runner = LoopRunner()
    with _unheard():
        runner.start()  # the thread that starts the processes
    cluster = LocalCluster(n_workers=compute, threads_per_worker=1, loop=runner.loop, **options)
    stack.callback(runner.stop)
    stack.enter_context(cluster)
    stack.callback(cluster.sync, _end, cluster)
    return Client(cluster, set_as_default=False)


@contextmanager
def _unheard() -> Iterator[None]:
    """Start a thread that does not hear Ctrl-C, nor do its processes: a terminal tells all, and this ends them."""
    if sys.platform == "win32":
        yield
        return
    resource_tracker.ensure_running()  # which would let the signal through again, for all that starts after it
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


async def _end(cluster: Any) -> None:
    """End the processes of a cluster within a second: their calls are through, or do not count any more.

    One that is killed may take longer to be gone, of which there is nothing to say.
    """
    await asyncio.gather(*(nanny.close(timeout=1) for nanny in cluster.workers.values()), return_exceptions=True)


def _await_workers(client: Any) -> None:
    try:
        client.wait_for_workers(1, timeout=WAIT)
    except TimeoutError as error:
        raise Problem(f"the Dask scheduler has no worker after {WAIT} seconds: start some") from error


def _call(order: tuple[Callable[..., Result], tuple[Any, ...], str]) -> Result:
    """Do a call in a worker, if it has the code of the process that asks for it."""
    task, arguments, expected = order
    if code() != expected:
        raise Problem(OTHER_CODE)
    return task(*arguments)


def refuse_unshared(compute: int | str, place: Any) -> None:
    """Tell that workers on other machines have a file or folder of this one only by its name."""
    if isinstance(compute, str):
        raise Problem(
            f"compute={compute}: its workers do not see {place} as it is here: set STORAGE_ROOT to a bucket, "
            "or to a folder that all machines share"
        )


@cache
def code() -> str:
    """Fingerprint this package's source files."""
    files = sorted(Path(__file__).parent.rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
