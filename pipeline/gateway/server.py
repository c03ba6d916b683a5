"""The gateway process: the HTTP API, wired."""

import asyncio
import contextlib
import time
from functools import partial

from aiohttp import web

from pipeline.gateway import (
    batch_ingest,
    cloud_events,
    dead_letters,
    documents,
    health,
    ingest,
    instance,
    replaying,
    retrying,
)
from pipeline.gateway.accounts import audit, members, oidc, password_changes, registration, sessions, users
from pipeline.gateway.accounts.accounts import Accounts
from pipeline.gateway.agreement import Agreement
from pipeline.gateway.answer_headers import AnswerHeaders
from pipeline.gateway.archived_ids import ArchivedIds
from pipeline.gateway.background import Background
from pipeline.gateway.bodies import BODIES_MAX_BYTES
from pipeline.gateway.client_address import read_proxies
from pipeline.gateway.context import GATEWAY, Gateway
from pipeline.gateway.control import (
    application_secrets,
    applications,
    event_type_schemas,
    event_types,
    filter_tests,
    organization_quotas,
    organizations,
    public_keys,
    retry_schedules,
    service_tokens,
    subscription_tests,
    subscriptions,
)
from pipeline.gateway.database_verification import begin_to_verify
from pipeline.gateway.endpoint_actions import EndpointActions
from pipeline.gateway.endpoint_states import EndpointStates
from pipeline.gateway.event_ids import EventIds
from pipeline.gateway.ghosts import Ghosts
from pipeline.gateway.health_report import ApiHealth
from pipeline.gateway.operations import Operation
from pipeline.gateway.producer_intake import ProducerIntake
from pipeline.gateway.producer_reading import ProducerReading
from pipeline.gateway.protocol import ProblemRunner
from pipeline.gateway.publishing import Publisher
from pipeline.gateway.reads import (
    deliveries,
    events,
    events_per_day,
    exports,
    payloads,
    request_attempts,
    responses,
    search,
    stats,
    subscription_health,
)
from pipeline.gateway.reads.catching_up import follow_archive
from pipeline.gateway.reads.export_places import ExportPlaces
from pipeline.gateway.request_limits import RequestLimits
from pipeline.gateway.schema_registry import open_registry
from pipeline.gateway.shared_room import SharedRoom
from pipeline.gateway.short_way import ShortWay
from pipeline.gateway.telling import Teller
from pipeline.gateway.tokens import Tokens
from pipeline.gateway.usage import EventUsage
from pipeline.gateway.wrapping import wrap_routes
from pipeline.kafka.admin import LogEnds, verify_topics
from pipeline.kafka.log_clock import LogClock
from pipeline.kafka.producer import KafkaUnavailableError, LogProducer
from pipeline.kafka.producer_topics import ProducerTopics
from pipeline.kafka.reachable import KafkaProbe
from pipeline.kafka.read_faults import ReadFaults
from pipeline.kafka.routes_view import RoutesView
from pipeline.kafka.throttles import THROTTLES
from pipeline.kafka.topic_ids import TopicIds
from pipeline.kafka.topic_watch import TopicWatch
from pipeline.kafka.write_probe import WriteProbe
from pipeline.postgres.databases import open_databases
from pipeline.postgres.pool import DatabaseFailed
from pipeline.pressure import Pressure
from pipeline.process import Process
from pipeline.sealing_keys import load_sealer
from pipeline.start_error import StartError
from pipeline.topics import declare_topics_for

API_PATH = "/api/v1"
SHUTDOWN_TIMEOUT_S = 20.0
KEEPALIVE_S = 75.0
CLOSE_TIMEOUT_S = 5.0
# Between two queries for ids, where processors are short: a query costs as much as ten requests.
LOOKUP_GATHER_MAX_S = 0.02
MODULES = (
    ingest,
    batch_ingest,
    cloud_events,
    health,
    instance,
    registration,
    sessions,
    oidc,
    password_changes,
    users,
    audit,
    organizations,
    organization_quotas,
    members,
    applications,
    application_secrets,
    service_tokens,
    event_types,
    event_type_schemas,
    filter_tests,
    public_keys,
    retry_schedules,
    subscriptions,
    subscription_tests,
    exports,  # before the routes with an id in the same place
    events,
    events_per_day,
    stats,
    replaying,
    payloads,
    search,
    deliveries,
    subscription_health,
    request_attempts,
    retrying,
    responses,
    dead_letters,
    documents,
)


