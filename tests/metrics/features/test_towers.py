"""Image towers: the resize against Pillow's, networks of random weights in and out of files, refusals.

The networks need timm and open_clip, which the tests do without where they are not installed.
"""

import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import metrics
from metrics.features.towers import CLIP, IMAGENET, ImageTower, clip_features, dinov2_features


def tower(side=8, *, unit=False, shape=None, batch=3):
    return ImageTower(
        nn.Flatten(), "pixels", "0", side, ((0.0,) * 3, (1.0,) * 3), shape=shape, batch=batch, unit=unit
    )


@pytest.mark.parametrize("size", [(20, 20), (5, 31), (64, 9)])
def test_the_resize_is_pillows_on_floats_as_in_clean_fid(gen, size):
    """Bicubic and antialiased on each channel as floats, neither rounded nor cut: clean-fid's resize for PIL."""
    images = torch.randint(256, (2, 3, *size), generator=gen).to(torch.uint8)
    got = tower().prepared(images)
    for image, found in zip(images, got, strict=True):
        for channel, own in zip(image, found, strict=True):
            want = Image.fromarray(channel.numpy().astype(np.float32)).resize(
                (8, 8), Image.Resampling.BICUBIC
            )
            torch.testing.assert_close(255 * own, torch.from_numpy(np.array(want)), rtol=0, atol=2e-3)
    assert not torch.equal(255 * got, (255 * got).round())


def test_channels_are_normalised_and_grey_is_repeated():
    images = torch.full((2, 1, 8, 8), 51, dtype=torch.uint8)
    seen = ImageTower(nn.Flatten(), "n", "0", 8, IMAGENET).prepared(images)
    want = (0.2 - torch.tensor(IMAGENET[0])) / torch.tensor(IMAGENET[1])
    torch.testing.assert_close(seen[0, :, 3, 3], want)


def test_flat_floats_are_the_same_images_without_rounding(gen, dtype):
    images = torch.randint(256, (5, 3, 8, 8), generator=gen).to(torch.uint8)
    flat = (images.to(dtype) / 127.5 - 1).flatten(1)
    as_bytes, as_floats = tower()(images), tower(shape=(3, 8, 8))(flat)
    assert as_floats.dtype == dtype
    torch.testing.assert_close(as_floats.float(), as_bytes, rtol=0, atol=1e-6)
    half = torch.zeros(1, 192, dtype=dtype)  # 127.5 is no byte
    torch.testing.assert_close(tower(shape=(3, 8, 8))(half), torch.full((1, 192), 0.5, dtype=dtype))


def test_features_do_not_depend_on_the_batch_and_have_unit_length_where_asked(gen):
    images = torch.randint(256, (7, 3, 10, 9), generator=gen).to(torch.uint8)
    found = tower(unit=True)(images)
    torch.testing.assert_close(found, tower(unit=True, batch=100)(images))
    torch.testing.assert_close(found.norm(dim=1), torch.ones(7))


@pytest.mark.parametrize("registers", [False, True])
def test_dinov2_from_a_file_of_weights_is_timms_network(gen, tmp_path, registers):
    timm = pytest.importorskip("timm")
    name = f"vit_small_patch14_{'reg4_' if registers else ''}dinov2"
    network = timm.create_model(name, pretrained=False, num_classes=0).eval()
    torch.save(network.state_dict(), tmp_path / "dino.pth")
    found = dinov2_features(tmp_path / "dino.pth", side=28)
    images = torch.randint(256, (3, 1, 28, 28), generator=gen).to(torch.uint8)
    got = found(images)
    assert got.shape == (3, 384)
    assert name in found.name
    # At the side of the training no position is interpolated.
    whole = dinov2_features(tmp_path / "dino.pth", side=518, batch=1)
    with torch.no_grad():
        want = network(whole.prepared(images[:1]))
    torch.testing.assert_close(whole(images[:1]), want, rtol=1e-4, atol=1e-5)
    assert whole.hash == found.hash
    report = metrics.evaluate(
        images.repeat(8, 1, 1, 1), images.repeat(7, 1, 1, 1).flip(3), features=found, features_for="all",
        measures=metrics.standard_measures()[2:3],
    )  # fmt: skip
    assert name in report.features


