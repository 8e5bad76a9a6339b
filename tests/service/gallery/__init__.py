"""The gallery: what every home of it must do, and what is each one's own."""
