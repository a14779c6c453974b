// What several views are made of: states, times, diagnostics, headers of columns, pages.

import { h } from "./dom.js";
import { count, duration, id, plural, utc } from "./format.js";

/// Each state has a shape beside its colour, and its word beside both.
const STATES = {
  up: ["good", "dot"],
  live: ["good", "dot"],
  running: ["good", "dot"],
  degraded: ["warn", "half"],
  starting: ["info", "ring"],
  draining: ["info", "bars"],
  drained: ["info", "bars"],
  // A service of which nothing is left.
  "all-drained": ["warn", "bars"],
  failing: ["bad", "triangle"],
  gone: ["bad", "ring"],
  maintenance: ["info", "bars"],
  unchecked: ["calm", "ring"],
  empty: ["warn", "ring"],
  down: ["bad", "cross"],
  refused: ["bad", "stop"],
  error: ["bad", "cross"],
  expired: ["bad", "cross"],
  kept: ["warn", "half"],
  "expires-soon": ["warn", "triangle"],
  warning: ["warn", "triangle"],
  warn: ["warn", "triangle"],
  info: ["calm", "ring"],
  polling: ["info", "ring"],
  lost: ["bad", "cross"],
  gone: ["bad", "cross"],
  paused: ["info", "bars"],
};

const SHAPES = {
  dot: [["circle", { cx: 6, cy: 6, r: 4.5, class: "fill" }]],
  half: [
    ["circle", { cx: 6, cy: 6, r: 4, class: "line" }],
    ["path", { d: "M6 2a4 4 0 0 1 0 8z", class: "fill" }],
  ],
  ring: [["circle", { cx: 6, cy: 6, r: 3.8, class: "line" }]],
  bars: [["path", { d: "M4 2.5v7M8 2.5v7", class: "line" }]],
  cross: [
    ["circle", { cx: 6, cy: 6, r: 5.5, class: "fill" }],
    ["path", { d: "M4 4l4 4M8 4l-4 4", class: "cut" }],
  ],
  stop: [
    ["path", { d: "M3.6 .8h4.8l2.8 2.8v4.8l-2.8 2.8H3.6L.8 8.4V3.6z", class: "fill" }],
    ["path", { d: "M3.5 6h5", class: "cut" }],
  ],
  triangle: [
    ["path", { d: "M6 1l5.3 9.6H.7z", class: "fill" }],
    ["path", { d: "M6 4.6v2.6M6 8.7v.6", class: "cut" }],
  ],
};

export function shape(state) {
  const [tone, form] = STATES[state] ?? ["calm", "ring"];
  return h(
    "svg",
    { class: `shape tone-${tone}`, viewBox: "0 0 12 12", "aria-hidden": "true" },
    SHAPES[form].map(([tag, attrs]) => h(tag, attrs)),
  );
}

export const tone = (state) => `tone-${(STATES[state] ?? ["calm"])[0]}`;

export function badge(state, words = state) {
  return h("span", { class: `state ${tone(state)}`, "data-state": state }, shape(state), h("span", null, words));
}

export function time(text, words) {
  if (!text) return null;
  return h("time", { datetime: text, title: utc(text) }, words);
}

/// `clock` is the node's time in ms: browsers' own clocks are not to be trusted.
export function since(text, clock) {
  const at = Date.parse(text);
  return Number.isNaN(at) ? null : time(text, duration((clock - at) / 1000));
}

export const ago = (text, clock) => {
  const at = Date.parse(text);
  return Number.isNaN(at) ? null : time(text, `${duration((clock - at) / 1000)} ago`);
};

/// A value that is too long for its place shows whole when pointed at.
export const clipped = (text, attrs = {}) => h("span", { title: text, ...attrs, class: `clip ${attrs.class ?? ""}` }, text);

export const code = (text) => h("code", null, text);

/// Store revisions may have 16 digits, of which the last ones differ.
export function revision(n) {
  const text = id(n);
  return text.length <= 9 ? h("span", { class: "id" }, text) : h("span", { class: "id", title: text }, `…${text.slice(-6)}`);
}

/// `services/web` is the HTTP service web.
export function serviceOf(unit) {
  const [, tcp, name] = /^(tcp-)?services\/(.+)$/.exec(unit ?? "") ?? [];
  return name === undefined ? null : { mode: tcp ? "tcp" : "http", name };
}

/// Where it stands opened.
export const serviceHref = ({ mode, name }) => `#overview?${new URLSearchParams({ q: name, open: `${mode}/${name}` })}`;

/// HTTP and TCP may have services of the same name: wherever one is named, TCP's is marked.
export const tcpMark = ({ mode }) => mode === "tcp" && h("span", { class: "tag", key: "tcp" }, "tcp");

export const serviceLink = (service) =>
  h(
    "span",
    { class: "service-link" },
    h("a", { href: serviceHref(service) }, h("strong", { class: "clamp", title: service.name }, service.name)),
    service.mode === "tcp" && " ",
    tcpMark(service),
  );

const FEW_DIAGNOSTICS = 2;
const opened = new Set();

/// Two, and the others when they are asked for. `name` is of this list alone.
export function diagnostics(ctx, name, all) {
  const isOpen = opened.has(name);
  const rest = all.length - FEW_DIAGNOSTICS;
  const turn = () => {
    if (!opened.delete(name)) opened.add(name);
    ctx.render();
  };
  return [
    all.slice(0, isOpen ? all.length : FEW_DIAGNOSTICS).map(diagnostic),
    rest > 0 &&
      h(
        "button",
        { type: "button", class: "key key-small diagnostics-more", key: "rest", "aria-expanded": String(isOpen), on: { click: turn } },
        isOpen ? "Show two" : `and ${count(rest)} more`,
      ),
  ];
}

