// What is shown is described by plain objects; patch() brings the document there with as few steps as it takes. So
// focus, scroll, selected text and open rows stay. Nothing here ever reads text as HTML: names come from keys.

const SVG = "http://www.w3.org/2000/svg";
const KEY = Symbol("key");
const WAS = Symbol("attributes");
const ON = Symbol("handlers");

/// `attrs.key` names a node among its siblings; `attrs.on` are handlers; `attrs.vars` are CSS variables.
export function h(tag, attrs, ...kids) {
  return { tag, attrs: attrs ?? {}, key: attrs?.key, kids: flat(kids, []) };
}

export function patch(parent, ...kids) {
  const focused = document.activeElement;
  reconcile(parent, flat(kids, []));
  // Moving a node takes its focus where moveBefore() is not known.
  if (focused !== document.activeElement && focused?.isConnected) {
    focused.focus({ preventScroll: true });
  }
}

function flat(kids, into) {
  for (const kid of kids) {
    if (Array.isArray(kid)) flat(kid, into);
    else if (kid === null || kid === undefined || kid === false || kid === "") continue;
    else into.push(typeof kid === "object" ? kid : String(kid));
  }
  return into;
}

function reconcile(parent, kids) {
  const wanted = new Set();
  for (const kid of kids) if (kid.key !== undefined) wanted.add(kid.key);
  const known = new Map();
  for (let node = parent.firstChild; node; ) {
    const next = node.nextSibling;
    const key = node[KEY];
    if (key !== undefined && !wanted.has(key)) node.remove();
    else if (key !== undefined) known.set(key, node);
    node = next;
  }
  let at = parent.firstChild;
  for (const kid of kids) {
    if (typeof kid === "string") {
      // A keyed node may follow; text is only ever put in the place of text.
      if (at?.nodeType === Node.TEXT_NODE) {
        if (at.data !== kid) at.data = kid;
        at = at.nextSibling;
      } else parent.insertBefore(document.createTextNode(kid), at);
      continue;
    }
    let node = kid.key === undefined ? at : known.get(kid.key);
    const fits = node && node[KEY] === kid.key && node.localName === kid.tag;
    if (!fits) {
      node = create(kid, parent);
      parent.insertBefore(node, at);
    } else if (node === at) at = at.nextSibling;
    else move(parent, node, at);
    dress(node, kid.attrs);
    reconcile(node, kid.kids);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

function move(parent, node, before) {
  if (parent.moveBefore) parent.moveBefore(node, before);
  else parent.insertBefore(node, before);
}

function create(kid, parent) {
  const isSvg = kid.tag === "svg" || parent.namespaceURI === SVG;
  const node = isSvg ? document.createElementNS(SVG, kid.tag) : document.createElement(kid.tag);
  if (kid.key !== undefined) node[KEY] = kid.key;
  return node;
}

function dress(node, attrs) {
  const was = node[WAS] ?? {};
  for (const name in was) if (!(name in attrs)) set(node, name, null);
  for (const name in attrs) {
    const value = attrs[name];
    if (name === "on") listen(node, value);
    else if (name === "vars") {
      for (const [variable, text] of Object.entries(value)) node.style.setProperty(variable, text);
    } else if (name === "value" && node.localName !== "option") {
      // What somebody is typing is theirs.
      if (node.value !== value && node !== document.activeElement) node.value = value;
    } else if (was[name] !== value) set(node, name, value);
  }
  node[WAS] = attrs;
}

function set(node, name, value) {
  if (name === "key" || name === "on" || name === "vars") return;
  if (value === null || value === undefined || value === false) node.removeAttribute(name);
  else node.setAttribute(name, value === true ? "" : value);
}

function listen(node, handlers) {
  const had = node[ON];
  node[ON] = handlers;
  for (const type in handlers) {
    if (had && type in had) continue;
    node.addEventListener(type, (event) => node[ON][type]?.(event));
  }
}
