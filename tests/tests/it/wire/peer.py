"""A store client on nats-py: reads commands as lines of JSON, and answers with lines of JSON. Values are hexadecimal."""

import asyncio
import json
import sys

import nats
from nats.js.errors import KeyNotFoundError, KeyWrongLastSequenceError, NoKeysError, ObjectNotFoundError
from nats.js.kv import KV_DEL, KV_PURGE


def say(**answer):
    print(json.dumps(answer), flush=True)


def operation(entry):
    return {KV_DEL: "delete", KV_PURGE: "purge"}.get(entry.operation, "put")


async def watch(kv, pattern):
    watcher = await kv.watch(pattern)
    async for entry in watcher:
        if entry is None:
            say(initial=False)
            continue
        value = (entry.value or b"").hex()
        say(key=entry.key, value=value, operation=operation(entry))


async def history(kv, key):
    """nats-py counts what is pending after it has subscribed, and takes what is on its way by then for nothing."""
    for _ in range(20):
        try:
            return await kv.history(key)
        except NoKeysError:
            continue
    return await kv.history(key)


async def run(kv, obj, line):
    command = json.loads(line)
    key = command.get("key")
    value = bytes.fromhex(command.get("value", ""))
    match command["do"]:
        case "get":
            try:
                entry = await kv.get(key)
                say(value=entry.value.hex(), revision=entry.revision)
            except KeyNotFoundError:
                say(value=None)
        case "keys":
            try:
                say(keys=sorted(await kv.keys()))
            except NoKeysError:
                say(keys=[])
        case "history":
            say(history=[[operation(e), (e.value or b"").hex()] for e in await history(kv, key)])
        case "put":
            say(revision=await kv.put(key, value))
        case "create":
            try:
                say(revision=await kv.create(key, value))
            except KeyWrongLastSequenceError:
                say(revision=None)
        case "update":
            try:
                say(revision=await kv.update(key, value, command["revision"]))
            except KeyWrongLastSequenceError:
                say(revision=None)
        case "delete":
            await kv.delete(key)
            say(done=True)
        case "purge":
            await kv.purge(key)
            say(done=True)
        case "watch":
            asyncio.get_running_loop().watching = asyncio.create_task(watch(kv, key))
        case "put_object":
            info = await obj.put(key, value * command["times"])
            say(size=info.size)
        case "get_object":
            try:
                found = await obj.get(key)
                unit = found.data[: command["unit"]]
                whole = unit * (len(found.data) // max(len(unit), 1)) == found.data
                say(size=len(found.data), unit=unit.hex(), whole=whole, name=found.info.name)
            except ObjectNotFoundError:
                say(size=None)
        case "objects":
            say(objects=sorted(info.name for info in await obj.list()))
        case "delete_object":
            await obj.delete(key)
            say(done=True)


async def main():
    nc = await nats.connect(sys.argv[1])
    js = nc.jetstream()
    kv, obj = await js.key_value("shared"), await js.object_store("shared")
    say(ready=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        await run(kv, obj, line)
    await nc.close()


asyncio.run(main())
