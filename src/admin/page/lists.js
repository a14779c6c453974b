// The other views: upstreams, listeners, certificates, generations, nodes, events.

import { h } from "./dom.js";
import { fleet } from "./fleet.js";
import { clock as clockText, count, id, latency, left, plural, took, utc } from "./format.js";
import { ago, badge, cell, choice, clipped, code, head, missing, pager, panel, quiet, revision, search, serviceHref, serviceLink, serviceOf, since, sorter, table, tcpMark, time, tone } from "./parts.js";
import { query, upstreamRow } from "./services.js";

const SIZE = 50;
const UPSTREAM_SORTS = ["name", "state", "requests", "errors", "p99", "in_flight", "since"];
const UPSTREAM_STATES = [
  ["", "any state"],
  ["up", "up"],
  ["down", "down"],
  ["starting", "starting"],
  ["drained", "drained"],
  ["unchecked", "unchecked"],
];
const LEVELS = [
  ["", "all events"],
  ["warn", "warnings and errors"],
  ["error", "errors"],
];
const KEPT_EVENTS = 500;

export const wants = {
  upstreams: ({ place }) => [{ name: "upstreams", path: `running/upstreams?${query(place, UPSTREAM_STATES, UPSTREAM_SORTS)}`, age: 2_000 }],
  listeners: () => [{ name: "listeners", path: "running/listeners", age: 2_000 }],
  certificates: () => [{ name: "certificates", path: "running/certificates", age: 30_000 }],
  generations: () => [{ name: "generations", path: "generations", age: 2_000 }],
  nodes: () => [{ name: "nodes", path: "nodes", age: 4_000 }],
  events: ({ answers, overview }) => {
    const name = journal(overview);
    const last = answers.data(name)?.last;
    return [{ name, path: `events${last ? `?after=${last}` : ""}`, age: 2_000, merge: joined }];
  },
};

/// A node that was started again counts from one.
const journal = (overview) => `events since ${overview.started}`;

/// What came since is put behind what is known.
function joined(known, news) {
  if (!known) return news;
  return { last: news.last, events: [...known.events, ...news.events].slice(-KEPT_EVENTS) };
}

export const views = { upstreams, listeners, certificates, generations, nodes, events };

function upstreams(ctx) {
  const { place, go, answers } = ctx;
  const list = answers.data("upstreams");
  const error = answers.error("upstreams");
  return panel(
    "Upstreams",
    h(
      "div",
      { class: "controls" },
      search(place, go, "Search upstreams, addresses"),
      choice("State", place.state, UPSTREAM_STATES, (state) => go({ state, page: 1 })),
    ),
    (error || !list) && missing(error, "upstreams"),
    list && list.rows.length === 0 && quiet("There are none like that."),
    list &&
      list.rows.length > 0 &&
      table(
        "Upstreams",
        [
          head("Service", { key: "service" }),
          sorter(place, go, "name", "Upstream"),
          sorter(place, go, "state", "State"),
          head("Last check"),
          head("Weight", { class: "num" }),
          sorter(place, go, "requests", "Requests", { numeric: true }),
          sorter(place, go, "errors", "Errors", { numeric: true }),
          head("p50", { class: "num wide-only" }),
          sorter(place, go, "p99", "p99", { numeric: true }),
          sorter(place, go, "in_flight", "In flight", { numeric: true }),
          ctx.overview.may_change && head(h("span", { class: "sr" }, "Drain"), { key: "drain" }),
        ],
        list.rows.map((row) => {
          // How many others are up is known of the service alone.
          const service = { ...serviceOf(row.service), upstreams_up: Infinity };
          const link = h("a", { href: serviceHref(service), class: "clamp", title: row.service }, service.name);
          return upstreamRow(ctx, service, row, cell("Service", { class: "service" }, link, " ", tcpMark(service)));
        }),
        { class: "cards", key: "table" },
      ),
    list && list.rows.length > 0 && pager({ page: list.page, size: list.size, matched: list.matched, go, what: "upstream" }),
  );
}

/// What the node gives as a whole is searched and cut into pages here.
function whole(ctx, { name, title, what, text, columns, row, none, extra, words, of = (data) => data }) {
  const { place, go, answers } = ctx;
  const data = answers.data(name);
  const error = answers.error(name);
  const all = data === undefined ? [] : of(data);
  const wanted = place.q.toLowerCase();
  const found = wanted ? all.filter((one) => text(one).toLowerCase().includes(wanted)) : all;
  const first = Math.min(place.page - 1, Math.max(0, Math.ceil(found.length / SIZE) - 1)) * SIZE;
  return panel(
    title,
    h("div", { class: "controls" }, search(place, go, words), extra),
    (error || data === undefined) && missing(error, title.toLowerCase()),
    data !== undefined && found.length === 0 && quiet(all.length === 0 ? none : "None is like that."),
    found.length > 0 && table(title, columns, found.slice(first, first + SIZE).map(row), { class: "cards", key: "table" }),
    found.length > 0 && pager({ page: first / SIZE + 1, size: SIZE, matched: found.length, go, what }),
  );
}

