"""The real engine keeps the promises that handlers are tested with."""

from tests.orchestrator.engine_promises import BuilderPromises, ContainerPromises, FeedPromises


class TestDockerContainers(ContainerPromises):
    pass


class TestDockerFeed(FeedPromises):
    pass


class TestBuildxBuilder(BuilderPromises):
    pass
