"""Official metrics, one module per family so that each has its own digest; all values are percentages."""
