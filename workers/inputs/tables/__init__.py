"""Tables: CSV, JSONL and Parquet files, read as rows and written from rows."""
