"""The policies in force in this process, and the screens that follow them.

A new version judges what is released from then on. A policy that can't be matched is refused at push; should one get
here all the same, the last good version of that name stays in force.
"""

import logging
import weakref

from infra.runtime.kafka_log import Entry
from schemas import codec
from schemas.codec import UnknownRecord
from schemas.errors import ContractError
from schemas.records import PolicyPublished
from schemas.turns import Stage
from stream_processors.moderation.policy import Policy, PolicyError, PolicySet
from stream_processors.moderation.screen import Screen

log = logging.getLogger(__name__)


class PoliciesInForce:
    """See `generating.tools.Screens`. Empty until `policy.rules` is read: nobody screens before that."""

    def __init__(self) -> None:
        self._set = PolicySet()
        self._screens: weakref.WeakSet[Screen] = weakref.WeakSet()

    def screen(self, tenant: str, tier: str, released: str) -> Screen:
        """See `generating.tools.Screens.screen`."""
        screen = Screen(self._set, Stage.OUTPUT, tenant, tier)
        if released:
            screen.resume(released)
        self._screens.add(screen)
        return screen

    def version_of(self, policy: str) -> int:
        """The version in force, 0 for none."""
        return self._set.version_of(policy)

    def on_entry(self, _partition: int, entry: Entry) -> None:
        """Take the next record of `policy.rules`."""
        if entry.key is None:
            return
        if entry.value is None:
            self._set = self._set.without(entry.key.decode(errors="replace"))
        else:
            try:
                record = codec.decode(entry.value)
                if not isinstance(record, PolicyPublished):
                    return
                self._set = self._set.replaced(Policy.of(record))
            except UnknownRecord:
                return
            except (ContractError, PolicyError) as error:
                log.warning("policy.rules, offset %d: %s; the last good version stays in force", entry.offset, error)
                return
        for screen in tuple(self._screens):
            screen.renew(self._set)
