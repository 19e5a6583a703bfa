"""Reports over measured captioners: tables, charts and pages."""
