"""What carries the orchestrator's decisions out: the engine, BuildKit, folders."""
