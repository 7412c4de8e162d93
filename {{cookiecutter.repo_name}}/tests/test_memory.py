from pathlib import Path

import pytest

from {{ cookiecutter.src_package_name }} import memory

GIB = memory.GIB


@pytest.fixture
def limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A container whose limit a file holds."""
    monkeypatch.setattr(memory, "LIMITS", (tmp_path / "memory.max", tmp_path / "another"))
    monkeypatch.setattr(memory.os, "sysconf", lambda name: {"SC_PAGE_SIZE": 4096}.get(name, 16 * GIB // 4096))
    return tmp_path / "memory.max"


@pytest.mark.parametrize(("limit", "bytes_"), [(str(4 * GIB), 4 * GIB), ("max", 16 * GIB), (None, 16 * GIB)])
def test_what_there_is_is_the_containers_limit_or_the_machines_memory(
    limit: str | None, bytes_: int, limited: Path
) -> None:
    if limit:
        limited.write_text(f"{limit}\n")
    assert memory.available() == bytes_


def test_a_system_that_does_not_say_is_not_guessed_at(limited: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(memory.os, "sysconf")
    assert memory.available() is None
    assert memory.shortage(10**12, 10**11, 10) is None


def test_rows_that_do_not_fit_are_a_line_with_how_many_may(limited: Path) -> None:
    limited.write_text(str(2 * GIB))
    assert memory.shortage(1_000_000, 700_000, 6) is None
    says = memory.shortage(10_000_000, 9_000_000, 6)
    assert says == (
        "10000000 rows take at least 4.7 GiB to train on, and there are 2.0: "
        "learn from a sample of the training split, such as rows=2000000"
    )
    small = memory.shortage(10_000_000, 5_000_000, 6)
    assert small is not None
    assert "give the other splits smaller shares, data.split.valid and data.split.test" in small
    assert memory.shortage(1_000_000 + 2_000_000, 2_000_000, 6) is None  # that many do
