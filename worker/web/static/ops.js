// Keeps the operator's page up to date: every two seconds while somebody looks at it. What is open stays open, what has
// the focus keeps it, and only what has changed is touched, so that a screen reader says no more than it has to.
"use strict";

(() => {
  const EVERY_MS = 2000;
  const LONGEST_MS = 15000;
  const PATIENCE_MS = 10000;

  const live = document.getElementById("live");
  const state = document.getElementById("live-state");
  if (!live || !state) return;

  let timer = 0;
  let wait = EVERY_MS;

  function say(kind, text) {
    if (state.textContent !== text) state.textContent = text;
    state.className = `badge ${kind}`;
    state.hidden = false;
  }

  // What is shown is of a while ago, and nobody shall take it for now, not even by the name of the tab.
  function goStale(text) {
    say("bad", text);
    document.title = `${text} – analytics worker`;
    live.classList.add("stale"); // the next answer takes it away
  }

  async function look() {
    const answer = await fetch(live.dataset.source, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
    if (answer.status === 401) return false;
    const found = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("live");
    if (!found) throw new Error(`answered ${answer.status}`); // one with both servers away is a page, too
    const focused = document.activeElement?.id;
    update(live, found);
    document.title = live.dataset.title;
    if (focused && document.activeElement?.id !== focused) document.getElementById(focused)?.focus({ preventScroll: true });
    return true;
  }

  async function go() {
    timer = 0;
    if (document.hidden) return;
    try {
      if (!(await look())) return goStale("You are signed out: open a new link");
      wait = EVERY_MS;
      say("good", "Live");
    } catch {
      wait = Math.min(LONGEST_MS, wait * 1.5);
      if (!state.classList.contains("bad")) goStale(`No answer since ${new Date().toLocaleTimeString("en-GB")}`);
    }
    if (!document.hidden && !timer) timer = setTimeout(go, wait);
  }

  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer);
    timer = 0;
    if (!document.hidden) go();
  });

  function update(old, fresh) {
    if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) return old.replaceWith(fresh);
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.data !== fresh.data) old.data = fresh.data;
      return;
    }
    for (const { name } of [...old.attributes]) {
      if (!fresh.hasAttribute(name) && !isOpen(old, name)) old.removeAttribute(name);
    }
    for (const { name, value } of fresh.attributes) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    updateChildren(old, [...fresh.childNodes]);
  }

  const isOpen = (element, attribute) => attribute === "open" && element.nodeName === "DETAILS";

  function updateChildren(parent, fresh) {
    const wanted = new Set(fresh.map((node) => node.id).filter(Boolean));
    const kept = new Map();
    for (const child of [...parent.children]) {
      if (!child.id) continue;
      if (wanted.has(child.id)) kept.set(child.id, child);
      else child.remove();
    }
    let at = parent.firstChild;
    for (const node of fresh) {
      const same = node.id ? kept.get(node.id) : at && !at.id && at.nodeName === node.nodeName ? at : null;
      if (!same) {
        parent.insertBefore(node, at);
        continue;
      }
      if (same === at) at = at.nextSibling;
      else parent.insertBefore(same, at);
      update(same, node);
    }
    while (at) {
      const next = at.nextSibling;
      at.remove();
      at = next;
    }
  }

  say("good", "Live");
  timer = setTimeout(go, EVERY_MS / 2);
})();