function listeners(ctx) {
  return whole(ctx, {
    name: "listeners",
    title: "Listeners",
    what: "listener",
    words: "Search addresses, services",
    none: "Nothing is listened on.",
    text: (one) => `${one.address} ${one.protocol} ${one.service ?? ""}`,
    columns: [head("Address"), head("Protocol"), head("Service"), head("Since")],
    row: (one) =>
      h(
        "tr",
        { role: "row", key: `${one.address} ${one.protocol}` },
        h("td", { role: "cell", class: "name" }, code(one.address)),
        cell("Protocol", null, h("span", { class: "tag" }, one.protocol)),
        cell("Service", null, one.service ? (serviceOf(one.service) ? serviceLink(serviceOf(one.service)) : code(one.service)) : h("span", { class: "calm" }, "by host and path")),
        cell("Since", null, since(one.since, ctx.clock)),
      ),
  });
}

function certificates(ctx) {
  return whole(ctx, {
    name: "certificates",
    title: "Certificates",
    what: "certificate",
    words: "Search names, issuers",
    none: "There are no certificates: pointsman cert add writes one.",
    text: (one) => `${one.name} ${one.names.join(" ")} ${one.issuer} ${one.state}`,
    of: (all) => [...all].sort((a, b) => a.not_after.localeCompare(b.not_after)),
    columns: [head("Certificate"), head("State"), head("Ends", { class: "num", "aria-sort": "ascending" }), head("For"), head("Issuer"), head("Key"), head("From")],
    row: (one) =>
      h(
        "tr",
        { role: "row", key: one.name },
        h("td", { role: "cell", class: "name" }, h("strong", null, one.name)),
        cell("State", null, badge(one.state, { "expires-soon": "ends soon", expired: "ended", kept: "last good one" }[one.state] ?? one.state)),
        cell(
          "Ends",
          { class: "num" },
          one.state === "expired" ? ago(one.not_after, ctx.clock) : time(one.not_after, `in ${left(one.not_after, ctx.clock)}`),
          h("span", { class: "calm" }, ` ${utc(one.not_after).slice(0, 10)}`),
        ),
        cell("For", null, clipped(one.names.slice(0, 2).join(", "), { title: one.names.join("\n") }), one.names.length > 2 && h("span", { class: "calm", key: "more" }, ` +${one.names.length - 2}`)),
        cell("Issuer", null, clipped(one.issuer)),
        cell("Key", null, one.key),
        cell("From", null, clipped(one.unit)),
      ),
  });
}

function generations(ctx) {
  const units = (words, sign, list, total) =>
    total > 0 &&
    h(
      "span",
      { class: "units", key: words },
      h("span", { class: "units-sign" }, `${sign} ${count(total)} ${words}`),
      list.slice(0, 8).map((unit) => h("code", { key: unit }, unit)),
      total > Math.min(8, list.length) && h("span", { class: "calm", key: "more", title: list.slice(8).join("\n") || null }, `and ${count(total - Math.min(8, list.length))} more`),
    );
  return whole(ctx, {
    name: "generations",
    title: "Generations",
    what: "generation",
    words: "Search units, reasons",
    none: "There was no generation yet.",
    text: (one) => `${one.generation} ${one.revision} ${one.reason} ${one.changed.join(" ")} ${one.removed.join(" ")}`,
    columns: [head("Generation"), head("When"), head("Because of"), head("What changed"), head("Took", { class: "num" }), head("Refused", { class: "num" })],
    row: (one) =>
      h(
        "tr",
        { role: "row", key: String(one.generation), "data-generation": one.generation },
        h("td", { role: "cell", class: "name" }, h("strong", null, id(one.generation)), h("span", { class: "calm" }, " revision ", revision(one.revision)), one.generation === ctx.overview.generation && [" ", h("span", { class: "tag", key: "current" }, "current")]),
        cell("When", null, ago(one.at, ctx.clock)),
        cell("Because of", null, one.reason.replaceAll("-", " ")),
        cell(
          "What changed",
          { class: "changes" },
          flow(units("changed", "±", one.changed, one.changed_total),
          units("removed", "−", one.removed, one.removed_total),
          one.opened > 0 && h("span", { key: "opened" }, `${plural(one.opened, "listener")} opened`),
          one.closed > 0 && h("span", { key: "closed" }, `${plural(one.closed, "listener")} closed`),
          one.changed_total + one.removed_total + one.opened + one.closed === 0 && h("span", { class: "calm", key: "nothing" }, "nothing that runs")),
        ),
        cell("Took", { class: "num" }, latency(one.took_ms)),
        cell("Refused", { class: "num" }, one.refused > 0 ? badge("refused", count(one.refused)) : "0"),
      ),
  });
}

