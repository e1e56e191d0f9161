// Builds elements. Text reaches the page as text nodes and attributes only, never as markup: names and metrics
// come from nodes.

const SVG = "http://www.w3.org/2000/svg";

const find = (id) => document.getElementById(id);

/** Build an element; attributes whose value is null or false are left out. */
function make(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function makeSvg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** Set an element's text if it differs: otherwise, it would be laid out and read aloud again. */
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function setAttribute(element, name, value) {
  const text = String(value);
  if (element.getAttribute(name) !== text) element.setAttribute(name, text);
}

/** Show an element with a text, or hide it where the text is empty. */
function showText(element, text) {
  setText(element, text || "");
  element.hidden = !text;
}

/** Make the children of an element these, in this order, and move only those that are elsewhere. */
function setChildren(parent, children) {
  children.forEach((child, index) => {
    if (parent.children[index] !== child) parent.insertBefore(child, parent.children[index] || null);
  });
  while (parent.children.length > children.length) parent.lastElementChild.remove();
}

/** Fill a description list with [term, value] pairs; the elements of terms that stay are reused. */
function setPairs(list, pairs) {
  const existing = new Map([...list.children].map((group) => [group.firstChild.textContent, group]));
  const groups = pairs.map(([term, value, title]) => {
    const group = existing.get(term) || make("div", {}, make("dt", {}, term), make("dd"));
    setText(group.lastChild, value);
    if (title) setAttribute(group.lastChild, "title", title);
    return group;
  });
  setChildren(list, groups);
}

/** Offer these texts in a select, and keep what is chosen where it is still offered. */
function setOptions(select, texts, isKept = true) {
  const before = [...select.options].map((option) => option.value);
  if (before.length === texts.length && before.every((text, index) => text === texts[index])) return;
  const chosen = select.value;
  select.replaceChildren(...texts.map((text) => make("option", { value: text }, text)));
  if (isKept && texts.includes(chosen)) select.value = chosen;
}
