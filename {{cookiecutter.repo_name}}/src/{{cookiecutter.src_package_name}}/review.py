"""What prepare says of the data: how they are split, and what people otherwise find out too late.

These are sentences, not refusals. Their cost is bounded: they look at a sample, taken by a hash so that it repeats.
"""

from collections.abc import Mapping

import polars as pl

from . import split
from .columns import TARGET, TASK, label
from .data import SPLITS
from .split import Hash, Rule

Parts = dict[str, pl.LazyFrame]  # the rows of each split
Classes = Mapping[str, Mapping[str, int]]  # the rows of each class, by split

FEW = 5  # rows of a class, below which a measure on them says little
NAMED = 10  # classes that a sentence names at most


def classes(parts: Parts) -> dict[str, dict[str, int]]:
    """Count the rows of each class in each split; nothing for a regression."""
    if TASK == "regression":
        return {}
    counts = {
        name: {label(value): count for value, count in part.group_by(TARGET).len().collect().iter_rows()}
        for name, part in parts.items()
    }
    every = sorted({known for found in counts.values() for known in found})
    return {name: {known: found.get(known, 0) for known in every} for name, found in counts.items()}


def groups(rule: Rule, unique: str | None, parts: Parts) -> dict[str, int]:
    """Count the groups of rows that stay together in each split, where columns other than the id were named."""
    if not isinstance(rule, Hash) or rule.content or rule.by == [unique]:
        return {}
    return {name: part.select(pl.struct(rule.by).n_unique()).collect().item() for name, part in parts.items()}


def proportions(counts: Classes, groups: Mapping[str, int]) -> list[str]:
    """Put the counts of classes and groups into lines, for train, valid and test."""
    lines = []
    if counts:
        totals = {known: tuple(counts[name][known] for name in SPLITS) for known in counts["train"]}
        shown = sorted(totals, key=lambda known: (sum(totals[known]), known))[:NAMED]
        text = ", ".join(f"{known} {_triple(totals[known])}" for known in totals if known in shown)
        rarest = f"{len(totals)}, the rarest: " if len(totals) > NAMED else ""
        lines.append(f"classes (train/valid/test): {rarest}{text}")
    if groups:
        lines.append(f"groups (train/valid/test): {_triple(tuple(groups[name] for name in SPLITS))}")
    return lines


def _triple(counts: tuple[int, ...]) -> str:
    return "/".join(map(str, counts))


def moves(before: Rule, rule: Rule, parts: Parts) -> list[str]:
    """Say what changed if rows were split by another rule before, and how many of today's rows lie elsewhere for it."""
    if before == rule:
        return []
    changed = f"rows are split by {rule}; before, by {before}"
    counts = split.moved(before, parts)
    if counts is None:
        return [f"{changed}: how many rows moved cannot be counted"]
    return [
        f"{changed}: {sum(counts.values())} rows moved, {counts.get(('test', 'train'), 0)} of them from test to train "
        f"and {counts.get(('train', 'test'), 0)} from train to test"
    ]


def balance(counts: Classes) -> list[str]:
    """Say which classes are missing from a split, or have so few rows there that a measure on them says little."""
    lines = []
    for name, found in counts.items():
        if missing := [known for known, count in found.items() if not count]:
            effect = "no model learns it" if name == "train" else "measures that need every class are undefined there"
            lines.append(f"{_some(missing)} missing from {name}: {effect}")
        rare = [f"{known} ({count})" for known, count in found.items() if 0 < count < FEW]
        if rare and name != "train":
            lines.append(f"{_some(rare)} fewer than {FEW} rows in {name}: measures on so few say little")
    return lines


def _some(names: list[str]) -> str:
    """Name some of the classes that a sentence is about, as its subject with a verb."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{'class' if len(names) == 1 else 'classes'} {', '.join(names[:NAMED])}{more}"


def review(parts: Parts, rows: Mapping[str, int], counts: Classes, rule: Rule) -> list[str]:
    """Say what is odd about the data, in a sentence each."""
    return balance(counts)
