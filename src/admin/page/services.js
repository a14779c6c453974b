// The table of services, and what a row opens into.

import { chart } from "./chart.js";
import { h } from "./dom.js";
import { keysOf } from "./drain.js";
import { bytes, count, id as number, latency, plural, rate, share, short } from "./format.js";
import { ago, badge, cell, choice, clipped, diagnostics, head, missing, pager, panel, quiet, revision, search, since, sorter, table, tcpMark } from "./parts.js";
import { toggled } from "./place.js";

const SIZE = 50;
const STATES = [
  ["", "any state"],
  ["up", "up"],
  ["degraded", "degraded"],
  ["down", "down"],
  ["drained", "drained"],
  ["empty", "empty"],
  ["maintenance", "maintenance"],
  ["refused", "refused"],
];
const SORTS = ["name", "state", "requests", "errors", "p99", "in_flight", "since"];

export function query(place, states, sorts, size = SIZE) {
  const params = new URLSearchParams({ page: place.page, size });
  if (place.q) params.set("q", place.q);
  if (states.some(([state]) => state && state === place.state)) params.set("state", place.state);
  params.set("sort", sorts.includes(place.sort) ? place.sort : "name");
  params.set("order", place.order);
  return params;
}

/// `http/web`, which is how the hash and the node call a service.
export const rowId = (row) => `${row.mode}/${row.name}`;

const path = (id) => {
  const at = id.indexOf("/");
  return `running/services/${encodeURIComponent(id.slice(0, at))}/${encodeURIComponent(id.slice(at + 1))}`;
};

export function wants({ place, answers }) {
  // What is not on this page of the list is not shown, whatever the address says.
  const shown = new Set((answers.data("services")?.rows ?? []).filter((row) => row.state !== "refused").map(rowId));
  return [
    { name: "services", path: `running/services?${query(place, STATES, SORTS)}`, age: 2_000 },
    ...place.open.filter((id) => shown.has(id)).map((id) => ({ name: `service ${id}`, path: path(id), age: 2_000 })),
  ];
}

export function view(ctx) {
  const { place, go, answers, overview } = ctx;
  const list = answers.data("services");
  const isFiltered = Boolean(place.q || place.state);
  return panel(
    "Services",
    h(
      "div",
      { class: "controls" },
      search(place, go, "Search services, hosts, addresses"),
      choice("State", place.state, STATES, (state) => go({ state, page: 1 })),
      // Cards have no heads of columns to click at.
      h(
        "span",
        { class: "only-narrow" },
        choice("Sort", place.sort, SORTS.map((sort) => [sort, sort.replace("_", " ")]), (sort) =>
          go({ sort, order: ["name", "state"].includes(sort) ? "asc" : "desc", page: 1 }),
        ),
      ),
    ),
    answers.error("services") && missing(answers.error("services"), "services"),
    !list && !answers.error("services") && missing(null, "services"),
    list &&
      list.rows.length === 0 &&
      quiet(
        isFiltered ? `None of ${plural(overview.services?.total ?? 0, "service")} is like that.` : "There are no services yet: pointsman link makes one.",
        isFiltered && h("button", { type: "button", class: "key", on: { click: () => go({ q: "", state: "", page: 1 }) } }, "Show all"),
      ),
    list &&
      list.rows.length > 0 &&
      table(
        "Services",
        [
          sorter(place, go, "name", "Service"),
          sorter(place, go, "state", "State"),
          head("Leads here"),
          head("Upstreams"),
          sorter(place, go, "requests", "Requests", { numeric: true }),
          sorter(place, go, "errors", "Errors", { numeric: true }),
          head("p50", { class: "num wide-only" }),
          sorter(place, go, "p99", "p99", { numeric: true }),
          sorter(place, go, "in_flight", "In flight", { numeric: true }),
        ],
        list.rows.map((row) => rows(ctx, row)),
        { key: "table", class: "cards services" },
      ),
    list && list.rows.length > 0 && pager({ page: list.page, size: list.size, matched: list.matched, go, what: "service" }),
  );
}

