"""Request and response schemas (pydantic). All but `model` can be imported without torch."""
