"""Request and response schemas. All but `model` are free of torch."""
