"""What a run says: log lines, the console, records, tables and plots, each in a module of its own."""
