// What needs somebody, worst first. The same list makes the number beside "Overview", so it is made in every view.

import { ailing, wants as ofServices } from "./ailing.js";
import { h } from "./dom.js";
import { fleet } from "./fleet.js";
import { count, left, plural, rate } from "./format.js";
import { ago, code, diagnostics, revision, serviceOf, serviceHref, shape, since, time } from "./parts.js";

const FEW = 4;
/// Of one kind; who wants to see more goes to their list.
const OF_EACH = 20;
/// Nodes read the same change one after another.
const PATIENCE_MS = 10_000;

/// Only what the overview says is there is asked for. Another stamp is another state of things.
export function wants(ctx) {
  const { overview, place } = ctx;
  const { refused, warnings, left_out, generation } = overview;
  const { total = 0, ending = 0, ended = 0 } = overview.certificates ?? {};
  const wants = ofServices(ctx, place.view === "overview" ? 2_000 : 10_000);
  if (refused + warnings + left_out > 0) {
    // It may be long, and changes with these; its age is for what they do not tell.
    wants.push({ name: "refused", path: "refused", age: 15_000, stamp: [refused, warnings, left_out, generation, overview.revision].join() });
  }
  if (ending + ended > 0 || (total > 0 && place.view === "overview")) {
    wants.push({ name: "certificates", path: "running/certificates", age: ending + ended > 0 ? 30_000 : 300_000, stamp: [total, ending, ended].join() });
  }
  wants.push({ name: "nodes", path: "nodes", age: 10_000 });
  return wants;
}

/// All problems: `lines` of { key, state, title, when, kids }, of which one may stand for `n`; how many there are;
/// and whether everything that was to be asked was answered.
export function list(ctx) {
  const { overview, answers } = ctx;
  const { down, drained, failing, degraded } = ailing(ctx);
  const refused = refusals(ctx);
  const { gone, strange } = ofFleet(ctx);
  const known = new Set();
  const ended = certificates(ctx, "expired", known);
  const ending = certificates(ctx, "expires-soon", known);
  const kinds = [
    { lines: ofNode(ctx) },
    { lines: ofStores(ctx) },
    { lines: ended, all: "#certificates", what: "certificate" },
    down,
    { lines: refused.absent, all: "#overview?state=refused", what: "refused unit" },
    drained,
    failing,
    { lines: gone, all: "#nodes", what: "node" },
    degraded,
    { lines: refused.lastGood, all: "#overview?state=refused", what: "refused unit", more: Math.max(0, overview.refused - refused.length) },
    { lines: told(ctx, "templates", "Template not in force") },
    { lines: strange, all: "#nodes", what: "node" },
    { lines: ending, all: "#certificates", what: "certificate" },
    { lines: told(ctx, "left_out", "Left out of the tree") },
    { lines: told(ctx, "warnings", "Warning", (one) => !(["expires-soon", "expired"].includes(one.code) && known.has(one.unit))) },
  ];
  const lines = kinds.flatMap(capped);
  const isRead = wants(ctx).every(({ name }) => name === "nodes" || (answers.data(name) !== undefined && !answers.error(name)));
  return { lines, total: lines.reduce((sum, line) => sum + (line.n ?? 1), 0), isRead };
}

function capped({ lines, all, what, more = 0 }, at) {
  const shown = lines.slice(0, OF_EACH);
  const n = lines.slice(OF_EACH).reduce((sum, line) => sum + (line.n ?? 1), more);
  if (n === 0) return shown;
  const here = shown.reduce((sum, line) => sum + (line.n ?? 1), 0);
  const words = `${count(here)} of ${plural(here + n, what ?? "line")}`;
  const title = [all ? h("a", { href: all }, words) : words, all ? "" : " are shown; pointsman status tells all"];
  return [...shown, { key: `rest ${at}`, state: shown[0]?.state ?? "warning", title, n }];
}

