// Times and durations as people read them, in the browser's time zone.

const DIGITS = new Intl.NumberFormat("en", { minimumIntegerDigits: 2, useGrouping: false });
const two = (number) => DIGITS.format(number);

/** `2026-11-29`, of a Date. */
export const day = (date) => `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;

/** `09:05:07`, of a Date. */
export const clock = (date) => [date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(":");

/** `09:05:07.042`, of a Date. */
export const preciseClock = (date) => `${clock(date)}.${String(date.getMilliseconds()).padStart(3, "0")}`;

/** A duration in milliseconds, as `rxflow._models.durations.short_duration` formats it. */
export function duration(milliseconds) {
  const seconds = Math.max(0, milliseconds) / 1000;
  if (seconds < 0.9995) return `${(seconds * 1000).toFixed(0)} ms`;
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const parts = (total, size) => [Math.floor(total / size), two(total % size)];
  if (seconds < 3599.5) {
    const [minutes, rest] = parts(Math.round(seconds), 60);
    return `${minutes} min ${rest} s`;
  }
  if (seconds < 86370) {
    const [hours, rest] = parts(Math.round(seconds / 60), 60);
    return `${hours} h ${rest} min`;
  }
  const [days, rest] = parts(Math.round(seconds / 3600), 24);
  return `${days} d ${rest} h`;
}

for (const element of document.querySelectorAll("time[datetime]")) {
  const date = new Date(element.dateTime);
  element.title = element.textContent;
  element.textContent = `${day(date)} ${clock(date)}`;
}
