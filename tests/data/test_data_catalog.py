"""The published data sets, fetched from a server on the loopback in small archives of the same layout."""

from __future__ import annotations

import dataclasses
import hashlib
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from archives import LoopbackServer, cifar_archive, idx_file
from PIL import Image

from kdengine.data import load_dataset, sample_images
from kdengine.data.sources.pickles import load_plain
from kdengine.errors import BadInput, DataError
from kdengine.registry import DATASETS

CIFAR10_BATCHES = {f"data_batch_{number}": 40 for number in range(1, 6)} | {"test_batch": 30}


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


@pytest.fixture
def cifar10(server: LoopbackServer, monkeypatch: pytest.MonkeyPatch) -> tuple[LoopbackServer, dict, bytes]:
    """A server with a small cifar-10-python.tar.gz whose checksum the definition expects."""
    content, truth = cifar_archive(
        "cifar-10-batches-py", CIFAR10_BATCHES, "batches.meta", "labels", "label_names", classes=10
    )
    definition = DATASETS.get("cifar10")
    monkeypatch.setattr(definition, "archive", dataclasses.replace(definition.archive, md5=md5(content)))
    server.contents["cifar-10-python.tar.gz"] = content
    return server, truth, content


def test_cifar10_store_equals_the_archive(tmp_path: Path, cifar10: tuple) -> None:
    _, truth, _ = cifar10
    bundle = load_dataset("cifar10", tmp_path / "datasets", 32, validation=0)
    images = np.concatenate([truth[name][0] for name in CIFAR10_BATCHES if name != "test_batch"])
    np.testing.assert_array_equal(bundle.train.take(np.arange(200)), images)
    np.testing.assert_array_equal(bundle.test.take(np.arange(30)), truth["test_batch"][0])
    assert bundle.train.labels.tolist() == [number % 10 for _ in range(5) for number in range(40)]
    assert bundle.classes == tuple(f"class {number}" for number in range(10))
    assert bundle.mean == (0.4914, 0.4822, 0.4465) and bundle.std == (0.2470, 0.2435, 0.2616)
    assert bundle.train.images.dtype == np.uint8 and bundle.train.labels.dtype == np.int64
    assert not bundle.train.images.flags.writeable


def test_second_load_asks_no_server(tmp_path: Path, cifar10: tuple) -> None:
    server, _, _ = cifar10
    first = load_dataset("cifar10", tmp_path / "datasets", 32)
    (tmp_path / "datasets" / "cifar-10-python.tar.gz").unlink()
    second = load_dataset("cifar10", tmp_path / "datasets", 32)
    assert len(server.requests) == 1
    assert first.digest == second.digest


def test_cifar100_uses_fine_labels(tmp_path: Path, server: LoopbackServer, monkeypatch: pytest.MonkeyPatch) -> None:
    content, truth = cifar_archive(
        "cifar-100-python", {"train": 400, "test": 100}, "meta", "fine_labels", "fine_label_names", classes=100
    )
    definition = DATASETS.get("cifar100")
    monkeypatch.setattr(definition, "archive", dataclasses.replace(definition.archive, md5=md5(content)))
    server.contents["cifar-100-python.tar.gz"] = content
    bundle = load_dataset("cifar100", tmp_path / "datasets", 32, validation=0.25)
    assert len(bundle.classes) == 100 and len(bundle.train) == 300 and len(bundle.validation) == 100
    np.testing.assert_array_equal(bundle.test.take(np.arange(100)), truth["test"][0])


