"""Everything that knows HTTP: routes, middleware, codecs, errors."""
