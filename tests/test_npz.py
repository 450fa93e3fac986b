import json
import os
import signal
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest

from label import Scheme
from pipelines.export import export
from pipelines.import_npz import import_npz
from pipelines.npz import open_npz
from pipelines.shards import DatasetError, open_dataset, read_shards, reports
from pipelines.verification import damages

COMMAND = [sys.executable, "-c", "from pipelines.cli import main; main()"]


def arrays(n=7, size=(6, 5), dtype=np.float32):
    rng = np.random.default_rng(0)
    masks = rng.integers(0, 4, (n, *size), dtype=np.uint8)
    masks[:, 0, 0] = 255
    return [rng.integers(0, 256, (n, *size, 3), dtype=np.uint8), masks, rng.random(n).astype(dtype)]


@pytest.fixture
def npz(tmp_path):
    np.savez(tmp_path / "samples.npz", *arrays())
    return tmp_path / "samples.npz"


def sha256(folder):
    return [report.sha256 for report in reports(folder)]


def load(path):
    with np.load(path) as file:
        return [file[name] for name in sorted(file.files)]


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_what_was_imported_is_exported_the_same(tmp_path, save, dtype):
    given = arrays(dtype=dtype)
    save(tmp_path / "given.npz", *given)
    import_npz(tmp_path / "given.npz", tmp_path / "set", None, unit_size=3)
    export(tmp_path / "set", tmp_path / "back.npz", "npz")
    for there, back in zip(given, load(tmp_path / "back.npz"), strict=True):
        assert there.dtype == back.dtype
        assert np.array_equal(there, back)
    assert damages(tmp_path / "set") == []
    import_npz(tmp_path / "back.npz", tmp_path / "again", None, unit_size=3)
    for a, b in zip(read_shards(tmp_path / "set"), read_shards(tmp_path / "again"), strict=True):
        assert (a.seed, a.uncertainty) == (b.seed, b.uncertainty)
        assert np.array_equal(a.image, b.image)
        assert np.array_equal(a.mask, b.mask)


def test_the_gans_form_has_its_uncertainty_last(tmp_path):
    images, masks, doubts = arrays()
    np.savez(tmp_path / "gan.npz", images, masks, np.ones((7, 512), np.float32), doubts)
    import_npz(tmp_path / "gan.npz", tmp_path / "set", None)
    assert [sample.uncertainty for sample in read_shards(tmp_path / "set")] == doubts.tolist()


def test_a_row_is_its_samples_seed_and_the_portion_is_dropped_by_unit(npz, tmp_path):
    import_npz(npz, tmp_path / "set", None, portion=0.4, unit_size=3)
    doubts = arrays()[2]
    dropped = [int(doubts[:3].argmax()), 3 + int(doubts[3:6].argmax())]
    assert [sample.seed for sample in read_shards(tmp_path / "set")] == [i for i in range(7) if i not in dropped]
    assert [c.seed for r in reports(tmp_path / "set") for c in r.candidates] == list(range(7))


def test_without_a_scheme_classes_are_found_and_numbered(npz, tmp_path):
    outcome = import_npz(npz, tmp_path / "set", None)
    assert "4 classes, named class 0 to class 3" in outcome.what
    assert open_dataset(tmp_path / "set").names == [f"class {i}" for i in range(4)]


def test_a_label_outside_the_scheme_names_its_row(tmp_path):
    given = arrays()
    given[1][:] = 0
    given[1][5, 2, 2] = 9
    np.savez(tmp_path / "samples.npz", *given)
    with pytest.raises(DatasetError, match="row 5 has the label 9, the scheme has 2 classes"):
        import_npz(tmp_path / "samples.npz", tmp_path / "set", Scheme(("a", "b")), unit_size=3)


IMAGES, MASKS, DOUBTS = arrays()
REFUSED = {
    "arr_0 is float64": (IMAGES / 255, MASKS, DOUBTS),
    "arr_1 is int64": (IMAGES, MASKS.astype(np.int64), DOUBTS),
    r"arr_1 is uint8 \[7, 5, 5\]": (IMAGES, MASKS[:, :5], DOUBTS),
    "arr_2 is int64": (IMAGES, MASKS, np.arange(7)),
    "7, 6, 7 rows": (IMAGES, MASKS[:6], DOUBTS),
    "0, 0, 0 rows": (IMAGES[:0], MASKS[:0], DOUBTS[:0]),
    "holds arr_0.npy, arr_1.npy; a synthetic set": (IMAGES, MASKS),
    "Python objects": (IMAGES, MASKS, np.array([None] * 7)),
    "Fortran order": (np.asfortranarray(IMAGES), MASKS, DOUBTS),
    "uncertainty of row 6 is nan": (IMAGES, MASKS, np.r_[DOUBTS[:6], np.float32(np.nan)]),
}


