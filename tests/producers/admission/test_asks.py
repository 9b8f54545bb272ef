from dataclasses import replace

from producers.admission.asks import Ask, Dialect

ASK = Ask(dialect=Dialect.RESPONSES, text="hi", stored=True, metadata={"a": "1", "b": "2"})


def test_the_fingerprint_is_of_the_meaning() -> None:
    """How the answer is sent and in which order pairs stand is no part of what a body means; all else is."""
    assert replace(ASK, is_stream=True, includes_usage=True).fingerprint == ASK.fingerprint
    assert replace(ASK, metadata={"b": "2", "a": "1"}).fingerprint == ASK.fingerprint
    others = (replace(ASK, text="ho"), replace(ASK, stored=False), replace(ASK, user="anna"), replace(ASK, model="m"))
    assert len({ASK.fingerprint, *(each.fingerprint for each in others)}) == 5
