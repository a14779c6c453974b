// Draining an upstream and taking that back: asked for once more in a dialog, and the outcome is told.

import { h } from "./dom.js";
import { ask } from "./feed.js";
import { id as number } from "./format.js";

const busy = new Set();

export function keysOf(ctx, service, row) {
  const isDrained = row.state === "drained";
  const words = isDrained ? "Undrain" : "Drain";
  const id = `${service.mode}/${service.name}/${keyOf(row)}`;
  return h(
    "button",
    {
      type: "button",
      class: "key key-small",
      // Not `disabled`: it would lose the focus, and the same button undrains afterwards.
      "aria-disabled": busy.has(id) ? "true" : null,
      "aria-label": `${words} ${row.name} of ${named(service)}`,
      "data-drain": row.name,
      on: { click: () => busy.has(id) || decide(ctx, service, row, isDrained, id) },
    },
    busy.has(id) ? "…" : words,
  );
}

/// The name in the keys: several addresses of one DNS name have it in common.
const keyOf = (row) => row.key ?? row.name;

const named = (service) => (service.mode === "tcp" ? `${service.name} (tcp)` : service.name);

async function decide(ctx, service, row, isDrained, id) {
  const isShared = keyOf(row) !== row.name;
  const address = isShared ? `all addresses of ${row.host ?? keyOf(row)}` : row.address;
  const target = `${keyOf(row)} (${address}) of ${named(service)}`;
  const others = service.upstreams_up - (row.state === "up" ? 1 : 0);
  const text = isDrained
    ? `${target} is given new requests again, on every node.`
    : `${target} is given nothing new, on every node; what it has under way it finishes.` +
      (others < 1 ? " No other upstream of this service is up." : "");
  const words = isDrained ? "Undrain" : "Drain";
  if (!(await isConfirmed(`${words} ${keyOf(row)}?`, text, words))) return;
  busy.add(id);
  ctx.render();
  const path = `services/${encodeURIComponent(service.name)}/upstreams/${encodeURIComponent(keyOf(row))}/drain?mode=${service.mode}`;
  try {
    const done = await ask(path, { method: isDrained ? "DELETE" : "PUT", headers: { "X-Pointsman": "page" } });
    const at = `revision ${number(done.revision)}`;
    const was = isDrained ? "not drained" : "drained";
    tell("good", done.changed === false ? `${target} was ${was} already, ${at}` : `${target} is ${was} from ${at} on`);
  } catch (error) {
    const why = error.name === "TimeoutError" ? "no answer within 10 s; it may still be done" : error.message;
    tell("bad", `${target} could not be ${isDrained ? "undrained" : "drained"}: ${why}`);
  }
  busy.delete(id);
  ctx.refresh();
}

function isConfirmed(title, text, words) {
  const part = (id) => document.getElementById(id);
  const dialog = part("ask");
  part("ask-title").textContent = title;
  part("ask-text").textContent = text;
  part("ask-yes").textContent = words;
  return new Promise((resolve) => {
    dialog.returnValue = "";
    part("ask-yes").onclick = () => dialog.close("yes");
    part("ask-no").onclick = () => dialog.close();
    dialog.onclose = () => resolve(dialog.returnValue === "yes");
    dialog.showModal();
    part("ask-no").focus();
  });
}

let leaving = 0;

/// In a live region, so that it is read aloud. What went wrong stays until it is closed.
function tell(tone, text) {
  const told = document.getElementById("told");
  const close = document.createElement("button");
  close.type = "button";
  close.className = "tool";
  close.textContent = "Close";
  close.onclick = () => told.replaceChildren();
  const words = document.createElement("p");
  words.className = `told-words tone-${tone}`;
  words.textContent = text;
  told.replaceChildren(words, close);
  clearTimeout(leaving);
  if (tone === "good") leaving = setTimeout(() => told.replaceChildren(), 12_000);
}
