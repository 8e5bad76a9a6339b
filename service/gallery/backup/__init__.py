"""Exports a gallery to one Parquet file, and imports it: for backups, and to change backends.

Uses the protocols alone, a batch at a time, so that it works with any size and backend. Knows
nothing of requests.
"""

from service.gallery.backup.format import BackupError, count
from service.gallery.backup.reader import ImportResult, read
from service.gallery.backup.writer import write

__all__ = ["BackupError", "ImportResult", "count", "read", "write"]
