"""The sections of `parley.toml`: what isn't here is refused by name (compared with the code by tests/house)."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final

from infra.runtime.settings import SettingsSource

# Section to the module and class that describe it. Two packages may read one section; either stands for both.
SECTIONS: Final[Mapping[str, tuple[str, str]]] = {
    "cassandra": ("infra.runtime.cassandra", "CassandraSettings"),
    "delivery": ("delivery.settings", "DeliverySettings"),
    "enrichment": ("stream_processors.enrichment.settings", "EnrichmentSettings"),
    "gateway": ("producers.settings", "GatewaySettings"),
    "inference": ("inference_consumers.settings", "InferenceSettings"),
    "internal": ("infra.runtime.internal_settings", "InternalSettings"),
    "kafka": ("infra.runtime.kafka", "KafkaSettings"),
    "local": ("infra.local.settings", "LocalSettings"),
    "log": ("infra.runtime.logs", "LogSettings"),
    "moderation": ("stream_processors.settings", "ModerationSettings"),
    "openai": ("inference_consumers.engines.settings", "OpenAISettings"),
    "persistence": ("stream_processors.settings", "PersistenceSettings"),
    "service": ("infra.runtime.service", "ServiceSettings"),
    "simulated": ("inference_consumers.engines.settings", "SimulatedSettings"),
    "torch": ("inference_consumers.engines.settings", "TorchSettings"),
    "vllm": ("inference_consumers.engines.settings", "VllmSettings"),
}
# Likewise for those whose tables bear names: `[band.NAME]`.
TABLES: Final[Mapping[str, tuple[str, str]]] = {
    "band": ("infra.runtime.band_settings", "BandSettings"),
    "fallback": ("stream_processors.enrichment.settings", "FallbackSettings"),
    "instructions": ("stream_processors.enrichment.settings", "InstructionSettings"),
}


def refuse_unknown(source: SettingsSource) -> None:
    """Raise a SettingsError that names every section and variable that nobody reads."""
    source.refuse_unknown((*SECTIONS, *TABLES))


def check(source: SettingsSource) -> None:
    """Raise a SettingsError with every fault of every section, before anything is started."""
    source.check(_classes(SECTIONS), _classes(TABLES))


def _classes(named: Mapping[str, tuple[str, str]]) -> dict[str, type[Any]]:
    """Loaded only here: most commands start no service and need none of it."""
    return {section: getattr(import_module(module), name) for section, (module, name) in named.items()}
