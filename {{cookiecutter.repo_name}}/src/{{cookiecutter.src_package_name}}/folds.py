"""Cross-validation on the training split: a model fitted several times, each time without one of the folds."""

import numpy as np
from omegaconf import DictConfig

from . import measure, model, samples
from .errors import Problem
from .plan import Plan


def cross_validated(planned: Plan, config: DictConfig) -> dict[str, float]:
    """Measure the configured model by cross-validation: mean and standard deviation over folds, by metric.

    Groups stay in one fold, and with a split by time a fold is measured by a model of what stands before it. A metric
    that is not defined on some fold is left out. Raises Problem if a fold has nothing to learn from or to measure.
    """
    rows, count = planned.samples["train"], config.folds
    places = planned.manifest.split.folds(planned.tables["train"], count).to_numpy()
    ordered = planned.manifest.split.time_column is not None
    found: list[dict[str, float]] = []
    for learnt, measured in samples.folds(rows, places, count, ordered):
        if not len(measured) or len(model.classes(learnt.truth) or (0, 1)) < 2:
            raise Problem(f"folds={count}: a fold has no row, or leaves one class to learn; take fewer folds")
        pipeline = model.build(config, config.seed)
        weighted = samples.balanced(learnt, config.weight.classes)
        model.fit(pipeline, weighted, config.model, planned.samples["valid"])
        predicted = model.predict(pipeline, measured.inputs, model.classes(learnt.truth))
        found.append(measure.evaluate(planned.metrics, measured.truth, predicted))
    means: dict[str, float] = {}
    for name in planned.metrics:
        values = [each[name] for each in found if name in each]
        if len(values) == len(found):
            means |= {f"folds_{name}": float(np.mean(values)), f"folds_{name}_deviation": float(np.std(values))}
    return means