/// One problem as `pointsman check` tells it: where, what, what to do.
function diagnostic(told) {
  const at = told.line ? `line ${told.line}${told.column ? `, column ${told.column}` : ""}` : null;
  return h(
    "div",
    { class: "diagnostic", "data-code": told.code },
    h(
      "p",
      { class: "diagnostic-message" },
      h("span", { class: `word ${tone(told.severity ?? "error")}` }, told.severity ?? "error"),
      " ",
      told.message,
      told.help && h("span", { class: "diagnostic-help", key: "help" }, h("span", { class: "arrow", "aria-hidden": "true" }, "→"), h("span", { class: "sr" }, ". "), told.help),
    ),
    h(
      "p",
      { class: "diagnostic-where" },
      told.key && h("span", null, "key ", code(told.key)),
      !told.key && told.field && h("span", null, "field ", code(told.field)),
      told.unit && at && h("span", null, `${told.unit}, ${at} of its text`),
      !told.unit && at && h("span", null, at),
      told.code && h("span", null, told.code),
    ),
  );
}

/// The head of a column that the node can sort by.
export function sorter(place, go, name, words, { numeric, title } = {}) {
  const isOn = place.sort === name;
  const order = isOn ? (place.order === "asc" ? "ascending" : "descending") : "none";
  const next = isOn ? (place.order === "asc" ? "desc" : "asc") : numeric ? "desc" : "asc";
  return h(
    "th",
    { scope: "col", role: "columnheader", class: numeric ? "num" : null, "aria-sort": order, key: name },
    h(
      "button",
      {
        type: "button",
        class: "sort",
        title,
        "data-sort": name,
        on: { click: () => go({ sort: name, order: next, page: 1 }) },
      },
      words,
      h("span", { class: "sort-mark", "aria-hidden": "true" }, isOn ? (place.order === "asc" ? "▲" : "▼") : ""),
    ),
  );
}

export const head = (words, attrs = {}) => h("th", { scope: "col", role: "columnheader", ...attrs }, words);

/// `label` is what the cell is called where rows are cards.
export const cell = (label, attrs, ...kids) => h("td", { role: "cell", "data-label": label, ...attrs }, ...kids);

export function table(name, columns, rows, attrs = {}) {
  return h(
    "table",
    { role: "table", "aria-label": name, ...attrs, class: `grid ${attrs.class ?? ""}` },
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, columns)),
    h("tbody", { role: "rowgroup" }, rows),
  );
}

export function pager({ page, size, matched, go, what }) {
  const pages = Math.max(1, Math.ceil(matched / size));
  const at = Math.min(page, pages);
  const first = matched === 0 ? 0 : (at - 1) * size + 1;
  const key = (words, to, label, isOff) =>
    h("button", { type: "button", class: "key", "aria-label": label, "data-page": label, disabled: isOff, on: { click: () => go({ page: to }) } }, words);
  return h(
    "div",
    { class: "pager", key: "pager" },
    h("span", { class: "pager-words" }, `${count(first)}–${count(Math.min(at * size, matched))} of ${plural(matched, what)}`),
    pages > 1 &&
      h(
        "nav",
        { class: "pager-keys", "aria-label": "Pages", key: "keys" },
        key("«", 1, "first page", at === 1),
        key("‹", at - 1, "page before", at === 1),
        h("span", { class: "pager-at" }, `page ${count(at)} of ${count(pages)}`),
        key("›", at + 1, "page after", at >= pages),
        key("»", pages, "last page", at >= pages),
      ),
  );
}

/// One for all: the element is described anew at each tick, and its waiting must not start again with that.
let typing = 0;

export function search(place, go, words) {
  return h("input", {
    type: "search",
    id: "search",
    class: "search",
    placeholder: words,
    "aria-label": words,
    "aria-keyshortcuts": "/",
    autocomplete: "off",
    spellcheck: "false",
    maxlength: 200,
    value: place.q,
    on: {
      input: (event) => {
        const q = event.target.value;
        clearTimeout(typing);
        typing = setTimeout(() => go({ q: q.trim(), page: 1 }, "replace"), 150);
      },
      keydown: (event) => {
        if (event.key !== "Escape") return;
        clearTimeout(typing);
        event.target.value = "";
        go({ q: "", page: 1 }, "replace");
        event.preventDefault();
      },
    },
  });
}

export function choice(label, value, choices, onChange) {
  return h(
    "label",
    { class: "choice" },
    h("span", null, label),
    h(
      "select",
      { value, "data-choice": label, on: { change: (event) => onChange(event.target.value) } },
      choices.map(([key, words]) => h("option", { value: key, key: `o-${key}`, selected: key === value }, words)),
    ),
  );
}

export const quiet = (...words) => h("p", { class: "quiet", key: "quiet" }, ...words);

/// What stands where an answer is not there yet, or was an error.
export function missing(error, what) {
  if (!error) return quiet(`Asking for ${what} …`);
  return h("p", { class: "quiet tone-bad", key: "quiet" }, shape("error"), ` ${what}: ${error.message}`);
}

/// Nodes of one service and of others under one roof.
export const panel = (title, extra, ...kids) =>
  h(
    "section",
    { class: "panel", "aria-label": title },
    h("div", { class: "panel-head" }, h("h2", null, title), extra),
    ...kids,
  );
