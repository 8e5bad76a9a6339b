"""The long steps of the command line: train, release, publish, evaluate."""
