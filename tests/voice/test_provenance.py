from pathlib import Path

from voice.provenance import code_digest, identity, versions


def test_the_digest_changes_with_the_sources_and_not_with_what_is_compiled_from_them(tmp_path: Path):
    (tmp_path / "a.py").write_text("one = 1")
    before = code_digest(tmp_path)
    (tmp_path / "a.pyc").write_bytes(b"compiled")
    assert code_digest(tmp_path) == before
    (tmp_path / "b.cpp").write_text("int two;")
    with_kernel = code_digest(tmp_path)
    (tmp_path / "b.hpp").write_text("int three;")
    assert len({before, with_kernel, code_digest(tmp_path)}) == 3


def test_an_identity_holds_weights_code_and_versions(tmp_path: Path):
    (tmp_path / "judge.py").write_text("one = 1")
    first = identity("ecapa", "weights", code=str(tmp_path / "judge.py"), packages=("torch",))
    (tmp_path / "judge.py").write_text("one = 2")
    second = identity("ecapa", "weights", code=str(tmp_path / "judge.py"), packages=("torch",))
    assert first != second
    assert "torch=" in first
    assert versions("no-such-package") == "no-such-package=missing"
