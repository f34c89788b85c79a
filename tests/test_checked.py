"""The last line of `make test` counts what was there, and nothing of a kind is an error."""

import json
from pathlib import Path

import checked
import pytest

REPORT = '<testsuites><testsuite tests="5" skipped="2"/></testsuites>'


def test_nothing_of_a_kind_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture):
    report = tmp_path / "report.xml"
    report.write_text(REPORT)
    (tmp_path / "01.provenance.json").write_text('{"code": "abc"}')
    (tmp_path / "01.json").write_text(json.dumps({"a": 1, "b": 2}))
    assert checked.main([report, report], tmp_path, tmp_path) == 1
    assert capsys.readouterr().out == "checked: 6 tests, 1 notebooks, 0 figures, 2 numbers\n"
    (tmp_path / "01_a.pdf").write_text("")
    assert checked.main([report], tmp_path, tmp_path) == 0
    report.write_text(REPORT.replace("5", "2"))
    assert checked.main([report], tmp_path, tmp_path) == 1
