"""Recorded data without ROS: bags are read with the `rosbags` package alone."""
