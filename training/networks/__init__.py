"""HybridNet, its four replaceable blocks, and its rivals."""

from training.networks.build import build_network
from training.networks.hybridnet import EngineGraph, HybridNet, NetworkOutput

__all__ = ["EngineGraph", "HybridNet", "NetworkOutput", "build_network"]
