"""A user's own transform of replayed images: what it is given, what becomes of it, and its faults in one line."""

import pytest
import torch
from streams import CLASSES, QUICK, Blobs, Spy, plain, strategy
from torch import nn

from dm_replay import DMReplayPlugin, load_checkpoint, save_checkpoint
from dm_replay.replay.loader import check_transform


class Inverted(nn.Module):
    """Keeps what it was given."""

    def __init__(self):
        super().__init__()
        self.given = []

    def forward(self, images):
        self.given.append(images)
        return 7 - images


class OfBytes(nn.Sequential):
    def forward(self, images):
        return super().forward(images.float())


def replaying(transform=None, stream=plain, **options):
    """The mini-batches of the second experience, of which the last four images are replayed ones."""
    spy = Spy()
    replay = DMReplayPlugin(6, batch_size_mem=4, transform=transform, progress=False, **QUICK, **options)
    learner = strategy(replay, spy, model=OfBytes(nn.Flatten(), nn.Linear(64, CLASSES)))
    for experience in stream().train_stream[:2]:
        learner.train(experience)
    return spy.batches[1]


@pytest.mark.parametrize("augment_replay", [True, False])
def test_replayed_images_are_augmented_and_then_transformed_and_current_ones_are_not(augment_replay):
    plainly, own = replaying(augment_replay=augment_replay), replaying(Inverted(), augment_replay=augment_replay)
    for (x, y), (inverted, labels) in zip(plainly, own, strict=True):
        assert torch.equal(y, labels) and torch.equal(x[:-4], inverted[:-4])
        torch.testing.assert_close(inverted[-4:], 7 - x[-4:])


def test_it_sees_floats_in_the_streams_values_and_no_gradient():
    transform = Inverted()
    bytes_ = replaying(transform, lambda: plain(lambda image: (image * 100).to(torch.uint8)))
    assert all(x.dtype == torch.uint8 for x, _ in bytes_)
    first, *given = transform.given[-len(bytes_) :]
    assert all(x.dtype == torch.float32 and x.shape == (4, 1, 8, 8) and x.mean() > 10 for x in (first, *given))
    learnt = nn.Conv2d(1, 1, 3, padding=1)
    assert not any(x.requires_grad for x, _ in replaying(learnt))


WRONG = {
    r"must be a function of images \(M, C, H, W\), got 'flip'": "flip",
    r"failed on images \(2, 1, 8, 8\): RuntimeError: Given groups=1": nn.Conv2d(3, 3, 3),
    r"failed on images \(2, 1, 8, 8\): ZeroDivisionError": lambda images: 1 // 0,
    r"must give as many images of as many channels, got \(2, 8, 8\) for": lambda images: images[:, 0],
    r"must give as many images of as many channels, got \(1, 1, 8, 8\) for": lambda images: images[:1],
    r"must give as many images of as many channels, got a ndarray": lambda images: images.numpy(),
    r"must leave images on cpu, got them on meta": lambda images: images.to("meta"),
}


@pytest.mark.parametrize("message", WRONG)
def test_faults_are_one_line_before_anything_is_trained(message):
    spy = Spy()
    with pytest.raises(ValueError, match=message) as error:
        replay = DMReplayPlugin(6, transform=WRONG[message], progress=False, **QUICK)
        strategy(replay, spy).train(plain().train_stream[0])
    assert "\n" not in str(error.value) and not any(spy.batches)


def test_another_size_is_one_line_unless_the_current_ones_have_it():
    def smaller(images):
        return images[..., :6, :6]

    with pytest.raises(ValueError, match=r"those of the memory are \(1, 6, 6\), the current ones \(1, 8, 8\)"):
        replaying(smaller)


def test_trying_it_leaves_the_random_numbers_as_they_were():
    torch.manual_seed(3)
    check_transform(lambda images: images + torch.rand(1), (1, 8, 8))
    drawn = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(1))


@pytest.mark.parametrize("transform", [lambda images: images / 2, Inverted()])
def test_checkpoints_keep_it(tmp_path, transform):
    learner = strategy(DMReplayPlugin(6, transform=transform, progress=False, **QUICK))
    learner.train(plain().train_stream[0])
    save_checkpoint(learner, tmp_path / "stream.pt")
    back = load_checkpoint(tmp_path / "stream.pt").plugins[0].transform
    images = torch.stack([image for image, _ in Blobs()])
    assert torch.equal(back(images), transform(images))