@pytest.mark.parametrize("match", REFUSED)
def test_another_content_is_refused_before_anything_is_written(tmp_path, match):
    np.savez(tmp_path / "samples.npz", *REFUSED[match])
    with pytest.raises(DatasetError, match=match):
        import_npz(tmp_path / "samples.npz", tmp_path / "set", None)
    assert not (tmp_path / "set").exists()


def test_a_file_that_is_cut_off_is_refused(npz):
    npz.write_bytes(npz.read_bytes()[:-40])
    with pytest.raises(DatasetError, match="damaged or cut off"):
        open_npz(npz)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="is missing; name an npz"):
        open_npz(tmp_path / "no.npz")


@pytest.mark.parametrize(
    ("cut", "match"), [(slice(0, -8), "its header needs"), (slice(8, None), "does not begin as an array does")]
)
def test_an_array_that_does_not_fit_its_header_is_refused(npz, cut, match):
    with zipfile.ZipFile(npz) as file:
        members = {name: file.read(name) for name in file.namelist()}
    members["arr_1.npy"] = members["arr_1.npy"][cut]
    with zipfile.ZipFile(npz, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    with pytest.raises(DatasetError, match=match):
        open_npz(npz)


def test_a_flipped_byte_is_found(npz, tmp_path):
    content = bytearray(npz.read_bytes())
    content[content.index(MASKS.tobytes()) + 3] ^= 1
    npz.write_bytes(content)
    with pytest.raises(DatasetError, match="Bad CRC-32"):
        import_npz(npz, tmp_path / "set", None)


@pytest.mark.parametrize(("portion", "unit_size"), [(1.0, 3), (-0.1, 3), (0.0, 0)])
def test_settings_that_cannot_be_are_refused(npz, tmp_path, portion, unit_size):
    with pytest.raises(DatasetError, match="at least 1, and at least 0 and less than 1"):
        import_npz(npz, tmp_path / "set", None, portion=portion, unit_size=unit_size)


def test_another_file_or_setting_does_not_mix_into_a_folder(npz, tmp_path):
    import_npz(npz, tmp_path / "set", None)
    with pytest.raises(DatasetError, match="holds a dataset of another"):
        import_npz(npz, tmp_path / "set", None, portion=0.5)


def test_an_unknown_format_lists_the_known_ones(tmp_path):
    with pytest.raises(DatasetError, match="'zarr' is unknown; known: npz"):
        export(tmp_path, tmp_path / "out", "zarr")


def test_a_kill_changes_nothing(tmp_path):
    np.savez(tmp_path / "samples.npz", *arrays(n=400, size=(64, 64)))
    import_npz(tmp_path / "samples.npz", tmp_path / "whole", None, unit_size=10)
    command = [*COMMAND, "import-npz", str(tmp_path / "samples.npz"), "--unit-size", "10", "--out"]
    process = subprocess.Popen([*command, str(tmp_path / "killed")])
    deadline = time.monotonic() + 60
    while not list((tmp_path / "killed").glob("*.tar")) and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert 0 < len(sha256(tmp_path / "killed")) + 1 < 40
    subprocess.run([*command, str(tmp_path / "killed")], check=True, timeout=60)
    assert sha256(tmp_path / "killed") == sha256(tmp_path / "whole")


MEASURE = """
import json, resource, sys
from pathlib import Path
from pipelines.export import export
from pipelines.import_npz import import_npz
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
folder = Path(sys.argv[1])
import_npz(folder / "small.npz", folder / "small", None, unit_size=10)
export(folder / "small", folder / "small_back.npz", "npz")
before = peak()
import_npz(folder / "large.npz", folder / "large", None, unit_size=10)
export(folder / "large", folder / "large_back.npz", "npz")
print(json.dumps(peak() - before))
"""


def test_memory_does_not_grow_with_the_file(tmp_path):
    ramp = np.broadcast_to(np.arange(256, dtype=np.uint8)[:, None], (256, 256))
    for name, n in (("small", 10), ("large", 400)):
        images = np.broadcast_to(ramp[None, :, :, None], (n, 256, 256, 3))
        masks = np.broadcast_to(ramp[None] // 64, (n, 256, 256))
        np.savez(tmp_path / f"{name}.npz", images, masks, np.zeros(n, np.float32))
    size = (tmp_path / "large.npz").stat().st_size
    assert size > 100e6
    done = subprocess.run([sys.executable, "-c", MEASURE, str(tmp_path)], capture_output=True, check=True, timeout=200)
    assert json.loads(done.stdout.splitlines()[-1]) < size / 4