async def main(process: Process) -> None:
    """Serve until the process stops; then answer open requests, and close."""
    settings = process.settings
    sealer = load_sealer(settings.sealing)
    accounts = Accounts(settings.accounts, process.metrics, public_url=settings.gateway.public_url)
    topics = declare_topics_for(settings.kafka)
    await asyncio.to_thread(verify_topics, settings.kafka, topics)
    databases = await open_databases(settings.database, process.metrics, name="gateway")
    process.resources.push_async_callback(databases.close)
    verifying = await begin_to_verify(settings.database, databases.primary, sealer)
    ids, faults = TopicIds(settings.kafka, topics.of_gateway()), ReadFaults(process.metrics)
    await ids.start()
    process.health.degraded["routes_log"] = faults.check
    routes = RoutesView(settings.kafka, topics.routes, faults=faults, ids=ids)
    await routes.start()
    clock = LogClock(process.metrics)
    process.health.degraded["clock"] = clock.check
    process.supervisor.start("clock", clock.watch())
    pressure = Pressure()
    producer = LogProducer(settings.kafka, process.metrics, clock=clock, pressure=pressure)
    await producer.warm_up()
    config = settings.gateway
    kafka = KafkaProbe(settings.kafka, topics.events)
    process.health.ready["kafka"] = kafka.check
    writing = WriteProbe(
        producer,
        topics.of_gateway_output(),
        process.metrics,
        process=process.name,
        interval_s=settings.kafka.topics_check_interval_s,
    )
    producer.watch_silence(writing.doubt)
    # one cause, one problem
    process.health.ready["writing"] = lambda: None if kafka.check() else writing.check(topics.events)
    # events are accepted all the same
    process.health.degraded["publishing"] = lambda: writing.check(topics.routes, topics.endpoints)
    process.supervisor.start("writing", writing.run())
    ghosts = Ghosts(databases.primary, producer, settings.kafka, topics, clock_us=clock.now_us)
    usage = EventUsage(settings.quotas.events_per_day, databases.primary, producer, topics, clock_us=clock.now_us)
    ends = LogEnds(settings.kafka, with_open=True)
    registry = open_registry(config)
    gateway = Gateway(
        settings=settings,
        metrics=process.metrics,
        log=process.log,
        topics=topics,
        databases=databases,
        ends=ends,
        ids=ids,
        routes=routes,
        producer=producer,
        sealer=sealer,
        tokens=Tokens(
            routes,
            databases.primary,
            master_key=config.master_api_key,
            unknown_ttl_s=config.auth_cache_ttl_s,
            clock_us=clock.now_us,
        ),
        accounts=accounts,
        usage=usage,
        event_ids=EventIds(
            ArchivedIds(databases.ids, timeout_s=config.lookup_timeout_s / 2).look_up,
            recent_max=config.recent_ids_max,
            timeout_s=config.lookup_timeout_s,
            gather_s=lambda: pressure.gather_s(LOOKUP_GATHER_MAX_S),
        ),
        in_flight=SharedRoom(config.in_flight_max, settings.kafka.produce_buffer_max_bytes),
        bodies=SharedRoom(max(BODIES_MAX_BYTES, 4 * config.body_max_bytes)),
        publisher=Publisher(
            databases.primary,
            producer,
            topics,
            ghosts,
            process.metrics,
            routes=routes,
            check_log=lambda: kafka.check() or writing.check(),
            clock_us=clock.now_us,
        ),
        health=ApiHealth(process, databases.primary, kafka, key=config.health_key),
        proxies=read_proxies(config),
        clock=clock,
        writing=writing,
        catching_up=follow_archive(ends, databases.primary_lookups, topics.events, ids),
        producer_reading=ProducerReading(registry, settings.kafka),
        tracing=process.tracing,
    )
    topic_watch = TopicWatch(settings.kafka, topics.of_gateway(), process.metrics)
    # events are accepted all the same, and what cannot be written is answered so
    process.health.degraded["topics"] = topic_watch.check
    process.supervisor.start("topic_watch", topic_watch.run())
    process.health.degraded["topics_written"] = producer.check
    process.health.ready["routes"] = routes.check
    process.health.degraded.update(databases.list_checks())
    runner = await serve(gateway)
    agreement = Agreement(
        databases.primary,
        routes,
        gateway.publisher,
        ghosts,
        process.metrics,
        take_lost=lambda: producer.acknowledged.take_lost((topics.routes, topics.endpoints), gateway.ends),
    )
    states = EndpointStates(
        settings.kafka,
        topics,
        pool=databases.primary,
        actions=EndpointActions(
            databases.primary,
            gateway.publisher,
            tell=lambda event: producer.send(topics.events, event.application_id, event),
            hold_s=settings.gateway.disabled_hold_s,
            clock_us=clock.now_us,
        ),
        metrics=process.metrics,
        ids=ids,
        faults=faults,
        clock_us=clock.now_us,
        publish_all=agreement.publish_all,
        run_dir=settings.process.run_dir,
    )
    process.supervisor.start("topic_ids", ids.run())
    process.health.alive["endpoint_states"] = states.check
    # events are accepted all the same
    process.health.degraded["group"] = lambda: None if kafka.check() else states.check_group()
    process.health.degraded["control_plane"] = agreement.check
    process.health.degraded["quotas"] = THROTTLES.check
    background = Background(process.supervisor)
    process.health.degraded["background"] = background.check
    background.start("repair", gateway.publisher.repair_regularly)
    teller = Teller(
        databases.primary,
        producer,
        topics,
        disable_after_s=settings.deliver.disable_after_s,
        clock_us=clock.now_us,
    )
    background.start("telling", teller.run)
    background.start("usage", usage.run)
    background.start(
        "audit_retention", partial(audit.forget_regularly, databases.primary, days=config.audit_retention_days)
    )
    if config.producer_topics:
        process.health.degraded["schema_registry"] = registry.check
        intake = ProducerIntake(gateway, registry)
        producer_topics = ProducerTopics(settings.kafka, intake.take, faults=faults)
        process.health.degraded["producers_group"] = lambda: None if kafka.check() else producer_topics.check_group()
        process.supervisor.start("producer_topics", producer_topics.run())
    process.supervisor.start("mailer", accounts.mailer.run())
    background.start("agreement", agreement.run)
    process.supervisor.start("endpoint_states", states.run())
    process.supervisor.start("kafka_probe", kafka.run())
    process.supervisor.start("database_watch", databases.watch())
    if verifying is not None:
        process.supervisor.start("database_verification", verifying)
    port = runner.addresses[0][1]
    process.announce_ready(api=f"http://{config.host}:{port}{API_PATH}")
    await process.stopping.wait()
    if config.drain_s:
        # readiness fails from here on: requests are served until a balancer has noticed
        process.log.info("draining", seconds=config.drain_s)
        await asyncio.sleep(config.drain_s)
    await runner.cleanup()
    await process.supervisor.stop()
    with contextlib.suppress(KafkaUnavailableError, *DatabaseFailed):
        await usage.add_up()
    with contextlib.suppress(TimeoutError):
        # no request waits any more: what Kafka does not acknowledge now was answered with 503, or is a probe
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await producer.close()
    await ends.close()
    await routes.close()


