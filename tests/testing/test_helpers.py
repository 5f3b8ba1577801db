"""The public test helpers, used as a product would use them."""

from inhabit import Capability
from inhabit.testing import ScriptedModel, calls_of, running


def greeter() -> Capability:
    capability = Capability("greet", "Greetings")

    @capability.operation(reads="public")
    async def hello(name: str) -> str:
        """Say hello."""
        if name == "nobody":
            raise ValueError("nobody is there")
        return f"hello {name}"

    return capability


async def test_running_and_calls_of() -> None:
    async with running(greeter()) as app:
        result = await app.execute("""
            const said = await greet.hello({ name: "ada" });
            try { await greet.hello({ name: "nobody" }) } catch (e) { return [said, e.message] }
        """, principal="ada")
        assert result.value == ["hello ada", "nobody is there"]
        first, second = await calls_of(app, result)
        assert (first.operation, first.arguments, first.verdict, first.ok, first.value) == (
            "greet.hello", {"name": "ada"}, "allow", True, "hello ada")
        assert second.ok is False and second.value["code"] == "rejected"


async def test_scripted_model_plays_search_then_execute() -> None:
    async with running(greeter()) as app:
        model = ScriptedModel([
            ("search", {"query": "say hello"}),
            lambda so_far: ("execute", {"program": "return await greet.hello({name: 'bob'})" if "greet" in so_far[0].answer.text else ""}),
        ])
        _, executed = await model.play(app.tools("openai", principal="ada"))
        assert executed.answer.value is not None and executed.answer.value["result"] == "hello bob"
