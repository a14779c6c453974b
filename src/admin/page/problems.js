// What needs somebody, worst first.

import { h } from "./dom.js";
import { count, id, plural } from "./format.js";
import { ago, code, diagnostic, shape, since } from "./parts.js";

const FEW = 4;
const MANY = 100;
/// Of the upstreams of one service: mostly they are down for one and the same.
const REASONS = 2;
const OF_EACH = 20;

/// Only what the overview says is there is asked for.
export function wants({ overview, place }) {
  const wants = [];
  if (overview.refused + overview.warnings + overview.left_out > 0) {
    // It may be long, and changes with these; its age is for what they do not tell.
    const { refused, warnings, left_out, generation, revision } = overview;
    const stamp = [refused, warnings, left_out, generation, revision].join();
    wants.push({ name: "refused", path: "refused", age: 15_000, stamp });
  }
  const size = place.all ? MANY : OF_EACH;
  if (overview.services?.down > 0) {
    wants.push({ name: "down-services", path: `running/services?state=down&size=${size}`, age: 2_000 });
  }
  if (overview.upstreams?.down > 0) {
    wants.push({ name: "down-upstreams", path: `running/upstreams?state=down&size=${size}`, age: 2_000 });
  }
  if ((overview.certificates?.ending ?? 0) + (overview.certificates?.ended ?? 0) > 0) {
    wants.push({ name: "certificates", path: "running/certificates", age: 30_000 });
  }
  return wants;
}

export function view(ctx) {
  const { overview, place, go } = ctx;
  const all = [
    ...ofNode(ctx),
    ...ofStores(ctx),
    ...refusals(ctx),
    ...downs(ctx),
    ...certificates(ctx, "expired"),
    ...told(ctx, "templates", "Template not in force"),
    ...certificates(ctx, "expires-soon"),
    ...told(ctx, "left_out", "Left out of the tree"),
    ...told(ctx, "warnings", "Warning"),
  ];
  // One more is as short as a button that says so.
  const isLong = all.length > FEW + 1;
  const shown = all.slice(0, place.all || !isLong ? MANY : FEW);
  const counted = total(overview);
  return h(
    "section",
    { class: counted + all.length > 0 ? "panel problems" : "panel problems problems-none", "aria-label": "Problems", key: "problems" },
    counted + all.length === 0
      ? h(
          "p",
          { class: "all-well", key: "well" },
          shape("up"),
          h("strong", null, "Nothing needs you."),
          h("span", null, ` ${plural(overview.services?.total ?? 0, "service")}, no upstream is down, every key is in force.`),
        )
      : h("div", { class: "panel-head", key: "head" }, h("h2", null, "Problems"), h("span", { class: "calm" }, "worst first")),
    all.length > 0 && h("ul", { class: "problem-list", key: "list" }, shown.map(item)),
    isLong &&
      h(
        "button",
        { type: "button", class: "key more", key: "more", "aria-expanded": String(Boolean(place.all)), on: { click: () => go({ all: place.all ? "" : "1" }) } },
        place.all ? "Show fewer" : `Show ${count(Math.min(all.length, MANY) - FEW)} more`,
      ),
    place.all && all.length > MANY && h("p", { class: "quiet", key: "rest" }, `The first ${MANY} are shown; pointsman status tells all.`),
  );
}

/// How many there are, as the overview counts.
export function total(overview) {
  const sum = [
    overview.refused,
    overview.services?.down,
    overview.upstreams?.down,
    overview.certificates?.ending,
    overview.certificates?.ended,
    overview.warnings,
    overview.left_out,
    (overview.stores ?? []).filter(isUnwell).length,
  ];
  return sum.reduce((all, n) => all + (n ?? 0), 0);
}

function item({ key, state, title, when, kids }) {
  return h(
    "li",
    { class: "problem", key, "data-problem": key },
    h("span", { class: "problem-shape" }, shape(state)),
    h("div", { class: "problem-body" }, h("p", { class: "problem-title" }, title), kids),
    h("span", { class: "problem-when" }, when),
  );
}

function ofNode({ overview }) {
  if (overview.phase === "running") return [];
  const words = overview.phase === "starting" ? "has no good configuration yet" : "drains: it was told to stop, and accepts nothing new";
  return [{ key: "phase", state: overview.phase, title: `This node ${words}`, when: null, kids: null }];
}

