"""The only place that knows the broker: connection, records, lanes, workers, tasks, readers."""
