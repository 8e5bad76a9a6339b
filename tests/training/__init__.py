"""The offline house."""
