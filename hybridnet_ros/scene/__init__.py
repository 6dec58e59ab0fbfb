"""What a camera sees, with NumPy and OpenCV only: label sets, camera models, depth, metrics and colours."""
