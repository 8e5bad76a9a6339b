"""The long steps: training, release, reports."""
