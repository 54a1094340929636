"""From a part of a data set to batches on the device: order, augmentation and reading ahead. Needs torch."""
