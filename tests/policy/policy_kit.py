"""Operations and a policy that the tests of this room share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from inhabit.contracts.effects import Effects
from inhabit.contracts.operation import Operation
from inhabit.policy.check import checked
from inhabit.policy.document import read_policy


def operation(name: str, effects: Effects, required: Sequence[str] = (), **fields: Any) -> Operation:
    schema = {"type": "object", "properties": fields, "required": list(required), "additionalProperties": False}
    return Operation(name, schema, effects=effects, definitions={"Line": {
        "type": "object", "properties": {"price": {"type": "integer"}, "gift": {"type": "boolean"}}, "required": ["price"]}})


PAY = operation(
    "shop.refunds.pay", Effects("none", "trusted", "internal", False), ["amount", "customer", "status", "lines"],
    amount={"type": "number"}, customer={"type": "string"}, status={"enum": ["open", "closed"]}, note={"type": "string"},
    lines={"type": "array", "items": {"$ref": "#/$defs/Line"}}, maybe={"anyOf": [{"type": "integer"}, {"type": "null"}]})
LIST = operation("shop.orders.list", Effects("private", "trusted", "none", False))
SEND = operation("mail.send", Effects("none", "trusted", "external", True), ["to"], to={"type": "string"}, body={"type": "string"})
FREE = Operation("http.fetch", {"type": "object"}, effects=Effects())
OPERATIONS = (PAY, LIST, SEND, FREE)

POLICY = '''
[[rule]]
name = "large refunds need a person"
on = "shop.refunds.*"
when = "args.amount > 50"
then = "ask"
reason = "a refund over 50"

[[rule]]
name = "no mail after reading orders"
on = "mail.*"
when = "run.calls.exists(c, c.operation == 'shop.orders.list')"
then = "deny"

[[limit]]
name = "refunds a day"
on = "shop.refunds.pay"
amount = "args.amount"
per = "args.customer"
max = 200
window = "1d"

[[result]]
on = "shop.orders.*"
redact = ["*.card"]

[[test]]
operation = "shop.refunds.pay"
args = { amount = 20, customer = "c1", status = "open", lines = [] }
expect = "allow"

[[test]]
operation = "shop.refunds.pay"
args = { amount = 20, customer = "c1", status = "open", lines = [] }
used = { "refunds a day" = 190 }
expect = "deny"
rule = "refunds a day"
'''


def problems(text: str, operations: Sequence[Operation] = OPERATIONS, *, complete: bool = True) -> list[str]:
    """Every problem as a line; `p` stands for the file."""
    return [problem.text("p") for problem in checked(read_policy(text), operations, complete=complete)]


def rule(when: str = "", *, on: str = "shop.refunds.pay", then: str = "deny", name: str = "r") -> str:
    return f"[[rule]]\nname = '{name}'\non = '{on}'\nthen = '{then}'\n" + (f'when = """{when}"""\n' if when else "")
