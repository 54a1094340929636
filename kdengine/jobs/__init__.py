"""Jobs: a queue in SQLite, a supervisor process, executors. Knows run folders; knows neither torch nor a page."""
