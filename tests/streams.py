"""Small streams for the tests of the plugin, and a spy on what a strategy trains on."""

import torch
from avalanche.benchmarks import (
    benchmark_from_datasets,
    class_incremental_benchmark,
    nc_benchmark,
    new_instances_benchmark,
    task_incremental_benchmark,
    with_classes_timeline,
)
from avalanche.benchmarks.utils import as_classification_dataset
from avalanche.core import SupervisedPlugin
from avalanche.training.supervised import Naive
from torch import nn
from torch.utils.data import Dataset, TensorDataset

SETTINGS = dict(iterations=2, batch_real=4, network="convnet:width=4", compile="no")
QUICK = dict(SETTINGS, preset="paper")
CLASSES, EACH = 6, 12


class Blobs(Dataset):
    """Six classes of twelve images (1, 8, 8); ``transform`` sits inside, as in torchvision."""

    def __init__(self, transform=None, classes=range(CLASSES), each=EACH):
        self.targets = [c for c in classes for _ in range(each)]
        generator = torch.Generator().manual_seed(0)
        self.images = torch.rand(len(self.targets), 1, 8, 8, generator=generator)
        self.images += torch.tensor(self.targets)[:, None, None, None] / 10
        self.transform = transform

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, index):
        image = self.images[index]
        return image if self.transform is None else self.transform(image), self.targets[index]


class Spy(SupervisedPlugin):
    """Keeps every mini-batch of every experience, and what it can say of the loaders."""

    def __init__(self):
        super().__init__()
        self.batches, self.loaders = [], []

    def before_training_exp(self, strategy, **kwargs):
        self.batches.append([])
        self.loaders.append(strategy.dataloader)

    def before_forward(self, strategy, **kwargs):
        self.batches[-1].append([part.clone() for part in strategy.mbatch])


def plain(transform=None):
    """Class-incremental, two classes at a time, without task labels."""
    data = as_classification_dataset(Blobs(transform))
    return class_incremental_benchmark({"train": data, "test": data}, num_experiences=3, class_order=range(CLASSES))


def of_tensors(*, task_in_item=False):
    """The same whose items are tensors, the class too; with a task label in each item or without."""
    parts = []
    for task in range(3):
        data = Blobs(classes=(2 * task, 2 * task + 1))
        labels = torch.tensor(data.targets)
        items = TensorDataset(data.images, labels, *([torch.full_like(labels, task)] if task_in_item else []))
        items.targets = data.targets
        parts.append(as_classification_dataset(items))
    return benchmark_from_datasets(train=parts)


def labelled(**options):
    """The same with a task label on every item."""
    return nc_benchmark(
        Blobs(), Blobs(), 3, fixed_class_order=list(range(CLASSES)), **{"task_labels": False, **options}
    )


def domains():
    """Every class in each experience, darker each time."""
    return benchmark_from_datasets(
        train=[as_classification_dataset(Blobs(lambda image, dark=dark: image - dark)) for dark in (0.0, 0.3, 0.6)]
    )


def blurry():
    """Each experience has a class of the one before."""
    return benchmark_from_datasets(
        train=[as_classification_dataset(Blobs(classes=classes)) for classes in ((0, 1), (1, 2), (2, 3))]
    )


SCENARIOS = {
    "class-incremental": plain,
    "class-incremental, task label 0": labelled,
    "task-incremental, class ids from 0": lambda: labelled(task_labels=True, class_ids_from_zero_in_each_exp=True),
    "task-incremental, without timeline": lambda: task_incremental_benchmark(plain()),
    "new instances": lambda: new_instances_benchmark(
        as_classification_dataset(Blobs()), as_classification_dataset(Blobs()), num_experiences=3
    ),
    "domain-incremental": domains,
    "blurry boundaries": blurry,
    "with timeline": lambda: with_classes_timeline(plain()),
}


def strategy(*plugins, batch=8, model=None, **options):
    torch.manual_seed(0)
    model = model or nn.Sequential(nn.Flatten(), nn.Linear(64, CLASSES))
    options = {"train_mb_size": batch, "train_epochs": 1, "evaluator": None, **options}
    return Naive(model=model, optimizer=torch.optim.SGD(model.parameters(), 0.1), plugins=list(plugins), **options)


def run(benchmark, *plugins, batch=8, **train_options):
    """Train on every experience; returns the spied mini-batches by experience."""
    spy, learner = Spy(), strategy(*plugins, batch=batch)
    learner.plugins.insert(len(plugins), spy)
    for experience in benchmark.train_stream:
        learner.train(experience, **train_options)
    return spy
