"""How settings secure connections to Kafka."""

from __future__ import annotations

import socket
import ssl

import pytest
from aiokafka.errors import KafkaConnectionError
from pydantic import ValidationError

from deploy.kafka.certificates import Authority
from deploy.processes import LOOPBACK, free_port
from services.common.certificates import CertificateFileError
from services.common.kafka.connection import (
    BrokerUnavailableError,
    KafkaConnection,
    admin_client,
    aiokafka_options,
    kafka_python_options,
    unavailable,
)
from services.common.kafka.faust_app import credentials
from services.common.kafka.security import KafkaSecurity, KafkaTls, Mechanism, Password
from services.common.kafka.settings import KafkaSettings
from tests.faults.redis_server import tls_proxy


@pytest.fixture
def password(tmp_path):
    file = tmp_path / "password"
    file.write_text("secret\n")
    return file


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path / "authority")


def settings(**given):
    return KafkaSettings(**{f"kafka_{name}": value for name, value in given.items()})


def test_by_default_connections_are_plain_and_nobody_logs_in():
    for options in (aiokafka_options, kafka_python_options):
        made = options(KafkaSettings().connection)
        assert made["security_protocol"] == "PLAINTEXT"
        assert not {"ssl_context", "sasl_mechanism"} & made.keys()


@pytest.mark.parametrize("options", [aiokafka_options, kafka_python_options])
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_a_user_logs_in_over_tls_with_the_password_of_a_file(options, mechanism, password, authority):
    connection = settings(
        security="sasl_tls",
        ca=authority.certificate,
        mechanism=mechanism,
        username="ingest",
        password_file=password,
    ).connection
    made = options(connection)
    assert made["security_protocol"] == "SASL_SSL"
    assert (made["sasl_mechanism"], made["sasl_plain_username"]) == (mechanism, "ingest")
    assert made["sasl_plain_password"] == "secret"
    assert made["ssl_context"].verify_mode == ssl.CERT_REQUIRED
    assert made["ssl_context"].check_hostname
    assert "secret" not in repr(connection)


def test_a_new_password_counts_for_the_next_client(password):
    connection = settings(security="sasl_plaintext", username="ingest", password_file=password).connection
    assert aiokafka_options(connection)["security_protocol"] == "SASL_PLAINTEXT"
    password.write_text("renewed")
    assert aiokafka_options(connection)["sasl_plain_password"] == "renewed"


async def test_both_libraries_get_tokens_of_the_same_command():
    connection = settings(security="sasl_plaintext", mechanism="OAUTHBEARER", token_command="echo abc").connection
    assert await aiokafka_options(connection)["sasl_oauth_token_provider"].token() == "abc"
    assert kafka_python_options(connection)["sasl_oauth_token_provider"].token() == "abc"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"security": "ssl"}, "kafka_security(?s:.)*'plaintext', 'tls', 'sasl_plaintext' or 'sasl_tls'"),
        ({"security": "sasl_tls"}, "SCRAM-SHA-512 needs CAIRN_KAFKA_USERNAME, CAIRN_KAFKA_PASSWORD_FILE"),
        ({"security": "sasl_tls", "username": "u"}, "needs CAIRN_KAFKA_PASSWORD_FILE: set"),
        ({"ca": "ca.pem"}, "CAIRN_KAFKA_CA would have no effect.*set it to tls or sasl_tls"),
        ({"security": "tls", "username": "u"}, "CAIRN_KAFKA_USERNAME would have no effect.*sasl_tls"),
        ({"security": "tls", "certificate": "c.pem"}, "CAIRN_KAFKA_CERTIFICATE and CAIRN_KAFKA_KEY belong together"),
        (
            {"security": "sasl_tls", "mechanism": "OAUTHBEARER"},
            "CAIRN_KAFKA_TOKEN_URL, CAIRN_KAFKA_CLIENT_ID, CAIRN_KAFKA_CLIENT_SECRET_FILE: set",
        ),
        (
            {"security": "sasl_tls", "mechanism": "OAUTHBEARER", "token_command": "echo", "username": "u"},
            "CAIRN_KAFKA_USERNAME would have no effect",
        ),
        (
            {"security": "sasl_tls", "mechanism": "OAUTHBEARER", "token_command": "echo", "token_url": "https://x"},
            "CAIRN_KAFKA_TOKEN_URL would have no effect",
        ),
        ({"token_url": "ftp://x"}, "kafka_token_url"),
        (
            {"security": "sasl_tls", "mechanism": "OAUTHBEARER", "token_command": "no-such-program"},
            "there is no such program; give a program",
        ),
        (
            {"security": "sasl_tls", "username": "u", "password_file": "p", "token_command": "echo"},
            "CAIRN_KAFKA_TOKEN_COMMAND would have no effect.*OAUTHBEARER",
        ),
    ],
)
def test_settings_that_do_not_belong_together_are_refused_with_the_remedy(given, said):
    with pytest.raises(ValidationError, match=said):
        settings(**given)


