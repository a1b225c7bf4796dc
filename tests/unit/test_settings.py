"""Settings: everything wrong at once, before anything is started, and no secret in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from buffer import Settings
from buffer.connect import connect
from buffer.errors import SettingsError
from buffer.settings import env_name, table

SECRET = "hunter2"


def refused(monkeypatch: pytest.MonkeyPatch, **environment: object) -> str:
    for name, value in environment.items():
        monkeypatch.setenv(f"SPANBUF_{name.upper()}", str(value))
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment()
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__, "pydantic's own text could show what was given"
    return str(caught.value)


def test_the_defaults_agree_with_each_other() -> None:
    assert Settings.from_environment() == Settings()


def test_the_environment_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPANBUF_ROOT_TIMEOUT", "2.5")
    monkeypatch.setenv("SPANBUF_SHARDS", "3")

    settings = Settings.from_environment()

    assert (settings.root_timeout_ms, settings.shards) == (2500, 3)


def test_all_errors_come_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    text = refused(monkeypatch, shards=0, timeout="soon", redis_url="http://x", max_span_bytes=-1, key_prefix="a:b")

    for name in ("shards", "timeout", "redis_url", "max_span_bytes", "key_prefix"):
        assert text.count(f"{env_name(name)}:") == 1, text


def test_contradictions_come_with_the_errors_of_other_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    text = refused(monkeypatch, shards=0, segment_ttl=100, lease=50)

    assert "SPANBUF_SHARDS" in text
    assert "segment_ttl (100 s)" in text
    assert "lease (50 s)" in text


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"segment_ttl": 700}, "segment_ttl (700 s) must exceed the longest life of a segment"),
        ({"max_segment_age": 30}, "max_segment_age (30 s) must not be below timeout"),
        ({"lease": 120}, "lease (120 s) must exceed task_time_limit (120 s)"),
        ({"visibility_timeout": 60}, "visibility_timeout (60 s) must exceed task_time_limit (120 s)"),
        ({"late_grace": 300}, "late_grace (300 s) must exceed visibility_timeout (300 s)"),
        ({"max_message_bytes": 2**20}, "max_message_bytes (1048576) must exceed max_span_bytes (1048576)"),
        ({"max_segment_bytes": 1000}, "max_segment_bytes (1000) must not be below max_span_bytes"),
        ({"max_batch_bytes": 1000}, "max_batch_bytes (1000) must not be below max_span_bytes"),
        ({"redis_url": "redis://127.0.0.1:6380/0"}, "redis_url and broker_url must name different Redis instances"),
    ],
)
def test_a_contradiction_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, wrong: dict[str, object], sentence: str
) -> None:
    assert sentence in refused(monkeypatch, **wrong)


def test_two_contradictions_are_two_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    text = refused(monkeypatch, lease=1, late_grace=1)

    assert [line.split()[0] for line in text.splitlines()[1:]] == ["lease", "late_grace"]


@pytest.mark.parametrize("value", ["-1", "nan", "inf", "", "1h"])
def test_a_time_is_a_finite_number_of_seconds(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    assert "SPANBUF_TIMEOUT:" in refused(monkeypatch, timeout=value)


def test_a_setting_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValidationError):
        Settings(rot_timeout=1)  # type: ignore[call-arg]


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        Settings().shards = 3  # type: ignore[misc]


def test_no_secret_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    urls = {
        "redis_url": f"redis://:{SECRET}@127.0.0.1:1/0",
        "broker_url": f"amqp://user:{SECRET}@127.0.0.1:2//",
        "sentry_dsn": f"https://{SECRET}@sentry.invalid/1",
    }
    for name, url in urls.items():
        monkeypatch.setenv(env_name(name), url)
    settings = Settings.from_environment()

    assert settings.redis_url.get_secret_value() == urls["redis_url"]
    assert SECRET not in f"{settings!r} {settings} {settings.model_dump()}"


def test_no_secret_in_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    text = refused(
        monkeypatch,
        redis_url=f"http://:{SECRET}@127.0.0.1:1/0",
        broker_url=f"amqp://user:{SECRET}@127.0.0.1:2//",
        shards=SECRET,
        lease=1,
    )

    assert SECRET not in text


def test_the_same_server_twice_is_refused_without_showing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"redis://:{SECRET}@127.0.0.1:1/0"
    text = refused(monkeypatch, redis_url=url, broker_url=url)

    assert "must name different Redis instances" in text
    assert SECRET not in text


@pytest.mark.parametrize(
    "url",
    [
        f"redis+sentinel://:{SECRET}@127.0.0.1:1",
        f"redis+sentinel://:{SECRET}@127.0.0.1:port/service/0",
        f"redis://:{SECRET}@127.0.0.1:port/0",
        f"redis+cluster://:{SECRET}@127.0.0.1:port/0",
    ],
)
def test_a_url_that_cannot_be_used_is_a_settings_error_without_its_password(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        connect(url)

    assert SECRET not in str(caught.value)
    assert str(caught.value).startswith(url.split("://", maxsplit=1)[0])


def test_the_documented_table_is_that_of_the_code() -> None:
    documented = Path(__file__).parents[2].joinpath("docs", "settings.md").read_text()

    assert documented.endswith("\n\n" + table()), "python -m buffer.settings prints the table"


def test_every_setting_is_explained() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert f"`{env_name(name)}`" in table()
