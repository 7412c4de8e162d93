"""Where work runs that falls into many independent calls: in this process, in several of this machine, or on Dask.

A call that is lost with its worker runs again on another one; so calls write whole files or none, under names of their
own, and a second time writes the same. What they return is small, since all of it comes together here.
"""

import hashlib
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack
from functools import cache
from logging import CRITICAL
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from .errors import Problem

WAIT = 300  # seconds for a first worker: a cluster may have to add a node for it
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
    done = _here(task, listed) if compute == 1 else _elsewhere(task, listed, compute)
    yield from tqdm(done, desc=label, unit=" shards", total=len(listed), disable=None)


def _here(task: Callable[..., Result], calls: list[tuple[Any, ...]]) -> Iterator[Result]:
    return (task(*arguments) for arguments in calls)


def _elsewhere(task: Callable[..., Result], calls: list[tuple[Any, ...]], compute: int | str) -> Iterator[Result]:
    """Have Dask's workers do the calls; a worker that is lost is no reason to stop, up to three times a call."""
    from distributed import KilledWorker, as_completed  # Dask takes a second, which few need

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


def _client(compute: int | str, stack: ExitStack) -> AbstractContextManager[Any]:
    """Connect to a scheduler, or start one with workers in processes of this machine until the stack ends."""
    import dask
    from distributed import Client, LocalCluster

    if isinstance(compute, str):
        if "://" not in compute:
            raise Problem(f"compute={compute}: a number of processes, or a scheduler's address such as tcp://dask:8786")
        try:
            client: AbstractContextManager[Any] = Client(compute, timeout=30, set_as_default=False)
        except OSError as error:
            raise Problem(f"compute={compute}: no Dask scheduler answers there; see that it runs") from error
        return client
    if not isinstance(compute, int) or compute < 1:
        raise Problem(f"compute={compute}: at least one process")
    # Each process has one core, and libraries count their threads when they are imported.
    threads = {f"distributed.nanny.pre-spawn-environ.{name}": 1 for name in ("OMP_NUM_THREADS", "POLARS_MAX_THREADS")}
    stack.enter_context(dask.config.set(threads))
    cluster = LocalCluster(
        n_workers=compute,
        threads_per_worker=1,
        memory_limit=0,
        dashboard_address="127.0.0.1:0",
        silence_logs=CRITICAL,
    )
    return Client(stack.enter_context(cluster), set_as_default=False)


def _await_workers(client: Any) -> None:
    try:
        client.wait_for_workers(1, timeout=WAIT)
    except TimeoutError as error:
        raise Problem(f"the Dask scheduler has no worker after {WAIT} seconds: start some") from error


def _call(order: tuple[Callable[..., Result], tuple[Any, ...], str]) -> Result:
    """Do a call in a worker, if it has the code of the process that asks for it."""
    task, arguments, expected = order
    if code() != expected:
        raise Problem("the workers run other code than this: start scheduler and workers from this job's image")
    return task(*arguments)


@cache
def code() -> str:
    """Fingerprint this package's source files."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
