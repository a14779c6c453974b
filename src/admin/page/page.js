// The stats page: holds what is known and where the operator is, and draws when either changes.

import { onHover } from "./chart.js";
import { h, patch } from "./dom.js";
import { Answers, follow } from "./feed.js";
import { fleet } from "./fleet.js";
import { count, duration, id, utc } from "./format.js";
import * as lists from "./lists.js";
import * as overviewView from "./overview.js";
import { badge, quiet, revision, shape, since } from "./parts.js";
import { VIEWS, href, read } from "./place.js";
import * as problems from "./problems.js";

const part = (id) => document.getElementById(id);

let place = read();
let overview = null;
let heardAt = 0;
let link = { state: "connecting", since: Date.now(), why: "" };
let pausedAt = null;
let isDue = false;

const answers = new Answers(() => {
  // What is wanted may follow from what came: rows of a list that are open.
  look();
  render();
});

/// The node's clock, which goes on between its words.
const clock = () => Date.parse(overview.now) + (pausedAt ?? performance.now()) - heardAt;

function context() {
  return { overview, place, go, answers, clock: clock(), isLost: link.state === "lost", render, refresh };
}

/// Another place: a step in the browser's history, or none where every letter of a search would be one.
function go(changes, how = "push") {
  place = { ...place, ...changes };
  const to = href(place);
  if (how === "replace") history.replaceState(null, "", to);
  else history.pushState(null, "", to);
  look();
  render();
}

function arrive() {
  const before = place.view;
  place = read();
  look();
  render();
  if (place.view !== before) {
    part("main").focus({ preventScroll: true });
    scrollTo(0, 0);
    // Only sideways, where sections do not fit.
    const link = part("nav").querySelector(`[href="#${place.view}"]`);
    if (link) part("nav").scrollLeft = link.offsetLeft - (part("nav").clientWidth - link.offsetWidth) / 2;
  }
}

/// Asks for what is shown and old.
function look() {
  if (!overview || document.hidden) return;
  const ctx = context();
  const own = place.view === "overview" ? overviewView.wants(ctx) : lists.wants[place.view](ctx);
  // Problems are counted whatever is looked at.
  const wants = [...own, ...problems.wants(ctx).filter(({ name }) => own.every((want) => want.name !== name))];
  // Held still, only what was never asked for is.
  answers.want(pausedAt === null ? wants : wants.map((want) => ({ ...want, age: Infinity })));
}

function refresh() {
  answers.age();
  look();
  render();
}

function render() {
  if (isDue) return;
  isDue = true;
  // Not while the page is hidden: nobody looks.
  requestAnimationFrame(() => {
    isDue = false;
    draw();
  });
}

function draw() {
  drawLink();
  if (!overview) return;
  const ctx = context();
  ctx.problems = problems.list(ctx);
  drawNode(ctx);
  drawNav(ctx);
  const view =
    place.view === "overview" ? overviewView.view(ctx) : h("div", { class: "view", key: place.view }, lists.views[place.view](ctx));
  patch(part("main"), view);
  const wrong = ctx.problems.total;
  document.title = `${wrong > 0 ? `(${count(wrong)}) ` : ""}${overview.node} · pointsman`;
}

function drawLink() {
  const isLost = link.state === "lost";
  document.body.classList.toggle("is-stale", isLost && overview !== null);
  const words = {
    connecting: "connecting",
    live: "live",
    polling: "polling",
    lost: `lost for ${duration((Date.now() - link.since) / 1000)}`,
  };
  const state = pausedAt !== null && !isLost ? "paused" : link.state;
  const title = isLost ? `${link.why}, since ${utc(link.since)}` : link.state === "polling" ? "asked every 2 s: there is no stream here" : null;
  const shown = h("span", { class: `link-state link-${state}`, title }, shape(state), h("span", null, pausedAt !== null && !isLost ? "paused" : words[state]));
  patch(part("link"), shown);
  if (isLost && !overview) patch(part("main"), quiet(`No answer from the node: ${link.why}. It is asked again and again.`));
}

function drawNode(ctx) {
  const pair = (name, value, title) => h("span", { class: "pair", key: name, title }, h("span", { class: "calm" }, name), " ", h("b", null, value));
  patch(
    part("node"),
    h("strong", { class: "node-name clamp", title: overview.node }, overview.node),
    badge(overview.phase),
    pair("version", overview.version),
    pair("generation", id(overview.generation), `swapped in ${utc(overview.since)}`),
    h("span", { class: "pair", key: "for" }, h("span", { class: "calm" }, "for"), " ", h("b", null, since(overview.since, ctx.clock))),
    pair("revision", revision(overview.revision), `revision ${id(overview.revision)}, digest ${overview.digest}`),
    h("span", { class: "pair", key: "up" }, h("span", { class: "calm" }, "up for"), " ", h("b", null, since(overview.started, ctx.clock))),
  );
}

