"""A second broker beside a local Kafka, in its cluster: topics get two copies, and leaders can move."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.local.kafka import CLUSTER_ID, PROPERTIES, KafkaProgram
from infra.local.node import LocalNode
from infra.local.program import Place

_HEAP_MB = 256


@dataclass(frozen=True, slots=True)
class SecondBroker(KafkaProgram):
    """A broker without a controller of its own.

    Args:
        controller: the first node's controller port.
    """

    controller: int = 0
    other_ports: tuple[str, ...] = ()

    def files(self, place: Place) -> Mapping[str, str]:
        """The first node's, less what makes it a controller."""
        client = place.ports["client"]
        properties = PROPERTIES.format(data=place.root / "data", client=client, controller=self.controller)
        for told, wanted in (
            ("process.roles=broker,controller", "process.roles=broker"),
            ("node.id=1", "node.id=2"),
            (f",CONTROLLER://127.0.0.1:{self.controller}\n", "\n"),
        ):
            assert told in properties
            properties = properties.replace(told, wanted, 1)
        return {**KafkaProgram.files(KafkaProgram(), _with(place, self.controller)), "server.properties": properties}

    def format_command(self, place: Place) -> Sequence[str] | None:
        """Make the metadata log of a member that isn't the first."""
        if (place.root / "data" / "meta.properties").exists():
            return None
        properties = str(place.root / "conf" / "server.properties")
        return [*self._java(place, heap_mb=64), "kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", properties]


def second_broker(first: LocalNode, place: Path) -> LocalNode:
    """A second broker for a first that runs, not started."""
    return LocalNode(SecondBroker(controller=first.ports["controller"]), place, heap_mb=_HEAP_MB)


def _with(place: Place, controller: int) -> Place:
    return Place(
        root=place.root,
        java=place.java,
        classpath=place.classpath,
        ports={**place.ports, "controller": controller},
        heap_mb=place.heap_mb,
    )
