from pathlib import Path

import pytest

from {{ cookiecutter.src_package_name }} import storage
from {{ cookiecutter.src_package_name }}.errors import Problem


def test_a_path_lies_below_the_root_unless_it_stands_for_itself(tmp_path: Path) -> None:
    assert storage.locate("data", "raw/a.csv") == Path("data/raw/a.csv")
    assert storage.locate("data") == Path("data")
    assert storage.locate("data", str(tmp_path)) == tmp_path


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "new" / "file.txt"
    with storage.publish(target) as draft:
        draft.write_text("first half, ")
        assert not target.exists()
        with draft.open("a") as stream:
            stream.write("second half")
    assert target.read_text() == "first half, second half"
    assert [path.name for path in target.parent.iterdir()] == ["file.txt"]


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "file.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError), storage.publish(target) as draft:  # noqa: PT012
        draft.write_text("half of the n")
        raise RuntimeError
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file.txt"]


def test_files_come_by_their_names_in_the_folder(tmp_path: Path) -> None:
    for name in ("b.csv", "a.csv", "deep/er/c.csv", ".hidden", "_SUCCESS", "_notes/d.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert list(storage.files(tmp_path)) == ["a.csv", "b.csv", "deep/er/c.csv"]
    assert storage.files(tmp_path / "b.csv") == {"b.csv": tmp_path / "b.csv"}


def test_a_folder_without_files_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("nowhere", "empty"):
        with pytest.raises(Problem, match="no folder with files in it"):
            storage.files(tmp_path / name)


def test_a_link_that_leads_nowhere_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "a.csv").symlink_to(tmp_path / "gone.csv")
    with pytest.raises(Problem, match=r"a\.csv is a link that leads nowhere"):
        storage.files(tmp_path)


@pytest.mark.parametrize("folders", ["new", "new/and/deep"])
def test_a_failure_leaves_no_folder(folders: str, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), storage.publish(tmp_path / folders / "file.txt") as draft:  # noqa: PT012
        draft.write_text("half of the n")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_where_nothing_is_written_there_is_nothing(tmp_path: Path) -> None:
    with storage.publish(tmp_path / "new/file.txt"):
        pass
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file.txt").write_text("old")
    with storage.publish(tmp_path / "file.txt"):
        pass
    assert (tmp_path / "file.txt").read_text() == "old"
