// A store client on nats.js: reads commands as lines of JSON, and answers with lines of JSON. Values are hexadecimal.

import { createInterface } from "node:readline";
import { connect } from "@nats-io/transport-node";
import { Kvm } from "@nats-io/kv";
import { Objm } from "@nats-io/obj";

const say = (answer) => console.log(JSON.stringify(answer));
const hex = (bytes) => Buffer.from(bytes ?? []).toString("hex");
const operation = (entry) => ({ DEL: "delete", PURGE: "purge" })[entry.operation] ?? "put";
const or_null = async (revision) => {
  try {
    say({ revision: await revision });
  } catch {
    say({ revision: null });
  }
};

const nc = await connect({ servers: process.argv[2] });
const kv = await new Kvm(nc).open("shared");
const obj = await new Objm(nc).open("shared");

async function watch(key) {
  const watcher = await kv.watch({ key });
  let initial = true;
  // The first write after the initial part says that it is over.
  say({ initial: false });
  for await (const entry of watcher) {
    initial = initial && !entry.isUpdate;
    if (initial) continue;
    say({ key: entry.key, value: hex(entry.value), operation: operation(entry) });
  }
}

async function run({ do: command, key, value, revision, times, unit }) {
  const bytes = Buffer.from(value ?? "", "hex");
  switch (command) {
    case "get": {
      const entry = await kv.get(key);
      if (entry === null || operation(entry) !== "put") return say({ value: null });
      return say({ value: hex(entry.value), revision: entry.revision });
    }
    case "keys": {
      const keys = [];
      for await (const found of await kv.keys()) keys.push(found);
      return say({ keys: keys.sort() });
    }
    case "history": {
      const history = [];
      for await (const e of await kv.history({ key })) history.push([operation(e), hex(e.value)]);
      return say({ history });
    }
    case "put":
      return say({ revision: await kv.put(key, bytes) });
    case "create":
      return or_null(kv.create(key, bytes));
    case "update":
      return or_null(kv.update(key, bytes, revision));
    case "delete":
      await kv.delete(key);
      return say({ done: true });
    case "purge":
      await kv.purge(key);
      return say({ done: true });
    case "watch":
      watch(key);
      return;
    case "put_object": {
      const data = Buffer.concat(Array(times).fill(bytes));
      const info = await obj.putBlob({ name: key }, data);
      return say({ size: info.size });
    }
    case "get_object": {
      const info = await obj.info(key);
      if (info === null || info.deleted) return say({ size: null });
      const data = Buffer.from(await obj.getBlob(key));
      const first = data.subarray(0, unit);
      const whole = Buffer.concat(Array(data.length / first.length).fill(first)).equals(data);
      return say({ size: data.length, unit: hex(first), whole, name: info.name });
    }
    case "objects":
      return say({ objects: (await obj.list()).map((info) => info.name).sort() });
    case "delete_object":
      await obj.delete(key);
      return say({ done: true });
  }
}

say({ ready: true });
for await (const line of createInterface({ input: process.stdin })) {
  await run(JSON.parse(line));
}
await nc.close();
