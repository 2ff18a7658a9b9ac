// The lines of a run: in the order of their times, those that the filters hide included.

import { element, safe } from "./text.js";
import { day, preciseClock } from "./times.js";

const LEVELS = { 10: "DEBUG", 20: "INFO", 30: "WARNING", 40: "ERROR", 50: "CRITICAL" };
const ERROR = 40;
const MOST_SHOWN = 10000; // characters of a line that are shown at once
const CHUNK = 100; // lines; with each by itself, a browser takes ten times as long
const LINE_HEIGHT = 1.5; // em, as in style.css

/** The position of a timestamp: its milliseconds, and the microseconds that Date leaves out. */
export function positionOf(timestamp) {
  const [, digits = ""] = /\.(\d+)/.exec(timestamp) ?? [];
  return [Date.parse(timestamp), Number(digits.padEnd(6, "0").slice(3, 6))];
}

export const isBefore = ([a, b], [c, d]) => a < c || (a === c && b < d);

/** Lines that a browser lays out together, and not at all while they are out of sight. */
class Chunk {
  constructor() {
    this.list = element("ol");
    this.rows = 0;
    this.shown = 0;
  }

  add(item, before) {
    this.list.insertBefore(item, before);
    this.rows += 1;
  }

  /** Say how high it is, so that it need not be laid out for that. */
  showHeight() {
    this.list.hidden = this.shown === 0;
    this.list.style.containIntrinsicBlockSize = `${this.shown * LINE_HEIGHT}em`;
  }
}

export class Lines {
  /**
   * @param container The element that holds them.
   * @param filters Which are shown: `level`, `writer` and `text`, which may change.
   */
  constructor(container, filters) {
    this.container = container;
    this.filters = filters;
    this.rows = [];
    this.shown = 0;
    this.errors = 0;
    this.changed = new Set(); // chunks whose height may differ from what was said
  }

  /**
   * Add the line of an event at its place, which mostly is the end; `show` it then.
   * @param writer The id of the task run or subflow that wrote it; "" for the run itself.
   * @param name An element with its name.
   */
  add(event, { writer, name, className }) {
    const row = rowOf(event, { writer, name, className });
    let place = this.rows.length;
    while (place > 0 && isBefore(row.position, this.rows[place - 1].position)) place -= 1;
    this.put(row, this.rows[place - 1], this.rows[place]);
    this.rows.splice(place, 0, row);
    this.showDay(place);
    this.showDay(place + 1);
    row.item.hidden = true;
    this.filter(row);
    this.errors += row.level >= ERROR ? 1 : 0;
  }

  /** Show which lines the filters let through now. */
  filterAll() {
    for (const row of this.rows) this.filter(row);
  }

  /** Bring the container up to date. */
  show() {
    for (const chunk of this.changed) chunk.showHeight();
    this.changed.clear();
  }

  /** The element of the first error that is shown, if there is one. */
  firstError() {
    return this.rows.find((row) => row.level >= ERROR && !row.item.hidden)?.item;
  }

  /** Put a row between two others, or at an end. */
  put(row, before, after) {
    row.chunk = (after ?? before)?.chunk;
    if (!row.chunk || (!after && row.chunk.rows >= CHUNK)) {
      row.chunk = new Chunk();
      this.container.append(row.chunk.list);
    }
    row.chunk.add(row.item, after?.item ?? null);
  }

  filter(row) {
    const { level, writer, text } = this.filters;
    const isShown =
      row.level >= level &&
      (!writer || row.writer === writer) &&
      (!text || row.text.toLowerCase().includes(text));
    if (isShown !== row.item.hidden) return;
    row.item.hidden = !isShown;
    const change = isShown ? 1 : -1;
    row.chunk.shown += change;
    this.shown += change;
    this.changed.add(row.chunk);
  }

  /** Show the date above the first line of each day but the first. */
  showDay(place) {
    const [before, row] = [this.rows[place - 1], this.rows[place]];
    if (!row) return;
    if (before && before.day !== row.day) row.item.dataset.day = row.day;
    else delete row.item.dataset.day;
  }
}

function rowOf(event, { writer, name, className }) {
  const date = new Date(event.timestamp);
  const text = safe(event.message);
  const item = element("li", className);
  const time = element("time", "", preciseClock(date));
  time.dateTime = event.timestamp;
  time.title = `${day(date)} ${preciseClock(date)}`;
  const level = element("span", "level", LEVELS[event.level] ?? String(event.level));
  item.dataset.level = Math.min(5, Math.max(1, Math.floor(event.level / 10)));
  item.append(time, level, name, textElement(text));
  const position = positionOf(event.timestamp);
  return { item, position, day: day(date), level: event.level, writer, text };
}

function textElement(text) {
  const made = element("bdi", "text", text.slice(0, MOST_SHOWN));
  if (text.length > MOST_SHOWN) {
    const rest = (text.length - MOST_SHOWN).toLocaleString("en");
    const more = element("button", "more", `${rest} more characters`);
    more.type = "button";
    more.addEventListener("click", () => (made.textContent = text));
    made.append(more);
  }
  return made;
}
