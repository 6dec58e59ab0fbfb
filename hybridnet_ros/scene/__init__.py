"""What a camera sees, in NumPy: label sets, camera models, depth, metrics and colours. Knows nothing of networks or ROS."""
