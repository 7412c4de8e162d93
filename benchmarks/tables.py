"""prepare and infer beside what people write by hand, on the sample's table made longer: processor time and memory.

prepare stands beside scripts with pandas, Polars and DuckDB that refuse the same rows, split by a hash of the id and
write the same three files; infer beside the fitted pipeline, asked in memory. All are processes of their own, on one
thread, and take turns. Figures are medians, with the least and the greatest; imports are in them.

    python benchmarks/tables.py 1 10           # millions of rows; writes tables.json and docs/assets/tables.svg
    TURNS=1 python benchmarks/tables.py 30     # the others of the file stay
    python benchmarks/tables.py workers     # what a second process is worth, on two cores that nobody else uses
"""

import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TURNS = int(os.environ.get("TURNS", "3"))
UNEVEN = (34, 21, 13, 13, 8, 5, 4, 2)  # the shares of rows in eight files
FIGURES = Path(__file__).with_suffix(".json")
PICTURE = ROOT / "docs" / "assets" / "tables.svg"
PANELS = {
    "preparing": ["prepare", "prepare, with review", "pandas", "Polars by hand", "DuckDB by hand"],
    "scoring": ["infer", "pipeline in memory"],
}
ABOVE = {"bill_length_mm": 200, "bill_depth_mm": 100, "flipper_length_mm": 500, "body_mass_g": 50_000}
TEXTS = {"species": ["Adelie", "Chinstrap", "Gentoo"], "sex": ["female", "male"]}
COLUMNS = ["id", "species", "island", *ABOVE, "sex"]
Figures = dict[str, dict[str, list[float]]]  # by what was measured: seconds and memory of each turn
SHARES = {"test": (0.0, 0.15), "valid": (0.15, 0.3), "train": (0.3, 1.0)}


def longer(sample: Path, file: Path, rows: int) -> None:
    """Draw rows of the sample, with ids of their own and measures a little changed."""
    import numpy as np
    import polars as pl

    table = pl.read_csv(sample, null_values=["NA", ""])
    random = np.random.default_rng(0)
    with file.open("wb") as stream:
        for start in range(0, rows, 500_000):
            count = min(500_000, rows - start)
            noise = {name: pl.Series(random.normal(0, 0.2, count).round(1)) for name in list(ABOVE)[:2]}
            part = table[random.integers(0, len(table), count)].with_columns(
                pl.Series("id", np.arange(start + 1, start + count + 1)),
                *((pl.col(name) + change).round(1).alias(name) for name, change in noise.items()),
            )
            stream.write(part.write_csv(include_header=not start, null_value="NA").encode())


def hashed(ids: Any) -> Any:
    """Hash ids as the project does, and give them as shares of all hashes."""
    import polars as pl
    from polars_hash import NonCryptographicHashingNameSpace

    table = pl.DataFrame({"id": ids})
    return table.select(NonCryptographicHashingNameSpace(pl.col("id")).xxh3_64(seed=42)).to_series().to_numpy() / 2**64


def with_pandas(raw: Path, out: Path) -> None:
    """Prepare in chunks, as a careful script does."""
    import pandas as pd
    import pyarrow as pa
    from pyarrow import parquet

    writers: dict[str, Any] = {}
    texts = dict.fromkeys(["id", "species", "island", "sex"], str)
    options: dict[str, Any] = {"dtype": texts, "na_values": ["", "NA"], "keep_default_na": False, "usecols": COLUMNS}
    for table in pd.read_csv(raw, chunksize=100_000, **options):
        good = table.species.isin(TEXTS["species"]) & table.island.str.len().between(1, 40)
        good &= table.sex.isna() | table.sex.isin(TEXTS["sex"])
        for name, most in ABOVE.items():
            good &= table[name].isna() | ((table[name] > 0) & (table[name] < most))
        kept = table[good]
        share = hashed(kept.id.to_numpy())
        for name, (low, high) in SHARES.items():
            part = pa.Table.from_pandas(kept[(share >= low) & (share < high)], preserve_index=False)
            if name not in writers:
                writers[name] = parquet.ParquetWriter(out / f"{name}.parquet", part.schema)
            writers[name].write_table(part)
    for writer in writers.values():
        writer.close()
    digests(raw, out)


