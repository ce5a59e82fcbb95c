"""Makes the server's streams, buckets and consumers as `libs.contracts.streams` declares them.

The one call that does: no service declares its own. Safe to repeat; what exists is brought up to date.
"""

# nats-py leaves the types of its keyword parameters open.
# pyright: reportUnknownMemberType=false

import asyncio
import time

import structlog
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeout
from nats.js import api
from nats.js.client import JetStreamContext
from nats.js.errors import (
    APIError,
    BucketNotFoundError,
    KeyWrongLastSequenceError,
    NoStreamResponseError,
    NotFoundError,
    ObjectNotFoundError,
)

from libs.contracts import streams
from libs.contracts.names import random_word
from libs.runtime.bus.connection import Bus

log = structlog.get_logger(__name__)


COPIES = 3  # what is stored on two of them is there for good, and one may be away
NO_PEERS = 10005  # some servers of a cluster have not found one another yet, or it has fewer than three
FOUND = 30.0  # seconds within which the servers of a cluster have found one another, if they are there


async def provision(bus: Bus, *, ack_wait: float, instance: str | None = None, patience: float = 60.0) -> str:
    """All of it; returns the id of this MACHETE, made at the first call: `instance`, where the streams were lost.

    In a cluster everything is kept threefold, however few of its servers `bus` knows by address; what was kept once is
    copied, and nothing is kept fewer times than before. A cluster that is just starting gets `patience` seconds to find
    itself; in one of fewer than three servers, where no three are named either, everything is kept once.
    """
    began = time.monotonic()
    copies = COPIES if bus.clustered or bus.servers >= COPIES else 1
    while True:
        try:
            return await _provision(bus, ack_wait, instance, copies)
        except (NatsTimeout, NoRespondersError, NoStreamResponseError, APIError) as problem:
            waited = time.monotonic() - began
            few = isinstance(problem, APIError) and problem.err_code == NO_PEERS
            if few and copies > 1 and bus.servers < COPIES and waited > FOUND:
                copies = 1
                log.warning("fewer than three servers are in this cluster: what is new is kept once")
            elif not (few or not isinstance(problem, APIError) or problem.code == 503) or waited > patience:
                raise
            log.info("the servers of NATS are not ready yet", problem=str(problem))
        await asyncio.sleep(0.2)


async def _provision(bus: Bus, ack_wait: float, instance: str | None, wanted: int) -> str:
    # The servers of a cluster choose a leader for each stream first: that may take its time.
    jetstream = bus.nats.jetstream(timeout=20.0)
    copies = await _copies(jetstream, wanted)
    share = await _share_of_disk(jetstream, max(copies.values()))
    for stream in streams.STREAMS:
        await _make_stream(jetstream, _stream_config(stream, share, copies[stream.name]))
        for consumer in stream.consumers:
            await jetstream.add_consumer(stream.name, consumer_config(consumer, ack_wait, copies[stream.name]))
    for bucket in streams.BUCKETS:
        await _make_bucket(jetstream, bucket, share, copies[f"KV_{bucket.name}"])
    await _make_object_store(jetstream, share, copies[f"OBJ_{streams.SOURCES.name}"])
    return await _instance(jetstream, instance or random_word(8))


async def _copies(jetstream: JetStreamContext, wanted: int) -> dict[str, int]:
    """How many there are to be of each stream: never fewer than there are, and where one has three, all have."""
    there = {
        name: await _copies_of(jetstream, name)
        for name in (
            *(stream.name for stream in streams.STREAMS),
            *(f"KV_{bucket.name}" for bucket in streams.BUCKETS),
            f"OBJ_{streams.SOURCES.name}",
        )
    }
    wanted = max(wanted, min(COPIES, max(there.values())))
    return {name: max(wanted, copies) for name, copies in there.items()}


async def _copies_of(jetstream: JetStreamContext, stream: str) -> int:
    """0 of one that does not exist."""
    try:
        return (await jetstream.stream_info(stream)).config.num_replicas or 1
    except NotFoundError:
        return 0


def consumer_config(consumer: streams.Consumer, ack_wait: float, replicas: int) -> api.ConsumerConfig:
    return api.ConsumerConfig(
        durable_name=consumer.name,
        filter_subjects=list(consumer.filters),
        ack_policy=api.AckPolicy.EXPLICIT,
        ack_wait=ack_wait,
        max_deliver=-1,
        max_ack_pending=consumer.max_ack_pending,
        max_waiting=128,
        num_replicas=replicas,
    )