async def serve(gateway: Gateway) -> web.AppRunner:
    """Listen. Raises `StartError` when the port cannot be had."""
    config = gateway.settings.gateway
    runner = ProblemRunner(
        build_app(gateway),
        head_timeout_s=config.request_timeout_s,
        short_way=make_short_way(gateway),
        access_log=None,
        auto_decompress=False,  # `read_body` does, with a limit
        keepalive_timeout=KEEPALIVE_S,
        shutdown_timeout=SHUTDOWN_TIMEOUT_S,
    )
    await runner.setup()
    site = web.TCPSite(runner, config.host, config.port, backlog=1024)
    try:
        await site.start()
    except OSError as error:
        await runner.cleanup()
        raise StartError(
            f"cannot listen on {config.host}:{config.port}: {error.strerror}; choose another HOOKLINE_GATEWAY_PORT, "
            "or stop the program that listens there"
        ) from error
    return runner


def make_short_way(gateway: Gateway) -> ShortWay | None:
    """Make the short way of events; None where a quota or a rate limit must count every request before."""
    if gateway.usage.is_on or RequestLimits(gateway.settings.gateway, clock=time.monotonic).is_on:
        return None
    headers = AnswerHeaders(gateway.settings.gateway)
    return ShortWay(gateway, headers, path=f"{API_PATH}{ingest.PATH}", is_draining=gateway.health.is_draining)


def list_operations() -> list[Operation]:
    """All that the gateway serves."""
    return [operation for module in MODULES for operation in module.list_routes()]


def build_app(gateway: Gateway) -> web.Application:
    """The API as an application."""
    app = web.Application(client_max_size=gateway.settings.gateway.body_max_bytes)
    config = gateway.settings.gateway
    headers = AnswerHeaders(config)
    app[GATEWAY] = gateway
    app[service_tokens.SCOPES] = service_tokens.list_scopes(list_operations())
    app[exports.PLACES] = ExportPlaces(config.exports_max)
    app[exports.STREAM_HEADERS] = headers
    operations = list_operations()
    documents.add_document(app, operations, base_path=API_PATH)
    framed = wrap_routes(
        operations,
        gateway.metrics,
        prefix=API_PATH,
        is_draining=gateway.health.is_draining,
        headers=headers,
        limits=RequestLimits(config, clock=time.monotonic),
        tracing=gateway.tracing,
    )
    app.router.add_routes(framed)
    return app
