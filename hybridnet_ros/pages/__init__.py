"""Pages about recordings: single HTML files with their style and pictures inside, which ask nothing of any network.

base.html.j2 is the frame and style of every page, macros.html.j2 has the parts that pages share, charts.py the curves.
"""

from hybridnet_ros.pages.page import Picture, css, data_uri, depth_key, encode, render

__all__ = ["Picture", "css", "data_uri", "depth_key", "encode", "render"]
