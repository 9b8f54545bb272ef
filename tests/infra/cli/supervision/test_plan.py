"""Which services an `up` consists of."""

from pathlib import Path

from infra.cli.supervision.plan import Options, names, plan


def test_every_role_is_there_and_names_are_unique() -> None:
    """One of each by default, and always a worker that ends turns without an engine."""
    listed = list(names(Options()))
    assert {role for _, role in listed} == {
        "gateway",
        "moderation",
        "enrichment",
        "persistence",
        "inference",
        "delivery",
    }
    many = list(names(Options(workers=3, gateways=2, delivery=2)))
    assert len({name for name, _ in many}) == len(many) == 3 + 1 + 3 + 2 + 2
    assert ("closing", "inference") in many


def test_gateways_share_the_port_and_have_their_own_for_metrics() -> None:
    """Two gateways: one public port, two metrics ports; delivery is told both of them."""
    options = Options(gateways=2, engine="torch", port=9000)
    ports = {name: 21_000 + i for i, (name, _) in enumerate(names(options))}
    services = {each.name: each for each in plan(options, ports, {"X": "1"}, Path("/d"))}
    first, second = services["gateway-1"], services["gateway-2"]
    assert first.ports["http"] == second.ports["http"] == 9000
    assert first.ports["metrics"] != second.ports["metrics"]
    handed = services["delivery-1"].environment["PARLEY_DELIVERY_GATEWAYS"]
    assert handed == f"http://127.0.0.1:{first.ports['metrics']},http://127.0.0.1:{second.ports['metrics']}"
    assert services["inference-1"].environment["PARLEY_INFERENCE_ENGINE"] == "torch"
    assert services["closing"].environment["PARLEY_INFERENCE_POOL"] == "closing"
    assert services["enrichment"].environment["PARLEY_ENRICHMENT_DATA_DIR"] == "/d/enrichment"
    assert all(each.environment["X"] == "1" for each in services.values())
    assert first.ready_url == f"http://127.0.0.1:{first.ports['metrics']}/readyz"


def test_a_wildcard_host_is_shown_as_this_machine() -> None:
    """What is printed can be opened in a browser."""
    assert Options(host="0.0.0.0").page == "http://127.0.0.1:8080/"  # noqa: S104
    assert Options(host="::1").base_url == "http://[::1]:8080/v1"
    assert Options(stream_host="10.0.0.5", stream_port=1).stream_url == "ws://10.0.0.5:1/v1/stream"


def test_clients_find_the_stream_on_the_host_that_they_came_to() -> None:
    """The gateway is told the stream's port and no address; a port that the settings name, such as a proxy's, stays."""
    for told, port in ((None, "9002"), (443, "443")):
        options = Options(host="0.0.0.0", stream_host="0.0.0.0", stream_port=9002, told_stream_port=told)  # noqa: S104
        ports = {name: 21_000 + i for i, (name, _) in enumerate(names(options))}
        services = {each.name: each for each in plan(options, ports, {}, Path("/d"))}
        environment = services["gateway-1"].environment
        assert environment["PARLEY_GATEWAY_STREAM_PORT"] == port
        assert "PARLEY_GATEWAY_STREAM_URL" not in environment
        assert environment["PARLEY_GATEWAY_DELIVERIES"] == "http://127.0.0.1:9002"


def test_a_service_is_asked_where_it_listens() -> None:
    """Health, metrics and calls between services go to `[service] host`, and a wildcard is asked on this machine."""
    for host, reached in (("127.0.0.2", "127.0.0.2"), ("0.0.0.0", "127.0.0.1"), ("::1", "[::1]")):  # noqa: S104
        options = Options(service_host=host)
        ports = {name: 21_000 + i for i, (name, _) in enumerate(names(options))}
        services = {each.name: each for each in plan(options, ports, {}, Path("/d"))}
        gateway = services["gateway-1"]
        assert gateway.ready_url == f"http://{reached}:{ports['gateway-1']}/readyz"
        handed = services["delivery-1"].environment["PARLEY_DELIVERY_GATEWAYS"]
        assert handed == f"http://{reached}:{ports['gateway-1']}"
