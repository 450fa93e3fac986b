"""The same contract on S3, against moto's server on loopback."""

import os
import pickle
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import numpy as np
import pytest
from conftest import wait_for
from exporting import make_dataset, random_masks
from forked import Forked
from moto.server import ThreadedMotoServer
from serving import Quiet, files_of, web_server
from test_pictures import make_tar, png
from upath import UPath

from generate import ImageError
from generate.pictures import read_picture
from pipelines import Recipe, read_shards
from pipelines.dataset.damage import damages, missing_units, remove_damages
from pipelines.dataset.inventory import take_inventory
from pipelines.dataset.reports import reports
from pipelines.driver.status import status
from pipelines.errors import LeaseError, RecipeError, StorageError
from pipelines.files import storage
from pipelines.files.lease import leased
from pipelines.files.storage import location
from pipelines.files.stores import opened
from pipelines.files.writable import must_be_writable
from pipelines.folders import dataset_folder
from pipelines.formats.out import export
from pipelines.pictures import pictures
from pipelines.stages.fit import fit
from pipelines.stages.generate import generate
from pipelines.training.data import Part, shard_data
from pipelines.units.builder import build, planned
from pipelines.units.weights import local_weights

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "nobody",
    "AWS_SECRET_ACCESS_KEY": "nothing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_MAX_ATTEMPTS": "1",  # the patience is ours
    "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    yield monkeypatch
    fresh_clients()


def fresh_clients() -> None:
    """fsspec keeps a client for each set of arguments, and the address is none of them."""
    from s3fs import S3FileSystem

    S3FileSystem.clear_instance_cache()


@pytest.fixture
def bucket(environment: pytest.MonkeyPatch) -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    environment.setenv("AWS_ENDPOINT_URL", address)
    urlopen(Request(f"{address}/moto-api/reset", method="POST")).close()  # what it holds is the process's
    fresh_clients()
    UPath("s3://faces").fs.mkdir("faces")
    yield "s3://faces"
    server.stop()


@pytest.fixture
def recipe(project: Path, bucket: str, local_ray: None) -> Recipe:
    fit(Recipe.load(project / "recipe.toml"))
    return Recipe.load(project / "recipe.toml", (f'paths.dataset="{bucket}/dataset"', "generate.samples=60"))


def test_a_training_reads_images_and_tars_where_they_lie(bucket: str, tmp_path: Path) -> None:
    folder = location(f"{bucket}/images")
    for name, value in (("b/1.png", 10), ("a.png", 20)):
        (folder / name).write_bytes(png(value))
    (location(f"{bucket}/shards") / "0.tar").write_bytes(make_tar(tmp_path / "0.tar").read_bytes())
    for place, wanted in (("images", [20, 10]), ("shards", [10, 20, 30]), ("shards/0.tar", [10, 20, 30])):
        seen = pictures(f"{bucket}/{place}")
        assert [int(read_picture(picture)[0, 0, 0]) for picture in pickle.loads(pickle.dumps(seen.found))] == wanted
        assert not seen.is_near
    with pytest.raises(ImageError, match=r"s3://faces/nowhere (does not exist|holds no images)"):
        pictures(f"{bucket}/nowhere")


def test_a_run_that_is_killed_midway_goes_on_and_makes_what_a_disk_would_hold(recipe: Recipe, tmp_path: Path) -> None:
    folder = location(str(recipe.paths.dataset))
    settings = ["--set", f'paths.dataset="{folder}"', "--set", "generate.samples=60", "--set", "cluster.actors=1"]
    process = Forked("generate", tmp_path / "recipe.toml", *settings, environment=dict(os.environ))
    deadline = time.monotonic() + 120
    while len(take_inventory(folder).committed) < 2 and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert process.kill() == -signal.SIGKILL
    assert 2 <= len(take_inventory(folder).committed) < 10
    assert storage.names(folder) >= {"dataset.json"}
    assert generate(recipe).failures == []
    assert (damages(take_inventory(folder)), missing_units(folder)) == ([], [])
    assert "index.parquet" in storage.names(folder)
    assert not {name for name in storage.names(folder) if name.startswith("lease")}
    disk = build(planned(Recipe.load(tmp_path / "recipe.toml", ("generate.samples=60",))))
    assert [report.sha256 for report in reports(folder)] == [disk(unit).sha256 for unit in range(10)]
    assert status(folder)["units"] == "10 of 10"
    local = list(read_shards(tmp_path / "out" / "dataset"))
    assert [sample.seed for sample in read_shards(folder)] == [sample.seed for sample in local]
    number, (image, mask) = next(shard_data(folder).pairs(0, 0, Part(1)))
    assert number == 0
    assert any(np.array_equal(image, s.image) and np.array_equal(mask, s.mask) for s in local)


