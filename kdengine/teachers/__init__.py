"""Teachers of one's own: nets trained elsewhere, brought in as safetensors, checked against the data, and kept.

A floor with training and evaluation: it knows networks and data, and nothing of runs, queues or pages. ``records`` and
``pairs`` do without torch, so that a page may ask them.
"""
