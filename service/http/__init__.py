"""The HTTP API: routes, middleware, codecs, authentication and error responses."""
