// Services that do not serve as they should, each once with all that is wrong with it; those with the same reason
// are one line.

import { h } from "./dom.js";
import { count, plural, rate, share } from "./format.js";
import { code, serviceLink, serviceOf, since } from "./parts.js";

/// As many as the node gives at once: what is equal can be seen only when it is read.
const MOST = 500;
/// Of so many upstreams at most: services have several.
const PAGES = 4;
/// Of the upstreams of one service: mostly they are down for one and the same.
const REASONS = 2;
const NAMES = 3;
/// From where on errors are a problem, and not a few answers among many.
const ERROR_SHARE = 0.05;
const ERRORS_PER_S = 0.1;

export function wants({ overview }, age) {
  const { services = {}, upstreams = {}, errors_per_s: errors } = overview;
  const stamp = [services.down, services.degraded, services.drained, upstreams.down].join();
  // Long lists are read again when something changes, and seldom else.
  const slow = (services.down ?? 0) + (services.degraded ?? 0) > 50 ? 10_000 : age;
  const wants = ["down", "drained", "degraded"]
    .filter((state) => services[state] > 0)
    .map((state) => ({ name: `services ${state}`, path: `running/services?state=${state}&size=${MOST}`, age: slow, stamp }));
  for (let page = 1; page <= Math.min(PAGES, Math.ceil(upstreams.down / MOST)); page += 1) {
    wants.push({ name: `upstreams down ${page}`, path: `running/upstreams?state=down&size=${MOST}&page=${page}`, age: slow, stamp });
  }
  if (errors >= ERRORS_PER_S) wants.push({ name: "services failing", path: "running/services?sort=errors&order=desc&size=50", age });
  return wants;
}

/// Kinds of problems: { lines, all, what, more }.
export function ailing(ctx) {
  const { answers } = ctx;
  const rows = (name) => answers.data(name)?.rows ?? [];
  const all = new Map();
  for (const kind of ["down", "drained", "degraded"]) {
    for (const row of rows(`services ${kind}`)) if (!all.has(row.unit)) all.set(row.unit, { kind, row, upstreams: [] });
  }
  for (const row of rows("services failing")) {
    if (row.error_share < ERROR_SHARE || row.errors_per_s < ERRORS_PER_S) continue;
    if (!all.has(row.unit)) all.set(row.unit, { kind: "failing", row, upstreams: [] });
    const one = all.get(row.unit);
    one.errors = row;
    if (one.kind === "degraded") one.kind = "failing";
  }
  for (let page = 1; page <= PAGES; page += 1) {
    for (const row of rows(`upstreams down ${page}`)) all.get(row.service)?.upstreams.push(row);
  }
  const of = (kind) => [...all.values()].filter((one) => one.kind === kind);
  const more = (kind) => Math.max(0, (answers.data(`services ${kind}`)?.matched ?? 0) - rows(`services ${kind}`).length);
  const made = (kind, word) => ({ lines: folded(ctx, kind, of(kind)), all: `#overview?state=${kind}`, what: `${word} service`, more: more(kind) });
  return {
    down: made("down", "down"),
    drained: made("drained", "drained"),
    failing: { lines: of("failing").map((one) => line(ctx, one)), all: "#overview?sort=errors&order=desc", what: "failing service" },
    degraded: made("degraded", "degraded"),
  };
}

const WORDS = {
  down: ({ upstreams_total: n }) => (n === 1 ? " is down: its only upstream does not answer" : ` is down: none of ${plural(n, "upstream")} answers`),
  drained: () => " is drained: all its upstreams are, and who belongs to none is answered 503",
  degraded: (row, upstreams) => ` lacks ${plural(upstreams.length || row.upstreams_total - row.upstreams_up, "upstream")}`,
  empty: () => " has no upstreams",
};

function line({ clock }, { kind, row, upstreams, errors }) {
  const words = (WORDS[row.state] ?? (() => ""))(row, upstreams);
  const failing = errors && `${words ? "," : ""} answers ${share(errors.error_share)} errors, ${rate(errors.errors_per_s)}`;
  return {
    key: `down ${row.unit}`,
    state: kind === "drained" ? "all-drained" : kind,
    title: [serviceLink(row), words, failing],
    when: row.state !== "up" && row.state !== "empty" && row.since && ["for ", since(row.since, clock)],
    kids:
      upstreams.length > 0 &&
      h(
        "ul",
        { class: "reasons" },
        upstreams.slice(0, REASONS).map((one) =>
          h(
            "li",
            { key: `${one.name} ${one.address}` },
            h("span", { class: "reason-name" }, one.name, " ", code(one.address)),
            h("span", { class: "reason" }, one.last_check || "no check told why"),
            kind !== "down" && upstreams.length > 1 && one.since && h("span", { class: "calm", key: "since" }, "for ", since(one.since, clock)),
          ),
        ),
        upstreams.length > REASONS && h("li", { key: "more", class: "calm" }, `and ${plural(upstreams.length - REASONS, "other")}`),
      ),
  };
}

function folded(ctx, kind, all) {
  const groups = new Map();
  for (const one of all) {
    const reasons = [...new Set(one.upstreams.map((row) => `${row.address} ${row.last_check}`))].sort();
    const key = JSON.stringify(reasons);
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(one);
  }
  return [...groups].map(([key, group]) => (group.length === 1 ? line(ctx, group[0]) : fold(kind, key, group)));
}

/// `500 services are down: 127.0.0.1:43111, connect: refused`
function fold(kind, key, group) {
  const reasons = new Map(group[0].upstreams.map((row) => [`${row.address} ${row.last_check}`, row]));
  const errors = group.reduce((sum, one) => sum + (one.errors?.errors_per_s ?? 0), 0);
  const words = { down: " are down", drained: " are drained: who belongs to none of their upstreams is answered 503", degraded: " lack upstreams" }[kind];
  return {
    key: `all ${kind} ${key}`,
    state: kind === "drained" ? "all-drained" : kind,
    n: group.length,
    title: [
      h("a", { href: `#overview?state=${kind}` }, h("strong", null, `${count(group.length)} services`)),
      words,
      [...reasons.values()].slice(0, REASONS).map((row, i) => [i ? "; " : ": ", code(row.address), `, ${row.last_check || "no check told why"}`]),
      reasons.size > REASONS && `; and ${plural(reasons.size - REASONS, "other address", "other addresses")}`,
      errors > 0 && `; ${rate(errors)} errors at least`,
    ],
    kids: h(
      "p",
      { class: "problem-reason" },
      group.slice(0, NAMES).map(({ row }, i) => [i ? ", " : "", serviceLink(serviceOf(row.unit))]),
      group.length > NAMES && ` and ${count(group.length - NAMES)} more`,
    ),
  };
}