export function view(ctx) {
  const { place, go, problems } = ctx;
  const { lines, total } = problems;
  if (lines.length === 0) return h("section", { class: "panel problems problems-none", "aria-label": "Problems", key: "problems" }, none(ctx));
  // One more is as short as a button that says so.
  const isLong = lines.length > FEW + 1;
  const shown = place.all || !isLong ? lines : lines.slice(0, FEW);
  return h(
    "section",
    { class: "panel problems", "aria-label": "Problems", key: "problems" },
    h("div", { class: "panel-head", key: "head" }, h("h2", null, plural(total, "problem")), h("span", { class: "calm" }, "worst first")),
    h("ul", { class: "problem-list", role: "list", key: "list" }, shown.map(item)),
    isLong &&
      h(
        "button",
        { type: "button", class: "key more", key: "more", "aria-expanded": String(Boolean(place.all)), on: { click: () => go({ all: place.all ? "" : "1" }) } },
        place.all ? "Show fewer" : `Show ${count(lines.length - FEW)} more`,
      ),
  );
}

/// Green is said only of what was looked at.
function none({ overview, clock, problems, answers, isLost }) {
  const { errors_per_s: errors, upstreams = {} } = overview;
  const doubts = [
    isLost && "The node does not answer.",
    !problems.isRead && "Not everything was read yet.",
    errors > 0 && `${rate(errors)} errors are answered, by no service as many that it would stand here.`,
    upstreams.starting > 0 && `${plural(upstreams.starting, "upstream")} not checked yet.`,
    upstreams.down > 0 && `${plural(upstreams.down, "upstream")} down that no service leads to now.`,
  ].filter(Boolean);
  const next = (answers.data("certificates") ?? []).map((one) => one.not_after).sort()[0];
  return h(
    "p",
    { class: doubts.length > 0 ? "all-well in-doubt" : "all-well", key: "well" },
    shape(doubts.length > 0 ? "info" : "up"),
    h("strong", null, doubts.length > 0 ? "No problem is known." : "Nothing needs you."),
    h("span", null, doubts.length > 0 ? doubts.join(" ") : `${plural(overview.services?.total ?? 0, "service")}, no upstream is down, every key is in force.`),
    next && h("span", { key: "next" }, "The next certificate ends in ", time(next, left(next, clock)), "."),
  );
}

function item({ key, state, title, when, kids }, at) {
  return h(
    "li",
    { class: "problem", key, "data-problem": key, "aria-labelledby": `problem-${at}` },
    h("span", { class: "problem-shape" }, shape(state)),
    h("div", { class: "problem-body" }, h("h3", { class: "problem-title", id: `problem-${at}` }, title), kids),
    h("span", { class: "problem-when" }, when),
  );
}

function ofNode({ overview }) {
  if (overview.phase === "running") return [];
  const words = overview.phase === "starting" ? "has no good configuration yet" : "drains: it was told to stop, and accepts nothing new";
  return [{ key: "phase", state: overview.phase, title: `This node ${words}` }];
}

const lasting = (text, clock) => text && ["for ", since(text, clock)];

function ofStores({ overview, clock }) {
  // What cannot be read stands under "Left out of the tree", key by key.
  const isUnwell = (store) => !store.connected || store.held_since || (store.problems > 0 && !overview.left_out);
  return (overview.stores ?? []).filter(isUnwell).map((store) => {
    const title = !store.connected
      ? "is away; the last good configuration serves"
      : store.held_since
        ? "is suddenly empty, which is held back; what it said before serves"
        : `has ${plural(store.problems, "key")} that cannot be read`;
    return {
      key: `store ${store.store}`,
      state: store.connected ? "warning" : "lost",
      title: [h("span", null, "Store "), code(store.store), ` ${title}`],
      when: lasting(store.connected ? store.held_since : store.since, clock),
      kids: [store.last_error, store.note].filter(Boolean).map((text) => h("p", { class: "problem-reason" }, text)),
    };
  });
}

