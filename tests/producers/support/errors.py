"""OpenAI's error body, read."""

from aiohttp import ClientResponse


async def told(answer: ClientResponse) -> tuple[int, str, str | None]:
    """Status, code and parameter of an error."""
    body = (await answer.json())["error"]
    assert set(body) == {"message", "type", "param", "code"}
    return answer.status, body["code"], body["param"]
