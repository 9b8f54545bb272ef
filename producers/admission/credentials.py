"""Who is asking: a bearer key against the hashes of `identity.keys`."""

from collections.abc import Mapping

from schemas import identity
from schemas.errors import Forbidden, Unauthenticated
from schemas.identity import Principal
from schemas.records import KeyChanged


def bearer(header: str | None) -> str:
    """The credential in an Authorization header. Raises Unauthenticated."""
    scheme, _, credential = (header or "").partition(" ")
    if scheme.lower() != "bearer" or not credential.strip():
        raise Unauthenticated("no key was given: send the header Authorization: Bearer <key>")
    if not credential.isascii():
        raise Unauthenticated("the credential has characters that no key of ours has")
    return credential.strip()


def is_key(text: str) -> bool:
    """True for a text in the form of our keys: others can be refused without asking anybody."""
    return identity.key_id_of(text) is not None


def principal_of(key: str, keys: Mapping[str, KeyChanged]) -> Principal | None:
    """Whose key it is; None when nobody's, which may only mean that the directory is behind.

    Args:
        key: the key's whole text.
        keys: by hash. A look-up by hash leaks no more than whether it is there.

    Raises:
        Unauthenticated: the key was revoked.
    """
    known = keys.get(identity.key_hash(key))
    if known is None or known.tenant is None:
        return None
    if known.revoked:
        raise Unauthenticated("the key was revoked")
    return Principal(tenant=known.tenant, key_id=known.key_id, tier=known.tier, scopes=known.scopes)


def unknown_key() -> Unauthenticated:
    """The error for a key that nobody knows."""
    return Unauthenticated("the key is not known: create one with `parley key create`")


def require(principal: Principal, scope: str) -> None:
    """Raise Forbidden unless the scope was granted."""
    if not principal.may(scope):
        raise Forbidden(f"the key lacks the scope `{scope}`")
