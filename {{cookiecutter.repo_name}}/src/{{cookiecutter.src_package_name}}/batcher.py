"""One model for many requests: what waits is predicted in one call, beside the event loop, within a bound."""

import asyncio
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from .columns import of_rows
from .predictor import Predicted, Predictor
from .schema import Row


class Full(Exception):
    """More rows are waiting than the bound allows."""


class Batcher:
    """Predicts for requests in the order of their arrival.

    A call takes all that has come in while the one before it ran, up to `batch` rows, and never waits for more to come.
    Beyond `bound` rows waiting or in work, `predict` raises Full at once. One thread calls the model, so that requests
    neither stop the event loop nor compete for processors.
    """

    def __init__(self, predictor: Predictor, bound: int, batch: int) -> None:
        self._predictor = predictor
        self._bound, self._batch = bound, batch
        self._waiting: deque[tuple[list[Row], asyncio.Future[Predicted]]] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="predict")
        self._task: asyncio.Task[None] | None = None
        self.rows = 0

    async def predict(self, rows: list[Row]) -> Predicted:
        """Predict for some rows."""
        if self.rows + len(rows) > self._bound:
            raise Full
        future: asyncio.Future[Predicted] = asyncio.get_running_loop().create_future()
        self.rows += len(rows)
        self._waiting.append((rows, future))
        if self._task is None:
            self._task = asyncio.create_task(self._work())
        try:
            return await future
        finally:
            self.rows -= len(rows)

    async def _work(self) -> None:
        """Predict until nothing waits any more."""
        loop = asyncio.get_running_loop()
        while self._waiting:
            requests = self._take()
            try:
                rows = [row for request, _ in requests for row in request]
                predicted = await loop.run_in_executor(self._thread, self._call, rows)
            except Exception as error:  # whatever it is, it belongs to the requests and not to this task
                for _, future in requests:
                    if not future.done():
                        future.set_exception(error)
                continue
            start = 0
            for request, future in requests:
                if not future.done():  # a client that has gone takes its future with it
                    future.set_result(predicted.take(slice(start, start + len(request))))
                start += len(request)
        self._task = None

    def _take(self) -> list[tuple[list[Row], "asyncio.Future[Predicted]"]]:
        count, rows = 0, 0
        for request, _ in self._waiting:
            rows += len(request)
            if count and rows > self._batch:
                break
            count += 1
        taken = list(islice(self._waiting, count))
        for _ in taken:
            self._waiting.popleft()
        return taken

    def _call(self, rows: list[Row]) -> Predicted:
        return self._predictor.predict(of_rows(rows))

    def close(self) -> None:
        """Let go of the thread, once nothing is waiting."""
        self._thread.shutdown()
