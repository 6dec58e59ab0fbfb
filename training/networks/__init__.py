"""HybridNet and its four replaceable blocks."""

from training.networks.hybridnet import EngineGraph, HybridNet, NetworkOutput, build_network

__all__ = ["EngineGraph", "HybridNet", "NetworkOutput", "build_network"]
