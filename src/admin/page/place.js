// Where the operator is, in the URL's hash: `#overview?q=web&sort=p99&open=http/web`. So reload and back work.

export const VIEWS = ["overview", "upstreams", "listeners", "certificates", "generations", "nodes", "events"];

const DEFAULTS = { q: "", state: "", sort: "name", order: "asc", page: 1 };

/// Open rows are asked for one by one at every second tick.
const MAX_OPEN = 8;

export function read() {
  const [view, query = ""] = location.hash.slice(1).split("?");
  const params = new URLSearchParams(query);
  const page = Number.parseInt(params.get("page") ?? "1", 10);
  return {
    view: VIEWS.includes(view) ? view : "overview",
    q: params.get("q") ?? "",
    state: params.get("state") ?? "",
    sort: params.get("sort") ?? DEFAULTS.sort,
    order: params.get("order") === "desc" ? "desc" : "asc",
    page: page >= 1 ? page : 1,
    open: params.getAll("open").slice(0, MAX_OPEN),
    all: params.get("all") ?? "",
  };
}

export function href(place) {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(DEFAULTS)) {
    if (place[name] !== undefined && place[name] !== value) params.set(name, place[name]);
  }
  for (const row of place.open ?? []) params.append("open", row);
  if (place.all) params.set("all", place.all);
  const query = params.toString();
  return `#${place.view}${query ? `?${query}` : ""}`;
}

export function toggled(open, row) {
  if (open.includes(row)) return open.filter((other) => other !== row);
  return [...open, row].slice(-MAX_OPEN);
}
