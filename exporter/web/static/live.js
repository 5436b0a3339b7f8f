// Keeps the page as it is on the server: told of a change, it fetches the page anew and puts its content in place of the old.
// What is unfolded stays unfolded, and the focus stays where it is. Without this script the page loads itself anew.
"use strict";

(() => {
  const said = document.querySelector("[data-live]");
  if (!said || !window.EventSource) return;
  const MINIMUM = 1000;
  let fetching = false, wanted = false, last = Date.now();

  const tell = (text) => { if (said.textContent !== text) said.textContent = text; };
  const key = (element) => element.id || element.dataset.key || "";

  const put = (fresh) => {
    const open = new Map([...document.querySelectorAll("main details")].map((each) => [key(each), each.open]));
    const focused = document.activeElement ? key(document.activeElement) : "";
    const field = document.activeElement instanceof HTMLInputElement ? document.activeElement : null;
    const typed = field && field.id ? { id: field.id, value: field.value, at: field.selectionStart } : null;
    document.title = fresh.title;
    document.body.className = fresh.body.className;
    for (const name of ["main", ".clock time"]) {
      const [old, replacement] = [document.querySelector(name), fresh.querySelector(name)];
      if (old && replacement) old.replaceWith(document.importNode(replacement, true));
    }
    for (const each of document.querySelectorAll("main details")) {
      if (key(each) && open.has(key(each))) each.open = open.get(key(each));
    }
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
    if (typed) {
      const again = document.getElementById(typed.id);
      if (again instanceof HTMLInputElement) { again.value = typed.value; again.setSelectionRange(typed.at, typed.at); }
    }
  };

  const fetchAnew = async () => {
    if (fetching) { wanted = true; return; }
    fetching = true;
    do {
      wanted = false;
      await new Promise((go) => setTimeout(go, Math.max(0, last + MINIMUM - Date.now())));
      last = Date.now();
      try {
        const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
        if (!answer.ok) throw new Error(String(answer.status));
        put(new DOMParser().parseFromString(await answer.text(), "text/html"));
        tell("Live");
      } catch {
        tell("The exporter does not answer: what is shown is old");
      }
    } while (wanted);
    fetching = false;
  };

  const events = new EventSource("/events");
  events.addEventListener("open", () => tell("Live"));
  events.addEventListener("change", fetchAnew);
  events.addEventListener("error", () => {
    tell(events.readyState === EventSource.CLOSED ? "Not live: reload to see what is new" : "Not live: trying again");
  });
  setInterval(() => { if (document.visibilityState === "visible") fetchAnew(); }, 15000);
  addEventListener("pagehide", () => events.close());
})();
