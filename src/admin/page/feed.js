// What the node says: a stream of overviews once a second, and what is asked for by GET.

const ANSWER_MS = 10_000;
const QUIET_MS = 6_000;
const POLL_MS = 2_000;

/// All addresses are below the page's own: the page may be served below a prefix.
export async function ask(path, options = {}) {
  const signals = [AbortSignal.timeout(ANSWER_MS)];
  if (options.signal) signals.push(options.signal);
  const answer = await fetch(`./v1/${path}`, {
    cache: "no-store",
    ...options,
    signal: AbortSignal.any(signals),
  });
  const text = await answer.text();
  let body = null;
  try {
    body = JSON.parse(text);
  } catch {
    // A proxy's error page, or plain words.
  }
  if (answer.ok && body !== null) return body;
  const why = body?.error ?? (text.length < 200 ? text.trim() : "");
  const error = new Error(why || `the node answered ${answer.status}`);
  error.status = answer.status;
  error.body = body;
  throw error;
}

/// Calls `onOverview(overview)` about once a second and `onLink(state, why)` when the connection changes:
/// live, polling or lost. Where the first overview says that there is no stream, as below `stats_uri`, none is asked for.
export function follow(onOverview, onLink) {
  let source = null;
  let closed = 0;
  let quiet = 0;
  let timer = 0;

  const listen = () => {
    clearTimeout(quiet);
    quiet = setTimeout(silent, QUIET_MS);
  };
  const got = (event) => {
    let overview;
    try {
      overview = JSON.parse(event.data);
    } catch {
      return;
    }
    closed = 0;
    listen();
    onLink("live");
    onOverview(overview);
  };
  const gone = (wait) => {
    source?.close();
    clearTimeout(quiet);
    closed += 1;
    if (closed >= 3) poll();
    else timer = setTimeout(open, wait);
  };
  // Open, and nothing comes: somebody between holds it back.
  const silent = () => {
    onLink("lost", "nothing came for some seconds");
    gone(0);
  };
  const open = () => {
    source = new EventSource("./v1/stream");
    source.addEventListener("overview", got);
    source.onerror = () => {
      if (source.readyState === EventSource.CLOSED) {
        gone(1000);
      } else {
        // The browser tries again by itself.
        clearTimeout(quiet);
        onLink("lost", "the node does not answer");
        listen();
      }
    };
    listen();
  };
  const poll = async () => {
    clearTimeout(timer);
    const start = performance.now();
    try {
      const overview = await ask("overview");
      const isFirst = lastTry === -Infinity;
      if (!isFirst || overview.stream === false) onLink("polling");
      onOverview(overview);
      // Perhaps the stream can be had again: certainly worth a look if the node was away.
      if (overview.stream !== false && (wasAway || performance.now() - lastTry > 60_000)) {
        wasAway = false;
        lastTry = performance.now();
        closed = isFirst ? 0 : 2;
        open();
        return;
      }
    } catch (error) {
      wasAway = true;
      onLink("lost", error.status ? error.message : "the node does not answer");
    }
    timer = setTimeout(poll, Math.max(250, POLL_MS - (performance.now() - start)));
  };
  let lastTry = -Infinity;
  let wasAway = false;
  poll();
}

/// Answers by name, asked again when they are older than their age or another address is wanted.
export class Answers {
  #slots = new Map();
  #onChange;

  constructor(onChange) {
    this.#onChange = onChange;
  }

  /// `undefined` until the first answer; the one before stays while the next is under way.
  data(name) {
    return this.#slots.get(name)?.data;
  }

  error(name) {
    return this.#slots.get(name)?.error;
  }

  /// `wants` is a list of { name, path, age, merge, stamp }; what is not among them is forgotten. What has another
  /// stamp than before is old whatever its age; what merges is added to what is there.
  want(wants) {
    const names = new Set(wants.map((want) => want.name));
    for (const [name, slot] of this.#slots) {
      if (names.has(name)) continue;
      slot.abort?.abort();
      this.#slots.delete(name);
    }
    for (const want of wants) this.#look(want);
  }

  /// Asks anew at the next want().
  age(name) {
    for (const [of, slot] of this.#slots) if (!name || of.startsWith(name)) slot.at = -Infinity;
  }

  async #look({ name, path, age, merge, stamp }) {
    let slot = this.#slots.get(name);
    if (!slot) this.#slots.set(name, (slot = { at: -Infinity }));
    const isOther = slot.path !== path && !merge;
    if (slot.abort && !isOther) return;
    // Ticks are never exact: what is nearly old is old.
    if (!isOther && slot.stamp === stamp && performance.now() - slot.at < age - 100) return;
    slot.abort?.abort();
    const abort = new AbortController();
    Object.assign(slot, { path, stamp, abort, at: performance.now() });
    try {
      const data = await ask(path, { signal: abort.signal });
      if (slot.abort !== abort) return;
      slot.data = merge ? merge(slot.data, data) : data;
      slot.error = null;
    } catch (error) {
      if (slot.abort !== abort) return;
      slot.error = error;
      if (error.status === 404) slot.data = undefined;
    }
    slot.abort = null;
    this.#onChange();
  }
}