def test_fashion_mnist_is_grey_repeated_and_resized(
    tmp_path: Path, server: LoopbackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(1)
    train, test = (rng.integers(0, 256, (count, 28, 28), dtype=np.uint8) for count in (60, 20))
    contents = [idx_file(v.astype(np.uint8)) for v in (train, np.arange(60) % 10, test, np.arange(20) % 10)]
    definition = DATASETS.get("fashion_mnist")
    files = tuple(
        dataclasses.replace(file, md5=md5(content)) for file, content in zip(definition.files, contents, strict=True)
    )
    monkeypatch.setattr(definition, "files", files)
    server.contents.update({file.place: content for file, content in zip(files, contents, strict=True)})
    bundle = load_dataset("fashion_mnist", tmp_path / "datasets", 32, validation=0)
    stored = bundle.train.take([7])[0]
    expected = np.asarray(Image.fromarray(train[7]).resize((32, 32), Image.Resampling.BILINEAR))
    for channel in range(3):
        np.testing.assert_array_equal(stored[..., channel], expected)
    assert bundle.classes[9] == "Ankle boot" and len(bundle.test) == 20


def test_digits_are_embedded_with_a_fixed_test_part(tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    one = load_dataset("digits", tmp_path / "datasets", 8, split_seed=0)
    two = load_dataset("digits", tmp_path / "datasets", 8, split_seed=5)
    np.testing.assert_array_equal(one.test.index, two.test.index)
    assert not np.array_equal(one.validation.index, two.validation.index)
    assert len(one.train) + len(one.validation) + len(one.test) == 1797
    shares = np.bincount(one.test.labels) / np.bincount(load_digits().target)
    assert np.all(np.abs(shares - 0.2) < 0.01)
    images = np.round(load_digits().images * 255 / 16).astype(np.uint8)
    source = {image.tobytes(): digit for image, digit in zip(images, load_digits().target, strict=True)}
    stored = one.test.take(np.arange(len(one.test)))
    assert [source[image[..., 0].tobytes()] for image in stored] == one.test.labels.tolist()
    assert np.array_equal(stored[..., 0], stored[..., 2]) and stored.max() == 255


def test_computed_mean_and_std_are_those_of_all_training_images(tmp_path: Path) -> None:
    bundle = load_dataset("digits", tmp_path / "datasets", 8)
    index = np.concatenate([bundle.train.index, bundle.validation.index])
    values = bundle.train.images[index] / 255
    np.testing.assert_allclose(bundle.mean, values.mean(axis=(0, 1, 2)), atol=1e-5)
    np.testing.assert_allclose(bundle.std, values.std(axis=(0, 1, 2)), atol=1e-5)


def test_connection_dropped_half_way_is_resumed_with_a_range(tmp_path: Path, cifar10: tuple) -> None:
    server, _, content = cifar10
    server.drop_after = [5000, 7000]
    load_dataset("cifar10", tmp_path / "datasets", 32)
    assert [asked for _, asked in server.requests] == ["", "bytes=5000-", "bytes=12000-"]
    assert (tmp_path / "datasets" / "cifar-10-python.tar.gz").read_bytes() == content
    assert not list((tmp_path / "datasets").glob("*.part"))


def test_part_of_an_earlier_session_is_continued(tmp_path: Path, cifar10: tuple) -> None:
    server, _, content = cifar10
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "cifar-10-python.tar.gz.part").write_bytes(content[:3000])
    load_dataset("cifar10", tmp_path / "datasets", 32)
    assert [asked for _, asked in server.requests] == ["bytes=3000-"]


@pytest.mark.parametrize("stale", ["wrong bytes", "longer than the file"])
def test_stale_part_is_started_over(tmp_path: Path, cifar10: tuple, stale: str) -> None:
    _, _, content = cifar10
    (tmp_path / "datasets").mkdir()
    part = tmp_path / "datasets" / "cifar-10-python.tar.gz.part"
    part.write_bytes(b"x" * (100 if stale == "wrong bytes" else len(content) + 10))
    load_dataset("cifar10", tmp_path / "datasets", 32)
    assert (tmp_path / "datasets" / "cifar-10-python.tar.gz").read_bytes() == content


def test_server_without_range_sends_everything_again(tmp_path: Path, cifar10: tuple) -> None:
    server, _, content = cifar10
    server.ranges_supported = False
    server.drop_after = [5000]
    load_dataset("cifar10", tmp_path / "datasets", 32)
    assert len(server.requests) == 2
    assert (tmp_path / "datasets" / "cifar-10-python.tar.gz").read_bytes() == content


def test_connection_that_keeps_dropping_gives_up_and_keeps_the_part(tmp_path: Path, cifar10: tuple) -> None:
    server, _, _ = cifar10
    server.drop_after = [100] * 20
    with pytest.raises(DataError, match=r"cannot download .* before the end.*place it by hand.*KD_DATA_URL"):
        load_dataset("cifar10", tmp_path / "datasets", 32)
    assert (tmp_path / "datasets" / "cifar-10-python.tar.gz.part").stat().st_size == 500


@pytest.mark.parametrize("served", [lambda content: content[:-100], lambda content: content[:-1] + b"!"])
def test_truncated_or_changed_file_is_refused_and_not_kept(tmp_path: Path, cifar10: tuple, served) -> None:
    server, _, content = cifar10
    server.contents["cifar-10-python.tar.gz"] = served(content)
    with pytest.raises(DataError, match=r"its MD5 is .*, expected .*by hand"):
        load_dataset("cifar10", tmp_path / "datasets", 32)
    assert [path.name for path in (tmp_path / "datasets").iterdir() if not path.name.endswith(".lock")] == []
    server.contents["cifar-10-python.tar.gz"] = content
    assert len(load_dataset("cifar10", tmp_path / "datasets", 32).test) == 30


def test_wrong_file_placed_by_hand_is_named(tmp_path: Path, cifar10: tuple) -> None:
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "cifar-10-python.tar.gz").write_bytes(b"something else")
    with pytest.raises(DataError, match=r"cifar-10-python\.tar\.gz is not the published file"):
        load_dataset("cifar10", tmp_path / "datasets", 32)