async def _share_of_disk(jetstream: JetStreamContext, replicas: int) -> float:
    """The declared sizes are for a store with room; in a smaller one every stream gets its share of nine tenths.

    The limit is that of all servers together, where every copy counts.
    """
    limit = (await jetstream.account_info()).limits.max_storage
    server_limit = limit if limit and limit > 0 else None
    wanted = sum(stream.max_bytes for stream in streams.STREAMS)
    wanted += sum(bucket.max_bytes for bucket in (*streams.BUCKETS, streams.SOURCES))
    return 1.0 if server_limit is None else min(1.0, 0.9 * server_limit / (replicas * wanted))


def _stream_config(stream: streams.Stream, share: float, replicas: int) -> api.StreamConfig:
    work_queue = stream.retention == "work_queue"
    return api.StreamConfig(
        name=stream.name,
        subjects=list(stream.subjects),
        retention=api.RetentionPolicy.WORK_QUEUE if work_queue else api.RetentionPolicy.LIMITS,
        storage=api.StorageType.FILE,
        max_bytes=int(stream.max_bytes * share),
        max_age=stream.max_age or 0,
        max_msgs=stream.in_all or -1,
        max_msgs_per_subject=stream.per_subject or -1,
        discard=api.DiscardPolicy.NEW if stream.refuse else api.DiscardPolicy.OLD,
        discard_new_per_subject=bool(stream.refuse and stream.per_subject),
        duplicate_window=min(stream.duplicate_window, stream.max_age or stream.duplicate_window),
        allow_direct=False,
        num_replicas=replicas,
    )


async def _make_stream(jetstream: JetStreamContext, config: api.StreamConfig) -> None:
    try:
        await jetstream.add_stream(config)
    except APIError as problem:
        if problem.err_code != 10058:
            raise
        await jetstream.update_stream(config)


async def _make_bucket(jetstream: JetStreamContext, bucket: streams.Bucket, share: float, replicas: int) -> None:
    try:
        await jetstream.key_value(bucket.name)
        await _copy(jetstream, f"KV_{bucket.name}", replicas)
    except (BucketNotFoundError, NotFoundError):
        await jetstream.create_key_value(
            api.KeyValueConfig(
                bucket=bucket.name,
                ttl=bucket.ttl,
                max_bytes=int(bucket.max_bytes * share),
                history=1,
                replicas=replicas,
                direct=False,
            )
        )


async def _make_object_store(jetstream: JetStreamContext, share: float, replicas: int) -> None:
    try:
        await jetstream.object_store(streams.SOURCES.name)
        await _copy(jetstream, f"OBJ_{streams.SOURCES.name}", replicas)
    except (BucketNotFoundError, NotFoundError, ObjectNotFoundError):
        await jetstream.create_object_store(
            streams.SOURCES.name,
            config=api.ObjectStoreConfig(
                bucket=streams.SOURCES.name, max_bytes=int(streams.SOURCES.max_bytes * share), replicas=replicas
            ),
        )


async def _copy(jetstream: JetStreamContext, stream: str, replicas: int) -> None:
    config = (await jetstream.stream_info(stream)).config
    if config.num_replicas != replicas:
        await jetstream.update_stream(config.evolve(num_replicas=replicas))


async def _instance(jetstream: JetStreamContext, fresh: str) -> str:
    names = await jetstream.key_value(streams.NAMES.name)
    try:
        await names.create(streams.INSTANCE_KEY, fresh.encode())
    except KeyWrongLastSequenceError:
        log.debug("instance id exists")
    return ((await names.get(streams.INSTANCE_KEY)).value or b"").decode()


async def provisioned(bus: Bus, *, patience: float = 60.0) -> str:
    """Waits until somebody has provisioned the server; returns the instance id, or raises `TimeoutError`."""
    async with asyncio.timeout(patience):
        while True:
            try:
                names = await bus.jetstream.key_value(streams.NAMES.name)
                return ((await names.get(streams.INSTANCE_KEY)).value or b"").decode()
            except (NotFoundError, BucketNotFoundError, NoStreamResponseError, NoRespondersError, NatsTimeout):
                await asyncio.sleep(0.2)
