"""The PyTorch pipeline that makes HybridNet's engines: data, networks, losses, training, evaluation, export."""
