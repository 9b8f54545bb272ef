"""What an `up` was asked for: each flag that was given, else the setting of the service that it is about."""

import argparse
from collections.abc import Callable
from typing import Final

from infra.cli.supervision.deployments import ENGINES, resolve_engine
from infra.cli.supervision.plan import Options
from infra.local.resources import free_port
from infra.runtime.service import ServiceSettings
from infra.runtime.settings import SettingsSource
from schemas.errors import SettingsError

FIRST_PORT: Final = 4000  # where a port is looked for when the settings say 0: any


def options_of(arguments: argparse.Namespace, source: SettingsSource, say: Callable[[str], None]) -> Options:
    """Return the options of this `up`: flag > environment > file > default.

    Raises:
        SettingsError: a setting is wrong, or names an engine that answers nothing.
    """
    # Loaded only here: the command line without `up` needs no service's settings.
    from delivery.settings import DeliverySettings
    from inference_consumers.settings import InferenceSettings
    from producers.settings import GatewaySettings

    gateway = source.read(GatewaySettings, "gateway")
    delivery = source.read(DeliverySettings, "delivery")
    engine = arguments.engine or source.read(InferenceSettings, "inference").engine
    if engine not in ENGINES:
        raise SettingsError(f"[inference] engine: {engine!r} answers nothing; choose one of {', '.join(ENGINES)}")
    port = arguments.port or gateway.port or free_port(FIRST_PORT)
    return Options(
        host=arguments.host or gateway.host,
        port=port,
        stream_host=arguments.host or delivery.host,
        stream_port=arguments.stream_port or delivery.port or free_port(FIRST_PORT, frozenset({port})),
        told_stream_port=gateway.stream_port,
        service_host=source.read(ServiceSettings, "service").host,
        engine=resolve_engine(engine, say),
        workers=arguments.workers,
        gateways=arguments.gateways,
        delivery=arguments.delivery,
        layout=arguments.layout,
    )
