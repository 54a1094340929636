"""Looking inside: arrays (not pictures) of what a network and a method do with some pictures, at an epoch of a run."""
