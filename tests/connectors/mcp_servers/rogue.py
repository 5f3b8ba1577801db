"""A server without manners, in plain JSON lines: no SDK would say such things.

    rogue.py [--listing FILE] [--start silent|crash|noise] [--stubborn] [--log FILE]

The name of a tool is what calling it does. `--listing` replaces the list of tools by the JSON of a file, read anew
at each `tools/list`. `--stubborn` ignores SIGTERM and the end of its input.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

PLAIN = {"type": "object", "properties": {}}
NUMBER = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
TOOLS = [{"name": name, "inputSchema": PLAIN} for name in (
    "hang", "deep", "garbage", "shapeless", "daemon", "pid", "badbase64", "nothing")] + [
    *({"name": name, "inputSchema": PLAIN, "annotations": {"readOnlyHint": True}} for name in ("die", "flood", "ask")),
    {"name": "linger", "inputSchema": PLAIN, "annotations": {"readOnlyHint": True}},
    {"name": "cancellations", "inputSchema": PLAIN, "annotations": {"readOnlyHint": True}},
    {"name": "lie", "inputSchema": PLAIN, "outputSchema": NUMBER, "annotations": {"readOnlyHint": True}},
    {"name": "text_lie", "inputSchema": PLAIN, "outputSchema": NUMBER, "annotations": {"readOnlyHint": True}},
    {"name": "text_truth", "inputSchema": PLAIN, "outputSchema": NUMBER},
    {"name": "echo", "inputSchema": {"type": "object", "properties": {"first-name": {}, "x": {}}}, "annotations": {"readOnlyHint": True}},
]


def send(message: object) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def answer(id_: object, result: object) -> None:
    send({"jsonrpc": "2.0", "id": id_, "result": result})


def text(id_: object, words: str, **more: object) -> None:
    answer(id_, {"content": [{"type": "text", "text": words}], **more})


def complain(words: str) -> None:
    sys.stderr.write(words + "\n")
    sys.stderr.flush()


class Rogue:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.cancelled: list[object] = []
        self.asked: dict[object, object] = {}

    def handle(self, message: dict) -> None:
        method, id_ = message.get("method"), message.get("id")
        if self.options.log:
            with Path(self.options.log).open("a") as log:
                log.write(json.dumps(message) + "\n")
        if method is None:
            waiting = self.asked.pop(id_, None)
            text(waiting, json.dumps(message.get("error")), isError=True)
        elif method == "initialize":
            answer(id_, {"protocolVersion": "2025-06-18", "capabilities": {"tools": {"listChanged": True}},
                         "serverInfo": {"name": "rogue", "version": "1"}})
        elif method == "tools/list":
            tools = json.loads(Path(self.options.listing).read_text()) if self.options.listing else TOOLS
            answer(id_, {"tools": tools})
        elif method == "notifications/cancelled":
            self.cancelled.append(message["params"]["requestId"])
        elif method == "tools/call":
            self.call(id_, message["params"]["name"], message["params"].get("arguments"))

    def call(self, id_: object, name: str, arguments: object) -> None:
        behaviour = getattr(self, f"do_{name}", None)
        if behaviour is None:
            text(id_, f"called {name}")
        else:
            behaviour(id_, arguments)

    def do_hang(self, id_: object, _arguments: object) -> None:
        pass

    do_linger = do_hang

    def do_die(self, _id: object, _arguments: object) -> None:
        complain("out of cheese, token hunter2-secret")
        os._exit(3)

    def do_deep(self, id_: object, _arguments: object) -> None:
        nested = '{"a":' * 600 + "1" + "}" * 600
        sys.stdout.write(f'{{"jsonrpc":"2.0","id":{id_},"result":{{"content":[],"structuredContent":{nested}}}}}\n')
        sys.stdout.flush()

    def do_flood(self, _id: object, _arguments: object) -> None:
        chunk = "x" * (1024 * 1024)
        for _ in range(40):
            sys.stdout.write(chunk)
        sys.stdout.flush()

    def do_garbage(self, id_: object, _arguments: object) -> None:
        sys.stdout.write('Server listening ...\n{not json\n[1, 2]\n{"jsonrpc": "2.0", "id": 999999, "result": {}}\n')
        text(id_, "fine")

    def do_shapeless(self, id_: object, _arguments: object) -> None:
        answer(id_, {"content": 5})

    def do_daemon(self, id_: object, _arguments: object) -> None:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
        grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        text(id_, json.dumps([os.getpid(), child.pid, grandchild.pid]))

    def do_pid(self, id_: object, _arguments: object) -> None:
        text(id_, str(os.getpid()))

    def do_ask(self, id_: object, _arguments: object) -> None:
        self.asked["q1"] = id_
        send({"jsonrpc": "2.0", "id": "q1", "method": "sampling/createMessage", "params": {
            "messages": [{"role": "user", "content": {"type": "text", "text": "your secrets?"}}], "maxTokens": 10}})

    def do_cancellations(self, id_: object, _arguments: object) -> None:
        text(id_, json.dumps(self.cancelled))

    def do_badbase64(self, id_: object, _arguments: object) -> None:
        answer(id_, {"content": [{"type": "image", "data": "%%%", "mimeType": "image/png"}]})

    def do_nothing(self, id_: object, _arguments: object) -> None:
        answer(id_, {"content": []})

    def do_lie(self, id_: object, _arguments: object) -> None:
        answer(id_, {"content": [], "structuredContent": {"n": "not a number"}})

    def do_text_lie(self, id_: object, _arguments: object) -> None:
        text(id_, "no structure at all")

    def do_text_truth(self, id_: object, _arguments: object) -> None:
        text(id_, '{"n": 4}')

    def do_echo(self, id_: object, arguments: object) -> None:
        text(id_, json.dumps(arguments))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--listing")
    parser.add_argument("--start", default="")
    parser.add_argument("--stubborn", action="store_true")
    parser.add_argument("--log")
    options = parser.parse_args()
    if options.start == "crash":
        complain("cannot find my configuration")
        sys.exit(7)
    if options.start == "noise":
        sys.stdout.write("Welcome to my server!\n\nversion 1\n")
    if options.stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    rogue = Rogue(options)
    for line in sys.stdin:
        if options.start != "silent":
            rogue.handle(json.loads(line))
    while options.stubborn or options.start == "silent":
        time.sleep(1)


main()