function rows(ctx, row) {
  const { place, go, clock } = ctx;
  const id = rowId(row);
  const isOpen = place.open.includes(id);
  const more = row.hosts_total - Math.min(1, row.hosts.length);
  const detail = `detail-${row.mode}-${row.name}`;
  return [
    h(
      "tr",
      { role: "row", key: id, class: `row row-${row.state}${isOpen ? " is-open" : ""}`, "data-unit": row.unit },
      h(
        "td",
        { role: "cell", class: "name" },
        h(
          "button",
          {
            type: "button",
            class: "opener",
            "aria-expanded": String(isOpen),
            "aria-controls": isOpen ? detail : null,
            title: row.unit,
            "data-row": id,
            on: { click: () => go({ open: toggled(place.open, id) }, "replace") },
          },
          h("span", { class: "chevron", "aria-hidden": "true" }),
          h("span", { class: "opener-name clamp" }, row.name),
        ),
        tcpMark(row),
      ),
      cell("State", { class: "states" }, badge(row.state), " ", h("span", { class: "calm" }, since(row.since, clock)), row.refused && row.state !== "refused" && [" ", h("span", { key: "refused" }, badge("refused"))]),
      cell(
        "Leads here",
        { class: "hosts" },
        row.hosts.length > 0 ? clipped(row.hosts[0], { title: row.hosts.join("\n") }) : row.port ? h("span", null, "port ", number(row.port)) : h("span", { class: "calm" }, "–"),
        more > 0 && h("span", { class: "calm", key: "more" }, ` +${count(more)}`),
      ),
      cell("Upstreams", { class: "meter-cell" }, meter(row)),
      cell("Requests", { class: "num" }, rate(row.requests_per_s)),
      cell("Errors", { class: `num ${row.error_share > 0.01 ? "tone-bad" : ""}` }, share(row.error_share)),
      cell("p50", { class: "num wide-only" }, latency(row.p50_ms)),
      cell("p99", { class: "num" }, latency(row.p99_ms)),
      cell("In flight", { class: "num" }, count(row.in_flight), row.queued > 0 && h("span", { class: "tone-warn", key: "queued" }, ` +${count(row.queued)} wait`)),
    ),
    isOpen &&
      h(
        "tr",
        { role: "row", key: `${id} detail`, class: "detail", id: detail },
        h("td", { role: "cell", colspan: 9 }, opened(ctx, row, id)),
      ),
  ];
}

/// What is drained takes nothing new, and is not counted as up.
function meter({ upstreams_up: up, upstreams_total: total, upstreams_drained: drained = 0 }) {
  if (total === 0) return h("span", { class: "calm" }, "none");
  return h(
    "span",
    { class: `meter ${up + drained === total && up > 0 ? "" : up + drained === 0 ? "tone-bad" : "tone-warn"}` },
    h("span", { class: "meter-bar", "aria-hidden": "true", vars: { "--part": up / total } }),
    h("span", null, `${count(up)}/${count(total)}`, drained > 0 && h("span", { class: "calm", key: "drained" }, ` · ${count(drained)} drained`)),
  );
}

function opened(ctx, row, id) {
  const { answers } = ctx;
  // Nothing of it runs: all there is to say is why.
  if (row.state === "refused") {
    const refusal = (answers.data("refused")?.refused ?? []).find((one) => one.unit === row.unit);
    return h("div", { class: "opened", key: "absent" }, refusal ? refused(ctx, refusal, id) : missing(answers.error("refused"), row.name));
  }
  const detail = answers.data(`service ${id}`);
  const error = answers.error(`service ${id}`);
  if (!detail) return h("div", { class: "opened" }, missing(error, row.name));
  const history = detail.history ?? {};
  const common = { step: history.step_s ?? 60, until: history.until, small: true };
  const answersBy = Object.entries(detail.answers ?? {}).filter(([, n]) => n > 0);
  return h(
    "div",
    { class: "opened" },
    detail.refusal && refused(ctx, detail.refusal, id),
    h(
      "dl",
      { class: "facts" },
      detail.hosts.length > 0 && fact("hosts", [detail.hosts.join(", "), detail.hosts_total > detail.hosts.length && `, and ${count(detail.hosts_total - detail.hosts.length)} more`]),
      detail.port && fact("port", String(detail.port)),
      fact("balance", detail.balance),
      detail.mode === "http" ? fact("requests", count(detail.requests_total)) : fact("flows", count(detail.flows_total)),
      answersBy.length > 0 && fact("answers", answersBy.map(([kind, n]) => h("span", { class: "answer", key: kind }, h("span", { class: "calm" }, kind), ` ${count(n)}`))),
      fact("errors", count(detail.errors_total)),
      detail.failures_total > 0 && fact("failures", count(detail.failures_total)),
      detail.turned_away_total > 0 && fact("turned away", count(detail.turned_away_total)),
      fact("traffic", `${bytes(detail.bytes_in_total)} in, ${bytes(detail.bytes_out_total)} out`),
    ),
    upstreams(ctx, detail),
    h(
      "div",
      { class: "charts charts-small" },
      chart({
        ...common,
        id: `${id} requests`,
        title: "Requests",
        lead: rate(detail.requests_per_s),
        format: short,
        series: [{ name: "requests per second", look: "look-main", values: history.requests_per_s, now: detail.requests_per_s }],
      }),
      chart({
        ...common,
        id: `${id} errors`,
        title: "Errors",
        lead: rate(detail.errors_per_s),
        format: short,
        series: [{ name: "errors per second", look: "look-bad", values: history.errors_per_s, now: detail.errors_per_s }],
      }),
      chart({
        ...common,
        id: `${id} latency`,
        title: "Latency",
        lead: `p99 ${latency(detail.p99_ms)}`,
        format: latency,
        series: [
          { name: "p99", look: "look-third", values: history.p99_ms, now: detail.p99_ms },
          { name: "p50", look: "look-faint", values: history.p50_ms, now: detail.p50_ms },
        ],
      }),
    ),
  );
}

