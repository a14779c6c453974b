// Draining an upstream and taking that back: asked for once more in a dialog, and the outcome is told.

import { h } from "./dom.js";
import { ask } from "./feed.js";
import { id as number } from "./format.js";

const busy = new Set();

export function keysOf(ctx, service, row) {
  const isDrained = row.state === "drained";
  const words = isDrained ? "Undrain" : "Drain";
  const id = `${service.mode}/${service.name}/${row.key}`;
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

const named = (service) => (service.mode === "tcp" ? `${service.name} (tcp)` : service.name);

async function decide(ctx, service, row, isDrained, id) {
  const isOfName = row.key !== row.name;
  const target = isOfName ? `${row.key} of ${named(service)}` : `${row.name} (${row.address}) of ${named(service)}`;
  // A list of upstreams knows one address of a name, and not the others.
  const same = service.upstreams ? service.upstreams.filter((one) => one.key === row.key) : [row];
  const others = service.upstreams_up - same.filter((one) => one.state === "up").length;
  const many = isOfName && !(service.upstreams && same.length < 2);
  const whole = many ? `, all ${service.upstreams ? `${same.length} ` : ""}addresses of it,` : "";
  const text = isDrained
    ? `${target}${whole} is given new requests again, on every node.`
    : `${target}${whole} is given nothing new, on every node; what it has under way it finishes.` +
      (others < 1 ? " No other upstream of this service is up." : "");
  const words = isDrained ? "Undrain" : "Drain";
  if (!(await isConfirmed(`${words} ${row.key}?`, text, words))) return;
  busy.add(id);
  ctx.render();
  const path = `services/${encodeURIComponent(service.name)}/upstreams/${encodeURIComponent(row.key)}/drain?mode=${service.mode}`;
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
