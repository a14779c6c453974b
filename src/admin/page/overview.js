// The first view: what needs somebody, how it goes, and the services.

import { chart } from "./chart.js";
import { h } from "./dom.js";
import { bytes, count, latency, left, plural, rate, share, short } from "./format.js";
import { badge, revision, time } from "./parts.js";
import * as problems from "./problems.js";
import * as services from "./services.js";

export function wants(ctx) {
  return [
    // A new point every ten seconds.
    { name: "history", path: "overview?history=1", age: 10_000 },
    ...services.wants(ctx),
  ];
}

export function view(ctx) {
  const { overview } = ctx;
  return h(
    "div",
    { class: "view", key: "overview" },
    figures(ctx),
    problems.view(ctx),
    charts(ctx),
    services.view(ctx),
    h(
      "p",
      { class: "small-print" },
      [
        overview.phase === "running" ? null : overview.phase,
        `${plural(overview.listeners ?? 0, "listener")}`,
        `${plural(overview.rejected_total ?? 0, "request")} refused for what they are`,
        `${plural(overview.access_log_dropped_total ?? 0, "line")} of the access log lost`,
        overview.draining > 0 ? `${plural(overview.draining, "old generation")} still in use` : "no old generation in use",
        `digest ${overview.digest ?? ""}`,
      ]
        .filter(Boolean)
        .map((words) => h("span", null, words)),
    ),
  );
}

function charts({ overview, answers }) {
  const history = answers.data("history")?.history ?? {};
  const common = { step: history.step_s ?? 10, until: history.until ?? overview.now };
  const errors = overview.requests_per_s > 0 ? overview.errors_per_s / overview.requests_per_s : 0;
  return h(
    "section",
    { class: "charts", "aria-label": "The last hour", key: "charts" },
    chart({
      ...common,
      id: "requests",
      title: "Requests",
      lead: [strong(short(overview.requests_per_s)), "/s"],
      format: short,
      series: [{ name: "requests per second", look: "look-main", values: history.requests_per_s, now: overview.requests_per_s }],
    }),
    chart({
      ...common,
      id: "errors",
      title: "Errors",
      lead: [strong(short(overview.errors_per_s)), `/s, ${share(errors)}`],
      format: short,
      series: [{ name: "errors per second", look: "look-bad", values: history.errors_per_s, now: overview.errors_per_s }],
    }),
    chart({
      ...common,
      id: "latency",
      title: "Latency",
      lead: ["p99 ", strong(latency(overview.p99_ms)), h("span", { class: "chart-extra" }, ` p50 ${latency(overview.p50_ms)}`)],
      format: latency,
      series: [
        { name: "p99", look: "look-third", values: history.p99_ms, now: overview.p99_ms },
        { name: "p50", look: "look-faint", values: history.p50_ms, now: overview.p50_ms },
      ],
    }),
    chart({
      ...common,
      id: "connections",
      title: "Connections",
      lead: [strong(count(overview.connections)), overview.max_connections > 0 && h("span", { class: "chart-extra" }, ` of ${count(overview.max_connections)}`)],
      format: short,
      series: [{ name: "connections", look: "look-second", values: history.connections, now: overview.connections }],
    }),
  );
}

const strong = (words) => h("strong", null, words);

function figures({ overview, answers, clock }) {
  const { services: all = {}, upstreams = {}, certificates = {}, stores = [] } = overview;
  const next = (answers.data("certificates") ?? []).filter((one) => Date.parse(one.not_after) > clock).map((one) => one.not_after).sort()[0];
  // Those of certificates are told by the figure of certificates.
  const warnings = overview.warnings - (answers.data("refused")?.warnings ?? []).filter((one) => ["expires-soon", "expired"].includes(one.code)).length;
  const away = stores.filter((store) => !store.connected).length;
  return h(
    "section",
    { class: "figures", "aria-label": "Figures", key: "figures" },
    figure({
      name: "Services up",
      value: count(all.up),
      of: all.total,
      parts: [
        ["up", all.up],
        ["degraded", all.degraded],
        ["down", all.down],
        ["drained", all.drained],
        ["empty", all.empty],
        ["maintenance", all.maintenance],
      ],
      link: (state) => `#overview?state=${state}`,
      rest: "all up",
    }),
    figure({
      name: "Upstreams up",
      value: count(upstreams.up),
      of: upstreams.total,
      parts: [
        ["up", upstreams.up],
        ["down", upstreams.down],
        ["starting", upstreams.starting],
        ["drained", upstreams.drained],
      ],
      link: (state) => `#upstreams?state=${state}`,
      rest: "all up",
    }),
    figure({
      name: "Refused units",
      value: count(overview.refused),
      notes: [
        overview.refused > 0 ? badge("refused", "not as its keys say") : "every key is in force",
        warnings > 0 && plural(warnings, "warning"),
        overview.left_out > 0 && `${plural(overview.left_out, "key")} left out`,
      ],
    }),
    figure({
      name: "Certificates",
      value: count(certificates.total),
      parts: [
        ["expired", certificates.ended],
        ["expires-soon", certificates.ending],
      ],
      link: () => "#certificates",
      rest: certificates.total > 0 ? (next ? "" : "none ends soon") : "none",
      notes: [next && h("span", { key: "next" }, "next ends in ", time(next, left(next, clock)))],
      words: { expired: "ended", "expires-soon": certificates.ending === 1 ? "ends soon" : "end soon" },
    }),
    figure({
      name: stores.length === 1 ? "Store" : "Stores",
      value: plural(stores.reduce((sum, store) => sum + (store.keys ?? 0), 0), "key"),
      isText: true,
      notes: [
        away > 0 ? badge("lost", `${plural(away, "store")} away`) : badge("up", "connected"),
        stores.length === 1 && ["revision ", revision(stores[0].revision)],
      ],
    }),
    figure({
      name: "Traffic",
      value: `${bytes(overview.bytes_out_per_s)}/s`,
      isText: true,
      notes: ["out", `${bytes(overview.bytes_in_per_s)}/s in`, overview.flows_per_s > 0 && `${rate(overview.flows_per_s)} flows`],
    }),
  );
}

function figure({ name, value, of, parts, link, rest, notes, words = {}, isText }) {
  const others = (parts ?? []).filter(([state, n]) => state !== "up" && n > 0);
  return h(
    "div",
    { class: "figure", key: name },
    h("span", { class: "figure-name" }, name),
    h(
      "span",
      { class: isText ? "figure-value figure-text" : "figure-value" },
      value,
      of !== undefined && h("span", { class: "figure-of" }, ` of ${count(of)}`),
    ),
    h(
      "span",
      { class: "figure-notes" },
      parts && others.length === 0 && rest && h("span", { key: "rest" }, rest),
      others.map(([state, n]) =>
        h("a", { href: link(state), key: state, class: "figure-link" }, badge(state, `${count(n)} ${words[state] ?? state}`)),
      ),
      (notes ?? []).filter(Boolean).map((note) => h("span", null, note)),
    ),
  );
}
