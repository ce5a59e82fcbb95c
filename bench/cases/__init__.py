"""What is measured. A case takes a stage and a number of runs, and gives rows."""
