"""Pictures in the forms that people have them in: transparent, linked."""

import numpy as np
import pytest
import torch
from PIL import Image

from metrics.features import features_of, images


@pytest.fixture
def pixels():
    random = np.random.default_rng(0)
    return random.integers(0, 256, (5, 6, 4), dtype=np.uint8)


def test_transparency_lies_on_black(tmp_path, pixels):
    """The colour under a transparent pixel is not seen: colour times opacity."""
    Image.fromarray(pixels).save(tmp_path / "rgba.png")
    found = images.read_image(tmp_path / "rgba.png").permute(1, 2, 0).numpy()
    seen = pixels[..., :3] * (pixels[..., 3:] / 255)
    np.testing.assert_allclose(found, seen, rtol=0, atol=1)  # a rounding
    opaque = pixels.copy()
    opaque[..., 3] = 255
    Image.fromarray(opaque).save(tmp_path / "opaque.png")
    assert np.array_equal(
        images.read_image(tmp_path / "opaque.png").permute(1, 2, 0).numpy(), pixels[..., :3]
    )
    grey = Image.fromarray(pixels[..., [0, 3]], "LA")
    grey.save(tmp_path / "la.png")
    found = images.read_image(tmp_path / "la.png", grey=True)[0].numpy()
    np.testing.assert_allclose(found, pixels[..., 0] * (pixels[..., 3] / 255), rtol=0, atol=1)


def test_one_transparent_colour_lies_on_black(tmp_path):
    white = np.full((4, 4), 255, dtype=np.uint8)
    white[0] = 100
    want = np.where(white == 255, 0, 100)
    Image.fromarray(white).save(tmp_path / "l.png", transparency=255)
    Image.fromarray(white).convert("RGB").save(tmp_path / "rgb.png", transparency=(255, 255, 255))
    palette = Image.fromarray(np.where(white == 255, 1, 0).astype(np.uint8), "P")
    palette.putpalette([100, 100, 100, 255, 255, 255])
    palette.save(tmp_path / "p.png", transparency=1)
    palette.save(tmp_path / "p.gif", transparency=1)
    for name in ("l.png", "rgb.png", "p.png", "p.gif"):
        assert np.array_equal(images.read_image(tmp_path / name, grey=True)[0].numpy(), want), name


def test_links_to_folders_are_followed_and_circles_are_not(tmp_path, pixels):
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    here.mkdir()
    for i in range(3):
        Image.fromarray(pixels[..., :3] + np.uint8(i)).save(there / f"{i}.png")
    (here / "class").symlink_to(there)
    (there / "self").symlink_to(there)
    (there / "back").symlink_to(here)
    assert [str(p.relative_to(here)) for p in images.find_images(here)] == [
        f"class/{i}.png" for i in range(3)
    ]
    assert features_of(here).shape == (3, 90)


@pytest.mark.parametrize("turned", [3, 6, 8])
def test_pictures_of_cameras_are_upright(tmp_path, pixels, turned):
    """EXIF's orientation 6 is told of a picture to be turned clockwise by a quarter, 8 the other way, 3 by a half."""
    upright = pixels[..., :3]
    quarters = {3: 2, 6: 1, 8: 3}[turned]  # anticlockwise, from upright to what the sensor saw
    exif = Image.Exif()
    exif[0x0112] = turned
    Image.fromarray(np.rot90(upright, quarters).copy()).save(tmp_path / "camera.png", exif=exif)
    found = images.read_image(tmp_path / "camera.png").permute(1, 2, 0).numpy()
    assert np.array_equal(found, upright)
    small = images.read_image(tmp_path / "camera.png", size=(5, 3))
    plain = images.picture(Image.fromarray(upright), size=(5, 3))
    assert torch.equal(small, plain)


def test_broken_notes_are_no_broken_picture(tmp_path, pixels):
    Image.fromarray(pixels[..., :3]).save(tmp_path / "notes.png", exif=b"Exif\x00\x00no such notes")
    found = images.read_image(tmp_path / "notes.png").permute(1, 2, 0).numpy()
    assert np.array_equal(found, pixels[..., :3])