const lasting = (text, clock) => text && ["for ", since(text, clock)];

const isUnwell = (store) => !store.connected || Boolean(store.held_since) || store.problems > 0;

function ofStores({ overview, clock }) {
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

function refusals({ answers, clock }) {
  return (answers.data("refused")?.refused ?? []).map((refusal) => ({
    key: `refused ${refusal.unit}`,
    state: "refused",
    title: [
      h("strong", null, refusal.unit),
      refusal.serving === "last-good" ? " is refused; its last good form serves" : " is refused; nothing serves, it never had a good form",
      h("span", { class: "calm" }, ` · revision ${id(refusal.revision)}`),
    ],
    when: lasting(refusal.since, clock),
    kids: refusal.diagnostics.slice(0, 10).map(diagnostic),
  }));
}

/// Down upstreams stand under their service, so that one failure is told once.
function downs({ answers, overview, clock }) {
  const services = new Map();
  const of = (unit) => {
    if (!services.has(unit)) services.set(unit, { unit, service: null, upstreams: [] });
    return services.get(unit);
  };
  if (overview.services?.down > 0) for (const row of answers.data("down-services")?.rows ?? []) of(row.unit).service = row;
  if (overview.upstreams?.down > 0) for (const row of answers.data("down-upstreams")?.rows ?? []) of(row.service).upstreams.push(row);
  const sorted = [...services.values()].sort((a, b) => Boolean(b.service) - Boolean(a.service));
  return sorted.map(({ unit, service, upstreams }) => {
    const mode = unit.startsWith("tcp-") ? "tcp" : "http";
    const name = unit.slice(unit.indexOf("/") + 1);
    const query = new URLSearchParams({ q: name, open: `${mode}/${name}` });
    return {
      key: `down ${unit}`,
      state: service ? "down" : "degraded",
      title: [
        h("a", { href: `#overview?${query}` }, h("strong", null, name)),
        service
          ? ` is down: none of ${plural(service.upstreams_total, "upstream")} answers`
          : ` lacks ${plural(upstreams.length, "upstream")}`,
      ],
      when: service && lasting(service.since, clock),
      kids: h(
        "ul",
        { class: "reasons" },
        upstreams.slice(0, REASONS).map((row) =>
          h(
            "li",
            { key: `${row.name} ${row.address}` },
            h("span", { class: "reason-name" }, row.name, " ", code(row.address)),
            h("span", { class: "reason" }, row.last_check || "no check told why"),
            !service && h("span", { class: "calm", key: "since" }, lasting(row.since, clock)),
          ),
        ),
        upstreams.length > REASONS && h("li", { key: "more", class: "calm" }, `and ${plural(upstreams.length - REASONS, "other")}`),
      ),
    };
  });
}

function certificates({ answers, overview, clock }, state) {
  if ((overview.certificates?.ending ?? 0) + (overview.certificates?.ended ?? 0) === 0) return [];
  const all = (answers.data("certificates") ?? []).filter((one) => one.state === state);
  all.sort((a, b) => a.not_after.localeCompare(b.not_after));
  return all.map((one) => ({
    key: `certificate ${one.name}`,
    state,
    title: [
      "Certificate ",
      h("a", { href: `#certificates?q=${encodeURIComponent(one.name)}` }, h("strong", null, one.name)),
      state === "expired" ? " has ended" : ` ends in ${plural(Math.max(0, one.days_left), "day")}`,
      h("span", { class: "calm" }, ` · ${one.names.slice(0, 3).join(", ")}${one.names.length > 3 ? ", …" : ""}`),
    ],
    when: state === "expired" ? ago(one.not_after, clock) : null,
    kids: null,
  }));
}

function told({ answers }, list, title) {
  const all = answers.data("refused")?.[list] ?? [];
  return all.slice(0, MANY).map((one, i) => ({
    key: `${list} ${one.unit} ${one.key} ${one.code} ${i}`,
    state: list === "templates" ? "error" : "warning",
    title: [title, one.unit && [": ", h("strong", null, one.unit)]],
    when: null,
    kids: diagnostic(one),
  }));
}
