"""The access log: one line for each request."""

import logging

access = logging.getLogger("service.access")


def log_access(method: str, path: str, status: int, seconds: float) -> None:
    """Log a request in one line, with its full path."""
    if not access.isEnabledFor(logging.INFO):
        return
    fields = {
        "method": method,
        "path": path,
        "status": status,
        "milliseconds": round(1000 * seconds, 3),
    }
    access.info("%(method)s %(path)s %(status)d in %(milliseconds).1f ms", fields, extra=fields)
