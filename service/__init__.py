"""An HTTP service over a bundle. Imports `training.bundle`, and nothing else of `training`."""
