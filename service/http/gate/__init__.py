"""The gate: what every request passes before and after its route, as one ASGI callable."""
