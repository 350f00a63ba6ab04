"""Files, templates and tables that every room may use."""
