"""Metric depth and semantic labels for ROS 2 from one camera image and one network."""