def test_missing_on_the_server_and_no_server_at_all(
    tmp_path: Path, server: LoopbackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match="the server answered 404"):
        load_dataset("cifar10", tmp_path / "datasets", 32)
    assert len(server.requests) == 1
    monkeypatch.setenv("KD_DATA_URL", "http://127.0.0.1:9")
    with pytest.raises(DataError, match=r"cannot download http://127\.0\.0\.1:9/.*by hand"):
        load_dataset("cifar10", tmp_path / "datasets", 32)
    monkeypatch.setenv("KD_DATA_URL", "file:///etc")
    with pytest.raises(DataError, match="must begin with http"):
        load_dataset("cifar10", tmp_path / "datasets", 32)


class Malicious:
    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("/tmp/kdengine-pickle-ran"),))


def test_malicious_pickle_is_refused() -> None:
    marker = Path("/tmp/kdengine-pickle-ran")
    marker.unlink(missing_ok=True)
    for protocol in (2, 4):
        with pytest.raises(DataError, match=r"data_batch_1 is not a plain data file: it asks for"):
            load_plain(pickle.dumps({"data": Malicious()}, protocol), "data_batch_1")
    with pytest.raises(DataError, match=r"asks for (posix|os)\.system"):
        load_plain(b"cposix\nsystem\n(S'true'\ntR.", "x")
    with pytest.raises(DataError, match="cannot be read as a pickle"):
        load_plain(b"\x80\x02}", "x")
    assert not marker.exists()


def test_modern_pickles_of_arrays_are_read() -> None:
    value = np.arange(12, dtype=np.uint8).reshape(3, 4)
    for protocol in range(2, 5):
        np.testing.assert_array_equal(load_plain(pickle.dumps({"a": value}, protocol), "x")["a"], value)


def test_every_wrong_argument_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        load_dataset("cifar11", tmp_path, 4, validation=1.0, split_seed=-1, per_class=0, fraction=2.0, meta=-0.1)
    fields = {problem.field.removeprefix("data.") for problem in caught.value.problems}
    assert fields == {"name", "image_size", "validation", "split_seed", "per_class", "fraction", "meta"}
    assert "did you mean 'cifar10'" in str(caught.value)
    with pytest.raises(BadInput, match=r"data\.per_class: give per_class or a fraction below 1"):
        load_dataset("digits", tmp_path, 16, per_class=5, fraction=0.5)
    with pytest.raises(BadInput, match=r"data\.options\.path"):
        load_dataset("folder", tmp_path, 16)
    with pytest.raises(BadInput, match=r"data\.options\.colour"):
        load_dataset("digits", tmp_path, 16, options={"colour": True})


def test_every_definition_describes_itself() -> None:
    for name in DATASETS.names():
        definition = DATASETS.get(name)
        assert definition.name == name and definition.title and definition.summary.endswith(".")
        padding = definition.augmentation(32).crop_padding
        assert padding == 4
    assert not DATASETS.get("digits").flip and DATASETS.get("cifar10").flip


def test_sample_images_show_each_class_first(tmp_path: Path) -> None:
    bundle = load_dataset("digits", tmp_path / "datasets", 8)
    images, labels = sample_images(bundle, 25, seed=3)
    assert images.shape == (25, 8, 8, 3) and images.dtype == np.uint8
    assert sorted(labels[:10]) == sorted(labels[10:20]) == list(range(10))
    again, _ = sample_images(bundle, 25, seed=3)
    np.testing.assert_array_equal(images, again)
    assert len({image.tobytes() for image in images}) == 25


def test_import_loads_neither_torch_nor_sklearn() -> None:
    code = (
        "import sys, kdengine.registry as r; r.DATASETS.names(); import kdengine.data; "
        "assert not {'torch', 'torchvision', 'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
