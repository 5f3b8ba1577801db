"""The tools as a model loop gets them, driven by each provider's own shape of call."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import orjson
import pytest
from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from inhabit.contracts.principal import Principal
from inhabit.errors import ConfigError
from inhabit.kernel.grants import Grant
from inhabit.runtime.service import Caller
from inhabit.server.tools import ModelTools, model_tools

CALLER = Caller(Principal("ada", "acme"), Grant.of("**"))


def tools(kind: str, runtime: Any) -> Any:
    async def start() -> Any:
        return runtime

    return model_tools(kind, start, CALLER)


@pytest.mark.parametrize(("kind", "schema_at"), [
    ("openai", ("function", "parameters")), ("openai-responses", ("parameters",)), ("anthropic", ("input_schema",))])
def test_definitions_have_the_providers_form(runtime: Any, kind: str, schema_at: tuple[str, ...]):
    made = tools(kind, runtime)
    assert isinstance(made, ModelTools) and len(made.definitions) == 2
    for definition in made.definitions:
        schema: Any = definition
        for key in schema_at:
            schema = schema[key]
        jsonschema_rs.Draft202012Validator(schema)
        assert schema["type"] == "object"


@pytest.mark.parametrize("arguments", [{"program": "value", "input": 1}, '{"program": "value", "input": 1}'])
async def test_a_call_runs_as_the_fixed_caller(runtime: Any, arguments: Any):
    answer = await tools("openai", runtime).call("execute", arguments)
    assert orjson.loads(answer.text)["result"] == {"given": 1} and not answer.is_error
    assert runtime.callers == [CALLER]


@pytest.mark.parametrize(("name", "arguments", "says"), [
    ("execute", "{", "not JSON"), ("execute", "[]", "JSON object"), ("execute", {"principal": "eve"}, "unknown name"),
    ("delete", {}, "no tool 'delete'"), ("execute", {"program": "bad"}, "unexpected token")])
async def test_what_a_model_gets_wrong_is_an_answer(runtime: Any, name: str, arguments: Any, says: str):
    answer = await tools("anthropic", runtime).call(name, arguments)
    assert answer.is_error and says in answer.text


def test_an_unknown_kind_is_named(runtime: Any):
    with pytest.raises(ConfigError) as caught:
        tools("langchain", runtime)
    assert "pydantic-ai" in (caught.value.fix or "")


async def test_pydantic_ai_gets_real_tools_and_a_wrong_program_is_a_retry(runtime: Any):
    programs = iter(["bad", "value"])

    def model(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        assert {tool.name for tool in info.function_tools} == {"search", "execute"}
        last = messages[-1].parts[-1]
        if isinstance(last, ToolReturnPart) and isinstance(last.content, dict):
            return ModelResponse([TextPart(f"done: {last.content['state']}")])
        return ModelResponse([ToolCallPart("execute", {"program": next(programs)})])

    agent = Agent(FunctionModel(model), tools=tools("pydantic-ai", runtime))
    result = await agent.run("go")
    assert result.output == "done: completed"
    answers = [part for message in result.all_messages() for part in message.parts if isinstance(part, ToolReturnPart)]
    assert [part.outcome for part in answers] == ["retried", "success"]
    assert "unexpected token" in str(answers[0].content)