def with_polars(raw: Path, out: Path) -> None:
    """Prepare with one lazy query."""
    import polars as pl
    from polars_hash import NonCryptographicHashingNameSpace

    types = dict.fromkeys(ABOVE, pl.Float64) | {"id": pl.String}
    table = pl.scan_csv(raw, null_values=["", "NA"], schema_overrides=types).select(COLUMNS)
    good = pl.col("species").is_in(TEXTS["species"]) & pl.col("island").str.len_chars().is_between(1, 40)
    good &= pl.col("sex").is_null() | pl.col("sex").is_in(TEXTS["sex"])
    for name, most in ABOVE.items():
        good &= pl.col(name).is_null() | ((pl.col(name) > 0) & (pl.col(name) < most))
    share = NonCryptographicHashingNameSpace(pl.col("id")).xxh3_64(seed=42).cast(pl.Float64) / 2**64
    kept = table.filter(good).with_columns(share=share)
    sinks = [
        kept.filter(pl.col("share").is_between(low, high, closed="left"))
        .drop("share")
        .sink_parquet(out / f"{name}.parquet", lazy=True)
        for name, (low, high) in SHARES.items()
    ]
    pl.collect_all(sinks, engine="streaming")
    digests(raw, out)


def with_duckdb(raw: Path, out: Path) -> None:
    """Prepare with one statement, by DuckDB's own hash: it has none that is the project's."""
    import duckdb

    rules = ["length(island) BETWEEN 1 AND 40", "(sex IS NULL OR sex IN ('female', 'male'))"]
    rules += [f"species IN {tuple(TEXTS['species'])}"]
    rules += [f"({name} IS NULL OR ({name} > 0 AND {name} < {most}))" for name, most in ABOVE.items()]
    types = dict.fromkeys(ABOVE, "DOUBLE") | {"id": "VARCHAR"}
    places = " ".join(f"WHEN share < {high} THEN '{name}'" for name, (_, high) in SHARES.items())
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute(f"""
            COPY (
                SELECT {", ".join(COLUMNS)}, CASE {places} END AS split
                FROM (
                    SELECT *, hash(id) / 2.0 ** 64 AS share
                    FROM read_csv('{raw}', nullstr = ['', 'NA'], types = {types})
                    WHERE {" AND ".join(rules)}
                )
            ) TO '{out}' (FORMAT parquet, PARTITION_BY split, OVERWRITE_OR_IGNORE)
        """)
    digests(raw, out)


def digests(raw: Path, out: Path) -> None:
    """Hash what was read and written, as a manifest asks for."""
    for file in (raw, *out.rglob("*.parquet")):
        with file.open("rb") as stream:
            hashlib.file_digest(stream, "sha256")


def in_memory(raw: Path, out: Path) -> None:
    """Fit the project's pipeline to its sample, then ask it for all rows, in chunks; prints what came after the fit."""
    import pandas as pd
    from hydra import compose, initialize_config_dir
    from my_ml_project import CONF, model, plan

    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train")
    planned = plan.make(config)
    pipeline = model.build(config, 0)
    model.fit(pipeline, planned.samples["train"], config.model)
    before = os.times()
    options: dict[str, Any] = {"na_values": ["", "NA"], "keep_default_na": False, "dtype": {"id": str}}
    for number, table in enumerate(pd.read_csv(raw, chunksize=300_000, **options)):
        inputs = table[["island", *ABOVE, "sex"]].fillna({"sex": ""})
        probabilities = pipeline.predict_proba(inputs)
        scored = pd.DataFrame(probabilities.astype("float32"), columns=planned.learnt).assign(id=table.id)
        scored.assign(prediction=[planned.learnt[place] for place in probabilities.argmax(1)]).to_parquet(
            out / f"{number}.parquet"
        )
    after = os.times()
    print("after the fit", after.user + after.system - before.user - before.system)


