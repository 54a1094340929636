"""Looking inside: arrays (not images) of what a network and a method do with some images, at an epoch of a run."""
