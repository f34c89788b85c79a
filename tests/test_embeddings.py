"""The cache: nothing twice, nothing wrong, whatever happened to its files or to the run that wrote them."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors
import torch
from PIL import Image
from torch import Tensor, nn

from m5utils import embeddings, paths, runtime
from m5utils.datasets.listed import LabelledImages
from m5utils.encoders import detectors, image

N = 21  # images; with shards of 8: two whole ones and five images more


class Tiny(nn.Module):
    """Two numbers per quarter of a picture: enough of an encoder, and every picture it sees is counted."""

    dtype = torch.float32
    dim = 12

    def __init__(self, weight: float = 0.1, pause: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))
        self.pause = pause
        self.seen: list[int] = []

    def preprocess(self, picture: Image.Image) -> Tensor:
        time.sleep(self.pause)
        self.seen.append(1)
        return torch.from_numpy(np.array(picture.resize((2, 2)))).permute(2, 0, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.weight * pixels.flatten(1).float()

    def settings(self) -> dict[str, object]:
        return {"encoder": "tiny", "size": 2, "weights": str(self.weight.item())}


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(embeddings, "SHARD", 8)
    monkeypatch.setattr(embeddings, "BATCH", 4)


def draw(root: Path, n: int = N) -> LabelledImages:
    """n pictures that all differ."""
    (root / "a").mkdir(parents=True)
    files = tuple(f"a/{row:03}.png" for row in range(n))
    rng = np.random.default_rng(0)
    for file in files:
        Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)).save(root / file)
    return LabelledImages(root, files, np.zeros(n, dtype=np.int64), ("a",))


@pytest.fixture
def listed(tmp_path):
    return draw(tmp_path / "data")


def direct(encoder: Tiny, listed: LabelledImages) -> Tensor:
    """The vectors without a cache."""
    pixels = []
    for path in listed.paths():
        with Image.open(path) as picture:
            pixels.append(Tiny().preprocess(picture))
    return encoder(torch.stack(pixels)).detach()


def shard_files() -> list[Path]:
    return sorted(paths.cache().glob("embeddings/*/*.safetensors"))


def content() -> dict[str, bytes]:
    """The files of the cache that hold vectors, by name."""
    return {file.name: file.read_bytes() for file in shard_files()}


# --- once, in order, mapped ---


def test_vectors_are_those_of_the_encoder_in_order(listed):
    found = embeddings.encode(Tiny(), listed)
    assert found.values.dtype == torch.float32
    assert torch.equal(found.values, direct(Tiny(), listed))
    assert found.kept.tolist() == list(range(N))
    assert found.bad == {}


def test_each_image_is_encoded_once(listed):
    encoder = Tiny()
    first = embeddings.encode(encoder, listed).values
    assert len(encoder.seen) == N
    assert torch.equal(embeddings.encode(encoder, listed).values, first)
    assert len(encoder.seen) == N


def test_vectors_are_mapped_files_that_nobody_can_change_through_them(listed):
    for rows in (range(5), range(N)):  # one shard, and several
        found = embeddings.encode(Tiny(), listed.take(rows))
        assert all(isinstance(shard, np.memmap) for shard in found.shards)
        start, before = found.values.data_ptr(), content()
        mapped = Path("/proc/self/maps")
        if mapped.is_file():
            spans = [line.split() for line in mapped.read_text().splitlines()]
            of = [s[-1] for s in spans if int(s[0].split("-")[0], 16) <= start < int(s[0].split("-")[1], 16)]
            assert of[0].endswith(".safetensors"), of
        found.values.zero_()
        assert content() == before


def test_files_are_safetensors(listed):
    found = embeddings.encode(Tiny(), listed)
    expected = found.values.clone()
    assert len(shard_files()) == 4  # three shards, and all in one
    by_size = sorted(shard_files(), key=lambda file: file.stat().st_size)
    with safetensors.safe_open(by_size[-1], framework="pt") as file:
        assert torch.equal(file.get_tensor("values"), expected)
        assert file.metadata()["key"].startswith(by_size[-1].parent.name)


def test_two_runs_write_the_same_bytes(listed, tmp_path, monkeypatch):
    found = []
    for name in ("one", "two"):
        monkeypatch.setenv("M5_CACHE", str(tmp_path / name))
        _ = embeddings.encode(Tiny(), listed).values
        found.append(content())
    assert found[0] == found[1]
    assert len(found[0]) == 4


def test_the_same_pictures_twice_in_a_list(listed):
    twice = listed.take([*range(8), *range(8), 3])
    assert torch.equal(embeddings.encode(Tiny(), twice).values, direct(Tiny(), twice))


# --- the key ---


def test_batches_and_threads_change_nothing(listed, monkeypatch, tmp_path):
    embeddings.encode(Tiny(), listed)
    before, encoder = content(), Tiny()
    monkeypatch.setattr(embeddings, "BATCH", 3)
    monkeypatch.setattr(embeddings, "DECODERS", 1)
    embeddings.encode(encoder, listed)
    assert encoder.seen == []
    monkeypatch.setenv("M5_CACHE", str(tmp_path / "other"))
    embeddings.encode(encoder, listed)
    assert content() == before


def test_the_last_batch_is_filled(listed):
    sizes = []

    class Watched(Tiny):
        def forward(self, pixels: Tensor) -> Tensor:
            sizes.append(len(pixels))
            return super().forward(pixels)

    embeddings.encode(Watched(), listed)
    assert sizes == [4] * 6


def test_other_weights_other_vectors(listed):
    embeddings.encode(Tiny(), listed)
    assert torch.equal(embeddings.encode(Tiny(2.0), listed).values, direct(Tiny(2.0), listed))


def test_another_reader_of_pictures_is_another_key(listed, monkeypatch):
    embeddings.encode(Tiny(), listed)
    encoder = Tiny()
    monkeypatch.setattr(embeddings.paths, "code_key", lambda *_: "another")
    embeddings.encode(encoder, listed)
    assert len(encoder.seen) == N


def test_a_changed_file_is_encoded_again_and_its_shard_alone(listed):
    embeddings.encode(Tiny(), listed)
    Image.new("RGB", (4, 4), "red").save(listed.paths()[9])
    encoder = Tiny()
    assert torch.equal(embeddings.encode(encoder, listed).values, direct(Tiny(), listed))
    assert len(encoder.seen) == 8


def test_dataset_and_cache_can_be_moved(listed, tmp_path, monkeypatch):
    expected = embeddings.encode(Tiny(), listed).values.clone()
    listed.root.rename(tmp_path / "moved data")
    shutil.copytree(paths.cache(), tmp_path / "moved cache")
    shutil.rmtree(paths.cache())
    monkeypatch.setenv("M5_CACHE", str(tmp_path / "moved cache"))
    encoder = Tiny()
    moved = LabelledImages(tmp_path / "moved data", listed.files, listed.labels, listed.classes)
    assert torch.equal(embeddings.encode(encoder, moved).values, expected)
    assert encoder.seen == []
    kept = [file for file in (tmp_path / "moved cache" / "embeddings").rglob("*") if file.is_file()]
    assert len(kept) >= 9
    assert not any(str(tmp_path).encode() in file.read_bytes() for file in kept)


def test_a_file_that_changes_while_it_is_encoded_is_not_kept_under_its_old_name(listed, monkeypatch):
    hashes = paths.content_hashes(listed.paths())
    Image.new("RGB", (4, 4), "red").save(listed.paths()[9])
    monkeypatch.setattr(embeddings.paths, "content_hashes", lambda _: hashes)
    with pytest.raises(ValueError, match="009.png changed"):
        embeddings.encode(Tiny(), listed)


# --- damaged files ---


def lengths(size: int) -> list[int]:
    """Of a cut-off file: every one near its ends, and some between."""
    return sorted({*range(20), *range(20, size - 20, 37), *range(size - 20, size)})


@pytest.mark.parametrize("suffix", [".safetensors", ".done"])
def test_a_file_cut_off_at_any_length_is_never_used(listed, suffix):
    one = listed.take(range(8))
    embeddings.encode(Tiny(), one)
    (whole,) = shard_files()
    file, folder = whole.with_suffix(suffix), whole.parent
    (shard,) = embeddings._shards(paths.content_hashes(one.paths()), embeddings.SHARD)
    data = file.read_bytes()
    assert embeddings._opened_shard(folder, shard, Tiny()) is not None
    for length in lengths(len(data.rstrip(b"\n"))):  # the JSON's last newline may go
        file.write_bytes(data[:length])
        assert embeddings._opened_shard(folder, shard, Tiny()) is None, length
    for length in (0, 7, len(data) // 2, len(data) - 2):
        file.write_bytes(data[:length])
        encoder = Tiny()
        assert torch.equal(embeddings.encode(encoder, one).values, direct(Tiny(), one))
        assert len(encoder.seen) == 8
        assert file.read_bytes() == data
    file.write_bytes(data + b" " * 48)
    assert suffix == ".done" or embeddings._opened_shard(folder, shard, Tiny()) is None
    file.unlink()
    assert embeddings._opened_shard(folder, shard, Tiny()) is None


def test_a_shard_whose_done_file_speaks_of_another_is_never_used(listed):
    embeddings.encode(Tiny(), listed.take(range(16)))
    first, second = (file.with_suffix(".done") for file in shard_files())
    shards = {
        shard.name: shard
        for shard in embeddings._shards(paths.content_hashes(listed.paths()), embeddings.SHARD)
    }
    assert embeddings._opened_shard(second.parent, shards[second.stem], Tiny()) is not None
    shutil.copy(first, second)
    assert embeddings._opened_shard(second.parent, shards[second.stem], Tiny()) is None


def test_the_file_that_joins_shards_is_made_again_if_it_is_cut_off(listed):
    found = embeddings.encode(Tiny(), listed)
    expected = found.values.clone()
    joined = found.folder / f"{found.name}.safetensors"
    joined.write_bytes(joined.read_bytes()[:-3])
    encoder = Tiny()
    assert torch.equal(embeddings.encode(encoder, listed).values, expected)
    assert encoder.seen == []


@pytest.mark.parametrize("with_done", [True, False])
def test_a_shard_of_other_weights_is_never_used(listed, with_done):
    embeddings.encode(Tiny(), listed)
    of_one = shard_files()
    embeddings.encode(Tiny(2.0), listed)
    for theirs in set(shard_files()) - set(of_one):
        ours = next(file for file in of_one if file.name == theirs.name)
        assert ours.stat().st_size == theirs.stat().st_size
        shutil.copy(ours, theirs)
        if with_done:
            shutil.copy(ours.with_suffix(".done"), theirs.with_suffix(".done"))
    assert torch.equal(embeddings.encode(Tiny(2.0), listed).values, direct(Tiny(2.0), listed))


def test_a_shard_of_other_pictures_is_never_used(listed):
    embeddings.encode(Tiny(), listed.take(range(16)))
    first, second = shard_files()
    data, done = first.read_bytes(), first.with_suffix(".done").read_bytes()
    second.write_bytes(data)
    second.with_suffix(".done").write_bytes(done)
    sixteen = listed.take(range(16))
    assert torch.equal(embeddings.encode(Tiny(), sixteen).values, direct(Tiny(), sixteen))


@pytest.mark.parametrize(("dim", "dtype"), [(11, torch.float32), (12, torch.float16), (24, torch.float16)])
def test_another_shape_or_type_is_never_used(listed, monkeypatch, dim, dtype):
    """24 halves are as many bytes as 12 singles."""
    embeddings.encode(Tiny(), listed)
    (folder,) = paths.cache().glob("embeddings/*")
    shard = embeddings._shards(paths.content_hashes(listed.paths()), embeddings.SHARD)[0]
    assert embeddings._opened_shard(folder, shard, Tiny()) is not None
    monkeypatch.setattr(Tiny, "dim", dim)
    monkeypatch.setattr(Tiny, "dtype", dtype)
    assert embeddings._opened_shard(folder, shard, Tiny()) is None


# --- bad images ---


@pytest.fixture
def with_bad(listed):
    for row, data in ((2, b""), (9, b"no picture"), (20, listed.paths()[20].read_bytes()[:60])):
        listed.paths()[row].write_bytes(data)
    return listed


def test_bad_images_are_all_named(with_bad):
    for _ in range(2):  # found, and remembered
        with pytest.raises(
            ValueError, match=r"(?s)3 images.*skip.*002\.png: empty.*009\.png.*020\.png"
        ) as error:
            embeddings.encode(Tiny(), with_bad)
        assert str(with_bad.root) in str(error.value)


def test_bad_images_are_left_out_and_counted(with_bad):
    good = [row for row in range(N) if row not in (2, 9, 20)]
    for _ in range(2):
        found = embeddings.encode(Tiny(), with_bad, on_bad_image="skip")
        assert sorted(found.bad) == ["a/002.png", "a/009.png", "a/020.png"]
        assert found.kept.tolist() == good
        assert torch.equal(found.values, direct(Tiny(), with_bad.take(good)))


def test_a_mended_image_is_encoded(with_bad):
    embeddings.encode(Tiny(), with_bad, on_bad_image="skip")
    for row in (2, 9, 20):
        Image.new("RGB", (4, 4), (row, 0, 0)).save(with_bad.paths()[row])
    assert torch.equal(embeddings.encode(Tiny(), with_bad).values, direct(Tiny(), with_bad))


def test_nothing_but_bad_images(listed):
    for path in listed.paths():
        path.write_bytes(b"")
    found = embeddings.encode(Tiny(), listed, on_bad_image="skip")
    assert found.values.shape == (0, 12)
    assert len(found.bad) == N


def test_a_disk_that_fails_is_no_bad_image(listed, monkeypatch):
    """What the disk refuses now it may give later: it must not be remembered as a bad picture."""
    refused, read = listed.paths()[9], Path.read_bytes

    def read_bytes(path: Path) -> bytes:
        if path == refused:
            raise OSError(errno.EIO, "Input/output error", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    with pytest.raises(OSError, match="Input/output error.*009.png"):
        embeddings.encode(Tiny(), listed, on_bad_image="skip")
    monkeypatch.undo()
    assert embeddings.encode(Tiny(), listed).bad == {}


def test_wrong_arguments(listed):
    with pytest.raises(ValueError, match="'ignore'"):
        embeddings.encode(Tiny(), listed, on_bad_image="ignore")
    with pytest.raises(ValueError, match="at least one image"):
        embeddings.encode(Tiny(), listed.take([]))
    for part in ((0, 2), (3, 2)):
        with pytest.raises(ValueError, match=f"{part[0]}/{part[1]}"):
            embeddings.encode(Tiny(), listed, part=part)


def test_vectors_that_are_not_finite_are_refused(listed):
    with pytest.raises(ValueError, match="weights are damaged"):
        embeddings.encode(Tiny(float("nan")), listed)
    assert shard_files() == []


# --- parts, several writers, interruptions ---


def test_parts_together_are_the_whole(listed):
    encoder, kept = Tiny(), []
    for part in (3, 1, 2):
        found = embeddings.encode(encoder, listed, part=(part, 3))
        assert torch.equal(found.values, direct(Tiny(), listed.take(found.kept)))
        kept += found.kept.tolist()
    assert sorted(kept) == list(range(N))
    assert len(encoder.seen) == N
    assert torch.equal(embeddings.encode(encoder, listed).values, direct(Tiny(), listed))
    assert len(encoder.seen) == N


def test_more_parts_than_shards(listed):
    found = embeddings.encode(Tiny(), listed, part=(5, 5))
    assert found.kept.tolist() == []
    assert found.values.shape == (0, 12)


def at_once(*calls) -> list:
    """Run calls side by side; what they return, or the first error."""
    results: list = [None] * len(calls)

    def keep(number: int, call) -> None:
        try:
            results[number] = call()
        except BaseException as error:
            results[number] = error

    threads = [threading.Thread(target=keep, args=each) for each in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


@contextmanager
def no_lock(path: Path, doing: str):  # noqa: ARG001 - as `paths.lock`
    yield


def test_two_writers_whose_locks_do_nothing_write_what_one_writes(listed, tmp_path, monkeypatch):
    _ = embeddings.encode(Tiny(), listed).values
    expected = content()
    monkeypatch.setenv("M5_CACHE", str(tmp_path / "shared"))
    monkeypatch.setattr(embeddings.paths, "lock", no_lock)
    encoders = [Tiny(pause=0.003), Tiny(pause=0.003)]
    found = at_once(*[lambda one=one: embeddings.encode(one, listed).values for one in encoders])
    assert torch.equal(found[0], found[1])
    assert content() == expected
    assert sum(len(one.seen) for one in encoders) > N, "they did not run at the same time: nothing was tested"


def test_a_second_run_waits_and_encodes_nothing(listed, capfd):
    encoders = [Tiny(pause=0.01), Tiny(pause=0.01)]
    at_once(*[lambda one=one: embeddings.encode(one, listed) for one in encoders])
    assert sum(len(one.seen) for one in encoders) == N
    assert "waiting" in capfd.readouterr().err


def test_an_interrupted_run_goes_on_where_it_was(listed):
    class Interrupted(Tiny):
        def forward(self, pixels: Tensor) -> Tensor:
            if len(shard_files()) == 1:
                raise KeyboardInterrupt
            return super().forward(pixels)

    with pytest.raises(KeyboardInterrupt):
        embeddings.encode(Interrupted(), listed)
    assert len(shard_files()) == 1
    encoder = Tiny()
    assert torch.equal(embeddings.encode(encoder, listed).values, direct(Tiny(), listed))
    assert len(encoder.seen) == N - 8


SCRIPT = """
import os
import signal
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import test_embeddings as here
from m5utils import embeddings
embeddings.SHARD, embeddings.BATCH = 8, 4
root = Path({root!r})
files = tuple(sorted(str(file.relative_to(root)) for file in root.glob("a/*.png")))
listed = here.LabelledImages(root, files, here.np.zeros(len(files), dtype=here.np.int64), ("a",))
for line in sys.stdin:
    run = os.fork()  # a run of its own, without importing everything again
    if run == 0:
        embeddings.encode(here.Tiny(pause=float(line)), listed).values
        os._exit(0)
    print(run, flush=True)
    print(os.waitpid(run, 0)[1], flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="runs are forked")
