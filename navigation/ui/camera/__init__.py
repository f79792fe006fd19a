"""A video camera in the field: its calibration, its frames, and what is drawn into them.

Frames: Camera is the optical frame (x right, y down, z into the picture, mm), Marker the tracked marker it carries,
Board the checkerboard's own (z = 0, mm). The only place where OpenCV is used.
"""
