"""The networks: ``build`` makes one by name, ``reset`` draws its parameters anew in place."""

from .convnet import ConvNet
from .registry import build, names, parse
from .reset import reset

__all__ = ["ConvNet", "build", "names", "parse", "reset"]
