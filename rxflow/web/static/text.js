// Text from a server: it is set as text, never as HTML, and acts on nothing around it.

// As rxflow._escapes: control characters, and those that reverse the direction of text.
const UNSAFE = /[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/g;

function escaped(character) {
  const code = character.charCodeAt(0);
  return code < 256 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u${code.toString(16)}`;
}

/** A text with such characters written out, as `\x1b`. */
export const safe = (text) => text.replaceAll("\r\n", "\n").replace(UNSAFE, escaped);

/** A new element; its text is data. */
export function element(tag, className = "", text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.textContent = text;
  return made;
}
