"""What every record of the experiments says of its making."""

from experiments.records import REVISION, revision, stamp


def test_a_copy_without_history_is_told_its_revision(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert revision() == "unknown"
    monkeypatch.setenv(REVISION, "abc1234")
    assert stamp({}, 0.0)["revision"] == "abc1234"


def test_a_record_says_how_memory_was_allocated_where_that_was_chosen(monkeypatch):
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
    assert stamp({}, 0.0)["allocator"] == "glibc.malloc.hugetlb=1"
    monkeypatch.delenv("GLIBC_TUNABLES")
    assert "allocator" not in stamp({}, 0.0)