SCRIPTS = {"pandas": with_pandas, "polars": with_polars, "duckdb": with_duckdb, "pipeline": in_memory}


def measured(command: list[str], folder: Path) -> tuple[float, float]:
    """Run a process to its end; gives its processor seconds and its greatest memory, in MB."""
    threads = {"OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1", "ARROW_NUM_THREADS": "1"}
    environment = {**os.environ, **threads, "PYTHONPATH": str(folder / "src")}
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout
    said = process.stdout.read().decode()
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(said)
    seconds = used.ru_utime + used.ru_stime
    if "after the fit" in said:
        seconds = float(said.split()[-1])
    return seconds, used.ru_maxrss / 1000


def clear(folder: Path) -> None:
    """Take away what commands and scripts write."""
    for place in ("out", "data/prepared-big", "data/predictions"):
        subprocess.run(["rm", "-rf", folder / place], check=True)
    (folder / "out").mkdir()


def turns(commands: dict[str, list[str]], folder: Path) -> dict[str, list[tuple[float, float]]]:
    """Run each command a few times, one after the other in turns."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for _ in range(TURNS):
        for name, command in commands.items():
            clear(folder)
            found[name].append(measured(command, folder))
    return found


def compare(folder: Path, millions: float) -> Figures:
    """Measure everything on a table of so many rows."""
    raw = folder / "rows.csv"
    # In a process of its own: a child's greatest memory is never less than what its parent held when it began.
    rows = str(round(millions * 1_000_000))
    measured([sys.executable, __file__, "--longer", "data/raw/penguins.csv", str(raw), rows], folder)
    script = [sys.executable, __file__, "--script"]
    ours = [sys.executable, "-m", "my_ml_project.prepare", f"data.raw={raw}", "data.prepared=prepared-big"]
    commands = {
        "prepare": [*ours, "review=false"],
        "prepare, with review": ours,
        "pandas": [*script, "pandas", str(raw), "out"],
        "Polars by hand": [*script, "polars", str(raw), "out"],
        "DuckDB by hand": [*script, "duckdb", str(raw), "out"],
        "infer": [sys.executable, "-m", "my_ml_project.infer", f"data.inbox={raw}"],
        "pipeline in memory": [*script, "pipeline", str(raw), "out"],
    }
    found = turns(commands, folder)
    raw.unlink()
    return {
        name: {"seconds": [one for one, _ in each], "memory": [two for _, two in each]} for name, each in found.items()
    }


def uneven(raw: Path, folder: Path) -> None:
    """Part a table into eight files, the largest of which has a third of its rows."""
    header, *rows = raw.read_text().splitlines(keepends=True)
    folder.mkdir()
    start = 0
    for number, share in enumerate(UNEVEN):
        stop = start + len(rows) * share // sum(UNEVEN)
        (folder / f"{number}.csv").write_text("".join([header, *rows[start:stop]]))
        start = stop


def efficiencies(folder: Path, millions: float) -> None:
    """Print how well two processes use two cores: the time of one, over twice that of two; the best of a few turns.

    Beside it, what the machine leaves to two processes that know nothing of each other: each does all of the work.
    """
    other = Path(shutil.copytree(folder, folder.parent / "other"))
    places = {"one file": folder / "rows.csv", "eight files": folder / "eight"}
    longer(folder / "data/raw/penguins.csv", places["one file"], round(millions * 1_000_000))
    uneven(places["one file"], places["eight files"])
    for command, words in {
        "infer": ["data.inbox={}"],
        "prepare": ["data.raw={}", "data.prepared=prepared-big", "review=false"],
    }.items():
        for name, place in places.items():
            call = [sys.executable, "-m", f"my_ml_project.{command}", *(word.format(place) for word in words)]
            ways = {"one": ([folder], 1), "two": ([folder], 2), "apart": ([folder, other], 1)}
            best = dict.fromkeys(ways, float("inf"))
            for _ in range(TURNS):
                for way, (folders, compute) in ways.items():
                    best[way] = min(best[way], together([*call, f"compute={compute}"], folders))
            print(
                f"{command}, {name}: {best['one']:.1f} s by one process, {best['two']:.1f} s by two: efficiency "
                f"{best['one'] / best['two'] / 2:.2f}; of two apart: {best['one'] / best['apart']:.2f}",
                flush=True,
            )


def together(command: list[str], folders: list[Path]) -> float:
    """Run a command in several folders at once; gives the seconds until all have ended."""
    for folder in folders:
        clear(folder)
    start = time.monotonic()
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda folder: measured(command, folder), folders))
    return time.monotonic() - start


def project(folder: Path) -> Path:
    """Render a project with a champion."""
    from cookiecutter.main import cookiecutter

    rendered = Path(cookiecutter(str(ROOT), no_input=True, output_dir=str(folder)))
    for command in ("prepare", "train"):
        measured([sys.executable, "-m", f"my_ml_project.{command}"], rendered)
    return rendered


def main() -> None:
    """Print a table for each size, and all figures as JSON behind them."""
    if sys.argv[1:2] == ["--longer"]:
        longer(Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
        return
    if sys.argv[1:2] == ["--script"]:
        SCRIPTS[sys.argv[2]](Path(sys.argv[3]), Path(sys.argv[4]))
        return
    figures = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = project(Path(scratch))
        if sys.argv[1:2] == ["workers"]:
            efficiencies(folder, float(sys.argv[2]) if sys.argv[2:] else 8)
            return
        for millions in map(float, sys.argv[1:]):
            figures[f"{millions:g}"] = compare(folder, millions)
            print(listed(millions, figures[f"{millions:g}"]))
    packages = ("polars", "pandas", "duckdb", "pyarrow", "scikit-learn", "onnxruntime", "pydantic")
    versions = {name: version(name) for name in packages}
    known = json.loads(FIGURES.read_text())["millions"] if FIGURES.exists() else {}
    figures = dict(sorted((known | figures).items(), key=lambda pair: float(pair[0])))
    FIGURES.write_text(json.dumps({"versions": versions, "millions": figures}, indent=2) + "\n")
    draw(figures)


def listed(millions: float, figures: Figures) -> str:
    """Put what was measured on a table of one size into rows of Markdown."""
    lines = [f"| {millions:g} million rows | CPU-s | least to greatest | MB |", "|---|---|---|---|"]
    for name, each in figures.items():
        low, middle, high = min(each["seconds"]), statistics.median(each["seconds"]), max(each["seconds"])
        lines.append(f"| {name} | {middle:.1f} | {low:.1f} to {high:.1f} | {max(each['memory']):.0f} |")
    return "\n".join(["", *lines])


def draw(figures: dict[str, Figures]) -> None:
    """Draw processor time against rows; colours are readable on light and dark pages."""
    from matplotlib import pyplot

    grey = "#888888"
    pyplot.rc("text", color=grey)
    pyplot.rc("axes", labelcolor=grey, edgecolor=grey, titlecolor=grey)
    for ticks in ("xtick", "ytick"):
        pyplot.rc(ticks, color=grey)
    pyplot.rc("svg", hashsalt="tables")
    sizes = [float(millions) for millions in figures]
    figure, panels = pyplot.subplots(1, len(PANELS), figsize=(10, 4), layout="constrained")
    for axes, (title, shown) in zip(panels, PANELS.items(), strict=True):
        for name in shown:
            middle = [statistics.median(each[name]["seconds"]) for each in figures.values()]
            low = [value - min(each[name]["seconds"]) for value, each in zip(middle, figures.values(), strict=True)]
            high = [max(each[name]["seconds"]) - value for value, each in zip(middle, figures.values(), strict=True)]
            axes.errorbar(sizes, middle, yerr=[low, high], marker="o", capsize=3, label=name)
        axes.set(title=title, xlabel="millions of rows", ylabel="processor seconds", xlim=(0, None), ylim=(0, None))
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(PICTURE, transparent=True, metadata={"Date": None})


if __name__ == "__main__":
    main()
