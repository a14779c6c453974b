// Numbers as people read them at night: few digits, always a unit. Spaces do not break (U+00A0).

const grouped = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const NONE = "–";

/// Of revisions and generations: as they stand in the log, so that they can be looked for.
export const id = (n) => (isNumber(n) ? String(n) : NONE);

export const count = (n) => (isNumber(n) ? grouped.format(n) : NONE);

/// 3 digits that count: 0.04, 1.2, 34, 1,204, 34.1 k, 2.3 M.
export function short(n) {
  if (!isNumber(n)) return NONE;
  if (n === 0) return "0";
  if (n < 0.005) return "<0.01";
  if (n < 1) return trimmed(n.toFixed(2));
  if (n < 100) return trimmed(n.toFixed(1));
  if (n < 10_000) return grouped.format(n);
  if (n < 1e6) return `${trimmed((n / 1e3).toFixed(1))}\u00a0k`;
  return `${trimmed((n / 1e6).toFixed(1))}\u00a0M`;
}

export const rate = (n) => (isNumber(n) ? `${short(n)}/s` : NONE);

export function latency(ms) {
  if (!isNumber(ms)) return NONE;
  if (ms < 0.1) return "<0.1\u00a0ms";
  if (ms < 10) return `${trimmed(ms.toFixed(1))}\u00a0ms`;
  if (ms < 1000) return `${Math.round(ms)}\u00a0ms`;
  return `${trimmed((ms / 1000).toFixed(ms < 10_000 ? 2 : 1))}\u00a0s`;
}

export function share(part) {
  if (!isNumber(part)) return NONE;
  if (part === 0) return "0\u00a0%";
  if (part < 0.0005) return "<0.1\u00a0%";
  return `${trimmed((part * 100).toFixed(part < 0.1 ? 1 : 0))}\u00a0%`;
}

export function bytes(n) {
  if (!isNumber(n)) return NONE;
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let at = 0;
  while (n >= 1000 && at < units.length - 1) {
    n /= 1000;
    at += 1;
  }
  return `${at === 0 || n >= 100 ? Math.round(n) : trimmed(n.toFixed(1))}\u00a0${units[at]}`;
}

/// The two largest parts: 3 d 4 h, 3 h 12 min, 12 min, 40 s.
export function duration(seconds) {
  if (!isNumber(seconds)) return NONE;
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s}\u00a0s`;
  const m = Math.floor(s / 60);
  if (m < 60) return m < 5 && s % 60 ? `${m}\u00a0min ${s % 60}\u00a0s` : `${m}\u00a0min`;
  const hours = Math.floor(m / 60);
  if (hours < 24) return m % 60 ? `${hours}\u00a0h ${m % 60}\u00a0min` : `${hours}\u00a0h`;
  const days = Math.floor(hours / 24);
  return hours % 24 && days < 10 ? `${days}\u00a0d ${hours % 24}\u00a0h` : `${days}\u00a0d`;
}

/// Until a time, by the node's clock: 80 d, 47 h 12 min, 40 s.
export function left(text, clock) {
  const seconds = Math.max(0, (Date.parse(text) - clock) / 1000);
  if (!isNumber(seconds)) return NONE;
  if (seconds >= 172_800) return `${Math.floor(seconds / 86_400)}\u00a0d`;
  if (seconds < 3600) return duration(seconds);
  const minutes = Math.floor(seconds / 60);
  return minutes % 60 ? `${Math.floor(minutes / 60)}\u00a0h ${minutes % 60}\u00a0min` : `${minutes / 60}\u00a0h`;
}

/// As Rust writes it, 1.234567ms, with as few digits as other latencies.
export function took(text) {
  const [, n, unit] = /^([\d.]+)(ns|µs|ms|s)$/.exec(text) ?? [];
  return n ? latency(Number(n) * { ns: 1e-6, µs: 1e-3, ms: 1, s: 1000 }[unit]) : text;
}

/// 2026-11-21 18:19:30 UTC, whatever part of it is asked for.
export function utc(text) {
  const time = new Date(text);
  if (Number.isNaN(time.getTime())) return String(text ?? "");
  return `${time.toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

export const clock = (text) => utc(text).slice(11, 19);

export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

function isNumber(n) {
  return typeof n === "number" && Number.isFinite(n);
}

function trimmed(text) {
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}
