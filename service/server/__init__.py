"""The process: sockets, connections, startup, reload."""