def test_a_dataset_in_a_bucket_is_exported_by_two_processes_as_one_on_a_disk(bucket: str, tmp_path: Path) -> None:
    for place in (tmp_path / "set", UPath(f"{bucket}/set")):
        make_dataset(place, random_masks(8))
    for place, out, workers in ((tmp_path / "set", "near", 1), (f"{bucket}/set", "far", 2)):
        export(place, tmp_path / out, "coco", where="seed != 4", split="0.5,0.5", workers=workers)
    near, far = (
        {path.relative_to(tmp_path / out): path.read_bytes() for path in (tmp_path / out).rglob("*") if path.is_file()}
        for out in ("near", "far")
    )
    assert near == far


def test_a_denoiser_at_a_url_is_fetched_once_a_machine_and_makes_the_same_shards(
    recipe: Recipe, tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    UPath("s3://faces").fs.put(str(tmp_path / "model"), "faces/weights", recursive=True)
    settings = ('paths.denoiser="s3://faces/weights"', "generate.samples=22")
    distant = Recipe.load(tmp_path / "recipe.toml", settings)
    assert generate(distant).failures == []
    (copy,) = (tmp_path / "cache" / "datasetddpm").glob("*/weights")
    assert {path.name for path in copy.parent.iterdir()} == {"weights", "lock"}
    near = build(planned(Recipe.load(tmp_path / "recipe.toml", (f'paths.dataset="{tmp_path / "near"}"',))))
    assert [report.sha256 for report in reports(dataset_folder(distant))] == [near(unit).sha256 for unit in range(4)]


def test_of_several_that_ask_for_weights_one_fetches_and_changed_weights_are_fetched_anew(
    bucket: str, tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("XDG_CACHE_HOME", str(tmp_path))
    fetched, fetch = [], storage.fetch
    environment.setattr(
        storage, "fetch", lambda path, to: (fetched.append(path.name), time.sleep(0.2), fetch(path, to))
    )
    weights = UPath(f"{bucket}/net.pt")
    weights.write_bytes(b"first")
    with ThreadPoolExecutor(4) as threads:
        copies = list(threads.map(local_weights, [str(weights)] * 4))
    assert {copy.read_bytes() for copy in copies} == {b"first"}
    assert copies[0].name == "net.pt"
    assert fetched == ["net.pt"]
    weights.write_bytes(b"other")
    assert local_weights(str(weights)).read_bytes() == b"other"
    assert copies[0].read_bytes() == b"first"


def test_a_fetch_that_is_cut_short_leaves_nothing_that_looks_whole(
    bucket: str, tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    def cut_short(path: UPath, to: Path) -> None:
        to.write_bytes(b"fi")
        raise StorageError("gone")

    environment.setenv("XDG_CACHE_HOME", str(tmp_path))
    UPath(f"{bucket}/net.pt").write_bytes(b"first")
    with environment.context() as patch:
        patch.setattr(storage, "fetch", cut_short)
        with pytest.raises(StorageError, match="gone"):
            local_weights(f"{bucket}/net.pt")
    assert not list((tmp_path / "datasetddpm").glob("*/net.pt"))
    assert local_weights(f"{bucket}/net.pt").read_bytes() == b"first"
    (copy,) = (tmp_path / "datasetddpm").glob("*/net.pt")
    assert sorted(path.name for path in copy.parent.iterdir()) == ["lock", "net.pt"]


def test_a_folder_with_the_markers_that_consoles_make_is_fetched_without_them(
    bucket: str, tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name, content in {"w/": b"", "w/sub/": b"", "w/sub/net.pt": b"net"}.items():
        store: Any = UPath(bucket).fs
        store.call_s3("put_object", Bucket="faces", Key=name, Body=content)
    copy = local_weights(f"{bucket}/w")
    assert [path.relative_to(copy).as_posix() for path in copy.rglob("*") if path.is_file()] == ["sub/net.pt"]


def test_weights_that_are_changed_behind_a_web_server_are_fetched_anew(
    tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "net.pt").write_bytes(b"first")
    with web_server(files_of(tmp_path)) as server:
        url = f"http://127.0.0.1:{server.server_port}/net.pt"
        assert local_weights(url).read_bytes() == b"first"
        (tmp_path / "net.pt").write_bytes(b"the other")
        assert local_weights(url).read_bytes() == b"the other"


def test_a_url_where_nothing_is_is_named(bucket: str) -> None:
    with pytest.raises(RecipeError, match=r"paths\.denoiser: there is nothing at s3://faces/no\.pt"):
        local_weights(f"{bucket}/no.pt")
    for url in ("s3://nobucket/net.pt", "s4://faces/net.pt"):
        with pytest.raises(RecipeError, match=f"paths.denoiser: {url} cannot be opened|there is nothing at {url}"):
            local_weights(url)


def test_damage_is_found_and_removed_there_as_well(recipe: Recipe) -> None:
    make, folder = build(planned(recipe)), location(str(recipe.paths.dataset))
    for unit in range(3):
        make(unit)
    (folder / "shard-000000.tar").unlink()
    (folder / "shard-000001.json").unlink()
    (folder / "shard-000002.tar").write_bytes(bytes(10))
    assert len(damages(take_inventory(folder))) == 3
    remove_damages(folder)
    assert not {name for name in storage.names(folder) if name.startswith("shard")}


def test_a_second_driver_is_refused_there_as_well(bucket: str) -> None:
    folder = location(f"{bucket}/dataset")
    with leased(folder):
        with pytest.raises(LeaseError, match="writes, since"), leased(folder):
            pass
        assert len(storage.names(folder)) == 1
    assert storage.names(folder) == set()


def test_a_typo_in_a_buckets_name_makes_no_bucket(bucket: str) -> None:
    place = opened("s3://fases/dataset")
    must_be_writable(place)
    with pytest.raises(StorageError, match="specified bucket does not exist"):
        storage.write_new(place / "dataset.json", b"")
    assert place.fs.ls("", refresh=True) == ["faces"]


def test_a_folder_with_brackets_is_no_pattern(bucket: str) -> None:
    folder = opened(f"{bucket}/run[1]")
    with leased(folder):
        storage.write_whole(folder / "a[12]", b"mine")
        storage.write_whole(opened(f"{bucket}/run1") / "a[12]", b"other")
        assert list(storage.read_all([folder / "a[12]"])) == [b"mine"]
        storage.remove(folder / "a[12]")
    assert storage.names(folder) == set()
    assert storage.names(opened(f"{bucket}/run1")) == {"a[12]"}


def test_a_bucket_that_is_not_there_is_named_at_once(bucket: str) -> None:
    with pytest.raises(StorageError, match="specified bucket does not exist; name a place that exists"):
        storage.write_whole(location("s3://nowhere/file"), b"")


class Refusing(Quiet):
    """An object store that is throttling everybody."""

    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        content = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
        self.send_response(503)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def test_a_store_that_throttles_is_given_time_and_then_named(environment: pytest.MonkeyPatch, caplog: Any) -> None:
    environment.setattr(storage, "WAITS", (0.1, 0.1))
    refused = pytest.raises(StorageError, match=r"s3://faces/file cannot be written: .*reduce your request rate")
    with web_server(Refusing) as server, refused:
        environment.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        fresh_clients()
        storage.write_whole(location("s3://faces/file"), b"content")
    assert caplog.text.count("tried again in 0.1 s") == 2


def test_a_store_that_comes_back_is_waited_for(environment: pytest.MonkeyPatch, caplog: Any) -> None:
    environment.setattr(storage, "WAITS", (0.5,) * 20)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    environment.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    fresh_clients()
    if not UPath("s3://faces").exists():
        UPath("s3://faces").fs.mkdir("faces")
    server.stop()
    again = ThreadedMotoServer(host, port, verbose=False)

    def come_back() -> None:  # not before it was missed, which a client that tries by itself may take seconds for
        wait_for(lambda: "tried again" in caplog.text)
        again.start()

    coming = threading.Thread(target=come_back, daemon=True)
    coming.start()
    storage.write_whole(location("s3://faces/file"), b"content")
    assert storage.read(location("s3://faces/file")) == b"content"
    coming.join()
    again.stop()