function nodes(ctx) {
  const { problem, all, others } = fleet(ctx);
  const strange = others.filter((node) => node.differs_since).length;
  const row = (one) =>
    h(
      "tr",
      { role: "row", key: one.node, "data-node": one.node },
      h("td", { role: "cell", class: "name" }, h("strong", { class: "clamp", title: one.node }, one.node), one.node === ctx.overview.node && [" ", h("span", { class: "tag", key: "own" }, "this one")]),
      cell("Phase", null, one.gone_since ? [badge("gone"), h("span", { class: "calm", key: "gone" }, " for ", since(one.gone_since, ctx.clock))] : badge(one.phase)),
      cell("Generation", { class: "num" }, id(one.generation)),
      cell("Revision", { class: "num" }, revision(one.revision), one.is_behind && h("span", { class: "tone-warn", key: "behind" }, " behind")),
      cell("Digest", null, h("code", { title: one.digest }, one.digest.slice(0, 8)), one.differs_since && [" ", h("span", { key: "differs", "data-differs": true }, badge("warning", "differs"))]),
      cell("Refused", { class: "num" }, one.refused_total > 0 ? badge("refused", count(one.refused_total)) : "0"),
      cell("Connections", { class: "num" }, count(one.active)),
      cell("Version", null, one.version),
      cell("Up for", null, one.gone_since ? h("span", { class: "calm" }, "–") : since(one.started, ctx.clock)),
      cell("Last written", null, ago(one.updated, ctx.clock)),
    );
  return h(
    "div",
    { class: "view", key: "nodes" },
    problem && h("p", { class: "notice tone-warn", key: "problem" }, badge("warning", problem)),
    strange > 0 && h("p", { class: "notice tone-warn", key: "differ" }, badge("warning", `${plural(strange, "node")} ${strange === 1 ? "runs" : "run"} other keys than this one`)),
    whole(ctx, {
      name: "nodes",
      title: "Nodes",
      what: "node",
      words: "Search nodes, versions, digests",
      none: "No node has written its status yet.",
      of: () => all.sort((a, b) => a.node.localeCompare(b.node)),
      text: (one) => `${one.node} ${one.version} ${one.digest} ${one.gone_since ? "gone" : one.phase}`,
      columns: [head("Node"), head("Phase"), head("Generation", { class: "num" }), head("Revision", { class: "num" }), head("Digest"), head("Refused", { class: "num" }), head("Connections", { class: "num" }), head("Version"), head("Up for"), head("Last written")],
      row,
    }),
  );
}

function events(ctx) {
  const { place, go } = ctx;
  const ranks = { info: 0, warn: 1, error: 2 };
  const least = ranks[place.state] ?? 0;
  return whole(ctx, {
    name: journal(ctx.overview),
    title: "Events",
    what: "event",
    words: "Search events",
    none: "Nothing has happened yet.",
    of: (data) => data.events.filter((event) => (ranks[event.level] ?? 0) >= least).reverse(),
    text: (one) => `${one.event} ${one.message} ${Object.values(one.fields ?? {}).join(" ")}`,
    extra: choice("Level", place.state, LEVELS, (state) => go({ state, page: 1 })),
    columns: [head("When"), head("Level"), head("Event"), head("What")],
    row: (one) =>
      h(
        "tr",
        { role: "row", key: String(one.id), "data-event": one.event },
        h("td", { role: "cell", class: "name when" }, time(one.at, clockText(one.at)), h("span", { class: "calm" }, " ", ago(one.at, ctx.clock))),
        cell("Level", null, badge(one.level)),
        cell("Event", { class: "event-name" }, code(one.event)),
        cell(
          "What",
          { class: "changes" },
          flow(
            h("span", { class: one.level === "info" ? null : tone(one.level) }, one.message, one.fields?.reason && [one.message.endsWith(" but") ? " " : ": ", h("span", { class: "reason", key: "reason" }, one.fields.reason)]),
            Object.entries(one.fields ?? {})
              .filter(([name]) => name !== "reason")
              .map(([name, value]) => h("span", { class: "field", key: name }, h("span", { class: "calm" }, `${FIELDS[name] ?? name.replaceAll("_", " ")} `), said(name, value))),
          ),
        ),
      ),
  });
}

/// Where the log's word alone would be read wrongly.
const FIELDS = { serving: "what serves:", store: "of the store", more: "how many more:", place: "at" };

function said(name, value) {
  const text = String(value);
  if (name === "took") return took(text);
  if (name === "revision") return revision(Number(text));
  const service = name === "service" || name === "unit" ? serviceOf(text) : null;
  return service ? serviceLink(service) : text;
}

/// Cells are no place for flexible boxes of their own.
const flow = (...kids) => h("div", { class: "flow" }, ...kids);
