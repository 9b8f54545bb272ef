"""Settings: flag > environment > file > default, every fault told, nothing unknown ignored."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.runtime.cassandra_settings import CassandraSettings
from infra.runtime.kafka_settings import KafkaSettings
from infra.runtime.settings import SettingsSource, describe
from schemas.errors import SettingsError


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    port: int = field(default=1, metadata={"doc": "a port"})
    name: str = "default"
    token: str | None = field(default=None, metadata={"secret": True, "doc": "a secret"})
    gateways: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.port > 65535:
            raise ValueError("port: too large")


@dataclass(frozen=True, slots=True, kw_only=True)
class Required:
    """Told by its docstring.

    Args:
        path: where it is,
            all of it.
    """

    path: Path


def source(tmp_path: Path, toml: str = "", environ: dict[str, str] | None = None, **overrides: str) -> SettingsSource:
    file = tmp_path / "parley.toml"
    file.write_text(toml)
    return SettingsSource(file, environ or {}, {key.replace("__", "."): text for key, text in overrides.items()})


def faults(error: pytest.ExceptionInfo[SettingsError]) -> list[str]:
    return str(error.value).splitlines()


@given(*[st.none() | st.integers(0, 65535)] * 3)
def test_the_nearest_wins(flag: int | None, variable: int | None, file: int | None) -> None:
    """A flag beats the environment, that beats the file, that beats the default, whatever each says."""
    made = SettingsSource(
        None,
        {} if variable is None else {"PARLEY_SAMPLE_PORT": str(variable)},
        {} if flag is None else {"sample.port": str(flag)},
    )
    if file is not None:
        made._tables["sample"] = {"port": file}
    wanted = next((each for each in (flag, variable, file) if each is not None), 1)
    assert made.read(Sample, "sample").port == wanted


def test_a_file_is_read(tmp_path: Path) -> None:
    """The section of the file fills the class; what it leaves out keeps its default."""
    made = source(tmp_path, '[sample]\nport = 5\ngateways = ["a", "b"]\n').read(Sample, "sample")
    assert made == Sample(port=5, gateways=("a", "b"))


def test_all_faults_are_told_together(tmp_path: Path) -> None:
    """One run tells every fault, each in one line that names the place where it is mended."""
    made = source(
        tmp_path,
        "[sample]\nprot = 5\nname = 7\n",
        {"PARLEY_SAMPLE_PORT": "x", "PARLEY_SAMPLE_NAMES": "y"},
        sample__prt="1",
    )
    with pytest.raises(SettingsError) as error:
        made.read(Sample, "sample")
    told = faults(error)
    assert len(told) == 5
    file = tmp_path / "parley.toml"
    assert f"{file} [sample] prot: unknown; did you mean port?" in told
    assert f"{file} [sample] name: 7 is not text" in told
    assert "PARLEY_SAMPLE_PORT: 'x' is not a whole number" in told
    assert "PARLEY_SAMPLE_NAMES: unknown; did you mean PARLEY_SAMPLE_NAME?" in told


def test_what_the_class_refuses_names_its_section(tmp_path: Path) -> None:
    """A check of the class itself is told like any other fault."""
    with pytest.raises(SettingsError) as error:
        source(tmp_path, "[sample]\nport = 70000\n").read(Sample, "sample")
    assert faults(error) == ["[sample] port: too large"]


def test_what_is_required_is_asked_for() -> None:
    """A missing value is named with both places where it can be set."""
    with pytest.raises(SettingsError) as error:
        SettingsSource(environ={}).read(Required, "needs")
    assert faults(error) == ["[needs] path: required; set it there or as PARLEY_NEEDS_PATH"]


def test_a_secret_comes_from_a_file(tmp_path: Path) -> None:
    """`…_FILE` names a file that holds the secret, its last line's end not included."""
    secret = tmp_path / "token"
    secret.write_text("s3cret\n")
    assert source(tmp_path, environ={"PARLEY_SAMPLE_TOKEN_FILE": str(secret)}).read(Sample, "sample").token == "s3cret"


def test_a_secret_given_twice_is_refused(tmp_path: Path) -> None:
    """Both ways at once would hide one of them."""
    environ = {"PARLEY_SAMPLE_TOKEN_FILE": str(tmp_path), "PARLEY_SAMPLE_TOKEN": "x"}
    with pytest.raises(SettingsError, match="given twice"):
        source(tmp_path, environ=environ).read(Sample, "sample")


def test_a_missing_secret_file_is_named(tmp_path: Path) -> None:
    """A path that leads nowhere is told with the variable that names it."""
    with pytest.raises(SettingsError, match=r"PARLEY_SAMPLE_TOKEN_FILE: /nowhere can't be read"):
        source(tmp_path, environ={"PARLEY_SAMPLE_TOKEN_FILE": "/nowhere"}).read(Sample, "sample")


def test_only_secrets_come_from_files(tmp_path: Path) -> None:
    """`…_FILE` of a plain setting is an unknown name."""
    with pytest.raises(SettingsError, match="PARLEY_SAMPLE_NAME_FILE: unknown"):
        source(tmp_path, environ={"PARLEY_SAMPLE_NAME_FILE": "x"}).read(Sample, "sample")


def test_a_secret_is_never_told(tmp_path: Path) -> None:
    """A refused secret is named, and what it was isn't."""
    with pytest.raises(SettingsError) as error:
        source(tmp_path, "[sample]\ntoken = 12345\n").read(Sample, "sample")
    assert "12345" not in str(error.value)
    assert "token" in str(error.value)