def test_clip_from_a_file_of_weights_is_open_clips_tower(gen, tmp_path):
    open_clip = pytest.importorskip("open_clip")
    model = open_clip.create_model("ViT-B-32-quickgelu", pretrained=None).eval()
    torch.save(model.state_dict(), tmp_path / "clip.pt")
    found = clip_features(tmp_path / "clip.pt")
    images = torch.randint(256, (2, 3, 40, 50), generator=gen).to(torch.uint8)
    with torch.no_grad():
        want = model.encode_image(found.prepared(images), normalize=True)
    torch.testing.assert_close(found(images), want, rtol=1e-4, atol=1e-5)
    assert (found.side, found.normalisation) == (224, CLIP)
    other = clip_features(tmp_path / "clip.pt", quick_gelu=False)
    assert (other(images) - want).abs().max() > 1e-4
    assert other.name != found.name


def states():
    dino = {"cls_token": torch.zeros(1, 1, 384), "patch_embed.proj.weight": torch.zeros(384, 3, 14, 14)}
    dino |= {f"blocks.{k}.norm1.weight": torch.zeros(384) for k in range(12)}
    clip = {"visual.conv1.weight": torch.zeros(768, 3, 32, 32), "visual.proj": torch.zeros(768, 512)}
    clip |= {"visual.positional_embedding": torch.zeros(50, 768)}
    clip |= {f"visual.transformer.resblocks.{k}.ln_1.weight": torch.zeros(768) for k in range(12)}
    return dino, clip


@pytest.mark.parametrize("maker", [dinov2_features, clip_features])
def test_refusals_of_files(maker, tmp_path, monkeypatch):
    file = tmp_path / "weights.pth"
    with pytest.raises(FileNotFoundError, match="no file of"):
        maker(file)
    file.write_bytes(b"no weights")
    with pytest.raises(ValueError, match=r"must be a whole file of torch\.save"):
        maker(file)
    torch.save({"fc.weight": torch.zeros(2, 2)}, file)
    with pytest.raises(ValueError, match=r"weights must .* got (no cls_token|none)"):
        maker(file)
    torch.save({**states()[0], **states()[1]}, file)
    for package in ("timm", "open_clip"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=r"needs (timm|open_clip)'s architecture .* pip install"):
        maker(file)
    # A torchvision that does not fit torch, which both import.
    for package in ("timm", "open_clip"):
        monkeypatch.delitem(sys.modules, package)
        (tmp_path / f"{package}.py").write_text(
            "raise RuntimeError('operator torchvision::nms does not exist')"
        )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        ImportError, match=r"\(operator torchvision::nms .*the torchvision that was built for torch 2"
    ):
        maker(file)


def test_refusals_of_other_sizes_and_images(tmp_path):
    dino, clip = states()
    del dino["blocks.11.norm1.weight"]
    torch.save(dino, tmp_path / "dino.pth")
    with pytest.raises(ValueError, match="got width 384 and 11 blocks"):
        dinov2_features(tmp_path / "dino.pth")
    with pytest.raises(ValueError, match="side must be a multiple of 14, got 225; pass 224"):
        dinov2_features(tmp_path / "dino.pth", side=225)
    clip["visual.conv1.weight"] = torch.zeros(100, 3, 32, 32)
    torch.save(clip, tmp_path / "clip.pth")
    with pytest.raises(ValueError, match="got width 100 and 12 blocks"):
        clip_features(tmp_path / "clip.pth")
    with pytest.raises(ValueError, match="shape must be given for flat images"):
        tower()(torch.zeros(2, 12))
    with pytest.raises(ValueError, match=r"x must have pixels in \[−1, 1\]"):
        tower(shape=(3, 2, 2))(torch.full((1, 12), 2.0))