function refused(ctx, { revision: at, serving, diagnostics: all }, id) {
  const words = ["refused at revision ", revision(at), serving === "last-good" ? "; this is its last good form" : "; nothing serves"];
  return h("div", { class: "problem refused", key: "refusal" }, h("p", { class: "refusal" }, badge("refused", words)), diagnostics(ctx, `row ${id}`, all));
}

const fact = (name, value) => h("div", { key: name }, h("dt", null, name), h("dd", null, value));

/// As many as somebody reads; the list of upstreams has the others, by search.
const SHOWN = 50;

function upstreams(ctx, detail) {
  if (detail.upstreams.length === 0) return quiet("It has no upstreams: requests for it are answered 503.");
  return [
    table(
      `Upstreams of ${detail.name}`,
      [
        head("Upstream"),
        head("State"),
        head("Last check"),
        head("Weight", { class: "num" }),
        head("Requests", { class: "num" }),
        head("Errors", { class: "num" }),
        head("p50", { class: "num wide-only" }),
        head("p99", { class: "num" }),
        head("In flight", { class: "num" }),
        ctx.overview.may_change && head(h("span", { class: "sr" }, "Drain"), { key: "drain" }),
      ],
      detail.upstreams.slice(0, SHOWN).map((row) => upstreamRow(ctx, detail, row)),
      { class: "cards inner", key: "upstreams" },
    ),
    detail.upstreams.length > SHOWN &&
      h(
        "p",
        { class: "quiet", key: "more-upstreams" },
        h("a", { href: `#upstreams?q=${encodeURIComponent(detail.name)}` }, `All ${count(detail.upstreams.length)} upstreams`),
      ),
  ];
}

export function upstreamRow(ctx, service, row, lead) {
  const { clock } = ctx;
  return h(
    "tr",
    { role: "row", key: `${row.service} ${row.name} ${row.address}`, "data-upstream": row.name },
    lead,
    h("td", { role: "cell", class: "name" }, h("span", { class: "upstream-name clamp", title: row.name }, row.name), " ", h("code", { class: "address" }, row.address), row.host && h("span", { class: "calm", key: "host" }, ` ${row.host}`)),
    cell("State", { class: "states" }, badge(row.state), row.state === "drained" && row.health && h("span", { class: row.health === "down" ? "tone-bad" : "calm", key: "health" }, ` · ${row.health}`), " ", h("span", { class: "calm" }, since(row.since, clock))),
    cell("Last check", { class: "check" }, row.last_check ? [h("span", { class: "check-words" }, row.last_check), " ", h("span", { class: "calm" }, ago(row.last_check_at, clock))] : h("span", { class: "calm" }, "–")),
    cell("Weight", { class: "num" }, count(row.weight), typeof row.share === "number" && h("span", { class: "calm", key: "share", title: "warms up: the share of its weight that it is given" }, ` × ${share(row.share)}`)),
    cell("Requests", { class: "num" }, rate(row.requests_per_s)),
    cell("Errors", { class: `num ${row.error_share > 0.01 ? "tone-bad" : ""}` }, share(row.error_share)),
    cell("p50", { class: "num wide-only" }, latency(row.p50_ms)),
    cell("p99", { class: "num" }, latency(row.p99_ms)),
    cell("In flight", { class: "num" }, count(row.in_flight)),
    ctx.overview.may_change && h("td", { role: "cell", class: "drain", key: "drain" }, keysOf(ctx, service, row)),
  );
}