def test_tables_by_name(tmp_path: Path) -> None:
    """`[section.NAME]` makes one value a name; the environment changes or adds one."""
    made = source(
        tmp_path,
        "[tiers.gold-plus]\nport = 2\n",
        {"PARLEY_TIERS_GOLD_PLUS_NAME": "Gold", "PARLEY_TIERS_BASIC_PORT": "3"},
    )
    assert made.read_table(Sample, "tiers") == {"gold-plus": Sample(port=2, name="Gold"), "basic": Sample(port=3)}


def test_faults_of_tables(tmp_path: Path) -> None:
    """A key beside the tables, and one inside, are told with their places."""
    with pytest.raises(SettingsError) as error:
        source(tmp_path, "[tiers]\nport = 2\n[tiers.gold]\nprot = 1\n", {"PARLEY_TIERS_X": "1"}).read_table(
            Sample, "tiers"
        )
    told = "\n".join(faults(error))
    assert "[tiers] port: unknown" in told
    assert "[tiers.gold] prot: unknown; did you mean port?" in told
    assert "PARLEY_TIERS_X: unknown" in told


def test_names_that_belong_to_no_section_are_refused(tmp_path: Path) -> None:
    """A check of the whole tells sections and variables that nobody reads; what tests and caches use is let be."""
    environ = {"PARLEY_SAMPEL_PORT": "1", "PARLEY_CACHE_DIR": "/c", "PARLEY_TEST_KAFKA": "k", "PARLEY_SAMPLE_PORT": "5"}
    with pytest.raises(SettingsError) as error:
        source(tmp_path, "[sampel]\nport = 1\n", environ).check({"sample": Sample}, {})
    told = faults(error)
    with pytest.raises(SettingsError) as again:
        source(tmp_path, "[sampel]\nport = 1\n", environ).refuse_unknown(["sample"])
    assert faults(again) == told
    assert len(told) == 2
    assert "[sampel]: unknown; did you mean sample?" in told[0]
    assert told[1].startswith("PARLEY_SAMPEL_PORT: unknown; did you mean PARLEY_SAMPLE_")


def test_a_check_of_the_whole_tells_every_section(tmp_path: Path) -> None:
    """Faults of all sections and tables come together; what is required may still be added by who starts it."""
    made = source(tmp_path, '[sample]\nport = "x"\n[tiers.gold]\nname = 1\n')
    with pytest.raises(SettingsError) as error:
        made.check({"sample": Sample, "needs": Required}, {"tiers": Sample})
    assert [line.partition("[")[2] for line in faults(error)] == [
        "sample] port: 'x' is not a whole number",
        "tiers.gold] name: 1 is not text",
    ]
    source(tmp_path).check({"needs": Required}, {})


def test_a_broken_file_is_one_line(tmp_path: Path) -> None:
    """A file that isn't TOML, or isn't there, is named in one line."""
    (tmp_path / "bad.toml").write_text("[x\n")
    for path in (tmp_path / "bad.toml", tmp_path / "none.toml"):
        with pytest.raises(SettingsError) as error:
            SettingsSource(path, {})
        assert len(faults(error)) == 1
        assert str(path) in str(error.value)


def test_a_source_tells_whether_a_key_was_set(tmp_path: Path) -> None:
    """By the file, the environment, a secret's file or a flag; its neighbours in the section don't count."""
    file = tmp_path / "parley.toml"
    file.write_text("[kafka]\ntopic_prefix = 'x-'\n")
    environ = {"PARLEY_KAFKA_LANES": "3", "PARLEY_KAFKA_SASL_PASSWORD_FILE": "/secret"}
    source = SettingsSource(file, environ, {"cassandra.port": "1"})
    assert all(source.gives("kafka", key) for key in ("topic_prefix", "lanes", "sasl_password"))
    assert source.gives("cassandra", "port")
    assert not source.gives("kafka", "bootstrap")
    assert not source.gives("cassandra", "contact_points")


def test_every_setting_is_described() -> None:
    """The documentation's rows name section, variable, type, default and meaning of each field."""
    rows = {row.key: row for row in describe(Sample, "sample")}
    assert rows["port"].variable == "PARLEY_SAMPLE_PORT"
    assert (rows["port"].kind, rows["port"].default, rows["port"].doc) == ("whole number", "1", "a port")
    assert rows["token"].secret
    [path] = describe(Required, "needs")
    assert (path.default, path.doc) == ("required", "where it is, all of it.")
    for kind, section in ((KafkaSettings, "kafka"), (CassandraSettings, "cassandra")):
        assert all(row.doc for row in describe(kind, section))


@pytest.mark.parametrize(
    "environ",
    [
        {"PARLEY_KAFKA_LANES": "0"},
        {"PARLEY_KAFKA_BOOTSTRAP": " "},
        {"PARLEY_KAFKA_SECURITY_PROTOCOL": "SASL_SSL"},
        {"PARLEY_KAFKA_REQUEST_TIMEOUT_S": "0"},
    ],
)
def test_kafka_refuses_what_no_broker_serves(environ: dict[str, str]) -> None:
    """Values that could never work are found before anything is started."""
    with pytest.raises(SettingsError):
        SettingsSource(environ=environ).read(KafkaSettings, "kafka")


@pytest.mark.parametrize(
    "environ",
    [
        {"PARLEY_CASSANDRA_PORT": "0"},
        {"PARLEY_CASSANDRA_KEYSPACE": "a-b"},
        {"PARLEY_CASSANDRA_CONTACT_POINTS": ","},
        {"PARLEY_CASSANDRA_IN_FLIGHT": "0"},
    ],
)
def test_cassandra_refuses_what_no_store_serves(environ: dict[str, str]) -> None:
    """Values that could never work are found before anything is started."""
    with pytest.raises(SettingsError):
        SettingsSource(environ=environ).read(CassandraSettings, "cassandra")
