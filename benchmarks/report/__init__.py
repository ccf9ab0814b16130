"""From DataFrames to tables, figures and pages."""
