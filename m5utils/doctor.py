"""Look at this machine: what is installed, found and missing for a profile.

Knows the lock file, the settings and the encoders' names. Must not change or download anything.
"""

import importlib
import importlib.metadata
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement

from m5utils import freshness, paths, runtime


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        what: What was looked for.
        detail: What was found, or what to do.
        state: "ok"; "left out" if some notebooks cannot be run like this; "MISSING" if none can.
    """

    what: str
    detail: str
    state: str = "ok"

    def __str__(self) -> str:
        """The line as it is printed."""
        return f"{self.state:10}{self.what:18}{self.detail}"


def examine(profile_name: str) -> list[Finding]:
    """Everything `m5 doctor` prints, in order.

    Raises:
        ValueError: If there is no such profile.
    """
    profile = runtime.profile(profile_name)
    data = list(_datasets(profile))
    findings = [
        Finding("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        Finding("kernel", f"python3 is {sys.executable}, whatever kernels are installed"),
        Finding("device", f"{runtime.device()}, {profile.threads} threads"),
        *_packages(paths.ROOT / "requirements.lock"),
        *data,
        *_models(profile, [finding.what for finding in data if finding.state == "ok"]),
        _cache(paths.cache()),
    ]
    if sys.platform == "darwin":
        advice = "torch and faiss each bring an OpenMP: if a notebook dies, set KMP_DUPLICATE_LIB_OK=TRUE"
        findings.append(Finding("macOS", advice))
    return findings


def pinned(lock: Path) -> dict[str, str]:
    """The version of every package that the lock file pins for this machine, by its normal name."""
    lines = (line.rstrip("\\ \n") for line in lock.read_text(encoding="utf-8").splitlines())
    requirements = [Requirement(line) for line in lines if line[:1].isalnum()]
    return {
        requirement.name.lower().replace("_", "-"): str(requirement.specifier).removeprefix("==")
        for requirement in requirements
        if requirement.marker is None or requirement.marker.evaluate()
    }


def _packages(lock: Path) -> Iterator[Finding]:
    """Packages the project needs itself are fatal if missing; another version than the lock's is told."""
    other, same = [], 0
    for name, version in pinned(lock).items():
        got = _installed(name)
        same += got == version
        if got not in (None, version):
            other.append(f"{name} {got} (lock: {version})")
    yield Finding("packages", f"{same} as in requirements.lock")
    if other:
        yield Finding("packages", f"{len(other)} of another version: {', '.join(other)}")
    for text in importlib.metadata.requires("m5utils") or []:
        needed = Requirement(text)
        here = needed.marker is None or needed.marker.evaluate({"extra": ""})
        if here and _installed(needed.name) is None:
            yield Finding(needed.name, "is not installed: run `make setup`", "MISSING")


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _datasets(profile: runtime.Profile) -> Iterator[Finding]:
    """Every dataset that a notebook reads; its module and the field of the profile have one name.

    A run leaves out the notebooks whose dataset is not there; it fails if that is all of them.
    """
    notebooks = sorted(paths.NOTEBOOKS.glob("*.ipynb"))
    sources = [source for notebook in notebooks for source in freshness.code_cells(notebook)]
    found, absent = [], []
    for name, load in freshness.datasets(freshness.modules(sources)).items():
        value = getattr(profile, name)
        settings = value if isinstance(value, tuple) else (value,)
        if "demo" in settings:
            found.append(Finding(name, "drawn, nothing to download"))
            continue
        used = next((setting for setting in settings if paths.setting(setting)), settings[0])
        try:
            splits = load(profile)
        except (OSError, ValueError) as error:
            absent.append((name, error))
        else:
            counts = ", ".join(f"{split} {len(images)}" for split, images in splits.items())
            found.append(Finding(name, f"{used} = {paths.setting(used)}: {counts}"))
    yield from found
    for name, error in absent:
        tolerable = found and isinstance(error, FileNotFoundError)
        yield Finding(name, str(error), "left out" if tolerable else "MISSING")


def _models(profile: runtime.Profile, datasets: list[str]) -> Iterator[Finding]:
    """Whether the weights that the notebooks load are here: they are loaded, as a notebook would."""
    from m5utils import embeddings, region_descriptors, view_descriptors
    from m5utils.encoders import bert, clip, detectors, text

    def words() -> str:
        if profile.word_vectors == "trained":
            return "FastText, trained on the captions"
        file = paths.named(profile.word_vectors)
        return f"{file}, {text.fasttext_file(file).dim} dimensions"

    def image_encoder(name: str) -> str:
        return f"{name}, {embeddings.encoder_named(name, profile.image_sizes[0]).dim} dimensions"

    wanted = {"encoder": lambda: image_encoder(profile.image_encoder)}
    of_captions = {
        "deck's encoder": lambda: image_encoder(profile.deck_encoder),
        "language model": lambda: str(bert.bert_encoder(profile.language_model)),
        "word vectors": words,
        "views": lambda: ", ".join(map(str, view_descriptors.sources(profile))),
    }
    if region_descriptors.backbone(profile) != profile.image_encoder:
        of_captions["R-MAC's encoder"] = lambda: image_encoder(region_descriptors.backbone(profile))
    if paths.setting("M5_CLIP"):
        of_captions["CLIP"] = lambda: str(clip.clip_encoder(paths.dataset_root("M5_CLIP"))[0])
    if "captions" in datasets:
        wanted |= of_captions
    if "coco_retrieval" in datasets:
        wanted["object encoder"] = lambda: image_encoder(profile.object_encoders[0])
        named = [name for name in profile.detectors if name != "trained"]
        wanted |= {name: lambda name=name: type(detectors.trained(name)).__name__ for name in named}
    for what, load in wanted.items():
        try:
            yield Finding(what, load())
        except (OSError, ValueError, ImportError) as error:
            yield Finding(what, str(error), "MISSING")


def _cache(folder: Path) -> Finding:
    """Whether the cache can be written."""
    try:
        with paths.published(folder / "doctor") as part:
            part.write_text("m5 doctor wrote this", encoding="utf-8")
        (folder / "doctor").unlink()
    except OSError as error:
        return Finding("cache", f"{folder}: {error}. Set M5_CACHE to a folder you can write to.", "MISSING")
    return Finding("cache", str(folder))
