"""The ROS 2 node: images in, metric depth and labels out. The only room that imports rclpy."""