const NAMES = {
  overview: "Overview",
  upstreams: "Upstreams",
  listeners: "Listeners",
  certificates: "Certificates",
  generations: "Generations",
  nodes: "Nodes",
  events: "Events",
};

function drawNav(ctx) {
  const { all, living } = fleet(ctx);
  const counts = {
    upstreams: count(overview.upstreams?.total),
    listeners: count(overview.listeners),
    certificates: count(overview.certificates?.total),
    nodes: all.length === 0 ? undefined : living < all.length ? `${count(living)} of ${count(all.length)}` : count(all.length),
  };
  const wrong = ctx.problems.total;
  patch(
    part("nav"),
    VIEWS.map((view) =>
      h(
        "a",
        { key: view, href: `#${view}`, class: "nav-link", "aria-current": place.view === view ? "page" : null },
        NAMES[view],
        view === "overview" && wrong > 0 && h("span", { class: "nav-wrong", key: "wrong" }, count(wrong), h("span", { class: "sr" }, " problems")),
        counts[view] !== undefined && h("span", { class: "nav-count", key: "count" }, counts[view]),
      ),
    ),
  );
  hint();
}

/// Where sections do not fit, their row fades towards those that are out of sight.
function hint() {
  const nav = part("nav");
  const hidden = nav.scrollWidth - nav.clientWidth;
  nav.classList.toggle("has-more", nav.scrollLeft < hidden - 4);
  nav.classList.toggle("has-less", nav.scrollLeft > 4);
}

function pause() {
  pausedAt = pausedAt === null ? performance.now() : null;
  part("pause").setAttribute("aria-pressed", String(pausedAt !== null));
  part("pause").textContent = pausedAt === null ? "Pause" : "Go on";
  if (pausedAt === null) refresh();
  else render();
}

function theme(next) {
  const now = next ? window.pointsmanTheme.next() : window.pointsmanTheme.now;
  const words = { system: "Auto", light: "Light", dark: "Dark" }[now];
  part("theme").textContent = words;
  part("theme").setAttribute("aria-label", `${words} theme`);
}

const isTyping = (node) => node.matches?.("input, select, textarea");

function onKey(event) {
  // Some keyboards have [ and ] behind AltGr.
  const isChord = (event.ctrlKey || event.metaKey || event.altKey) && !event.getModifierState("AltGraph");
  if (isChord || document.querySelector("dialog[open]")) return;
  const row = event.target.closest?.("[data-row]");
  if (row && onRowKey(event, row)) return event.preventDefault();
  if (isTyping(event.target)) {
    const first = document.querySelector("[data-row]");
    if (event.key === "ArrowDown" && event.target.id === "search" && first) {
      first.focus();
      event.preventDefault();
    }
    return;
  }
  const keys = {
    "/": () => part("search")?.focus(),
    "?": () => part("help").showModal(),
    p: pause,
    t: () => theme(true),
    "[": () => document.querySelector('[data-page="page before"]')?.click(),
    "]": () => document.querySelector('[data-page="page after"]')?.click(),
    ArrowDown: () => event.target === document.body && document.querySelector("[data-row]")?.focus(),
  };
  const view = VIEWS[Number(event.key) - 1];
  if (event.key !== " " && view) location.hash = view;
  else if (!keys[event.key]) return;
  else if (keys[event.key]() === false) return;
  event.preventDefault();
}

function onRowKey(event, row) {
  const rows = [...document.querySelectorAll("[data-row]")];
  const at = rows.indexOf(row);
  const isOpen = row.getAttribute("aria-expanded") === "true";
  const steps = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: rows.length - 1 };
  if (event.key in steps) {
    rows[Math.min(rows.length - 1, Math.max(0, steps[event.key]))].focus();
    return true;
  }
  if ((event.key === "ArrowRight" && !isOpen) || (event.key === "ArrowLeft" && isOpen)) {
    row.click();
    return true;
  }
  return false;
}

onHover(render);
addEventListener("popstate", arrive);
addEventListener("hashchange", arrive);
addEventListener("keydown", onKey);
document.addEventListener("visibilitychange", () => {
  look();
  render();
});
addEventListener("resize", hint);
part("nav").addEventListener("scroll", hint, { passive: true });
part("pause").onclick = pause;
part("theme").onclick = () => theme(true);
part("keys").onclick = () => part("help").showModal();
part("help-close").onclick = () => part("help").close();
theme(false);
follow(
  (news) => {
    if (pausedAt !== null && overview) return;
    overview = news;
    heardAt = performance.now();
    look();
    render();
  },
  (state, why = "") => {
    if (link.state !== state) {
      link = { state, why, since: Date.now() };
      // How long it is lost changes each second, which nobody wants to be read.
      part("link-told").textContent = state === "lost" ? `connection lost: ${why}` : state;
    } else link.why = why;
    if (state === "lost") render();
  },
);
// "lost for" goes on when nothing else comes.
setInterval(() => link.state !== "live" && render(), 1000);
render();
