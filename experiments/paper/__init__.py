"""The paper's tables: what is run, what the paper says, how it is drawn."""
