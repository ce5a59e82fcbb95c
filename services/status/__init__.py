"""What is the state of everything: folds events into tables, answers questions, shows what happens live."""
