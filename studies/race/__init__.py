"""A race: many methods begin, few are tuned, three are confirmed, and one sentence says which is best, if any is."""
