"""`hybridnet demo`: a recorded drive through the real node, with a page of pictures and figures at the end.

command.py is the command line, run.py the run itself, play.py the camera's process; result.py has the figures and
page.py shows them.
"""
