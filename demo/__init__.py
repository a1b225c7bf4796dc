"""`make demo`: recorded spans through the whole pipeline. Nothing in `buffer/` or `tasks/` depends on it."""