function refusals(ctx) {
  const all = ctx.answers.data("refused")?.refused ?? [];
  const line = (refusal) => ({
    key: `refused ${refusal.unit}`,
    state: "refused",
    title: [
      unit(refusal.unit),
      refusal.serving === "last-good" ? " is refused; its last good form serves" : " is refused; nothing serves, it never had a good form",
      h("span", { class: "calm" }, " · revision ", revision(refusal.revision)),
    ],
    when: lasting(refusal.since, ctx.clock),
    kids: diagnostics(ctx, `problem ${refusal.unit}`, refusal.diagnostics),
  });
  const [absent, lastGood] = [true, false].map((is) => all.filter((one) => (one.serving !== "last-good") === is).map(line));
  return { absent, lastGood, length: all.length };
}

/// With a way to what there is under this name.
function unit(name) {
  const service = serviceOf(name);
  const words = h("strong", { class: "clamp", title: name }, name);
  if (service) return h("a", { href: serviceHref(service) }, words);
  if (name.startsWith("certs/")) return h("a", { href: `#certificates?q=${encodeURIComponent(name.slice(6))}` }, words);
  return words;
}

/// Units that have a line of their own here are put into `known`.
function certificates({ answers, clock }, state, known) {
  // One that is kept, its successor being refused, ends like any other.
  const stateOf = (one) => (one.state === "kept" && Date.parse(one.not_after) < clock ? "expired" : one.state);
  const all = (answers.data("certificates") ?? []).filter((one) => stateOf(one) === state);
  all.sort((a, b) => a.not_after.localeCompare(b.not_after));
  return all.map((one) => {
    known.add(one.unit);
    return {
      key: `certificate ${one.name}`,
      state,
      title: [
        "Certificate ",
        h("a", { href: `#certificates?q=${encodeURIComponent(one.name)}` }, h("strong", { class: "clamp", title: one.name }, one.name)),
        state === "expired" ? " has ended" : [" ends in ", time(one.not_after, left(one.not_after, clock))],
        h("span", { class: "calm" }, ` · ${one.names.slice(0, 3).join(", ")}${one.names.length > 3 ? ", …" : ""}`),
      ],
      when: state === "expired" ? ago(one.not_after, clock) : null,
    };
  });
}

function ofFleet(ctx) {
  const { others } = fleet(ctx);
  const name = (node) => h("a", { href: `#nodes?q=${encodeURIComponent(node.node)}` }, h("strong", { class: "clamp", title: node.node }, node.node));
  const line = (node, state, words, at) => ({ key: `node ${node.node}`, state, title: ["Node ", name(node), words], when: lasting(at, ctx.clock) });
  return {
    gone: others.filter((node) => node.gone_since).map((node) => line(node, "gone", " is gone: it does not report itself any more", node.gone_since)),
    strange: others
      .filter((node) => node.differs_since && ctx.clock - node.differs_since >= PATIENCE_MS)
      .map((node) =>
        line(
          node,
          "warning",
          [node.is_behind ? " is behind: it runs older keys than this node, of revision " : " runs other keys than this node, of revision ", revision(node.revision)],
          new Date(node.differs_since).toISOString(),
        ),
      ),
  };
}

/// What is told of one unit is one line.
function told(ctx, name, title, isWanted = () => true) {
  const units = new Map();
  for (const one of (ctx.answers.data("refused")?.[name] ?? []).filter(isWanted)) {
    const key = one.unit ?? one.key ?? "";
    if (!units.has(key)) units.set(key, []);
    units.get(key).push(one);
  }
  return [...units].map(([key, all]) => ({
    key: `${name} ${key}`,
    state: name === "templates" ? "error" : "warning",
    title: [title, all[0].unit && [": ", unit(all[0].unit)]],
    kids: diagnostics(ctx, `${name} ${key}`, all),
  }));
}
