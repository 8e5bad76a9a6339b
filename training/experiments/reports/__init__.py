"""Reports and figures, made from records alone."""
