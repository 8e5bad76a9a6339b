"""Pure answers: similarity, duplicates, explanations, responses."""
