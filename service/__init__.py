"""The online house: an HTTP service over a bundle. It imports `training.bundle` and no more."""
