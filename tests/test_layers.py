"""Imports go down only: each module may be read knowing only the floors below."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tiny

from m5utils import paths


def lint(root: Path) -> subprocess.CompletedProcess:
    """Import-linter on the package in `root`, by the contract in its pyproject.toml."""
    command = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    return subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(root)!r}); {command}", "--no-cache"],
        cwd=root,
        capture_output=True,
        text=True,
    )


def test_imports_go_down_only():
    result = lint(paths.ROOT)
    assert result.returncode == 0, result.stdout
    assert "1 kept, 0 broken" in result.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("losses", "from m5utils import report"),  # up
        ("report", "from m5utils import plots"),  # sideways
        ("somewhere", ""),  # on no floor
    ],
)
def test_an_import_up_or_sideways_is_seen(tmp_path: Path, module: str, line: str):
    root = tiny.copy_project(tmp_path / "house")
    shutil.copy(paths.ROOT / "pyproject.toml", root)
    with (root / "m5utils" / f"{module}.py").open("a") as source:
        source.write(f"\n{line}\n")
    result = lint(root)
    assert result.returncode == 1
    assert module in result.stdout


def test_packages_import_nothing_when_they_are_imported():
    files = sorted((paths.ROOT / "m5utils").rglob("__init__.py"))
    assert len(files) >= 3
    nodes = {file: list(ast.walk(ast.parse(file.read_text()))) for file in files}
    importing = [
        file for file in files if any(isinstance(n, ast.Import | ast.ImportFrom) for n in nodes[file])
    ]
    assert importing == []
