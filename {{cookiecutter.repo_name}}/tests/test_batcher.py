import asyncio
import threading
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from {{ cookiecutter.src_package_name }}.batcher import Batcher, Full
from {{ cookiecutter.src_package_name }}.columns import COLUMNS, EXAMPLE_ROW
from {{ cookiecutter.src_package_name }}.inputs import Values
from {{ cookiecutter.src_package_name }}.predictor import Predicted
from {{ cookiecutter.src_package_name }}.schema import Row

from .conftest import a_number

TIMEOUT = 20


class Echo:
    """Answers each row with its first number; waits for `go` and remembers what it was called with."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.calls: list[int] = []

    def predict(self, columns: Mapping[str, Values]) -> Predicted:
        self.calls.append(len(columns[a_number()]))
        assert self.go.wait(TIMEOUT)
        return Predicted(np.array(columns[a_number()]))


def some(values: Sequence[float]) -> list[Row]:
    return [row(value) for value in values]


def row(value: float | None) -> Row:
    return EXAMPLE_ROW.model_copy(update={COLUMNS[a_number()].field: value})


async def started(echo: Echo, calls: int) -> None:
    while len(echo.calls) < calls:
        await asyncio.sleep(0.001)


def test_what_waits_is_answered_in_one_call_and_in_order() -> None:
    async def scenario(echo: Echo) -> list[Predicted]:
        batcher = Batcher(echo, bound=100, batch=100)
        first = asyncio.create_task(batcher.predict(some([1])))
        await started(echo, 1)
        others = [asyncio.create_task(batcher.predict(some(values))) for values in ([2, 3], [4], [5, 6, 7])]
        await asyncio.sleep(0.05)
        echo.go.set()
        return [await first, *[await other for other in others]]

    echo = Echo()
    predicted = asyncio.run(asyncio.wait_for(scenario(echo), TIMEOUT))
    assert [part.values.tolist() for part in predicted] == [[1], [2, 3], [4], [5, 6, 7]]
    assert echo.calls == [1, 6]


def test_a_call_holds_no_more_than_a_batch() -> None:
    async def scenario(echo: Echo) -> None:
        batcher = Batcher(echo, bound=100, batch=4)
        echo.go.set()
        await asyncio.gather(*(batcher.predict(some([1] * count)) for count in (3, 3, 1, 4, 9)))

    echo = Echo()
    asyncio.run(asyncio.wait_for(scenario(echo), TIMEOUT))
    assert echo.calls == [3, 4, 4, 9]


def test_beyond_the_bound_the_answer_is_no_and_comes_at_once() -> None:
    async def scenario(echo: Echo) -> None:
        batcher = Batcher(echo, bound=3, batch=3)
        waiting = asyncio.create_task(batcher.predict(some([1, 2])))
        await started(echo, 1)
        with pytest.raises(Full):
            await batcher.predict(some([1, 2]))
        echo.go.set()
        await waiting
        await batcher.predict(some([1, 2, 3]))
        assert batcher.rows == 0

    asyncio.run(asyncio.wait_for(scenario(Echo()), TIMEOUT))


def test_the_event_loop_goes_on_while_the_model_works() -> None:
    async def scenario(echo: Echo) -> int:
        batcher = Batcher(echo, bound=3, batch=3)
        waiting = asyncio.create_task(batcher.predict(some([1])))
        await started(echo, 1)
        turns = 0
        while turns < 100:
            await asyncio.sleep(0)
            turns += 1
        assert not waiting.done()
        echo.go.set()
        await waiting
        return turns

    assert asyncio.run(asyncio.wait_for(scenario(Echo()), TIMEOUT)) == 100


def test_an_error_belongs_to_its_requests_alone() -> None:
    class Broken(Echo):
        def predict(self, columns: Mapping[str, Values]) -> Predicted:
            if None in columns[a_number()]:
                raise ValueError("broken")
            return Predicted(np.array(columns[a_number()]))

    async def scenario() -> list[float]:
        batcher = Batcher(Broken(), bound=10, batch=1)
        with pytest.raises(ValueError, match="broken"):
            await batcher.predict([row(None)])
        return (await batcher.predict(some([2]))).values.tolist()

    assert asyncio.run(asyncio.wait_for(scenario(), TIMEOUT)) == [2]


def test_a_client_that_leaves_takes_nobody_along() -> None:
    async def scenario(echo: Echo) -> list[float]:
        batcher = Batcher(echo, bound=10, batch=10)
        first = asyncio.create_task(batcher.predict(some([1])))
        await started(echo, 1)
        leaves, stays = (asyncio.create_task(batcher.predict(some([value]))) for value in (2, 3))
        await asyncio.sleep(0.01)
        leaves.cancel()
        echo.go.set()
        await first
        return (await stays).values.tolist()

    assert asyncio.run(asyncio.wait_for(scenario(Echo()), TIMEOUT)) == [3]
