"""The report in a browser (`make browser`)."""
