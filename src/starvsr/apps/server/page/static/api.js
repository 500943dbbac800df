// Requests to the API of this server; refusals become errors whose text says what, why and what next.

export class Refused extends Error {
  constructor(status, told, retryAfter) {
    super(told ? `${told.what}: ${told.why}; ${told.next}` : `the server answered ${status}`);
    Object.assign(this, { status, code: told?.code, retryAfter });
  }
}

export class Unreachable extends Error {}

export async function call(method, path, body, options = {}) {
  let answer;
  try {
    const json = body === undefined ? {} : { body: JSON.stringify(body), headers: { "Content-Type": "application/json" } };
    answer = await fetch(`/api/v1${path}`, { method, cache: "no-store", ...json, ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Unreachable("the server cannot be reached");
  }
  if (answer.ok) return answer.status === 204 ? answer : { ...(await plain(answer)) };
  if (answer.status === 401 && path !== "/login") location.reload();
  let told = null;
  try { told = (await answer.json()).error; } catch { /* a proxy's answer */ }
  throw new Refused(answer.status, told, Number(answer.headers.get("Retry-After")) || null);
}

async function plain(answer) {
  const found = await answer.json();
  return Array.isArray(found) ? { list: found } : found;
}

export const get = (path, options) => call("GET", path, undefined, options);
export const post = (path, body, options) => call("POST", path, body, options);
export const list = async (path) => (await get(path)).list;

export const make = (name, attributes = {}, ...children) => {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key in made && typeof value !== "string") made[key] = value; else made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
};

export function bytes(count) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  const place = Math.min(units.length - 1, Math.floor(Math.log10(Math.max(count, 1)) / 3));
  const value = count / 1000 ** place;
  return `${value < 10 && place ? value.toFixed(1) : Math.round(value)} ${units[place]}`;
}

export function time(seconds) {
  if (seconds === null || seconds === undefined) return "unknown";
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds), pad = (n) => String(n).padStart(2, "0");
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${pad(whole % 60)} s`;
  return `${Math.floor(whole / 3600)} h ${pad(Math.floor(whole / 60) % 60)} min`;
}
