// Formats times, client names and user text.

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const weekday = new Intl.DateTimeFormat(undefined, { weekday: "long" });
const weekdayShort = new Intl.DateTimeFormat(undefined, { weekday: "short" });
const dayOfYear = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "long" });
const dayShort = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const fullDay = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "long", year: "numeric" });
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "short" });

const DAY_MS = 86_400_000;

export function timeOfDay(at: Date): string {
  return clock.format(at);
}

/** The time with the date, for a tooltip. */
export function exactTime(at: Date): string {
  return exact.format(at);
}

/** The heading of a day in a conversation. */
export function dayHeading(at: Date, now: Date): string {
  const age = daysBetween(at, now);
  if (age === 0) return "Today";
  if (age === 1) return "Yesterday";
  if (age > 1 && age < 7) return weekday.format(at);
  return at.getFullYear() === now.getFullYear() ? dayOfYear.format(at) : fullDay.format(at);
}

/** The time beside a conversation in the list. */
export function shortTime(at: Date, now: Date): string {
  const age = daysBetween(at, now);
  if (age <= 0) return clock.format(at);
  return age < 7 ? weekdayShort.format(at) : dayShort.format(at);
}

/** A key that is equal for two times of the same local day. */
export function dayKey(at: Date): string {
  return `${at.getFullYear()}-${at.getMonth() + 1}-${at.getDate()}`;
}

const BROWSERS = [
  ["Edge", /Edg(?:e|A|iOS)?\//],
  ["Opera", /OPR\//],
  ["Samsung Internet", /SamsungBrowser\//],
  ["Firefox", /(?:Firefox|FxiOS)\//],
  ["Chrome", /(?:Chrome|CriOS|HeadlessChrome)\//],
  ["Safari", /Safari\//],
] as const;

const SYSTEMS = [
  ["Android", /Android/],
  ["iOS", /iPhone|iPad|iPod/],
  ["Windows", /Windows/],
  ["macOS", /Mac OS X|Macintosh/],
  ["ChromeOS", /CrOS/],
  ["Linux", /Linux/],
] as const;

const LONGEST_NAME = 40;

/** Returns a readable name for a `user-agent`: `Firefox on Linux`. For an unknown program, returns its first words. */
export function clientName(userAgent: string): string {
  const named = (names: typeof BROWSERS | typeof SYSTEMS) => names.find(([, mark]) => mark.test(userAgent))?.[0];
  const browser = named(BROWSERS);
  if (browser === undefined) return shortened(userAgent.split(" ").slice(0, 2).join(" "), LONGEST_NAME) || "Unknown program";
  const system = named(SYSTEMS);
  return system ? `${browser} on ${system}` : browser;
}

/** A text of at most `most` characters, cut after a word where it has several. */
export function shortened(text: string, most: number): string {
  const characters = [...text];
  if (characters.length <= most) return text;
  const start = characters.slice(0, most).join("");
  const end = start.lastIndexOf(" ");
  return `${(end > 0 ? start.slice(0, end) : start).trimEnd()}\u2026`;
}

function daysBetween(earlier: Date, later: Date): number {
  const midnight = (at: Date) => new Date(at.getFullYear(), at.getMonth(), at.getDate()).getTime();
  // Rounding covers days of 23 and 25 hours.
  return Math.round((midnight(later) - midnight(earlier)) / DAY_MS);
}

/** Letters and controls with right-to-left direction, or that change the direction of the following text. */
const CHANGES_DIRECTION = /[\u0590-\u08ff\u200e\u200f\u202a-\u202e\u2066-\u2069\ufb1d-\ufdff\ufe70-\ufefc\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u;

/**
 * Isolates a user's text within a sentence, so that its direction does not reorder the words around it (Unicode
 * Standard Annex 9, FSI and PDI). Returns other text unchanged.
 */
export function isolate(text: string): string {
  return CHANGES_DIRECTION.test(text) ? `\u2068${text}\u2069` : text;
}
