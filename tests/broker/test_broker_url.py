"""Broker URLs: what is written into one is what comes out of it, and a wrong one is named without secrets."""

import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu.utils.url import parse_url
from limits._storage_scheme import parse_storage_uri

from broker.app import create_app
from broker.broker_url import BrokerKind, kind_of, parse_broker_url
from broker.control import Control
from broker.errors import BrokerUnavailable, SettingsError
from broker.settings import load_settings

SECRET = "s3cret-word"
WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)
HOSTS = st.sampled_from(["localhost", "redis-0.redis.svc", "10.0.0.7", "[::1]", "[2001:db8::5]"])
PLACES = st.lists(st.tuples(HOSTS, st.integers(1, 65535)), min_size=1, max_size=4)


def written(places: list[tuple[str, int]]) -> str:
    return ",".join(f"{host}:{port}" for host, port in places)


def read(places: list[tuple[str, int]]) -> tuple[tuple[str, int], ...]:
    return tuple((host.strip("[]"), port) for host, port in places)


@given(WORDS, WORDS, PLACES, WORDS, st.integers(0, 15), st.booleans())
def test_a_sentinel_url_gives_back_what_was_put_into_it(
    user: str, password: str, places: list[tuple[str, int]], service: str, database: int, tls: bool
) -> None:
    s = "s" if tls else ""
    account = f"{quote(user, safe='')}:{quote(password, safe='')}@"
    text = f"redis{s}+sentinel://{account}{written(places)}/{quote(service, safe='')}/{database}"
    url = parse_broker_url(text)
    assert (url.kind, url.tls, url.hosts) == (BrokerKind.SENTINEL, tls, read(places))
    assert (url.user, url.password) == (url.sentinel_user, url.sentinel_password) == (user, password)
    assert (url.service, url.database) == (service, database)
    assert kind_of(text) is BrokerKind.SENTINEL
    # What Celery is given is read by kombu, and what the API's limits are given by the package of that name.
    read_by_kombu = parse_url(url.kombu)
    assert (read_by_kombu["userid"], read_by_kombu["password"]) == (user, password)
    assert (read_by_kombu["hostname"], read_by_kombu["port"]) == url.hosts[0]
    assert int(read_by_kombu["virtual_host"]) == database
    assert tuple(parse_storage_uri(f"redis+sentinel://{url.places}/x").locations) == url.hosts


@given(WORDS, WORDS, PLACES, WORDS, st.booleans())
def test_nodes_of_a_rabbitmq_become_as_many_urls_for_celery(
    user: str, password: str, places: list[tuple[str, int]], vhost: str, tls: bool
) -> None:
    account = f"{quote(user, safe='')}:{quote(password, safe='')}@"
    url = parse_broker_url(f"amqp{'s' * tls}://{account}{written(places)}/{quote(vhost, safe='')}")
    assert (url.kind, url.tls, url.hosts) == (BrokerKind.AMQP, tls, read(places))
    each = [parse_url(one) for one in url.kombu.split(";")]
    assert tuple((one["hostname"], one["port"]) for one in each) == url.hosts
    accounts = {(one["userid"], one["password"], one["virtual_host"]) for one in each}
    assert accounts == {(user, password, vhost)}
    assert parse_broker_url(url.shown).hosts == url.hosts


@given(st.sampled_from(["amqp", "amqps", "redis", "rediss"]), WORDS, WORDS, PLACES, WORDS, st.integers(0, 15))
def test_so_does_a_url_of_one_server(
    scheme: str, user: str, password: str, places: list[tuple[str, int]], vhost: str, database: int
) -> None:
    place = vhost if scheme.startswith("amqp") else str(database)
    account = f"{quote(user, safe='')}:{quote(password, safe='')}@"
    url = parse_broker_url(f"{scheme}://{account}{written(places[:1])}/{quote(place, safe='')}")
    assert (url.user, url.password, url.hosts, url.place) == (user, password, read(places[:1]), place)
    assert (url.tls, url.kind.in_redis) == (scheme in ("amqps", "rediss"), scheme.startswith("redis"))
    read_by_kombu = parse_url(url.kombu)
    assert [read_by_kombu[part] for part in ("userid", "password", "virtual_host")] == [user, password, place]
    assert (read_by_kombu["hostname"], read_by_kombu["port"]) == url.hosts[0]


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("redis://broker", (("broker", 6379),)),
        ("rediss://:word@broker/2", (("broker", 6379),)),
        ("redis+sentinel://a,b:1,c/main", (("a", 26379), ("b", 1), ("c", 26379))),
        ("amqp://user:word@broker", (("broker", 5672),)),
        ("amqps://broker//", (("broker", 5671),)),
        ("amqps://a,b:1/work", (("a", 5671), ("b", 1))),
    ],
)
def test_a_port_that_is_not_named_is_the_servers_own(text: str, hosts: tuple[tuple[str, int], ...]) -> None:
    assert parse_broker_url(text).hosts == hosts


