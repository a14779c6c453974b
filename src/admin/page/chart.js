// Small charts of one measure over time: SVG for the lines, text beside it for the axes, so that only lines stretch.

import { h } from "./dom.js";

const WIDTH = 720;
const HEIGHT = 100;
/// Minutes that are shown, always: an axis that grows with the node is read wrongly.
const SPAN = 60;

let hovered = null;
let redraw = () => {};

/// `render` is called when the pointer moves over a chart.
export function onHover(render) {
  redraw = render;
}

/// `series` are { name, values, now, look } with the oldest first, `now` being the last point and `look` a class.
/// `lead` stands for the figure of now; `format` writes values.
export function chart({ id, title, lead, series, step, until, format, small }) {
  const points = Math.round((SPAN * 60) / step);
  const shown = series.map((one) => ({ ...one, values: [...(one.values ?? []), one.now].slice(-points) }));
  const length = Math.max(...shown.map((one) => one.values.length));
  const top = ceiling(Math.max(0, ...shown.flatMap((one) => one.values.filter(Number.isFinite))));
  const x = (back) => WIDTH - (back / Math.max(1, points - 1)) * WIDTH;
  const y = (value) => HEIGHT - (value / top) * HEIGHT;

  const at = hovered?.id === id && hovered.back < length ? hovered.back : null;
  const value = (one, back) => one.values[one.values.length - 1 - back];
  const past = at === null ? null : pastText(at, step, until);

  return h(
    "figure",
    { class: small ? "chart chart-small" : "chart", key: id },
    h(
      "figcaption",
      { class: "chart-head" },
      h("span", { class: "chart-title" }, title),
      at === null
        ? h("span", { class: "chart-lead", key: "now" }, lead)
        : h(
            "span",
            { class: "chart-lead chart-past", key: "past" },
            shown.map((one, i) => [i ? " · " : "", shown.length > 1 ? `${one.name} ` : "", format(value(one, at) ?? null)]),
            h("span", { class: "chart-when" }, past),
          ),
    ),
    h(
      "div",
      { class: "chart-body" },
      h("span", { class: "chart-y chart-y-top", "aria-hidden": "true" }, format(top)),
      h("span", { class: "chart-y chart-y-mid", "aria-hidden": "true" }, format(top / 2)),
      h("span", { class: "chart-y chart-y-low", "aria-hidden": "true" }, "0"),
      h(
        "svg",
        {
          class: "chart-plot",
          viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
          preserveAspectRatio: "none",
          role: "img",
          "aria-label": spoken(title, shown, format),
          on: {
            pointermove: (event) => {
              const box = event.currentTarget.getBoundingClientRect();
              const part = 1 - (event.clientX - box.left) / box.width;
              const back = Math.round(Math.min(1, Math.max(0, part)) * (points - 1));
              if (hovered?.id === id && hovered.back === back) return;
              hovered = { id, back };
              redraw();
            },
            pointerleave: () => {
              hovered = null;
              redraw();
            },
          },
        },
        [0.5, HEIGHT / 2, HEIGHT - 0.5].map((line) =>
          h("line", { class: "chart-grid", x1: 0, x2: WIDTH, y1: line, y2: line }),
        ),
        shown.map((one, i) => {
          const { line, area } = paths(one.values, x, y);
          return [
            i === 0 && h("path", { class: `chart-area ${one.look}`, d: area, key: `area-${one.name}` }),
            h("path", { class: `chart-line ${one.look}`, d: line, key: `line-${one.name}` }),
          ];
        }),
        at !== null && h("line", { class: "chart-mark", key: "mark", x1: x(at), x2: x(at), y1: 0, y2: HEIGHT }),
      ),
      length === 0 && h("span", { class: "chart-none", key: "none" }, "nothing yet"),
      h(
        "span",
        { class: "chart-x", "aria-hidden": "true" },
        h("span", null, `${SPAN} min ago`),
        !small && h("span", { key: "half" }, "30"),
        h("span", null, "now"),
      ),
    ),
  );
}

/// The lines of one series: a gap where nothing was measured.
function paths(values, x, y) {
  let line = "";
  let area = "";
  let start = null;
  let last = null;
  const close = () => {
    if (start !== null) area += `V${HEIGHT}H${start}Z`;
    // A value alone between gaps would be no line at all.
    if (start !== null && start === last) line += "h1";
    start = null;
  };
  values.forEach((value, i) => {
    if (!Number.isFinite(value)) return close();
    const [px, py] = [x(values.length - 1 - i).toFixed(1), y(value).toFixed(1)];
    if (start === null) {
      start = px;
      line += `M${px} ${py}`;
      area += `M${px} ${HEIGHT}V${py}`;
    } else {
      line += `L${px} ${py}`;
      area += `L${px} ${py}`;
    }
    last = px;
  });
  close();
  return { line, area };
}

/// The next round one, half of which is as readable.
function ceiling(value) {
  if (value <= 0) return 1;
  const unit = 10 ** Math.floor(Math.log10(value));
  return [1, 1.5, 2, 3, 4, 6, 8, 10].map((step) => step * unit).find((step) => step >= value * 1.0001) ?? 10 * unit;
}

function pastText(back, step, until) {
  if (back === 0) return "now";
  const seconds = (back - 1) * step;
  const time = new Date(new Date(until).getTime() - seconds * 1000);
  const clock = Number.isNaN(time.getTime()) ? "" : `${time.toISOString().slice(11, 16)} UTC`;
  const ago = seconds < 60 ? `${seconds} s` : `${Math.round(seconds / 60)} min`;
  return `${clock} (${ago} ago)`;
}

function spoken(title, series, format) {
  const told = series.map((one) => {
    const values = one.values.filter(Number.isFinite);
    if (values.length === 0) return `${one.name}: nothing yet`;
    const most = format(Math.max(...values));
    return `${one.name}: ${format(one.values.at(-1) ?? null)} now, ${format(Math.min(...values))} at least, ${most} at most`;
  });
  return `${title} over the last ${SPAN} minutes. ${told.join(". ")}`;
}
