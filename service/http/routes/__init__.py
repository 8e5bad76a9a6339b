"""The routes: one file per resource. They know HTTP, and import no torch."""
