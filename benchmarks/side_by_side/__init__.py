"""What benchmarks/speed.py is made of: arms, timings, the table, and what is wanted of it."""
