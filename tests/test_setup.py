"""The three lists of packages agree, and what is locked is locked by hash and by nobody's address."""

import re
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from m5utils import paths

PROJECT = tomllib.loads((paths.ROOT / "pyproject.toml").read_text())["project"]
NEEDED = [Requirement(text) for text in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"]]
LOCK = (paths.ROOT / "requirements.lock").read_text()
CONDA = yaml.safe_load((paths.ROOT / "environment.yml").read_text())["dependencies"]


def locked(lock: str) -> list[Requirement]:
    """Every requirement of a lock file; one package may have a version per Python."""
    return [Requirement(line.rstrip("\\ ")) for line in lock.splitlines() if line[:1].isalnum()]


def faults(lock: str) -> list[str]:
    """What is wrong with a lock file, one sentence each."""
    absent = {canonicalize_name(needed.name) for needed in NEEDED} - names(lock)
    found = [f"{name} is not locked" for name in absent]
    for block in re.split(r"\n(?=\S)", lock.strip()):
        name = block.split("==")[0]
        if not re.match(r"[\w.-]+==[^\s;]+", block):
            found.append(f"{name} is not pinned")
        if not re.search(r"--hash=sha256:[0-9a-f]{64}", block):
            found.append(f"{name} has no hash")
    if re.search(r"://|index-url|find-links|trusted-host", lock):
        found.append("an address")
    return found


def names(lock: str) -> set[str]:
    return {canonicalize_name(requirement.name) for requirement in locked(lock)}


def test_the_lock_covers_what_is_needed_with_hashes_and_no_address():
    assert len(NEEDED) > 25
    assert len(names(LOCK)) > 150
    assert faults(LOCK) == []


def test_the_locked_versions_are_allowed():
    allowed = {canonicalize_name(needed.name): needed.specifier for needed in NEEDED}
    versions = [(r.name, str(r.specifier).removeprefix("==")) for r in locked(LOCK) if r.name in allowed]
    assert len(versions) >= len(allowed)
    assert [(name, version) for name, version in versions if version not in allowed[name]] == []


def test_a_faulty_lock_is_seen():
    pin, hashed = "torch==2.15.0", " \\\n    --hash=sha256:" + "0" * 64
    assert "numpy is not locked" in faults(pin + hashed)
    assert "torch has no hash" in faults(pin)
    assert any("is not pinned" in fault for fault in faults("torch>=2" + hashed))
    assert "an address" in faults("--index-url https://somewhere\n" + pin + hashed)


def test_torch_is_the_ordinary_build():
    """A CPU-only torch makes `import torchvision` fail."""
    assert [str(r) for r in locked(LOCK) if "+" in str(r.specifier)] == []


def test_environment_yml_asks_for_the_same_packages_in_the_locked_versions():
    (pip,) = [entry["pip"] for entry in CONDA if isinstance(entry, dict)]
    (python,) = [entry.removeprefix("python=") for entry in CONDA if str(entry).startswith("python=")]
    assert python in Requirement(f"python{PROJECT['requires-python']}").specifier
    here = {"python_version": python, "python_full_version": f"{python}.0"}
    versions = {
        canonicalize_name(r.name): str(r.specifier)
        for r in locked(LOCK)
        if r.marker is None or r.marker.evaluate(here)
    }
    expected = [f"{needed.name}{versions[canonicalize_name(needed.name)]}" for needed in NEEDED]
    assert pip == [*expected, "--editable ."]


def test_no_address_and_no_machine_in_the_set_up_files():
    files = [paths.ROOT / name for name in ("pyproject.toml", "environment.yml", "Makefile", ".ci/run")]
    texts = {file.name: file.read_text() for file in files if isinstance(file, Path)}
    assert len(texts) == 4
    assert [name for name, text in texts.items() if re.search(r"https?://|/home/|/Users/|/root/", text)] == []
