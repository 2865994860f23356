"""Files of data and what they hold: bytes to text, text to tables, tables to rows."""
