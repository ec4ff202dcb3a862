"""`tdfusion data verify`: all faults of a data set at once."""