def test_files_that_cannot_be_used_are_named_with_their_setting(tmp_path, authority):
    signed, other = authority.sign("client"), authority.sign("other")
    text = tmp_path / "text.pem"
    text.write_text("no certificate")
    for tls, said in (
        (KafkaTls(ca=tmp_path / "none.pem"), r"CAIRN_KAFKA_CA=.*none.pem cannot be read \(No such file"),
        (KafkaTls(ca=text), "CAIRN_KAFKA_CA=.*text.pem holds no certificate that can be read: give"),
        (
            KafkaTls(certificate=signed.certificate, key=other.key),
            "CAIRN_KAFKA_KEY=.*other.key is not the key of CAIRN_KAFKA_CERTIFICATE=.*client.pem",
        ),
    ):
        with pytest.raises(CertificateFileError, match=said):
            tls.context()


def test_the_dead_letter_agent_logs_in_as_the_other_clients_do(password, authority):
    login = Password(Mechanism.SCRAM_SHA_256, "worker", password)
    for security, protocol in (
        (KafkaSecurity(), None),
        (KafkaSecurity(KafkaTls(authority.certificate)), "SSL"),
        (KafkaSecurity(None, login), "SASL_PLAINTEXT"),
        (KafkaSecurity(KafkaTls(authority.certificate), login), "SASL_SSL"),
    ):
        found = credentials(KafkaConnection("127.0.0.1:1", security=security))
        assert (found and found.protocol.value) == protocol


def test_a_broker_that_answers_no_tls_is_given_up():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        connection = KafkaConnection(
            f"127.0.0.1:1,127.0.0.1:{silent.getsockname()[1]}", security=KafkaSecurity(KafkaTls())
        )
        with pytest.raises(BrokerUnavailableError, match=r"TimeoutError.*check that it runs there, and CAIRN_KAFKA_CA"):
            admin_client(connection, bootstrap_timeout_ms=200)


@pytest.fixture
def broker(authority):
    """The port of something that speaks TLS and asks for client certificates, and answers nothing."""
    with (
        socket.socket() as silent,
        tls_proxy(free_port(), silent_port(silent), authority.sign("broker"), authority.certificate) as proxy,
    ):
        yield proxy.port


def silent_port(listener):
    listener.bind((LOOPBACK, 0))
    listener.listen()
    return listener.getsockname()[1]


def test_a_broker_of_an_unknown_authority_is_named_with_the_file_of_authorities(broker, tmp_path):
    stranger = Authority(tmp_path / "stranger").certificate
    connection = KafkaConnection(f"{LOOPBACK}:{broker}", security=KafkaSecurity(KafkaTls(stranger)))
    said = (
        f"the certificate of {LOOPBACK}:{broker} is not trusted, because no authority in CAIRN_KAFKA_CA={stranger} "
        "signed it: give the certificate"
    )
    with pytest.raises(BrokerUnavailableError, match=said):
        admin_client(connection)
    # aiokafka says no more than this.
    assert said in str(unavailable(connection, KafkaConnectionError("Unable to bootstrap from ...")))


def test_a_broker_that_wants_a_client_certificate_is_named(broker, authority):
    connection = KafkaConnection(f"{LOOPBACK}:{broker}", security=KafkaSecurity(KafkaTls(authority.certificate)))
    with pytest.raises(BrokerUnavailableError, match=f"{LOOPBACK}:{broker} .*a client certificate"):
        admin_client(connection)
