"""What is wrong with settings or data is said before anything is trained."""

import numpy as np
import pytest
import torch
from avalanche.benchmarks import benchmark_from_datasets
from avalanche.benchmarks.utils import as_classification_dataset
from avalanche.training.storage_policy import ClassBalancedBuffer
from streams import QUICK, Blobs, Spy, plain, strategy
from torchvision.transforms import ToPILImage

from dm_replay.matching.config import CondenseConfig
from dm_replay.plugins.replay import DMReplayPlugin
from dm_replay.plugins.storage_policy import CondensedBuffer


def test_settings():
    config = CondenseConfig.preset("paper", iterations=3)
    assert DMReplayPlugin(6, config=config).storage_policy.memory.config == config
    replay = DMReplayPlugin(6, ipc=2, seed=4, device="cpu", iterations=7, augment="none")
    memory = replay.storage_policy.memory
    assert (memory.ipc, memory.seed, memory.config.iterations) == (2, 4, 7)
    policy = CondensedBuffer(6)
    for arguments, match in (
        (dict(config=config, iterations=3), "give config or single settings"),
        (dict(iteration=3), "unknown setting 'iteration'; choose from augment"),
        (dict(network="resnet99"), "unknown network"),
        (dict(storage="int4"), "unknown storage 'int4'; choose from auto, float32, float16, uint8"),
        (dict(preset="slow"), "unknown preset 'slow'; choose from paper, fast, plus"),
        (dict(ipc=7), "between 1 and mem_size 6"),
        (dict(batch_size=-3), "batch_size must be a whole number of at least 1, got -3"),
        (dict(batch_size_mem=0), "batch_size_mem must be a whole number of at least 1, got 0"),
        (dict(match_resolution=1.5), "match_resolution must be a number from 0 to 1, got 1.5"),
        (dict(match_resolution="half"), "match_resolution must be a number from 0 to 1, got 'half'"),
        (dict(storage_policy=policy, iterations=3), "brings its own settings, got also iterations"),
        (dict(storage_policy=ClassBalancedBuffer(6)), "must be a CondensedBuffer, got a ClassBalancedBuffer"),
    ):
        with pytest.raises(ValueError, match=match):
            DMReplayPlugin(6, **arguments)
    with pytest.raises(ValueError, match="mem_size 5 is not the storage_policy's 6"):
        DMReplayPlugin(5, storage_policy=policy)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        (dict(device="nowhere"), "device 'nowhere' cannot be used"),
        (dict(device="cuda:99"), "device 'cuda:99' cannot be used"),
        (
            dict(network="convnet:norm=layers"),
            "unknown norm 'layers'; choose from batch",
        ),
        (dict(network="convnet:depth=x"), "depth must be a whole number from 1 to 65536, got x"),
        (dict(network="convnet:width=0"), "width must be a whole number from 1 to 65536, got 0"),
        (dict(network="convnet:width=1.5"), "width must be a whole number from 1 to 65536, got 1.5"),
        (dict(seed="one"), "seed must be a whole number, got 'one'"),
        (dict(seed=1.5), "seed must be a whole number, got 1.5"),
        (dict(iterations=2.5), "iterations must be a whole number"),
        (dict(config=CondenseConfig.preset("paper", device="nowhere")), "device 'nowhere' cannot be used"),
        (dict(batch_size=2.5), "batch_size must be a whole number of at least 1, got 2.5"),
    ],
)
def test_settings_that_cannot_be_used_are_refused_at_once(settings, match):
    with pytest.raises(ValueError, match=match):
        DMReplayPlugin(6, **settings)


@pytest.mark.parametrize(("storage", "each"), [("float32", 4), ("float16", 2), ("uint8", 1)])
def test_values_are_stored_as_asked_for(storage, each):
    buffer = CondensedBuffer(6, storage=storage, **QUICK)
    buffer.post_adapt(None, plain().train_stream[0])
    assert all(images.storage == storage for images in buffer.memory.held.values())
    assert buffer.memory.nbytes == 6 * (64 * each + (8 if each == 1 else 0)) + 8  # and the standardization


def test_numpy_numbers_are_numbers():
    replay = DMReplayPlugin(
        np.int64(6), np.int32(4), np.int64(5), seed=np.int64(2), iterations=np.int64(3), lr_img=np.float32(0.5)
    )
    config = replay.storage_policy.memory.config
    assert (config.iterations, config.lr_img, type(config.iterations)) == (3, 0.5, int)
    assert (replay.mem_size, replay.batch_size, replay.batch_size_mem) == (6, 4, 5)
    replay = DMReplayPlugin(6, storage_policy=CondensedBuffer(np.int64(6), np.int64(2), **QUICK))
    strategy(replay).train(plain().train_stream[0])
    assert len(replay.storage_policy.buffer) == 4


@pytest.mark.parametrize(
    ("transform", "settings", "match"),
    [
        (torch.flatten, {}, r"expected images \(C, H, W\), got \(64,\)"),
        (ToPILImage(), {}, "eval_transform that ends in a tensor"),
        (None, dict(network="convnet:depth=5"), "network 'convnet:depth=5': depth 5 does not fit 8x8 images: 1 to 3"),
    ],
)
def test_data_that_cannot_be_condensed_is_refused_before_training(transform, settings, match):
    replay, spy = DMReplayPlugin(6, **{**QUICK, **settings}), Spy()
    with pytest.raises(ValueError, match=match):
        strategy(replay, spy).train(plain(transform).train_stream[0])
    assert not spy.batches


def test_several_labels_for_an_image_are_refused_before_training():
    class Several(Blobs):
        def __getitem__(self, index):
            image, label = super().__getitem__(index)
            return image, torch.tensor([label, label])

    spy = Spy()
    with pytest.raises(ValueError, match=r"one label for each image, got \(2,\)"):
        strategy(DMReplayPlugin(6, **QUICK), spy).train(
            benchmark_from_datasets(train=[as_classification_dataset(Several())]).train_stream[0]
        )
    assert not spy.batches


def test_images_of_another_shape_are_refused_before_training():
    replay, spy = DMReplayPlugin(6, **QUICK), Spy()
    learner = strategy(replay, spy)
    learner.train(plain().train_stream[0])
    with pytest.raises(ValueError, match=r"images of one shape, got \[\(1, 4, 8\), \(1, 8, 8\)\]"):
        learner.train(plain(lambda x: x[:, :4]).train_stream[1])
    assert len(spy.batches) == 1
