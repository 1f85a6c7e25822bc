"""The schema says what the service does: schemathesis sends what it allows and what it doesn't."""

import re
from typing import Any

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings

from tests.serving.conftest import Running

SLOWLY = settings(
    max_examples=8, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate]
)


def operations(service: Running) -> list[Any]:
    schema = schemathesis.openapi.from_url(f"{service.url}/openapi.json")
    return [result.ok() for result in schema.get_all_operations()]


@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_whatever_is_sent_no_answer_is_a_server_error(service: Running, mode: str):
    strategies = schemathesis.GenerationMode(mode)
    for operation in operations(service):
        if mode == "negative" and operation.method.upper() != "POST":
            continue  # takes nothing that could be wrong

        @SLOWLY
        @given(case=operation.as_strategy(generation_mode=strategies))
        def check(case: Any) -> None:
            if isinstance(case.body, dict):
                for field in ("input", "text"):  # long texts are spoken long
                    if isinstance(case.body.get(field), str):
                        case.body[field] = case.body[field][:20]
            response = case.call(base_url=service.url)
            assert response.status_code < 500, response.text
            if response.status_code >= 400:
                assert response.json()["error"]["message"]

        check()


def test_every_field_is_described_and_every_route_names_its_errors(service: Running):
    schema = httpx2.get(f"{service.url}/openapi.json").json()
    assert set(schema["paths"]) == {
        "/v1/audio/speech", "/synthesize", "/v1/audio/voices", "/v1/audio/voices/{voice_id}", "/health", "/v1/models",
        "/v1/models/{model}",
    }  # fmt: skip
    for name, described in schema["components"]["schemas"].items():
        if not re.match(r"HTTPValidationError|ValidationError|Format|Phase", name):
            assert all("description" in field for field in described["properties"].values()), name
    for path in ("/v1/audio/speech", "/synthesize"):
        assert {"400", "401", "403", "413", "422", "429", "503"} <= set(schema["paths"][path]["post"]["responses"])
