"""Images as people have them, and what the network is given of them."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from kdengine.data.sources.image_files import GROUNDS
from kdengine.errors import BadInput
from kdengine.evaluation import classifier
from kdengine.evaluation.classifier import Classifier, open_image, prepare, squared
from kdengine.models import build_model
from kdengine.models.stored import ModelCard, write_card, write_weights
from kdengine.workspace.rundir import RunDirectory

CARD = ModelCard("resnet20", {}, tuple("abcdefg"), 16, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))


def save(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


def colour(image: Image.Image, x: int = 0, y: int = 0) -> tuple[int, ...]:
    value = image.getpixel((x, y))
    assert isinstance(value, tuple)
    return value


def test_prepare_scales_crops_and_normalises() -> None:
    wide = Image.new("RGB", (40, 20), (255, 0, 0))
    wide.paste((0, 0, 255), (10, 0, 30, 20))
    x = prepare(wide, CARD)
    assert x.shape == (1, 3, 16, 16) and x.dtype == np.float32
    # The centre square is blue: (0, 0, 1) less the mean, over the deviation.
    wanted = (np.array([0, 0, 1]) - CARD.mean) / np.array(CARD.std)
    assert np.allclose(x[0, :, 8, 8], wanted, atol=1e-5)
    assert np.allclose(x[0, :, 8, 2], wanted, atol=1e-5), "the red sides are cut off"


def test_prepare_gives_the_network_what_training_gave_it() -> None:
    from support import NORM, random_loader

    loader = random_loader(4, 4, augmentation=None, shuffle=False, drop_last=False)
    trained_on = next(loader.epoch(0)).image[1].numpy()
    image = Image.fromarray(loader.part.take([1])[0])
    card = ModelCard("resnet20", {}, ("a", "b"), 16, *NORM)
    assert np.allclose(prepare(image, card)[0], trained_on, atol=1e-5)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "gif", "tiff"])
def test_common_formats(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"image.{suffix}", Image.new("RGB", (20, 10), (200, 40, 30)))
    image = open_image(path)
    assert (image.mode, image.size) == ("RGB", (20, 10))
    assert np.allclose(colour(image), (200, 40, 30), atol=6)


def test_cmyk(tmp_path: Path) -> None:
    path = save(tmp_path / "print.jpg", Image.new("CMYK", (8, 8), (0, 255, 255, 0)))
    assert np.allclose(colour(open_image(path)), (255, 0, 0), atol=6)


def test_sixteen_bit_grey_keeps_its_brightness(tmp_path: Path) -> None:
    values = np.linspace(0, 65535, 64, dtype=np.uint16).reshape(8, 8)
    path = save(tmp_path / "scan.png", Image.fromarray(values))
    found = np.asarray(open_image(path))[..., 0]
    assert np.abs(found.astype(int) - values // 257).max() <= 1


def test_transparent_parts_are_white(tmp_path: Path) -> None:
    image = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    image.putpixel((1, 1), (10, 20, 30, 255))
    image.putpixel((2, 2), (0, 0, 0, 128))
    path = save(tmp_path / "logo.png", image)
    found = squared(open_image(path), 4)
    assert tuple(found[0, 0]) == (255, 255, 255) and tuple(found[1, 1]) == (10, 20, 30)
    assert found[2, 2, 0] == pytest.approx(127, abs=1)
    on_black = squared(open_image(path), 4, "black")
    assert tuple(on_black[0, 0]) == (0, 0, 0) and tuple(on_black[1, 1]) == (10, 20, 30)


def test_transparent_parts_are_laid_as_in_training(tmp_path: Path) -> None:
    path = save(tmp_path / "logo.png", Image.new("RGBA", (16, 16), (255, 0, 0, 0)))
    seen = {ground: prepare(open_image(path), replace(CARD, ground=ground)) for ground in GROUNDS}
    pixels = {ground: x[0, :, 0, 0] * np.float32(CARD.std) + np.float32(CARD.mean) for ground, x in seen.items()}
    assert pixels["white"] == pytest.approx([1, 1, 1]) and pixels["black"] == pytest.approx([0, 0, 0], abs=1e-6)
    assert pixels["dropped"] == pytest.approx([1, 0, 0], abs=1e-6)


def test_transparent_palette(tmp_path: Path) -> None:
    image = Image.new("P", (4, 4), 0)
    image.putpalette([0, 0, 0, 255, 0, 0])
    image.putpixel((1, 1), 1)
    found = squared(open_image(save(tmp_path / "icon.gif", image, transparency=0)), 4)
    assert tuple(found[0, 0]) == (255, 255, 255) and tuple(found[1, 1]) == (255, 0, 0)


def test_grey_with_alpha() -> None:
    assert squared(Image.new("LA", (2, 2), (0, 0)), 2).min() == 255


def test_a_turned_photograph_is_set_upright(tmp_path: Path) -> None:
    lying = Image.new("RGB", (20, 10), "black")
    lying.paste("white", (0, 0, 10, 10))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise
    found = open_image(save(tmp_path / "photo.png", lying, exif=exif))
    assert found.size == (10, 20)
    assert colour(found, 5, 2) == (255, 255, 255) and colour(found, 5, 17) == (0, 0, 0)


def test_the_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), name) for name in ("red", "lime", "blue")]
    path = save(tmp_path / "moving.gif", frames[0], save_all=True, append_images=frames[1:])
    assert colour(open_image(path)) == (255, 0, 0)


def test_from_memory() -> None:
    buffer = io.BytesIO()
    Image.new("L", (8, 8), 77).save(buffer, "PNG")
    buffer.seek(0)
    assert colour(open_image(buffer, "pasted")) == (77, 77, 77)


# refusals ------------------------------------------------------------------------------------------------------------


def refusal(path: Path) -> str:
    with pytest.raises(BadInput) as caught:
        open_image(path)
    return str(caught.value)


@pytest.mark.parametrize("content", [b"", b"just words", b"%PDF-1.7\n", b"<svg xmlns='x'></svg>"])
def test_what_is_no_image(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "letter.png"
    path.write_bytes(content)
    assert "letter.png is not an image in one of the formats JPEG, PNG" in refusal(path)


def test_missing_and_folder(tmp_path: Path) -> None:
    assert "there is no image file nowhere.png" in refusal(tmp_path / "nowhere.png")
    assert "there is no image file" in refusal(tmp_path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tiff", "webp"])
def test_truncated(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    path = save(tmp_path / f"half.{suffix}", noise)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert f"half.{suffix} is" in refusal(path)


def test_huge_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "huge.png", Image.new("L", (2000, 1000)))
    monkeypatch.setattr(classifier, "MAX_PIXELS", 1_000_000)
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("the image was unpacked"))
    assert "huge.png has 2 megapixels; at most 1 are read" in refusal(path)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_a_broken_orientation_tag_does_no_harm(tmp_path: Path) -> None:
    path = save(tmp_path / "photo.jpg", Image.new("RGB", (8, 8), "red"), exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff")
    assert open_image(path).size == (8, 8)


# answers -------------------------------------------------------------------------------------------------------------


def test_answers_are_the_five_likeliest_classes(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    run.create("version: 1\n", "kd train")
    write_card(run.card_file, CARD)
    write_weights(run.student_file, build_model("resnet20", 7, 16))
    answer = Classifier(run)(Image.new("RGB", (30, 50), "green"))
    values = [value for _, value in answer.top]
    assert len(answer.top) == 5 and values == sorted(values, reverse=True)
    assert {name for name, _ in answer.top} <= set("abcdefg")
    assert 0 < sum(values) <= 1.0001 and answer.milliseconds > 0