def test_killed_at_any_moment_the_same_command_finishes_with_the_same_bytes(tmp_path, monkeypatch):
    listed = draw(tmp_path / "data", 60)
    monkeypatch.setenv("M5_CACHE", str(tmp_path / "undisturbed"))
    _ = embeddings.encode(Tiny(), listed).values
    expected = content()
    monkeypatch.setenv("M5_CACHE", str(tmp_path / "killed"))
    script = SCRIPT.format(tests=str(Path(__file__).parent), root=str(listed.root))
    command = [sys.executable, "-W", "ignore", "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as runs:

        def run(pause: float, after: float | None = None, how: int = 0) -> int:
            runs.stdin.write(f"{pause}\n")
            runs.stdin.flush()
            pid = int(runs.stdout.readline())
            if after is not None:
                time.sleep(after)
                os.kill(pid, how)
            return int(runs.stdout.readline())

        for how in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
            shutil.rmtree(paths.cache(), ignore_errors=True)
            for after in (0.1, 0.45, 0.2):
                assert run(0.05, after, how) != 0
            assert len(shard_files()) < len(expected), "nothing was left to do: it was not stopped half way"
            assert run(0) == 0
            assert content() == expected
        runs.stdin.close()


# --- a disk that is full or read-only ---


def refusing(code: int):
    @contextmanager
    def published(path: Path):
        raise OSError(code, os.strerror(code), str(path))
        yield

    return published


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_cache_that_cannot_be_written_is_named_before_the_work(listed, monkeypatch, code):
    encoder = Tiny()
    monkeypatch.setattr(embeddings.paths, "published", refusing(code))
    with pytest.raises(OSError, match="cannot write the cache.*M5_CACHE") as error:
        embeddings.encode(encoder, listed)
    assert error.value.errno == code
    assert str(paths.cache()) in str(error.value)
    assert encoder.seen == []
    monkeypatch.undo()
    monkeypatch.setattr(embeddings, "SHARD", 8)
    assert torch.equal(embeddings.encode(encoder, listed).values, direct(Tiny(), listed))


def test_a_disk_that_fills_up_half_way_loses_nothing(listed, monkeypatch):
    published, calls = embeddings.paths.published, []

    def until_full(path: Path):
        calls.append(path)
        return published(path) if len(calls) <= 4 else refusing(errno.ENOSPC)(path)

    monkeypatch.setattr(embeddings.paths, "published", until_full)
    with pytest.raises(OSError, match="No space left.*M5_CACHE"):
        embeddings.encode(Tiny(), listed)
    monkeypatch.setattr(embeddings.paths, "published", published)
    encoder = Tiny()
    assert torch.equal(embeddings.encode(encoder, listed).values, direct(Tiny(), listed))
    assert len(encoder.seen) == N - 8


def test_a_read_only_cache_that_has_everything_works(listed, monkeypatch, capsys):
    embeddings.encode(Tiny(), listed)  # the shards, not the file that joins them
    monkeypatch.setattr(embeddings.paths, "published", refusing(errno.EROFS))
    encoder = Tiny()
    assert torch.equal(embeddings.encode(encoder, listed).values, direct(Tiny(), listed))
    assert encoder.seen == []
    assert "joined in memory" in capsys.readouterr().err


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 KiB; only root may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if os.name != "posix" or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.slow
def test_a_real_small_disk_full_and_then_read_only(listed, small_disk, monkeypatch):
    monkeypatch.setenv("M5_CACHE", str(small_disk))
    (small_disk / "ballast").write_bytes(b"x" * 48 * 1024)
    with pytest.raises(OSError, match="No space left.*M5_CACHE"):
        embeddings.encode(Tiny(), listed)
    (small_disk / "ballast").unlink()
    expected = embeddings.encode(Tiny(), listed).values.clone()
    assert not list(small_disk.rglob("*.part"))
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    encoder = Tiny()
    assert torch.equal(embeddings.encode(encoder, listed).values, expected)
    assert encoder.seen == []
    with pytest.raises(OSError, match="Read-only.*M5_CACHE"):
        embeddings.encode(Tiny(2.0), listed)


# --- the encoders that are used ---


def test_a_tuned_network_starts_from_cached_maps(listed, tmp_path):
    torch.manual_seed(0)
    torch.save(image.BACKBONES["squeezenet1_1"].build().state_dict(), tmp_path / "squeezenet1_1-TEST.pth")
    encoder = image.image_encoder("squeezenet1_1", 32, tmp_path / "squeezenet1_1-TEST.pth")
    some = listed.take([0, 1, 2])
    from_maps = embeddings.encode(image.UpperEncoder(encoder), some).values
    assert from_maps.dtype == torch.float32
    torch.testing.assert_close(from_maps, embeddings.encode(encoder, some).values, rtol=0.01, atol=0.02)
    assert len(list(paths.cache().glob("embeddings/*"))) == 3


def test_vectors_of_an_encoder_by_name_are_its_own_as_they_are(listed, monkeypatch):
    asked = []

    def by_name(kind: str):
        return lambda name, size, _: asked.append((kind, name, size)) or Tiny()

    monkeypatch.setattr(image, "image_encoder", by_name("backbone"))
    monkeypatch.setattr(detectors, "detector_encoder", by_name("detector"))
    for name in ("resnet50", "maskrcnn_resnet50_fpn"):
        found = embeddings.vectors_of(name, listed, 96)
        assert torch.equal(found, direct(Tiny(), listed))
    assert asked == [("backbone", "resnet50", 96), ("detector", "maskrcnn_resnet50_fpn", 96)]
    with pytest.raises(ValueError, match="efficientnet_lite0, .*maskrcnn_resnet50_fpn_v2; got 'fasterrcnn'"):
        embeddings.vectors_of("fasterrcnn", listed)


def test_plain_features_are_normalised_at_each_size_then_joined(listed, monkeypatch):
    monkeypatch.setattr(image, "image_encoder", lambda _, size, __: Tiny(size / 100))
    profile = runtime.profile("demo", image_sizes=(224, 256))
    found = embeddings.plain_features(profile, listed)
    once = nn.functional.normalize(direct(Tiny(), listed))
    torch.testing.assert_close(found, torch.cat([once, once], dim=1) / 2**0.5)


def test_every_profile_s_encoders_exist():
    for profile in runtime.PROFILES.values():
        assert profile.image_encoder in image.BACKBONES
        assert profile.deck_encoder in (*image.BACKBONES, *detectors.DETECTORS)


@pytest.mark.parametrize(("kind", "batches"), [("cpu", 1), ("cuda", 1 + embeddings.AHEAD)])
def test_batches_are_loaded_ahead_of_a_gpu_and_not_of_the_cpu(kind, batches, monkeypatch):
    monkeypatch.setattr(runtime, "device", lambda: SimpleNamespace(type=kind))
    shard, loaded = embeddings.Shard("one", tuple("x" * 1000), range(1000)), []
    with ThreadPoolExecutor(1) as threads:
        next(embeddings._batches(lambda row, _: loaded.append(row), threads, [shard]))
    assert loaded == list(range(batches * embeddings.BATCH))
