"""The networks: ``build_network`` makes one by name, ``reset`` draws its parameters anew in place."""

from .convnet import ConvNet
from .registry import build_network, names, parse
from .reset import reset

__all__ = ["ConvNet", "build_network", "names", "parse", "reset"]
