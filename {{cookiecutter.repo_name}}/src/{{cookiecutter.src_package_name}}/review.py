"""What prepare says of the data: how they are split, and what people otherwise find out too late.

These are sentences, not refusals. Their cost is bounded: they look at a sample, taken by a hash so that it repeats.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from . import split
from .columns import COLUMNS, EXTRA, TARGET, TASK, Column
from .data import SPLITS
from .kinds import Kind
from .split import Hash, Rule
from .tables import Pieces

Parts = Mapping[str, Pieces]  # the rows of each split
Classes = Mapping[str, Mapping[str, int]]  # the rows of each class, by split

FEW = 5  # rows of a class, below which a measure on them says little
NAMED = 10  # classes that a sentence names at most
LOOKED_AT = 20_000  # rows in the sample
ENOUGH = 50  # rows, below which nothing can be told from chance
ALONE = 0.98  # the share of the naive answer's faults that one column mends, from which on it gives the target away
NUMBERS = (Kind.NUMBER, Kind.BOOLEAN, Kind.DATE, Kind.TIME)


def classes(shards: Iterable[Classes]) -> dict[str, dict[str, int]]:
    """Add up the rows of each class in each split; nothing for a regression."""
    counts: dict[str, Counter[str]] = {name: Counter() for name in SPLITS}
    for shard in shards:
        for name, found in shard.items():
            counts[name].update(found)
    every = sorted({known for found in counts.values() for known in found})
    return {name: {known: found[known] for known in every} for name, found in counts.items()} if every else {}


def groups(rule: Rule, unique: str | None, parts: Parts) -> dict[str, int]:
    """Count the groups of rows that stay together in each split, where columns other than the id were named."""
    if not isinstance(rule, Hash) or rule.content or rule.by == [unique]:
        return {}
    by = rule.by
    counts = {}
    for name, part in parts.items():
        different = part.gather(lambda piece: piece.select(by).unique()).unique()
        counts[name] = different.select(pl.len()).collect(engine="streaming").item()
    return counts


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


def moves(before: Rule, rule: Rule, counts: Mapping[tuple[str, str], int] | None) -> list[str]:
    """Say what changed if rows were split by another rule before, and how many of today's rows lie elsewhere for it.

    Args:
        before: The rule before.
        rule: Today's.
        counts: The rows that moved, by the splits that they were and are in; None if they cannot be counted.
    """
    if before == rule:
        return []
    changed = f"rows are split by {rule}; before, by {before}"
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
            lines.append(f"{_some(missing, 'is', 'are')} missing from {name}: {effect}")
        rare = [f"{known} ({count})" for known, count in found.items() if 0 < count < FEW]
        if rare and name != "train":
            lines.append(f"{_some(rare, 'has', 'have')} fewer than {FEW} rows in {name}: measures on so few say little")
    return lines


def _some(names: list[str], verb: str, verbs: str) -> str:
    """Name some of the classes that a sentence is about, and put its verb."""
    if len(names) == 1:
        return f"class {names[0]} {verb}"
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"classes {', '.join(names[:NAMED])}{more} {verbs}"


@dataclass(frozen=True)
class Sample:
    """Rows that were looked at, their splits, a hash of what is asked of each, and how many rows there are in all."""

    table: pl.DataFrame
    splits: pl.Series
    asked: pl.Series
    total: int

    def __str__(self) -> str:
        return f"{len(self.table)} rows" + (" looked at" if len(self.table) < self.total else "")


def sample(parts: Parts, rows: Mapping[str, int]) -> Sample:
    """Take rows by a hash of what is asked: rows that are equal in it are all taken, or none of them."""
    total = sum(rows.values())
    columns = [*COLUMNS, *EXTRA]
    # Polars' own hash is quick; it is not the same in all of Polars' versions, which for a sample does not matter.
    quick = pl.struct(list(COLUMNS)).hash(0)
    taken = pl.lit(value=True) if total <= LOOKED_AT else quick < split.share_of_hashes(LOOKED_AT / total)
    frames = {
        name: part.gather(lambda piece: piece.filter(taken).select(columns)).collect() for name, part in parts.items()
    }
    table = pl.concat(frames.values())
    asked = split.digest({name: table.schema[name] for name in COLUMNS}, seed=0)
    splits = pl.Series([name for name, frame in frames.items() for _ in range(len(frame))], dtype=pl.String)
    return Sample(table, splits, table.select(asked).to_series(), total)


def review(parts: Parts, rows: Mapping[str, int], counts: Classes, rule: Rule) -> list[str]:
    """Say what is odd about the data, in a sentence each.

    Args:
        parts: The rows of each split.
        rows: How many these are.
        counts: The rows of each class, by split.
        rule: What the rows are split by.
    """
    looked = sample(parts, rows)
    if len(looked.table) < ENOUGH:
        return balance(counts)
    return [
        *balance(counts),
        *(line for column in COLUMNS.values() if column.seen for line in _of_column(column, looked)),
        *_contradictions(looked),
        *_parted(looked, rule),
        *_alike(looked),
    ]


def _of_column(column: Column, looked: Sample) -> Iterator[str]:
    """Say what is odd about a column that the model sees."""
    name, values = column.name, looked.table[column.name]
    different = values.n_unique()
    if different == 1:
        held = "empty" if values[0] is None else repr(values[0])
        yield f"{name} is {held} in all of {looked}: nothing can be learnt from it; mark it ASIDE in schema.py"
    elif column.kind == Kind.CATEGORY and column.type is str and different > len(values) / 2:
        yield (
            f"{name} has {different} different texts in {looked}, which are too many for categories; in schema.py "
            "mark it Kind.TEXT if it holds words, or ASIDE to leave it out"
        )
    elif column.kind == Kind.NUMBER and column.type is int and different == len(values):
        yield (
            f"{name} is a whole number that is different in each of {looked}, as an id is; "
            "if it only names the row, mark it ASIDE in schema.py"
        )
    elif (alone := _alone(column, looked)) is not None:
        yield (
            f"{name} alone gives {TARGET} away ({alone}); if it is not known yet when a prediction is asked for, "
            "mark it ASIDE in schema.py"
        )


def _alone(column: Column, looked: Sample) -> str | None:
    """Say how well one column answers the target, if that is nearly perfect and the naive answer is not.

    Half of the rows is learnt by heart. The other half gets the answer of the same value or, for numbers, of the
    nearest, which needs no bins that would blur a threshold.
    """
    known = pl.col("value").is_not_null()
    truth = looked.table[TARGET]
    if TASK == "regression":
        truth = truth.rank()
    value = looked.table[column.name]
    number = column.kind in NUMBERS
    value = value.to_physical().cast(pl.Float64) if number else value.cast(pl.String)
    table = pl.DataFrame({"value": value, "truth": truth, "half": looked.asked % 2 == 0}).sort("value")
    answer = pl.col("truth").mean() if TASK == "regression" else pl.col("truth").mode().min()
    learnt, tried = table.filter("half"), table.filter(~pl.col("half"))
    naive = learnt.select(answer).item()
    answers = learnt.filter(known).group_by("value").agg(answer.alias("answer")).sort("value")
    if answers.is_empty():
        return None
    found = tried.filter(known)
    found = (
        found.join_asof(answers, on="value", strategy="nearest")
        if number
        else found.join(answers, on="value", how="left")
    )
    guessed = pl.concat([found, tried.filter(~known).with_columns(answer=None)], how="vertical_relaxed")
    guess = guessed["answer"].fill_null(naive)
    if TASK == "regression":
        fault, least = ((guess - guessed["truth"]) ** 2).sum(), ((guessed["truth"] - naive) ** 2).sum()
        text = f"it explains {1 - fault / least:.1%} of what varies" if least else ""
    else:
        fault, least = int((guess != guessed["truth"]).sum()), int((guessed["truth"] != naive).sum())
        right, usual = 1 - fault / len(guessed), 1 - least / len(guessed)
        text = f"it is right for {right:.1%} of rows, the most frequent class for {usual:.1%}"
    return text if least and least >= FEW and 1 - fault / least >= ALONE else None


def _contradictions(looked: Sample) -> Iterator[str]:
    """Count rows that are equal in all that is asked, and have different targets."""
    pairs = pl.DataFrame({"asked": looked.asked, "truth": looked.table[TARGET]})
    sizes = pairs.group_by("asked").agg(pl.len(), pl.col("truth").n_unique()).filter(pl.col("truth") > 1)
    if count := sizes["len"].sum():
        yield (
            f"{count} of {looked} are equal to another in every column of Row, and not in {TARGET}: "
            "no model can tell them apart; correct them, or add to Row what does"
        )


def _parted(looked: Sample, rule: Rule) -> Iterator[str]:
    """Count rows that are equal to one in another split."""
    table = looked.table
    pairs = pl.DataFrame({"row": table.select(split.digest(table.schema, 0)).to_series(), "split": looked.splits})
    sizes = pairs.group_by("row").agg(pl.len(), pl.col("split").n_unique()).filter(pl.col("split") > 1)
    if count := sizes["len"].sum():
        yield (
            f"{count} of {looked} are equal in every column to a row of another split, because rows are split by "
            f"{', '.join(rule.columns) or rule}; data.split.by=content keeps equal rows together"
        )


# Rows of one person or thing lie close together and far from all others: from one of a row's nearest neighbours to the
# next, the distance doubles. With independent rows it hardly does: the ratio of the distances of neighbours j and j + 1
# is above 2 with probability 2 ** (-j * d) in d dimensions, so the first one is left out.
NEIGHBOURS = 50
DOUBLED = 2.0
OFTEN = 0.4  # the share of rows that stand in such a group, from which on it is no chance
TRIED = 500  # rows of test that are looked at
VALUES = 20  # different numbers in a column, below which distances in it say nothing


def _alike(looked: Sample) -> Iterator[str]:
    """Say whether rows of test have a small circle of rows in train that are nearly, and not quite, the same."""
    names = [
        column.name
        for column in COLUMNS.values()
        if column.kind in (Kind.NUMBER, Kind.DATE, Kind.TIME) and looked.table[column.name].n_unique() >= VALUES
    ]
    learnt = looked.table.filter(looked.splits == "train").height
    if len(names) < 2 or learnt <= NEIGHBOURS:
        return
    ranks = looked.table.select(((pl.col(names).rank() - 0.5) / pl.col(names).count()).fill_null(0.5)).to_numpy()
    order = looked.asked.arg_sort().to_numpy()
    splits = looked.splits.to_numpy()[order]
    train, test = ranks[order][splits == "train"], ranks[order][splits == "test"][:TRIED]
    squares = (test**2).sum(axis=1)[:, None] + (train**2).sum(axis=1) - 2 * test @ train.T
    nearest = np.sort(np.partition(squares, NEIGHBOURS, axis=1)[:, : NEIGHBOURS + 1], axis=1)
    apart = np.sqrt(np.where(nearest > 1e-12, nearest, np.nan))  # rows that are quite the same are counted elsewhere
    steps = apart[:, 2:] / apart[:, 1:-1]
    grouped = int((np.nanmax(steps, axis=1, initial=1) >= DOUBLED).sum())
    if len(test) >= FEW and grouped >= OFTEN * len(test):
        yield (
            f"{grouped} of {len(test)} rows of test have a few nearly equal ones in train, far from all others, "
            "as if they were of one person or thing: measures are then too good; name its column in data.split.by"
        )
