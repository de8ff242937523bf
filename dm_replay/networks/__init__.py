"""The networks: ``build_network`` makes one by name, ``reset`` draws its parameters anew in place."""

from .convnet import ConvNet
from .registry import activation_values, build_network, check_buildable, names, parse, reset

__all__ = ["ConvNet", "activation_values", "build_network", "check_buildable", "names", "parse", "reset"]
