"""Datasets: one file a dataset, all giving samples as `sample.py` says."""
