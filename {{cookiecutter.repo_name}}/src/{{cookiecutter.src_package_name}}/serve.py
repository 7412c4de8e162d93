"""The champion over HTTP."""

from .settings import Settings, start

if __name__ == "__main__":  # before the imports below: --help, or a wrong setting, needs none of them
    start()

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi_offline import FastAPIOffline
from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_fastapi_instrumentator import Instrumentator
from pydantic import BaseModel, Field
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from . import formats
from .batcher import Batcher, Full
from .columns import EXAMPLE, EXAMPLE_ROW, Prediction, label, of_rows
from .predictor import Card, Loaded, Predicted, Predictor, require_inputs
from .schema import Row

log = logging.getLogger("uvicorn.error")


class ModelName(BaseModel):
    """Which model answered."""

    name: str
    version: str


class Model(ModelName):
    """The model that is served."""

    card: Card


class Rows(BaseModel):
    """The rows to predict for."""

    model_config = {"json_schema_extra": {"examples": [{"rows": [EXAMPLE]}]}}

    rows: list[Row] = Field(min_length=1)


class Predictions(BaseModel):
    """One prediction for each row, in the same order."""

    model: ModelName
    predictions: list[Prediction]


def fetch(settings: Settings) -> Loaded:
    """Load the model that the settings name; raises Problem if there is none, or its inputs are not made here."""
    if not settings.model.startswith("models:/"):
        folder = Path(settings.model)
        served = Loaded(folder.name, "local", formats.load(folder, settings.threads, settings.trusted))
    else:
        from .tracking import Tracker  # a service with its model beside it has no need of MLflow
        from .versions import Versions

        served = Versions(Tracker(settings.tracking_uri)).load(settings.model, settings.threads, settings.trusted)
    require_inputs(served.predictor.card, served.image)
    return served


def warm_up(predictor: Predictor) -> None:
    """Predict once, so that the first request is as fast as the others and a broken model never gets ready."""
    predictor.predict(of_rows([EXAMPLE_ROW]))


class BodyLimit:
    """Turns away bodies that are too large, before they are in memory."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app, self._limit = app, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count what comes in, whatever the request says of its length."""
        total = 0

        async def counted() -> Message:
            nonlocal total
            message = await receive()
            total += len(message.get("body", b""))
            if total > self._limit:
                raise HTTPException(413, f"the body is over {self._limit} bytes; send fewer rows at a time")
            return message

        await self._app(scope, counted, send)


def create_app(settings: Settings, served: Loaded | None = None) -> FastAPI:
    """Make the service. It loads the model when it starts, unless it is handed one."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        loaded = served if served is not None else await asyncio.to_thread(fetch, settings)
        warm_up(loaded.predictor)
        app.state.batcher = Batcher(loaded.predictor, settings.max_waiting, settings.max_rows)
        app.state.served = loaded
        model_info.labels(loaded.name, loaded.version).set(1)
        log.info("serving %s version %s", loaded.name, loaded.version)
        yield
        app.state.batcher.close()
        app.state.served = None

    # FastAPI's own page at /docs asks other hosts for its scripts, which a laptop or a cluster may not reach.
    app = FastAPIOffline(title="Predictions", description=Row.__doc__ or "", lifespan=lifespan)
    app.state.served = None
    app.add_middleware(BodyLimit, limit=settings.max_bytes)
    collected = CollectorRegistry()
    unseen = ["/livez", "/readyz", "/metrics", "/static"]
    Instrumentator(registry=collected, excluded_handlers=unseen).instrument(app).expose(app, include_in_schema=False)
    predicted = Counter("predictions", "Predictions made, by class", ["prediction"], registry=collected)
    model_info = Gauge("model_info", "The model that is served", ["name", "version"], registry=collected)
    waiting = Gauge("rows_waiting", "Rows waiting or in work", registry=collected)
    waiting.set_function(lambda: app.state.batcher.rows if app.state.served else 0)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        """Name the field and the rule; the value stays with the client."""
        detail = [{key: item[key] for key in ("type", "loc", "msg")} for item in error.errors()]
        return JSONResponse({"detail": detail}, 422)

    @app.get("/livez", tags=["probes"])
    async def livez() -> dict[str, str]:
        """Tell that the process lives."""
        return {"status": "alive"}

    @app.get(
        "/readyz",
        tags=["probes"],
        dependencies=[Depends(ready)],
        responses={503: {"description": "The model is not loaded"}},
    )
    async def readyz() -> dict[str, str]:
        """Tell that the model is loaded and has answered."""
        return {"status": "ready"}

    @app.get("/model")
    async def model(served: Annotated[Loaded, Depends(ready)]) -> Model:
        """Describe the model: name, version, inputs and classes, and its measures at training."""
        return Model(name=served.name, version=served.version, card=served.predictor.card)

    @app.post(
        "/predict",
        responses={413: {"description": "Too many rows or bytes"}, 503: {"description": "Busy: try again soon"}},
        response_model=Predictions,
    )
    async def predict(body: Rows, served: Annotated[Loaded, Depends(ready)]) -> Any:
        """Predict for one row or many."""
        if len(body.rows) > settings.max_rows:
            raise HTTPException(413, f"{len(body.rows)} rows; at most {settings.max_rows} in a request")
        try:
            found = await app.state.batcher.predict(body.rows)
        except Full:
            raise HTTPException(503, "too many rows are waiting", {"Retry-After": "1"}) from None
        return {"model": {"name": served.name, "version": served.version}, "predictions": answer(found, predicted)}

    return app


async def ready(request: Request) -> Loaded:
    """Give the model, or say that there is none yet; async, or FastAPI would call it in a thread each time."""
    if request.app.state.served is None:
        raise HTTPException(503, "the model is not loaded", {"Retry-After": "1"})
    served: Loaded = request.app.state.served
    return served


def answer(found: Predicted, counter: Counter) -> list[dict[str, Any]]:
    """Put predictions as JSON has them, and count the classes."""
    values = found.values.tolist()
    if found.classes is None:
        counter.labels("number").inc(len(values))
        return [{"prediction": value} for value in values]
    for value in values:
        counter.labels(label(value)).inc()
    if found.probabilities is None:
        return [{"prediction": value} for value in values]
    names = [label(each) for each in found.classes]
    return [
        {"prediction": value, "probabilities": dict(zip(names, row, strict=True))}
        for value, row in zip(values, found.probabilities.tolist(), strict=True)
    ]


def main(settings: Settings) -> None:
    """Serve until SIGTERM or Ctrl-C, and then end what is in work."""
    uvicorn.run(
        create_app(settings, fetch(settings)),
        host=settings.host,
        port=settings.port,
        timeout_graceful_shutdown=settings.grace,
        access_log=False,  # requests are counted at /metrics
    )