@pytest.mark.parametrize(
    ("tail", "account"),
    [
        ("", ("app", SECRET)),  # the same as the Redis
        ("?sentinel_password=", (None, None)),  # none
        ("?sentinel_password=other", (None, "other")),  # of the user `default`
        ("?sentinel_username=watch&sentinel_password=other", ("watch", "other")),
        ("?sentinel_username=watch", ("watch", SECRET)),  # another user with the same password
    ],
)
def test_sentinels_may_have_an_account_of_their_own(
    tail: str, account: tuple[str | None, str | None]
) -> None:
    url = parse_broker_url(f"redis+sentinel://app:{SECRET}@host/main{tail}")
    assert (url.sentinel_user, url.sentinel_password) == account
    assert (url.user, url.password) == ("app", SECRET)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (f"valkey://:{SECRET}@host/0", "begins with valkey://"),
        (f"sentinel://:{SECRET}@host/0", "begins with sentinel://"),  # kombu's own form
        (f"redis+socket://:{SECRET}@/run/redis.sock", "begins with redis+socket://"),
        (f":{SECRET}@host:6379/0", "does not begin with a scheme"),
        (f"redis+sentinel://:{SECRET}@a:26379,b:26379", "does not name the Sentinels' service"),
        (f"redis+sentinel://:{SECRET}@a:26379/main/first", "'first' where the database's number stands"),
        (f"redis+sentinel://:{SECRET}@a/main?password=1", "sets password, which is unknown"),
        (f"redis://:{SECRET}@a,b/0", "names 2 hosts"),
        (f"redis://:{SECRET}@host:6379/main", "'main' where the database's number stands"),
        (f"redis://:{SECRET}@host/0?socket_timeout=1", "sets socket_timeout"),
        (f"redis://:{SECRET}@host:99999/0", "port that is no number"),
        (f"amqp://me:{SECRET}@a;amqp://me:{SECRET}@b", "more than one URL"),
        (f"redis://:{SECRET}@[::1/0", "is no URL"),
    ],
)
def test_what_is_wrong_is_named_and_no_password_shown(text: str, fault: str) -> None:
    with pytest.raises(SettingsError) as error:
        create_app(load_settings(broker_url=text))
    assert fault in error.value.cause
    assert "HARDPOSE_BROKER_URL" in error.value.cause
    assert SECRET not in str(error.value)
    assert SECRET not in error.value.remedy


def test_the_shared_state_names_the_variable_that_is_wrong() -> None:
    with pytest.raises(SettingsError, match="HARDPOSE_CONTROL_URL"):
        Control.of(load_settings(broker_url="amqp://host", control_url="redis://host/main"))
    with pytest.raises(BrokerUnavailable, match="needs Redis"):
        Control.of(load_settings(broker_url="amqp://host"))


def test_nothing_that_is_shown_holds_a_password() -> None:
    text = f"rediss+sentinel://app:{SECRET}@a,b/main/2?sentinel_password={SECRET}-too"
    url = parse_broker_url(text)
    assert SECRET not in f"{url} {url.shown}"
    assert url.shown == "rediss+sentinel://a:26379,b:26379/main/2"
    app = create_app(load_settings(broker_url=text))
    assert SECRET in json.dumps(app.conf.broker_transport_options, default=str)  # it is there to be hidden
    assert SECRET not in app.bugreport()  # what `celery report`, `inspect conf` and Flower show
    assert SECRET not in app.connection().as_uri()
    nodes = create_app(load_settings(broker_url=f"amqp://app:{SECRET}@a,b/work"))
    assert nodes.conf.broker_url.count(SECRET) == 2
    assert SECRET not in f"{nodes.bugreport()} {nodes.connection().as_uri()} {nodes.connection()}"
